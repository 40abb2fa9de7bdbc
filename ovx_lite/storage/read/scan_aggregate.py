"""What SQLite writes of visits, one after the other, put together and counted."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from ovx_lite.domain.goal_patterns import GoalMatcher
from ovx_lite.domain.models import Site
from ovx_lite.storage.cancellation import cancellable
from ovx_lite.storage.read.filter_sql import LOOKUP_COLUMNS
from ovx_lite.storage.read.from_clause import OPTIONAL_DIMENSIONS
from ovx_lite.storage.webhooks.goals import goals_of

SCANNED_EVENT_DIMENSIONS = ("event:page", "event:name", "event:goal")
"""What is counted by looking at events; the rest stands in the visits."""

DimensionValue = tuple[str, str]
"""A dimension, and what stands there."""


class DayRow(msgspec.Struct, array_like=True):
    """What SQLite writes of a day: counts; of visits that are their visitors' only ones there, codes and events.

    Of the others, `whose` says visitor and day, and codes and events stand in the same order.
    """

    visits: int
    visitors: int | None
    pageviews: int | None
    events: int | None
    bounces: int | None
    duration_ms: int | None
    ids_by_column: list[str | None]
    tokens: str | None
    repeat_visitors: str | None
    repeat_ids_by_column: list[str | None]
    repeat_tokens: str | None
    revenue_items: str | None


DAY_ROW_DECODER = msgspec.json.Decoder(DayRow)
"""Reads such a day."""


def visit_column(dimension: str) -> str:
    """The column of visits that has the number of what stands in a dimension."""
    return LOOKUP_COLUMNS[dimension][2].removeprefix("v.")


class ScanAggregate:
    """What SQLite wrote of some days of a period, put together: `visits` are the tokens of each one's events.

    `size` is how many events that is, about.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.id_counts: dict[str, Counter[str]] = {column: Counter() for column in columns}
        self.tokens: list[str] = []
        self.repeat_visitors: list[str] = []
        self.repeat_ids: dict[str, list[str]] = {column: [] for column in columns}
        self.repeat_tokens: list[str] = []
        self.revenue_items: list[str] = []
        self.event_count = 0

    def add(self, day_row: DayRow) -> None:
        """Add a day's."""
        self.event_count += max(day_row.visits, day_row.events or 0)
        for counter, text in zip(self.id_counts.values(), day_row.ids_by_column, strict=True):
            if text:
                counter.update(text.split(","))
        if day_row.tokens:
            self.tokens += day_row.tokens.split(";")
        if day_row.repeat_visitors:
            self.repeat_visitors += day_row.repeat_visitors.split(",")
            for ids, text in zip(self.repeat_ids.values(), day_row.repeat_ids_by_column, strict=True):
                ids += (text or "").split(",")
            self.repeat_tokens += (day_row.repeat_tokens or "").split(";")
        if day_row.revenue_items:
            self.revenue_items += day_row.revenue_items.split(",")


class RevenueTotals:
    """Revenue by currency."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._transactions = Counter[str]()
        self._amounts_minor = Counter[str]()

    def add(self, items: Sequence[str]) -> None:
        """Add what events took: of each, the number of its kind and the amount, with a space between."""
        parts = [item.partition(" ") for item in items]
        currencies = values_by_id(
            self._conn, "event_types", "currency", {event_type_id for event_type_id, _, _ in parts}
        )
        for event_type_id, _, amount_minor in parts:
            self._transactions[currencies[event_type_id]] += 1
            self._amounts_minor[currencies[event_type_id]] += int(amount_minor)

    def ranked(self) -> dict[str, tuple[int, int]]:
        """How often and how much, by currency, the one that was taken most often first."""
        ranked = sorted(self._transactions.items(), key=lambda item: (-item[1], item[0]))
        return {currency: (count, self._amounts_minor[currency]) for currency, count in ranked}


def values_by_id(conn: sqlite3.Connection, table: str, column: str, ids: Iterable[str]) -> dict[str, str]:
    """What stands in a column of a table, by the numbers of rows."""
    ids_json = msgspec.json.encode([int(row_id) for row_id in ids if row_id]).decode()
    query = f"SELECT id, {column} FROM {table} WHERE id IN (SELECT value FROM json_each(?))"
    return {str(id): value for id, value in conn.execute(query, (ids_json,))}


class _EventValues(NamedTuple):
    """What events have in the dimensions of events: the number of each fact, and those of each token."""

    value_ids: dict[DimensionValue, int]
    page_value_ids: dict[str, int]
    ids_by_token: dict[str, frozenset[int]]


class TopLists:
    """Counts the visitors of a heap by dimensions."""

    def __init__(self, conn: sqlite3.Connection, site: Site, aggregate: ScanAggregate) -> None:
        self._conn = conn
        self._site = site
        self._aggregate = aggregate

    def count_visitors(self, dimensions: Collection[str]) -> dict[str, Counter[str]]:
        """Visitors by what stands in each dimension."""
        counters = {
            dimension: self._count_by_column(dimension)
            for dimension in dimensions
            if dimension not in SCANNED_EVENT_DIMENSIONS
        }
        if any(dimension in SCANNED_EVENT_DIMENSIONS for dimension in dimensions):
            counters |= self._count_by_events("event:goal" in dimensions)
        return {dimension: counters[dimension] for dimension in dimensions}

    def _count_by_column(self, dimension: str) -> Counter[str]:
        table, column, _ = LOOKUP_COLUMNS[dimension]
        single_ids, repeat_ids = (
            self._aggregate.id_counts[visit_column(dimension)],
            self._aggregate.repeat_ids[visit_column(dimension)],
        )
        values = values_by_id(self._conn, table, column, {*single_ids, *repeat_ids})
        counter: Counter[str] = Counter()
        for row_id, count in single_ids.items():
            counter[values[row_id]] += count
        values[""] = ""  # visits without any
        counter.update(
            value
            for _, value in set(zip(self._aggregate.repeat_visitors, map(values.__getitem__, repeat_ids), strict=True))
        )
        if dimension in OPTIONAL_DIMENSIONS:
            del counter[""]
        return counter

    def _count_by_events(self, with_goals: bool) -> dict[str, Counter[str]]:
        """Visitors by page, name and goal of their events."""
        visitors = [*self._aggregate.tokens, *self._tokens_of_repeat_visitors()]
        plain, mixed = (
            [tokens for tokens in visitors if "." not in tokens],
            [tokens for tokens in visitors if "." in tokens],
        )
        view_counts = Counter(chain.from_iterable(set(events.split(",")) for events in cancellable(self._conn, plain)))
        mixed_tokens = chain.from_iterable(events.split(",") for events in mixed)
        event_values = self._event_values({*view_counts, *mixed_tokens}, with_goals)
        if len({event_values.page_value_ids[token] for token in view_counts}) < len(view_counts):
            # A page of several hosts is one page: who viewed it on two of them would be counted twice.
            plain, mixed, view_counts = [], visitors, Counter()
        visitor_counts = _count_plain(plain, view_counts, event_values) + _count(
            cancellable(self._conn, mixed), event_values
        )
        counters: dict[str, Counter[str]] = {word: Counter() for word in SCANNED_EVENT_DIMENSIONS}
        for (dimension, value), value_id in event_values.value_ids.items():
            if value_id in visitor_counts:
                counters[dimension][value] = visitor_counts[value_id]
        del counters["event:page"][""]
        return counters

    def _tokens_of_repeat_visitors(self) -> Iterable[str]:
        """The events of each visitor who had other visits on that day."""
        tokens_by_visitor: dict[str, str] = {}
        for visitor, events in zip(self._aggregate.repeat_visitors, self._aggregate.repeat_tokens, strict=True):
            if events:
                tokens_by_visitor[visitor] = (
                    f"{tokens_by_visitor[visitor]},{events}" if visitor in tokens_by_visitor else events
                )
        return tokens_by_visitor.values()

    def _event_values(self, tokens: Collection[str], with_goals: bool) -> _EventValues:
        goal_matcher = GoalMatcher(goals_of(self._conn, self._site.id) if with_goals else [])
        paths = values_by_id(self._conn, "pages", "path", {token.rpartition(".")[2] for token in tokens})
        event_type_ids = {token.rpartition(".")[0] for token in tokens}
        types, names = (values_by_id(self._conn, "event_types", column, event_type_ids) for column in ("type", "name"))
        event_values = _EventValues({("event:name", "pageview"): _PAGEVIEW_ID}, {}, {})
        value_id_of = event_values.value_ids.setdefault
        for token in tokens:
            event_type_id, _, page_id = token.rpartition(".")
            type, name = (types[event_type_id], names[event_type_id]) if event_type_id else ("pageview", "pageview")
            path = paths[page_id]
            goal_ids = [
                value_id_of(("event:goal", goal.name), len(event_values.value_ids))
                for goal in goal_matcher.match(type, name, path)
            ]
            event_values.page_value_ids[token] = value_id_of(("event:page", path), len(event_values.value_ids))
            name_id = value_id_of(("event:name", name), len(event_values.value_ids))
            event_values.ids_by_token[token] = frozenset((event_values.page_value_ids[token], name_id, *goal_ids))
        return event_values


_PAGEVIEW_ID = 0  # the number of the fact that a page was viewed


def _count_plain(visitors: Collection[str], view_counts: Counter[str], event_values: _EventValues) -> Counter[int]:
    """How many visitors have each fact, of those who viewed pages and did nothing else; so often each was `viewed`."""
    counter = Counter({event_values.page_value_ids[token]: count for token, count in view_counts.items()})
    counter[_PAGEVIEW_ID] = len(visitors)
    pages_by_goal: dict[int, set[str]] = {}
    for token in view_counts:
        for goal in event_values.ids_by_token[token] - {event_values.page_value_ids[token], _PAGEVIEW_ID}:
            pages_by_goal.setdefault(goal, set()).add(token)
    for goal, pages in pages_by_goal.items():
        counter[goal] = sum(not pages.isdisjoint(events.split(",")) for events in visitors)
    return counter


def _count(visitors: Iterable[str], event_values: _EventValues) -> Counter[int]:
    """How many visitors have each fact of their events."""
    empty: frozenset[int] = frozenset()
    ids_by_visitor = (
        empty.union(*map(event_values.ids_by_token.__getitem__, events.split(","))) for events in visitors
    )
    return Counter(chain.from_iterable(ids_by_visitor))
