"""Queries to the Stats API, drawn at random: see `tests/test_recount.py`."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.support.drawn import DAY, GOALS, KEYS, TIMES_TOLD
from tests.support.recount import COUNTS, HOUR, OF_EVENTS, OF_MONEY, OF_PAGES, OF_VISITS, RATES, TIMES
from tests.support.traffic import Traffic

WORDS = [
    *(
        "/",
        "/blog/a",
        "/BLOG/A",
        "blog",
        "example.com",
        "signup",
        "pageview",
        "engagement",
        "'); --\"ü",
        "",
        "EUR",
        "Ü",
    ),
    *(
        "google",
        "Google",
        "search",
        "www.google.com/",
        "Newsletter",
        "fb",
        "Chrome",
        "FR",
        "mobile",
        "pro",
        "true",
        "7",
    ),
]
VALUES = st.lists(st.one_of(st.sampled_from(WORDS), st.sampled_from([7, True])), min_size=1, max_size=3)
PATTERNS = st.lists(
    st.sampled_from(["^/blog", "a$", "o+", "^$", ".*", "[A-Z]", "'|ü", "FR|Chrome"]), min_size=1, max_size=2
)
ANY_PROP = st.sampled_from([f"event:props:{key}" for key in KEYS if key])
ANY = st.one_of(
    st.sampled_from([one for one in OF_EVENTS if one != "event:goal"]), st.sampled_from(OF_VISITS), ANY_PROP
)
GOAL_TESTS = st.builds(
    lambda operator, names: [operator, "event:goal", names],
    st.sampled_from(["is", "is_not"]),
    st.lists(st.sampled_from([name for name, _, _ in GOALS]), min_size=1, max_size=2),
)
FOLDED = st.sampled_from([[], [{"case_sensitive": False}], [{"case_sensitive": True}]])
TESTS = st.one_of(
    *(
        st.builds(
            lambda operator, dimension, values, folded: [operator, dimension, values, *folded],
            *(st.sampled_from([operator, f"{operator}_not"]), ANY, values, FOLDED),
        )
        for operator, values in (("is", VALUES), ("contains", VALUES), ("matches", PATTERNS))
    ),
    GOAL_TESTS,
)
FILTERS = st.recursive(
    TESTS,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner).map(list),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)).map(list),
    ),
    max_leaves=4,
)
DIMENSIONS: st.SearchStrategy[list[str]] = st.one_of(
    st.just([]),
    st.lists(st.one_of(ANY, st.just("event:goal")), max_size=2, unique=True),
    st.tuples(st.sampled_from(TIMES), ANY).map(list),
    st.tuples(st.one_of(ANY, st.just("event:goal")), st.sampled_from(TIMES)).map(list),
    st.sampled_from(TIMES).map(lambda time: [time]),
)
WORDS_OF_TIME = st.sampled_from(["day", "yesterday", "24h", "7d", "28d", "30d", "91d", "month", "6mo", "year", "all"])


class Asked(NamedTuple):
    """What is asked: a query without its metrics, and at which time (ms from the midnight of the day of the change)."""

    dimensions: list[str]
    filters: list[Any]
    range: Any  # a word, or two of the same: days from that day (timedelta), or ms
    now: int
    metrics: list[str]
    order: list[tuple[int, str]]
    page: tuple[int, int]

    def query(self, traffic: Traffic) -> dict[str, Any]:
        """The query as JSON."""
        metrics = feasible(self.dimensions, self.filters, self.metrics)
        told: dict[str, Any] = {"site_id": traffic.site.id, "metrics": metrics, "date_range": self.range}
        told |= {"dimensions": self.dimensions, "filters": self.filters}
        if not isinstance(self.range, str):
            first, last = sorted(self.range)
            if isinstance(first, timedelta):
                today = traffic.day(traffic.midnight + 12 * HOUR)
                told["date_range"] = [str(today + first), str(today + last)]
            else:
                told["date_range"] = [iso(traffic.midnight + first), iso(traffic.midnight + last)]
        names = [*metrics, *self.dimensions]
        told["order_by"] = [[names[at % len(names)], way] for at, way in self.order]
        return told


def iso(ts: int) -> str:
    return datetime.fromtimestamp(ts // 1000, UTC).isoformat()


def feasible(dimensions: list[str], filters: list[Any], metrics: list[str]) -> list[str]:
    """Those of the metrics that may be asked for with these dimensions and filters."""
    said = json.dumps([dimensions, filters])
    of_pages = "event:page" in said and not any(f"event:{word}" in said for word in ("name", "goal", "curr", "props"))
    inner = json.dumps([one for one in filters if one[1] != "event:goal"])
    goals = "event:goal" in said and "event:goal" not in inner
    goals = goals and ("event:goal" in dimensions or any(one[1] == "event:goal" for one in filters))
    fitting = [m for m in metrics if (of_pages or m not in OF_PAGES) and (goals or m != "conversion_rate")]
    return fitting or ["visitors"]


EVERY = [*COUNTS, *RATES, "conversion_rate", *OF_MONEY, *OF_PAGES]
DATES = st.tuples(*[st.integers(-3, 3).map(timedelta)] * 2)
MOMENTS = st.tuples(*[st.one_of(TIMES_TOLD, st.sampled_from([-DAY, 0, DAY])).map(lambda ms: ms // 1000 * 1000)] * 2)
ASKED = st.builds(
    Asked,
    *(DIMENSIONS, st.lists(FILTERS, max_size=2), st.one_of(WORDS_OF_TIME, DATES, MOMENTS), TIMES_TOLD),
    st.one_of(
        st.just(EVERY), st.just(list(COUNTS)), st.lists(st.sampled_from(EVERY), min_size=1, max_size=4, unique=True)
    ),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["asc", "desc"])), max_size=2),
    st.tuples(st.integers(1, 3), st.integers(0, 2)),
).filter(lambda asked: not {"time:minute", "time:hour"} & set(asked.dimensions) or is_short(asked))


def is_short(asked: Asked) -> bool:
    """Whether so many hours, or minutes, may be asked for."""
    if isinstance(asked.range, str):
        return asked.range in ("day", "yesterday", "24h")
    first, last = sorted(asked.range)
    most = timedelta(1) if isinstance(first, timedelta) else 12 * HOUR
    return bool(last - first <= most)


def has_few_expressions(asked: Asked) -> bool:
    """Whether the API takes it: of expressions, it takes ten."""
    return str(asked).count("matches") <= 5


WEEKS = (timedelta(-8), timedelta(8))
ALL = [
    Asked([*one, *by], [], WEEKS, 0, metrics, [], (2, 1))
    for one in [[], *([word] for word in (*OF_EVENTS, *OF_VISITS, "event:props:plan"))]
    for by, metrics in (([], EVERY), ([], list(COUNTS)), (["time:day"], ["visits", "visitors"]))
]
