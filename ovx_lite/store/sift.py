"""The whole dashboard of what passes filters, in one look at the visits.

SQLite sorts in order to group, which takes longer than to find the rows. So it writes what a day's visits have one
after the other, and Python counts it, which is quick with dicts: a day is a row, whatever the number of its visits.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
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

_CODES = ("origin", "client", "entry", "exit")
_OF_EVENTS = ("event:page", "event:name", "event:goal")

DIMENSIONS = (*(word for word in COLUMNS if word.startswith("visit:")), *_OF_EVENTS)
"""What can be counted by here."""

_LIST = msgspec.json.Decoder(list[int | str | None])


class Sifted(NamedTuple):
    """What passes filters: the counts of each day, and visitors by what stands in each dimension."""

    days: dict[int, Counts]
    visitors: dict[str, Counter[str]]


class _Visit(NamedTuple):
    """A visit of somebody who had several on that day; `codes` as in `_CODES`, `events` as in `_TOKENS`."""

    whose: tuple[int, str]
    codes: list[str]
    events: list[str]


# What each of a visit's events is: the page's number, and before it, with a dot, the kind's, unless it is a view of it.
_TOKENS = """
(SELECT group_concat(CASE WHEN {view} THEN page ELSE kind || '.' || page END) FROM events AS e
    WHERE e.site = v.site AND e.visit = v.id AND {counted} AND {condition})
"""


def sift(
    conn: sqlite3.Connection, site: Site, period: Period, filters: Sequence[Filter], dimensions: Collection[str] = ()
) -> Sifted | None:
    """Count a period by days and by each of these dimensions. Raises `Refused`.

    None if that cannot be told by visits alone: of times within days, or if events that are in no visit may pass.
    """
    if not period.whole or (not needs_visit(filters) and has_strays(conn, site, period)):
        return None
    matching = Matching(conn, site.number)
    by_events = not of_visits(filters)
    with_events = by_events or any(word in _OF_EVENTS for word in dimensions)
    found, counters = dict[int, Counts](), _Counters(conn, site, dimensions)
    for day, told in conn.execute(_sql(matching, site, period, filters, by_events, with_events), matching.values):
        visits, visitors, views, events, bounces, duration, *texts = _LIST.decode(told)
        if not visits:
            continue
        alone, others, tokens = [str(text or "") for text in texts[:4]], texts[4], str(texts[5] or "")
        of_others = [_visit(day, text) for text in str(others).split(";")] if others else []
        if by_events:
            all_tokens = [*filter(None, [tokens]), *(",".join(visit.events) for visit in of_others)]
            events = sum(text.count(",") + text.count(";") + 1 for text in all_tokens)
            views = int(events) - sum(text.count(".") for text in all_tokens)
        counts = (visitors, visits, views, events, bounces, duration)
        found[day] = Counts(*(int(count or 0) for count in counts))
        counters.count(alone, tokens, of_others)
    return Sifted(found, counters.visitors())


def _visit(day: int, text: str) -> _Visit:
    visitor, origin, client, entry, exit, events = text.split(" ")
    return _Visit((day, visitor), [origin, client, entry, exit], events.split(",") if events else [])


def _sql(
    matching: Matching, site: Site, period: Period, filters: Sequence[Filter], by_events: bool, with_events: bool
) -> str:
    condition = matching.all(filters)
    tokens = _TOKENS.format(view=VIEW, counted=COUNTED, condition=condition if by_events else "1")
    alone = ", ".join(f"group_concat(CASE WHEN alone THEN {code} END)" for code in _CODES)
    others = "visitor || ' ' || origin || ' ' || client || ' ' || coalesce(entry, '') || ' ' || coalesce(exit, '')"
    # The limit keeps SQLite from looking for the events twice.
    return f"""
        SELECT day, (
            SELECT json_array(count(*),
                sum(alone) + count(DISTINCT CASE WHEN alone THEN NULL ELSE visitor END),
                sum(pageviews), sum(events), sum(events = 1), sum(before + after), {alone},
                group_concat(CASE WHEN alone THEN NULL ELSE {others} || ' ' || coalesce(tokens, '') END, ';'),
                group_concat(CASE WHEN alone THEN tokens END, ';'))
            FROM (
                SELECT *, {tokens if with_events else "NULL"} AS tokens FROM visits AS v
                WHERE v.site = {matching.bind(site.number)} AND v.id >= low AND v.id < high
                    AND {matching.seen(filters) if by_events else condition} LIMIT -1
            ) WHERE {"tokens IS NOT NULL" if by_events else "1"}
        ) FROM {days(matching, site, period)}
    """


Fact = tuple[str, str]
"""A dimension, and what stands there."""


_VIEWED = ("event:name", "pageview")


class _Facts(NamedTuple):
    page: str
    all: frozenset[Fact]


class _Counters:
    """Counts visitors by dimensions, a day after the other."""

    def __init__(self, conn: sqlite3.Connection, site: Site, dimensions: Collection[str]) -> None:
        self._conn = conn
        self._dimensions = dimensions
        self._by_code: list[Counter[str]] = [Counter() for _ in _CODES]
        self._others: list[_Visit] = []
        self._visits: list[str] = []  # the events of the only visits of their visitors on their days
        columns = {COLUMNS[word][2] for word in dimensions if word.startswith("visit:")}
        self._wanted = [f"v.{code}" in columns for code in _CODES]
        self._goals = goals_of(conn, site.number) if "event:goal" in dimensions else []

    def count(self, alone: list[str], tokens: str, others: list[_Visit]) -> None:
        """Count a day: the codes of the only visits of their visitors, their events, and the visits of the others."""
        for counter, text, wanted in zip(self._by_code, alone, self._wanted, strict=True):
            if wanted and text:
                counter.update(text.split(","))
        if tokens:
            self._visits += tokens.split(";")
        self._others += others

    def visitors(self) -> dict[str, Counter[str]]:
        """Visitors by what stands in each dimension."""
        found = {word: self._of_visits(word) for word in self._dimensions if word.startswith("visit:")}
        if any(word in _OF_EVENTS for word in self._dimensions):
            found |= self._of_events()
        return {word: found[word] for word in self._dimensions}

    def _of_visits(self, dimension: str) -> Counter[str]:
        table, column, code = COLUMNS[dimension]
        at = _CODES.index(code.removeprefix("v."))
        codes = {*self._by_code[at], *(visit.codes[at] for visit in self._others)}
        words = self._words(table, column, codes)
        found: Counter[str] = Counter()
        for one, times in self._by_code[at].items():
            found[words[one]] += times
        found.update(word for _, word in {(visit.whose, words.get(visit.codes[at], "")) for visit in self._others})
        if dimension in SOMETIMES:
            del found[""]
        return found

    def _words(self, table: str, column: str, codes: Iterable[str]) -> dict[str, str]:
        told = msgspec.json.encode([int(code) for code in codes if code]).decode()
        query = f"SELECT id, {column} FROM {table} WHERE id IN (SELECT value FROM json_each(?))"
        return {str(id): word for id, word in self._conn.execute(query, (told,))}

    def _of_events(self) -> dict[str, Counter[str]]:
        """Visitors by page, name and goal of their events."""
        viewed: list[str] = []  # by those who only viewed pages, each page once
        mixed: list[Collection[str]] = []
        for events in self._visits:
            tokens = set(events.split(",")) if "," in events else (events,)
            if "." in events:
                mixed.append(tokens)
            else:
                viewed += tokens
        whose: dict[tuple[int, str], set[str]] = {}
        for visit in self._others:
            whose.setdefault(visit.whose, set()).update(visit.events)
        mixed += whose.values()
        plain = Counter(viewed)
        facts = self._facts({*plain, *(token for tokens in mixed for token in tokens)})
        views = len(self._visits) + len(whose) - len(mixed)
        found: Counter[Fact] = Counter({_VIEWED: views} if views else {})
        if len({facts[token].page for token in plain}) < len(plain):
            # The same path on several hosts is one page: so visitors may have been counted twice.
            found.clear()
            mixed += (set(events.split(",")) for events in self._visits if "." not in events)
        else:
            found.update({("event:page", facts[token].page): times for token, times in plain.items()})
            found.update(self._goals_of_plain(facts))
        found.update(_count(mixed, facts))
        by_dimension: dict[str, Counter[str]] = {word: Counter() for word in _OF_EVENTS}
        for (dimension, word), times in found.items():
            by_dimension[dimension][word] = times
        del by_dimension["event:page"][""]
        return by_dimension

    def _goals_of_plain(self, facts: dict[str, "_Facts"]) -> Iterator[Fact]:
        """The goals that each of those who only viewed pages met."""
        wanted = [
            (goal, {token for token, found in facts.items() if goal in found.all})
            for goal in (("event:goal", goal.name) for goal in self._goals if goal.path)
        ]
        if not wanted:
            return
        for events in self._visits:
            if "." not in events:
                viewed = events.split(",")
                for goal, pages in wanted:
                    if not pages.isdisjoint(viewed):
                        yield goal

    def _facts(self, tokens: Collection[str]) -> dict[str, "_Facts"]:
        """What each of these events has in the dimensions of events."""
        ready = Goals(self._goals)
        paths = self._words("pages", "path", {token.rpartition(".")[2] for token in tokens})
        kinds = {str(id): (type, name) for id, type, name in self._conn.execute("SELECT id, type, name FROM kinds")}
        found = {}
        for token in tokens:
            kind, _, page = token.rpartition(".")
            type, name = kinds[kind] if kind else ("pageview", "pageview")
            path = paths[page]
            goals = frozenset(("event:goal", goal.name) for goal in ready.of(type, name, path))
            found[token] = _Facts(path, goals | {("event:page", path), ("event:name", name)})
        return found


def _count(visits: list[Collection[str]], facts: dict[str, _Facts]) -> Counter[Fact]:
    """How many visits have each of the facts of their events."""
    numbers = {fact: number for number, fact in enumerate({fact for one in facts.values() for fact in one.all})}
    of_token = {token: frozenset(numbers[fact] for fact in one.all) for token, one in facts.items()}
    nothing: frozenset[int] = frozenset()
    times = Counter(chain.from_iterable(nothing.union(*map(of_token.__getitem__, tokens)) for tokens in visits))
    return Counter({fact: times[number] for fact, number in numbers.items() if number in times})
