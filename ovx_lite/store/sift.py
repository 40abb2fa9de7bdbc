"""The whole dashboard of what passes filters, in one look at the visits.

SQLite sorts in order to group, which takes longer than to find the rows. So it writes what a day's visits have one
after the other, and Python counts it, which is quick with dicts: a day is a row, whatever the number of its visits.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from ovx_lite.filters import Filter
from ovx_lite.goals import Goals
from ovx_lite.model import Site
from ovx_lite.periods import Period
from ovx_lite.results import Counts
from ovx_lite.store.goals import goals_of
from ovx_lite.store.matching import COLUMNS, Matching, needs_visit, of_visits
from ovx_lite.store.selection import COUNTED, SOMETIMES, VIEW, days, has_strays

_OF_EVENTS = ("event:page", "event:name", "event:goal")

DIMENSIONS = (*(word for word in COLUMNS if word.startswith("visit:")), *_OF_EVENTS)
"""What can be counted by here."""

Fact = tuple[str, str]
"""A dimension, and what stands there."""


class _Day(msgspec.Struct, array_like=True):
    """What SQLite writes of a day: counts; of visits that are their visitors' only ones there, codes and events.

    Of the others, `whose` says visitor and day, and codes and events stand in the same order.
    """

    visits: int
    visitors: int | None
    views: int | None
    events: int | None
    bounces: int | None
    duration: int | None
    codes: list[str | None]
    tokens: str | None
    whose: str | None
    codes_of_others: list[str | None]
    tokens_of_others: str | None
    purses: str | None


_DAY = msgspec.json.Decoder(_Day)


class Sifted(NamedTuple):
    """What passes filters: the counts of each day, visitors by what stands in each dimension, revenue by currency.

    Revenue is how often, and how much in minor units.
    """

    days: dict[int, Counts]
    visitors: dict[str, Counter[str]]
    takings: dict[str, tuple[int, int]]


# What each of a visit's events is: the page's number, and before it, with a dot, the kind's, unless it is a view of it.
_TOKENS = """
(SELECT group_concat(CASE WHEN {view} THEN page ELSE kind || '.' || page END) FROM events AS e
    WHERE e.site = v.site AND e.visit = v.id AND {counted} AND {condition})
"""
# Of visits that viewed a page or two and did nothing else, that stands in the visit.
_SHORT = """
CASE WHEN entry IS NULL OR pageviews <> events OR events > 2 THEN {tokens}
    WHEN events = 1 THEN entry ELSE entry || ',' || exit END
"""
_PURSE = """
(SELECT group_concat(kind || ' ' || revenue) FROM events AS e
    WHERE e.site = v.site AND e.visit = v.id AND revenue IS NOT NULL AND {counted} AND {condition})
"""
# The limit keeps SQLite from looking for the events twice.
_SIFTED = """
SELECT day, (
    SELECT json_array(count(*),
        sum(alone) + count(DISTINCT CASE WHEN alone THEN NULL ELSE visitor END),
        sum(pageviews), sum(events), sum(events = 1), sum(before + after),
        json_array({codes_alone}), group_concat(CASE WHEN alone THEN tokens END, ';'),
        group_concat(CASE WHEN NOT alone THEN day || ' ' || visitor END),
        json_array({codes_of_others}), group_concat(CASE WHEN NOT alone THEN coalesce(tokens, '') END, ';'),
        group_concat(purse))
    FROM (
        SELECT alone, visitor, pageviews, events, before, after, {codes}, {tokens} AS tokens, {purse} AS purse
        FROM visits AS v
        WHERE v.site = {site} AND v.id >= low AND v.id < high AND {found} LIMIT -1
    ) WHERE {passed}
) FROM {days}
"""


def sift(
    conn: sqlite3.Connection, site: Site, period: Period, filters: Sequence[Filter], dimensions: Collection[str] = ()
) -> Sifted | None:
    """Count a period by days, by each of these dimensions, and what it took. Raises `Refused`.

    None if that cannot be told by visits alone: of times within days, or if events that are in no visit may pass.
    """
    if not period.whole or (not needs_visit(filters) and has_strays(conn, site, period)):
        return None
    by_events = not of_visits(filters)
    matching = Matching(conn, site.number)
    codes = sorted({_code(word) for word in dimensions if word not in _OF_EVENTS}) or ["origin"]
    sql = _sql(matching, site, period, filters, codes, by_events, any(word in _OF_EVENTS for word in dimensions))
    found, heap = dict[int, Counts](), _Heap(codes)
    for day, told in conn.execute(sql, matching.values):
        found_there = _DAY.decode(told)
        if found_there.visits:
            found[day] = _counts(found_there, by_events)
            heap.put(found_there)
    return Sifted(found, _Ranks(conn, site, heap).of(dimensions), heap.takings(conn))


def _counts(day: _Day, by_events: bool) -> Counts:
    views, events = day.views or 0, day.events or 0
    if by_events:
        texts = [text for text in (day.tokens, day.tokens_of_others) if text]
        events = sum(text.count(",") + text.count(";") + 1 for text in texts)
        views = events - sum(text.count(".") for text in texts)
    return Counts(day.visitors or 0, day.visits, views, events, day.bounces or 0, day.duration or 0)


def _code(dimension: str) -> str:
    """The column of visits that has the number of what stands in a dimension."""
    return COLUMNS[dimension][2].removeprefix("v.")


def _sql(
    matching: Matching,
    site: Site,
    period: Period,
    filters: Sequence[Filter],
    codes: Sequence[str],
    by_events: bool,
    with_events: bool,
) -> str:
    condition = matching.all(filters)
    inner = {"view": VIEW, "counted": COUNTED, "condition": condition if by_events else "1"}
    tokens = _TOKENS.format(**inner) if by_events or with_events else "NULL"
    takes = matching.conn.execute("SELECT 1 FROM takings WHERE site = ? LIMIT 1", (site.number,)).fetchone()
    sells = matching.seen((), "currency <> ''")
    return _SIFTED.format(
        codes_alone=", ".join(f"group_concat(CASE WHEN alone THEN {code} END)" for code in codes),
        codes_of_others=", ".join(f"group_concat(CASE WHEN NOT alone THEN coalesce({code}, '') END)" for code in codes),
        codes=", ".join(codes),
        tokens=tokens if by_events or not with_events else _SHORT.format(tokens=tokens),
        purse=f"CASE WHEN {sells} THEN {_PURSE.format(**inner)} END" if takes else "NULL",
        site=matching.bind(site.number),
        found=matching.seen(filters) if by_events else condition,
        passed="tokens IS NOT NULL" if by_events else "1",
        days=days(matching, site, period),
    )


class _Heap:
    """What SQLite wrote of the days of a period, put together: `visits` are the tokens of each one's events."""

    def __init__(self, codes: Sequence[str]) -> None:
        self.codes: dict[str, Counter[str]] = {code: Counter() for code in codes}
        self.visits: list[str] = []
        self.whose: list[str] = []
        self.codes_of_others: dict[str, list[str]] = {code: [] for code in codes}
        self.visits_of_others: list[str] = []
        self._purses: list[str] = []

    def put(self, day: _Day) -> None:
        """Add a day's."""
        for counter, text in zip(self.codes.values(), day.codes, strict=True):
            if text:
                counter.update(text.split(","))
        if day.tokens:
            self.visits += day.tokens.split(";")
        if day.whose:
            self.whose += day.whose.split(",")
            for codes, text in zip(self.codes_of_others.values(), day.codes_of_others, strict=True):
                codes += (text or "").split(",")
            self.visits_of_others += (day.tokens_of_others or "").split(";")
        if day.purses:
            self._purses += day.purses.split(",")

    def takings(self, conn: sqlite3.Connection) -> dict[str, tuple[int, int]]:
        """The revenue by currency, the one that was taken most often first."""
        currencies = {str(id): currency for id, currency in conn.execute("SELECT id, currency FROM kinds")}
        times, amounts = Counter[str](), Counter[str]()
        for purse in self._purses:
            kind, _, amount = purse.partition(" ")
            times[currencies[kind]] += 1
            amounts[currencies[kind]] += int(amount)
        ranked = sorted(times.items(), key=lambda item: (-item[1], item[0]))
        return {currency: (count, amounts[currency]) for currency, count in ranked}


class _Facts(NamedTuple):
    """What events have in the dimensions of events: the number of each fact, and those of each token."""

    numbers: dict[Fact, int]
    pages: dict[str, int]
    all: dict[str, frozenset[int]]


class _Ranks:
    """Counts the visitors of a heap by dimensions."""

    def __init__(self, conn: sqlite3.Connection, site: Site, heap: _Heap) -> None:
        self._conn = conn
        self._site = site
        self._heap = heap

    def of(self, dimensions: Collection[str]) -> dict[str, Counter[str]]:
        """Visitors by what stands in each dimension."""
        found = {word: self._by_code(word) for word in dimensions if word not in _OF_EVENTS}
        if any(word in _OF_EVENTS for word in dimensions):
            found |= self._by_events("event:goal" in dimensions)
        return {word: found[word] for word in dimensions}

    def _by_code(self, dimension: str) -> Counter[str]:
        table, column, _ = COLUMNS[dimension]
        alone, others = self._heap.codes[_code(dimension)], self._heap.codes_of_others[_code(dimension)]
        words = self._words(table, column, {*alone, *others})
        found: Counter[str] = Counter()
        for one, times in alone.items():
            found[words[one]] += times
        words[""] = ""  # visits without any
        found.update(word for _, word in set(zip(self._heap.whose, map(words.__getitem__, others), strict=True)))
        if dimension in SOMETIMES:
            del found[""]
        return found

    def _words(self, table: str, column: str, codes: Iterable[str]) -> dict[str, str]:
        told = msgspec.json.encode([int(code) for code in codes if code]).decode()
        query = f"SELECT id, {column} FROM {table} WHERE id IN (SELECT value FROM json_each(?))"
        return {str(id): word for id, word in self._conn.execute(query, (told,))}

    def _by_events(self, with_goals: bool) -> dict[str, Counter[str]]:
        """Visitors by page, name and goal of their events."""
        visitors = [*self._heap.visits, *self._others()]
        plain, mixed = [one for one in visitors if "." not in one], [one for one in visitors if "." in one]
        viewed = Counter(chain.from_iterable(set(events.split(",")) for events in plain))
        others = chain.from_iterable(events.split(",") for events in mixed)
        facts = self._facts({*viewed, *others}, with_goals)
        if len({facts.pages[token] for token in viewed}) < len(viewed):
            # A page of several hosts is one page: who viewed it on two of them would be counted twice.
            plain, mixed, viewed = [], visitors, Counter()
        times = _count_plain(plain, viewed, facts) + _count(mixed, facts)
        found: dict[str, Counter[str]] = {word: Counter() for word in _OF_EVENTS}
        for (dimension, word), number in facts.numbers.items():
            if number in times:
                found[dimension][word] = times[number]
        del found["event:page"][""]
        return found

    def _others(self) -> Iterable[str]:
        """The events of each visitor who had other visits on that day."""
        found: dict[str, str] = {}
        for visitor, events in zip(self._heap.whose, self._heap.visits_of_others, strict=True):
            if events:
                found[visitor] = f"{found[visitor]},{events}" if visitor in found else events
        return found.values()

    def _facts(self, tokens: Collection[str], with_goals: bool) -> _Facts:
        ready = Goals(goals_of(self._conn, self._site.number) if with_goals else [])
        paths = self._words("pages", "path", {token.rpartition(".")[2] for token in tokens})
        kinds = {str(id): (type, name) for id, type, name in self._conn.execute("SELECT id, type, name FROM kinds")}
        facts = _Facts({("event:name", "pageview"): _VIEWED}, {}, {})
        number_of = facts.numbers.setdefault
        for token in tokens:
            kind, _, page = token.rpartition(".")
            type, name = kinds[kind] if kind else ("pageview", "pageview")
            path = paths[page]
            goals = [number_of(("event:goal", goal.name), len(facts.numbers)) for goal in ready.of(type, name, path)]
            facts.pages[token] = number_of(("event:page", path), len(facts.numbers))
            named = number_of(("event:name", name), len(facts.numbers))
            facts.all[token] = frozenset((facts.pages[token], named, *goals))
        return facts


_VIEWED = 0  # the number of the fact that a page was viewed


def _count_plain(visitors: Collection[str], viewed: Counter[str], facts: _Facts) -> Counter[int]:
    """How many visitors have each fact, of those who viewed pages and did nothing else; so often each was `viewed`."""
    found = Counter({facts.pages[token]: times for token, times in viewed.items()})
    found[_VIEWED] = len(visitors)
    goals: dict[int, set[str]] = {}
    for token in viewed:
        for goal in facts.all[token] - {facts.pages[token], _VIEWED}:
            goals.setdefault(goal, set()).add(token)
    for goal, pages in goals.items():
        found[goal] = sum(not pages.isdisjoint(events.split(",")) for events in visitors)
    return found


def _count(visitors: Iterable[str], facts: _Facts) -> Counter[int]:
    """How many visitors have each fact of their events."""
    nothing: frozenset[int] = frozenset()
    each = (nothing.union(*map(facts.all.__getitem__, events.split(","))) for events in visitors)
    return Counter(chain.from_iterable(each))
