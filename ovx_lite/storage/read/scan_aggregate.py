"""What SQLite writes of visits, one after the other, put together and counted."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from ovx_lite.domain.goal_patterns import Goals
from ovx_lite.domain.models import Site
from ovx_lite.storage.cancellation import cancellable
from ovx_lite.storage.read.filter_sql import COLUMNS
from ovx_lite.storage.read.from_clause import SOMETIMES
from ovx_lite.storage.webhooks.goals import goals_of

OF_EVENTS = ("event:page", "event:name", "event:goal")
"""What is counted by looking at events; the rest stands in the visits."""

Fact = tuple[str, str]
"""A dimension, and what stands there."""


class Day(msgspec.Struct, array_like=True):
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


DAY = msgspec.json.Decoder(Day)
"""Reads such a day."""


def code_of(dimension: str) -> str:
    """The column of visits that has the number of what stands in a dimension."""
    return COLUMNS[dimension][2].removeprefix("v.")


class Heap:
    """What SQLite wrote of some days of a period, put together: `visits` are the tokens of each one's events.

    `size` is how many events that is, about.
    """

    def __init__(self, codes: Sequence[str]) -> None:
        self.codes: dict[str, Counter[str]] = {code: Counter() for code in codes}
        self.visits: list[str] = []
        self.whose: list[str] = []
        self.codes_of_others: dict[str, list[str]] = {code: [] for code in codes}
        self.visits_of_others: list[str] = []
        self.purses: list[str] = []
        self.size = 0

    def put(self, day: Day) -> None:
        """Add a day's."""
        self.size += max(day.visits, day.events or 0)
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
            self.purses += day.purses.split(",")


class Takings:
    """Revenue by currency."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._times = Counter[str]()
        self._amounts = Counter[str]()

    def add(self, purses: Sequence[str]) -> None:
        """Add what events took: of each, the number of its kind and the amount, with a space between."""
        told = [purse.partition(" ") for purse in purses]
        rows = words_of(self._conn, "event_types", "currency", {kind for kind, _, _ in told})
        for kind, _, amount in told:
            self._times[rows[kind]] += 1
            self._amounts[rows[kind]] += int(amount)

    def ranked(self) -> dict[str, tuple[int, int]]:
        """How often and how much, by currency, the one that was taken most often first."""
        ranked = sorted(self._times.items(), key=lambda item: (-item[1], item[0]))
        return {currency: (count, self._amounts[currency]) for currency, count in ranked}


def words_of(conn: sqlite3.Connection, table: str, column: str, codes: Iterable[str]) -> dict[str, str]:
    """What stands in a column of a table, by the numbers of rows."""
    told = msgspec.json.encode([int(code) for code in codes if code]).decode()
    query = f"SELECT id, {column} FROM {table} WHERE id IN (SELECT value FROM json_each(?))"
    return {str(id): word for id, word in conn.execute(query, (told,))}


class _Facts(NamedTuple):
    """What events have in the dimensions of events: the number of each fact, and those of each token."""

    numbers: dict[Fact, int]
    pages: dict[str, int]
    all: dict[str, frozenset[int]]


class Ranks:
    """Counts the visitors of a heap by dimensions."""

    def __init__(self, conn: sqlite3.Connection, site: Site, heap: Heap) -> None:
        self._conn = conn
        self._site = site
        self._heap = heap

    def of(self, dimensions: Collection[str]) -> dict[str, Counter[str]]:
        """Visitors by what stands in each dimension."""
        found = {word: self._by_code(word) for word in dimensions if word not in OF_EVENTS}
        if any(word in OF_EVENTS for word in dimensions):
            found |= self._by_events("event:goal" in dimensions)
        return {word: found[word] for word in dimensions}

    def _by_code(self, dimension: str) -> Counter[str]:
        table, column, _ = COLUMNS[dimension]
        alone, others = self._heap.codes[code_of(dimension)], self._heap.codes_of_others[code_of(dimension)]
        words = words_of(self._conn, table, column, {*alone, *others})
        found: Counter[str] = Counter()
        for one, times in alone.items():
            found[words[one]] += times
        words[""] = ""  # visits without any
        found.update(word for _, word in set(zip(self._heap.whose, map(words.__getitem__, others), strict=True)))
        if dimension in SOMETIMES:
            del found[""]
        return found

    def _by_events(self, with_goals: bool) -> dict[str, Counter[str]]:
        """Visitors by page, name and goal of their events."""
        visitors = [*self._heap.visits, *self._others()]
        plain, mixed = [one for one in visitors if "." not in one], [one for one in visitors if "." in one]
        viewed = Counter(chain.from_iterable(set(events.split(",")) for events in cancellable(self._conn, plain)))
        others = chain.from_iterable(events.split(",") for events in mixed)
        facts = self._facts({*viewed, *others}, with_goals)
        if len({facts.pages[token] for token in viewed}) < len(viewed):
            # A page of several hosts is one page: who viewed it on two of them would be counted twice.
            plain, mixed, viewed = [], visitors, Counter()
        times = _count_plain(plain, viewed, facts) + _count(cancellable(self._conn, mixed), facts)
        found: dict[str, Counter[str]] = {word: Counter() for word in OF_EVENTS}
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
        paths = words_of(self._conn, "pages", "path", {token.rpartition(".")[2] for token in tokens})
        used = {token.rpartition(".")[0] for token in tokens}
        types, names = (words_of(self._conn, "event_types", column, used) for column in ("type", "name"))
        facts = _Facts({("event:name", "pageview"): _VIEWED}, {}, {})
        number_of = facts.numbers.setdefault
        for token in tokens:
            kind, _, page = token.rpartition(".")
            type, name = (types[kind], names[kind]) if kind else ("pageview", "pageview")
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
