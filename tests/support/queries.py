"""Random queries to the Stats API: see `tests/test_recount.py`."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from ovx_lite.domain.calendar import DAY_MS, HOUR_MS
from tests.support.drawn import EVENT_OFFSETS_MS, GOALS, PROP_KEYS
from tests.support.recount import (
    COUNT_METRICS,
    EVENT_DIMENSIONS,
    PAGE_METRICS,
    RATE_METRICS,
    REVENUE_METRICS,
    TIME_DIMENSIONS,
    VISIT_DIMENSIONS,
)
from tests.support.traffic import Traffic

FILTER_VALUES = [
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
VALUE_LISTS = st.lists(st.one_of(st.sampled_from(FILTER_VALUES), st.sampled_from([7, True])), min_size=1, max_size=3)
PATTERN_LISTS = st.lists(
    st.sampled_from(["^/blog", "a$", "o+", "^$", ".*", "[A-Z]", "'|ü", "FR|Chrome"]), min_size=1, max_size=2
)
ANY_PROP = st.sampled_from([f"event:props:{key}" for key in PROP_KEYS if key])
ANY_DIMENSION = st.one_of(
    st.sampled_from([dimension for dimension in EVENT_DIMENSIONS if dimension != "event:goal"]),
    st.sampled_from(VISIT_DIMENSIONS),
    ANY_PROP,
)
GOAL_CONDITIONS = st.builds(
    lambda operator, names: [operator, "event:goal", names],
    st.sampled_from(["is", "is_not"]),
    st.lists(st.sampled_from([name for name, _, _ in GOALS]), min_size=1, max_size=2),
)
CASE_MODIFIERS = st.sampled_from([[], [{"case_sensitive": False}], [{"case_sensitive": True}]])
CONDITIONS = st.one_of(
    *(
        st.builds(
            lambda operator, dimension, values, folded: [operator, dimension, values, *folded],
            *(st.sampled_from([operator, f"{operator}_not"]), ANY_DIMENSION, values, CASE_MODIFIERS),
        )
        for operator, values in (("is", VALUE_LISTS), ("contains", VALUE_LISTS), ("matches", PATTERN_LISTS))
    ),
    GOAL_CONDITIONS,
)
FILTERS = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner).map(list),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)).map(list),
    ),
    max_leaves=4,
)
DIMENSION_LISTS: st.SearchStrategy[list[str]] = st.one_of(
    st.just([]),
    st.lists(st.one_of(ANY_DIMENSION, st.just("event:goal")), max_size=2, unique=True),
    st.tuples(st.sampled_from(TIME_DIMENSIONS), ANY_DIMENSION).map(list),
    st.tuples(st.one_of(ANY_DIMENSION, st.just("event:goal")), st.sampled_from(TIME_DIMENSIONS)).map(list),
    st.sampled_from(TIME_DIMENSIONS).map(lambda time: [time]),
)
DATE_RANGE_NAMES = st.sampled_from(
    ["day", "yesterday", "24h", "7d", "28d", "30d", "91d", "month", "6mo", "year", "all"]
)


class DrawnQuery(NamedTuple):
    """A random query, and its time in ms from the midnight of the day of the clock change."""

    dimensions: list[str]
    filters: list[Any]
    date_range: Any  # a name, or two days (timedelta) or two times (ms) relative to that midnight
    now_offset_ms: int
    metrics: list[str]
    order: list[tuple[int, str]]
    page: tuple[int, int]

    def as_json(self, traffic: Traffic) -> dict[str, Any]:
        """Return the query as JSON."""
        metrics = allowed_metrics(self.dimensions, self.filters, self.metrics)
        document: dict[str, Any] = {"site_id": traffic.site.slug, "metrics": metrics, "date_range": self.date_range}
        document |= {"dimensions": self.dimensions, "filters": self.filters}
        if not isinstance(self.date_range, str):
            first, last = sorted(self.date_range)
            if isinstance(first, timedelta):
                today = traffic.local_date(traffic.midnight_ms + 12 * HOUR_MS)
                document["date_range"] = [str(today + first), str(today + last)]
            else:
                document["date_range"] = [iso_time(traffic.midnight_ms + first), iso_time(traffic.midnight_ms + last)]
        names = [*metrics, *self.dimensions]
        document["order_by"] = [[names[index % len(names)], direction] for index, direction in self.order]
        return document


def iso_time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms // 1000, UTC).isoformat()


def allowed_metrics(dimensions: list[str], filters: list[Any], metrics: list[str]) -> list[str]:
    """Return the metrics that are valid with these dimensions and filters."""
    text = json.dumps([dimensions, filters])
    is_by_page = "event:page" in text and not any(f"event:{name}" in text for name in ("name", "goal", "curr", "props"))
    inner = json.dumps([condition for condition in filters if condition[1] != "event:goal"])
    goals = "event:goal" in text and "event:goal" not in inner
    goals = goals and ("event:goal" in dimensions or any(condition[1] == "event:goal" for condition in filters))
    allowed = [
        metric
        for metric in metrics
        if (is_by_page or metric not in PAGE_METRICS) and (goals or metric != "conversion_rate")
    ]
    return allowed or ["visitors"]


ALL_METRICS = [*COUNT_METRICS, *RATE_METRICS, "conversion_rate", *REVENUE_METRICS, *PAGE_METRICS]
DATE_PAIRS = st.tuples(*[st.integers(-3, 3).map(timedelta)] * 2)
TIME_PAIRS = st.tuples(
    *[st.one_of(EVENT_OFFSETS_MS, st.sampled_from([-DAY_MS, 0, DAY_MS])).map(lambda ms: ms // 1000 * 1000)] * 2
)
QUERIES = st.builds(
    DrawnQuery,
    *(
        DIMENSION_LISTS,
        st.lists(FILTERS, max_size=2),
        st.one_of(DATE_RANGE_NAMES, DATE_PAIRS, TIME_PAIRS),
        EVENT_OFFSETS_MS,
    ),
    st.one_of(
        st.just(ALL_METRICS),
        st.just(list(COUNT_METRICS)),
        st.lists(st.sampled_from(ALL_METRICS), min_size=1, max_size=4, unique=True),
    ),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["asc", "desc"])), max_size=2),
    st.tuples(st.integers(1, 3), st.integers(0, 2)),
).filter(lambda query: not {"time:minute", "time:hour"} & set(query.dimensions) or is_short(query))


def is_short(query: DrawnQuery) -> bool:
    """Return whether a query is short enough for hours or minutes."""
    if isinstance(query.date_range, str):
        return query.date_range in ("day", "yesterday", "24h")
    first, last = sorted(query.date_range)
    max_length = timedelta(1) if isinstance(first, timedelta) else 12 * HOUR_MS
    return bool(last - first <= max_length)


def has_few_expressions(query: DrawnQuery) -> bool:
    """Return whether a query has few enough regular expressions: the API accepts ten."""
    return str(query).count("matches") <= 5


WEEKS = (timedelta(-8), timedelta(8))
FIXED_QUERIES = [
    DrawnQuery([*dimensions, *time_dimensions], [], WEEKS, 0, metrics, [], (2, 1))
    for dimensions in [
        [],
        *([dimension_name] for dimension_name in (*EVENT_DIMENSIONS, *VISIT_DIMENSIONS, "event:props:plan")),
    ]
    for time_dimensions, metrics in (
        ([], ALL_METRICS),
        ([], list(COUNT_METRICS)),
        (["time:day"], ["visits", "visitors"]),
    )
]
