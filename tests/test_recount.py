"""The Stats API: whatever came, in whatever order, its numbers are those of a plain recount (`tests/recount.py`)."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ovx_lite import new
from ovx_lite.enrich import enrich
from ovx_lite.ingest import store
from ovx_lite.model import Campaign, Hit, Identity, Page, Reply
from ovx_lite.store import check, events, goal_counts, goals, people, recounts, visits
from ovx_lite.store.books import open_books
from ovx_lite.store.db import open_store, transaction
from ovx_lite.store.events import Stored
from ovx_lite.web.stats import answer
from tests.conftest import CHROME
from tests.recount import (
    COUNTS,
    DECIMALS,
    HOUR,
    MINUTE,
    OF_EVENTS,
    OF_MONEY,
    OF_PAGES,
    OF_VISITS,
    RATES,
    TIMES,
    Key,
    Recount,
    Value,
    is_engagement,
)
from tests.test_store import EVER, new_site, request
from tests.test_visitors import GOOGLEBOT

RECOUNTS = os.environ.get("OVX_RECOUNTS")  # for a long run, with other cases each time
DAY = 24 * HOUR
SILENCE = 30 * MINUTE
# The time zones, and days on which their clocks change; in some at midnight.
CHANGES = [
    ("UTC", "2025-03-30"),
    ("Europe/Paris", "2025-03-30"),
    ("Europe/Paris", "2025-10-26"),
    ("America/New_York", "2025-11-02"),
    ("Asia/Kathmandu", "2025-06-01"),
    ("Australia/Lord_Howe", "2025-04-06"),
    ("America/Havana", "2025-11-02"),
    ("America/Santiago", "2025-04-06"),
]
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"  # noqa: E501
PAGES = [
    *(Page("https", "example.com", path) for path in ("/", "/blog/a", "/blog/A", "/blog/a/b")),
    *(Page("https", "b.example", "/blog/a"), Page("app", "shop", ""), Page("", "", "/'); --\"ü"), Page("", "", "")),
]
ORIGINS = [
    *(("", Campaign()), ("", Campaign()), ("www.google.com/", Campaign()), ("news.example/x", Campaign())),
    ("www.google.com/", Campaign("Newsletter", "email", "Spring", "a'b", 'ü."')),
    ("", Campaign("fb", "cpc")),
]
NAMES = ["signup", "purchase", "engagement", "pageview", "'); --"]
GOALS = [("Signup", "signup", ""), ("Posts", "", "/blog/*"), ("'); --", "engagement", ""), ("All", "", "/**")]
KEYS = ["plan", "__proto__", "');--", 'a"b', "a.b", "ü", "\\", ""]
PROPS = ["pro", "Pro", "7", 7, -3, True, False, "true", "", "ü'\"", None]


class Who(NamedTuple):
    """What tells one visitor from another: the names that the caller gave, or address and user agent."""

    device: str = ""
    session: str = ""
    person: str = ""
    address: str = ""
    user_agent: str = ""


WHO = st.builds(
    Who,
    *(st.sampled_from(words) for words in (["", "d", "d", "e"], ["", "", "", "s"], ["", "", "ada", "bob"])),
    *(st.sampled_from(words) for words in (["", "203.0.113.1", "198.51.100.7"], ["", CHROME, IPHONE, GOOGLEBOT])),
)
ANCHORS = st.sampled_from([-DAY, 0, 0, 2 * HOUR, DAY])  # from the midnight of the day of the change
TIMES_TOLD = st.builds(
    sum, st.tuples(ANCHORS, st.integers(-20, 20).map(lambda n: n * 3 * MINUTE), st.sampled_from([0, 0, 1, 59_999]))
)
PROPERTIES = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(PROPS), max_size=3)
MONEY = st.sampled_from([(None, ""), (None, ""), (4999, "EUR"), (-1000, "EUR"), (500, "JPY"), (1, "USD")])


class Told(NamedTuple):
    """A hit, as it is to be: at so many ms from the midnight of the day of the change."""

    what: str
    who: Who
    at: int
    page: Page
    origin: tuple[str, Campaign]
    props: dict[str, Any]
    money: tuple[int | None, str]

    def hit(self, midnight: int) -> Hit:
        type = "pageview" if self.what == "view" else "event"
        name = {"view": "pageview", "look": "engagement"}.get(self.what, self.what)
        props = json.dumps(self.props) if self.props and self.what != "view" else None
        device, session, person, address, agent = self.who
        whose = Identity(person) if person else None
        told = (self.page, self.origin[1], self.origin[0], address, agent, props, device, session, whose, "")
        return Hit(type, name, midnight + self.at, *told, *(self.money if self.what == "purchase" else (None, "")))


WHAT = st.sampled_from(["view", "view", "view", "look", "look", "purchase", *NAMES])
LOOKS = st.fixed_dictionaries({"ms": st.integers(0, 90_000), "scroll": st.integers(0, 100)})
HITS = WHAT.flatmap(
    lambda what: st.builds(
        Told,
        *(st.just(what), WHO, TIMES_TOLD, st.sampled_from(PAGES), st.sampled_from(ORIGINS)),
        *(LOOKS if what == "look" else PROPERTIES, MONEY),
    )
)
DONE = st.one_of(
    *[st.tuples(st.just("store"), st.lists(HITS, min_size=8, max_size=20))] * 3,
    st.tuples(st.sampled_from(["restart", "midnight", "catch up", "goal"]), st.none()),
    st.tuples(st.just("erase"), st.sampled_from(["ada", "bob"])),
    st.tuples(st.just("prune"), st.integers(-1, 1)),
)


class Stay(msgspec.Struct):
    """A visit that may go on, for all that one told: its number, first and last time."""

    id: int
    session: str
    first: int
    last: int
    is_open: bool = True

    def takes(self, told: Hit) -> bool:
        near = self.first - SILENCE <= told.ts <= self.last + SILENCE
        return self.session == told.session and (bool(told.session) or near)


class Traffic:
    """A site that is told of events, and what its visits are to be."""

    def __init__(self, conn: sqlite3.Connection, zone: str, changed: str) -> None:
        self.conn, self.site, self.books = conn, new_site(conn, "here", zone), open_books(conn, 0)
        self.recount = Recount([], zone, [])
        day = date.fromisoformat(changed)
        self.midnight = int(datetime.combine(day, datetime.min.time(), self.recount.zone).timestamp()) * 1000
        self.now, self.salt, self.left = self.midnight + 30 * HOUR, 0, list(GOALS)
        self.stays: dict[object, list[Stay]] = {}
        self.visitors: dict[object, int] = {}
        self.known: set[int | None] = set()

    def read(self) -> dict[int, Stored]:
        return {event.id: event for event in events.read(self.conn, self.site, 0, EVER, True)}

    def day(self, ts: int) -> date:
        return self.recount.local(ts).date()

    def do(self, what: str, told: Any) -> None:
        if what == "store":
            self.store([one.hit(self.midnight) for one in told], [one.what for one in told])
            return
        if what == "midnight":  # the salt is another, and no visit goes on
            self.salt += 1
            with transaction(self.conn):
                visits.close(self.conn, self.site.number)
            self.close(set(self.known))
        elif what == "catch up":
            goal_counts.catch_up(self.conn)
        elif what == "goal" and self.left:
            goal = new.goal(self.site, *self.left.pop(), self.now, f"goal_{len(self.left)}")
            goal_counts.add_goal(self.conn, goal, self.site, self.now)
        elif what == "erase":
            self.erase(told)
        elif what == "prune":
            self.prune(self.day(self.midnight + 12 * HOUR) + timedelta(told))
        self.books.forget()

    def store(self, hits: list[Hit], what: list[str]) -> None:
        salt = b"salt %d" % self.salt
        apis = ["apex" if one == "look" else "ovyxa" for one in what]
        sent = [enrich(hit, api, self.site, salt, country_of) for hit, api in zip(hits, apis, strict=True)]
        (reply,) = store(self.conn, self.books, [request(self.site, *sent)], {}, self.now)
        assert isinstance(reply, Reply)
        found = self.read()
        for hit, id in zip(hits, json.loads(reply.body), strict=True):
            self.place(hit, found[int(id[4:], 16)])

    def place(self, hit: Hit, event: Stored) -> None:
        """Have an event take its place in a visit, by what is known of it, and see that the store has it there."""
        if hit.device:
            who: object = ("device", hit.device)
        elif hit.address or hit.user_agent:
            who = (self.salt, self.day(hit.ts), hit.address, hit.user_agent)
        else:
            who = hit.person and ("person", hit.person.id)
        if who is None or event.excluded:
            assert (event.visitor, event.visit) == (None, None)
            return
        stays = self.stays.setdefault((who, self.day(hit.ts)), [])
        fitting = [stay for stay in stays if stay.takes(hit)]
        goes_on = [stay for stay in fitting if stay.id == event.visit]
        if goes_on:
            goes_on[0].first, goes_on[0].last = min(hit.ts, goes_on[0].first), max(hit.ts, goes_on[0].last)
        else:
            assert not any(stay.is_open for stay in fitting)
            if is_engagement(event):
                assert event.visit is None
                return
            assert event.visit is not None
            assert event.visit not in self.known
            self.known.add(event.visit)
            stays.append(Stay(event.visit, hit.session, hit.ts, hit.ts))
        assert self.visitors.setdefault(who, event.visitor or 0) == event.visitor
        assert len(set(self.visitors.values())) == len(self.visitors)

    def close(self, ids: set[int | None]) -> None:
        """Of these visits, later events may be taken for others' (the spec does not say so)."""
        for stay in (stay for stays in self.stays.values() for stay in stays if stay.id in ids):
            stay.is_open = False

    def erase(self, person: str) -> None:
        before = self.read()
        theirs = {id for id, event in before.items() if event.person == person}
        if not theirs:
            return
        fresh = count(1000 + 1000 * len(self.known))
        known = people.find(self.conn, self.site.number, person)
        assert people.erase(self.conn, self.site, known, fresh) == sum(before[id].visit is not None for id in theirs)
        after = self.read()
        halves: dict[tuple[int | None, bool], set[int]] = {}
        touched = {before[id].visit for id in theirs} - {None}
        for id, event in before.items():
            now = after.pop(id)
            if event.visit not in touched:
                expected = event._replace(person=None if id in theirs else event.person)
                assert now == expected
                continue
            halves.setdefault((event.visit, id in theirs), set()).add(id)
        assert after == {}
        after, fates = self.read(), set[int | None]()
        for (old, gone), ids in halves.items():
            (fate,) = {after[id].visit for id in ids}
            assert (fate is None) == all(is_engagement(before[id]) for id in ids)
            assert {after[id].visitor for id in ids} != {before[id].visitor for id in ids} or not gone
            assert {after[id].person for id in ids if gone} <= {None}
            assert fate is None or fate not in fates
            fates.add(fate)
            if not gone:
                self.rename(old, fate, [after[id].ts for id in ids])
            elif (old, False) not in halves:
                self.rename(old, None, [])
            self.known.add(fate)
        self.close(fates)

    def rename(self, old: int | None, to: int | None, times: list[int]) -> None:
        for stays in self.stays.values():
            for stay in [stay for stay in stays if stay.id == old]:
                stays.remove(stay)
                if to is not None:
                    stays.append(Stay(to, stay.session, min(times), max(times), False))

    def prune(self, day: date) -> None:
        before = self.read()
        gone = {id for id, event in before.items() if self.day(event.ts) == day}
        with transaction(self.conn):
            number = day.toordinal() - date(1970, 1, 1).toordinal()
            assert events.forget_day(self.conn, self.site, number) == len(gone)
        assert self.read() == {id: event for id, event in before.items() if id not in gone}
        for _, stays in [(of, stays) for of, stays in self.stays.items() if of[1] == day]:  # type: ignore[index]
            stays.clear()

    def settle(self) -> None:
        """Add the goals that are left, and look at all that was stored."""
        while self.left:
            self.do("goal", None)
        found = goals.goals_of(self.conn, self.site.number)
        self.recount = Recount(self.read().values(), self.site.timezone, found)


def country_of(address: str) -> str:
    return {"203.0.113.1": "FR", "198.51.100.7": ""}[address]


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


WEEKS = (timedelta(-8), timedelta(8))
ALL = [
    Asked([*one, *by], [], WEEKS, 0, metrics, [], (2, 1))
    for one in [[], *([word] for word in (*OF_EVENTS, *OF_VISITS, "event:props:plan"))]
    for by, metrics in (([], EVERY), ([], list(COUNTS)), (["time:day"], ["visits", "visitors"]))
]


def told(traffic: Traffic, query: dict[str, Any], now: int) -> dict[str, Any]:
    encoded = msgspec.json.encode(answer(traffic.conn, traffic.site, json.loads(json.dumps(query)), now))
    decoded: dict[str, Any] = json.loads(encoded, parse_float=Decimal)
    return decoded


def is_about(shown: Any, counted: Value) -> bool:
    """Whether a number is shown as what was counted, rounded."""
    if isinstance(counted, tuple):
        amount, currency = counted
        step = Decimal(1).scaleb(-DECIMALS[currency])
        right = (shown["currency"], shown["long"]) == (currency, f"{currency} {Decimal(shown['value']).quantize(step)}")
        return right and abs(float(shown["value"]) - float(amount)) <= float(step) / 2 + 1e-9
    if counted is None or isinstance(counted, int):
        return bool(shown == counted and isinstance(shown, type(counted)))
    return shown is not None and not isinstance(shown, dict) and abs(float(shown) - float(counted)) <= 0.005 + 1e-9


def in_order(rows: list[dict[str, Any]], query: dict[str, Any]) -> list[dict[str, Any]]:
    names, dimensions = query["metrics"], query["dimensions"]
    usual = [[word, "asc"] for word in dimensions if word in TIMES] or [[names[0], "desc"]]

    def number(shown: Any) -> Decimal:
        return Decimal("-inf") if shown is None else Decimal(shown["value"] if isinstance(shown, dict) else shown)

    rows = sorted(rows, key=lambda row: row["dimensions"])
    for name, way in reversed(query["order_by"] or usual):
        if name in names:
            rows.sort(key=lambda row: number(row["metrics"][names.index(name)]), reverse=way == "desc")
        else:
            rows.sort(key=lambda row: row["dimensions"][dimensions.index(name)], reverse=way == "desc")
    return rows


def same(shown: dict[Key, list[Any]], counted: dict[Key, list[Value]]) -> bool:
    return shown.keys() == counted.keys() and all(
        len(values) == len(counted[key]) and all(is_about(*pair) for pair in zip(values, counted[key], strict=True))
        for key, values in shown.items()
    )


def ask(traffic: Traffic, asked: Asked) -> dict[str, Any]:
    """All of an answer, with what there was before (but of times, which are compared by their places)."""
    by_time = any(one in TIMES for one in asked.dimensions)
    include = {"total_rows": True} | ({} if by_time else {"comparisons": {"mode": "previous_period"}})
    return told(traffic, asked.query(traffic) | {"include": include}, traffic.midnight + asked.now)


def see(traffic: Traffic, asked: Asked, found: dict[str, Any]) -> None:
    """See that an answer is what a recount says, and in order."""
    query, now, recount = asked.query(traffic), traffic.midnight + asked.now, traffic.recount
    span = recount.span(query["date_range"], now)
    rows, mixed = recount.rows(query, span)
    shown = {tuple(row["dimensions"]): row["metrics"] for row in found["results"]}
    assert same(shown, rows), f"{query} {now}\ntold: {shown}\ncounted: {rows}"
    assert found["meta"]["total_rows"] == len(rows)
    warned = set(query["metrics"]) & set(OF_MONEY) if mixed else set()
    assert set(found["meta"].get("metric_warnings", {})) == warned
    assert found["results"] == in_order(found["results"], query), query
    if not any(one in TIMES for one in asked.dimensions):
        before, nothing = recount.rows(query, recount.before(span))[0], recount.nothing(query["metrics"])
        compared = {tuple(row["dimensions"]): row["comparison"]["metrics"] for row in found["results"]}
        assert same(compared, {key: before.get(key, nothing) for key in rows}), f"{query} {now}\n{compared}\n{before}"
    if asked not in ALL:
        limit, offset = asked.page
        cut = told(traffic, query | {"limit": limit, "offset": offset}, now)["results"]
        uncut = [{key: row[key] for key in ("metrics", "dimensions")} for row in found["results"]]
        assert cut == uncut[offset : offset + limit]


def has_few_expressions(asked: Asked) -> bool:
    """Whether the API takes it: of expressions, it takes ten."""
    return str(asked).count("matches") <= 5


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path_factory.mktemp("store"))) as opened:
        yield opened


@given(
    st.sampled_from(CHANGES),
    st.lists(DONE, min_size=3, max_size=10),
    st.lists(ASKED.filter(has_few_expressions), min_size=5, max_size=15),
)
@settings(
    max_examples=int(RECOUNTS or 15),
    deadline=None,
    derandomize=RECOUNTS is None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_its_numbers_are_those_of_a_recount(
    empty: sqlite3.Connection, changed: tuple[str, str], done: list[tuple[str, Any]], asked: list[Asked]
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        empty.backup(conn)
        conn.execute("PRAGMA foreign_keys = ON")
        traffic = Traffic(conn, *changed)
        for what, told in done:
            traffic.do(what, told)
            assert check.problems(conn) == []
        traffic.settle()
        assert check.problems(conn) == []
        asked = [*ALL, *asked]
        answers = [ask(traffic, one) for one in asked]
        for one, found in zip(asked, answers, strict=True):
            see(traffic, one, found)
        recounts.mark_all(conn, traffic.site)
        assert [ask(traffic, one) for one in asked] == answers, "from the events"
        while goal_counts.catch_up(conn):
            pass
        assert check.problems(conn) == []
        assert [ask(traffic, one) for one in asked] == answers, "counted anew"
