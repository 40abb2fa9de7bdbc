"""Parsing and counting the rows of a scan, in which SQLite has concatenated the values of visits."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import TypeVar

import msgspec

from ovx_lite.domain.goal_patterns import GoalMatcher
from ovx_lite.domain.models import Site
from ovx_lite.storage.cancellation import cancellable
from ovx_lite.storage.read.filter_sql import LOOKUP_COLUMNS
from ovx_lite.storage.read.from_clause import OPTIONAL_DIMENSIONS
from ovx_lite.storage.webhooks.goals import goals_of

SCANNED_EVENT_DIMENSIONS = ("event:page", "event:name", "event:goal")
"""The dimensions that need the events of visits. The others need only the rows of visits."""

DimensionValue = tuple[str, str]
"""A dimension and a value in it."""

T = TypeVar("T")

_PAGE_SETS_DECODER = msgspec.json.Decoder(list[set[int]])
_STRINGS_PER_DECODE = 500

_PAGEVIEW_ID = 0  # the number of the value `pageview` of `event:name`


class DayRow(msgspec.Struct, array_like=True):
    """A day or a part of it, as SQLite writes it: its counts, and the concatenated values of its visits.

    Visitors with one visit that day have row IDs in `ids_by_column` and the tokens of their events in `tokens`. Visits
    of visitors with several are in the `repeat_` fields, all in the same order: day and visitor, row IDs, and tokens.
    """

    visits: int
    visitors: int | None
    pageviews: int | None
    events: int | None
    bounces: int | None
    duration_ms: int | None
    ids_by_column: list[list[int | None]]
    tokens: str | None
    repeat_visitors: str | None
    repeat_ids_by_column: list[list[int | None]]
    repeat_tokens: str | None
    revenue_items: str | None


DAY_ROW_DECODER = msgspec.json.Decoder(DayRow)
"""Decodes the JSON of a row of a scan."""


def visit_column(dimension: str) -> str:
    """Return the column of visits that refers to the lookup table of a dimension."""
    return LOOKUP_COLUMNS[dimension][2].removeprefix("v.")


class ScanAggregate:
    """The rows of a scan, put together: those of some days, or parts of days.

    `token_counts` has the number of visits with the same tokens: many visits view only one page. `repeat_tokens` has
    one string per visit. `event_count` is approximate.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.id_counts = {column: Counter[int | None]() for column in columns}
        self.token_counts = Counter[str]()
        self.repeat_visitors: list[str] = []
        self.repeat_ids: dict[str, list[int | None]] = {column: [] for column in columns}
        self.repeat_tokens: list[str] = []
        self.revenue_items: list[str] = []
        self.event_count = 0

    def add(self, day_row: DayRow, event_count: int) -> None:
        """Add a row, with the number of its events that pass the filters."""
        self.event_count += max(day_row.visits, event_count)
        for counter, ids in zip(self.id_counts.values(), day_row.ids_by_column, strict=True):
            counter.update(ids)
        if day_row.tokens:
            self.token_counts.update(day_row.tokens.split(";"))
        if day_row.repeat_visitors:
            self.repeat_visitors += day_row.repeat_visitors.split(",")
            for repeat_ids, ids in zip(self.repeat_ids.values(), day_row.repeat_ids_by_column, strict=True):
                repeat_ids += ids
            self.repeat_tokens += (day_row.repeat_tokens or "").split(";")
        if day_row.revenue_items:
            self.revenue_items += day_row.revenue_items.split(",")


class RevenueTotals:
    """Adds up revenue by currency."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._transactions = Counter[str]()
        self._amounts_minor = Counter[str]()

    def add(self, items: Sequence[str]) -> None:
        """Add the revenue of events, each given as the ID of its event type and the amount, with a space between."""
        parts = [tuple(map(int, item.split(" "))) for item in items]
        currencies = values_by_id(self._conn, "event_types", "currency", {event_type_id for event_type_id, _ in parts})
        for event_type_id, amount_minor in parts:
            self._transactions[currencies[event_type_id]] += 1
            self._amounts_minor[currencies[event_type_id]] += amount_minor

    def ranked(self) -> dict[str, tuple[int, int]]:
        """Return transactions and the amount (minor units) by currency, most transactions first."""
        ranked = sorted(self._transactions.items(), key=lambda item: (-item[1], item[0]))
        return {currency: (count, self._amounts_minor[currency]) for currency, count in ranked}


def values_by_id(conn: sqlite3.Connection, table: str, column: str, ids: Iterable[int | None]) -> dict[int | None, str]:
    """Return the values of a lookup table's column, by row ID, and `""` for None."""
    ids_json = msgspec.json.encode(list(ids)).decode()
    query = f"SELECT id, {column} FROM {table} WHERE id IN (SELECT value FROM json_each(?))"
    return {None: "", **dict(conn.execute(query, (ids_json,)))}


class EventValues:
    """The values of tokens in the dimensions of events. Each value has a number.

    `value_ids` has the number of each value, `page_value_ids` that of each token's page, and `ids_by_token` those of
    all values of a token. The batches of a scan share one, which matches each page with the goals once.
    """

    def __init__(self, conn: sqlite3.Connection, site: Site, with_goals: bool) -> None:
        self._conn = conn
        self._goal_matcher = GoalMatcher(goals_of(conn, site.id) if with_goals else [])
        self.value_ids: dict[DimensionValue, int] = {("event:name", "pageview"): _PAGEVIEW_ID}
        self.page_value_ids: dict[str, int] = {}
        self.ids_by_token: dict[str, frozenset[int]] = {}

    def add(self, tokens: set[str]) -> None:
        """Look up the values of tokens that are new."""
        new_tokens = {token: _parse_token(token) for token in tokens.difference(self.ids_by_token)}
        paths = values_by_id(self._conn, "pages", "path", {page_id for _, page_id in new_tokens.values()})
        event_type_ids = {event_type_id for event_type_id, _ in new_tokens.values()}
        types, names = (values_by_id(self._conn, "event_types", column, event_type_ids) for column in ("type", "name"))
        types[None] = names[None] = "pageview"
        for token, (event_type_id, page_id) in cancellable(self._conn, new_tokens.items()):
            type, name, path = types[event_type_id], names[event_type_id], paths[page_id]
            goal_ids = [self._id_of("event:goal", goal.name) for goal in self._goal_matcher.match(type, name, path)]
            self.page_value_ids[token] = self._id_of("event:page", path)
            name_id = self._id_of("event:name", name)
            self.ids_by_token[token] = frozenset((self.page_value_ids[token], name_id, *goal_ids))

    def _id_of(self, dimension: str, value: str) -> int:
        return self.value_ids.setdefault((dimension, value), len(self.value_ids))


def _parse_token(token: str) -> tuple[int | None, int]:
    """Return the IDs of the event type, None for a pageview, and of the page."""
    event_type_id, _, page_id = token.rpartition(".")
    return int(event_type_id) if event_type_id else None, int(page_id)


class TopLists:
    """Counts the visitors of a `ScanAggregate` by value of dimensions."""

    def __init__(self, conn: sqlite3.Connection, aggregate: ScanAggregate, event_values: EventValues) -> None:
        self._conn = conn
        self._aggregate = aggregate
        self._event_values = event_values

    def count_visitors(self, dimensions: Collection[str]) -> dict[str, Counter[str]]:
        """Return the visitors by value, for each dimension."""
        counters = {
            dimension: self._count_by_column(dimension)
            for dimension in dimensions
            if dimension not in SCANNED_EVENT_DIMENSIONS
        }
        if any(dimension in SCANNED_EVENT_DIMENSIONS for dimension in dimensions):
            counters |= self._count_by_events()
        return {dimension: counters[dimension] for dimension in dimensions}

    def _count_by_column(self, dimension: str) -> Counter[str]:
        table, column, _ = LOOKUP_COLUMNS[dimension]
        single_ids = self._aggregate.id_counts[visit_column(dimension)]
        repeat_ids = self._aggregate.repeat_ids[visit_column(dimension)]
        values = values_by_id(self._conn, table, column, {*single_ids, *repeat_ids})
        counter: Counter[str] = Counter()
        for row_id, count in single_ids.items():
            counter[values[row_id]] += count
        visitors = self._aggregate.repeat_visitors
        repeat_values = list(map(values.__getitem__, repeat_ids))
        # The value of a visitor's last visit counts, and then those of other visits that differ, which are few.
        last_values = dict(zip(visitors, repeat_values, strict=True))
        counter.update(last_values.values())
        visits = zip(visitors, repeat_values, strict=True)
        counter.update(value for _, value in {visit for visit in visits if last_values[visit[0]] != visit[1]})
        if dimension in OPTIONAL_DIMENSIONS:
            del counter[""]
        return counter

    def _count_by_events(self) -> dict[str, Counter[str]]:
        """Return the visitors by page, name and goal of their events."""
        event_values = self._event_values
        visitors = Counter(self._aggregate.token_counts)
        visitors.update(self._tokens_of_repeat_visitors())
        only_views = {tokens: count for tokens, count in visitors.items() if "." not in tokens}  # nothing but pageviews
        others = {tokens: count for tokens, count in visitors.items() if "." in tokens}
        view_counts = self._count_views(only_views)
        all_tokens = set(view_counts)
        for tokens in cancellable(self._conn, others):
            all_tokens.update(tokens.split(","))
        event_values.add(all_tokens)
        if len({event_values.page_value_ids[token] for token in view_counts}) < len(view_counts):
            # The same path on several hosts is one value: a visitor who viewed it on two hosts would count twice.
            only_views, others, view_counts = {}, visitors, Counter()
        visitor_counts = _count_only_views(only_views, view_counts, event_values)
        ids_by_token, empty = event_values.ids_by_token, frozenset[int]()
        visitor_counts += self._count_members(
            others, lambda tokens: empty.union(*map(ids_by_token.__getitem__, tokens.split(",")))
        )
        counters = {dimension: Counter[str]() for dimension in SCANNED_EVENT_DIMENSIONS}
        for (dimension, value), value_id in event_values.value_ids.items():
            if value_id in visitor_counts:
                counters[dimension][value] = visitor_counts[value_id]
        del counters["event:page"][""]
        return counters

    def _count_views(self, only_views: Mapping[str, int]) -> Counter[str]:
        """Return the visitors of each page, given the number of visitors by tokens, which are pages only."""
        counter = Counter[int]()
        strings = [tokens for tokens, count in only_views.items() if count == 1]
        # One call decodes many strings as JSON: it takes half the time of splitting each one.
        for start in cancellable(self._conn, range(0, len(strings), _STRINGS_PER_DECODE)):
            text = "],[".join(strings[start : start + _STRINGS_PER_DECODE])
            counter.update(chain.from_iterable(_PAGE_SETS_DECODER.decode(f"[[{text}]]")))
        for tokens, count in cancellable(self._conn, only_views.items()):
            if count > 1:
                for page_id in set(map(int, tokens.split(","))):
                    counter[page_id] += count
        return Counter({str(page_id): count for page_id, count in counter.items()})

    def _count_members(self, counts: Mapping[str, int], members_of: Callable[[str], Iterable[T]]) -> Counter[T]:
        """Count each member of each string as often as the string occurs."""
        strings = [string for string, count in counts.items() if count == 1]
        counter = Counter(chain.from_iterable(map(members_of, cancellable(self._conn, strings))))
        for string, count in cancellable(self._conn, counts.items()):
            if count > 1:
                for member in members_of(string):
                    counter[member] += count
        return counter

    def _tokens_of_repeat_visitors(self) -> Iterable[str]:
        """Return the tokens of all visits together, for each visitor with several visits on a day."""
        tokens_by_visitor: dict[str, str] = {}
        for visitor, tokens in zip(self._aggregate.repeat_visitors, self._aggregate.repeat_tokens, strict=True):
            if tokens:
                tokens_by_visitor[visitor] = (
                    f"{tokens_by_visitor[visitor]},{tokens}" if visitor in tokens_by_visitor else tokens
                )
        return tokens_by_visitor.values()


def _count_only_views(
    visitors: Mapping[str, int], view_counts: Counter[str], event_values: EventValues
) -> Counter[int]:
    """Count, by value, visitors who viewed pages and did nothing else, given the number of visitors by their tokens.

    `view_counts` has the visitors of each page.
    """
    counter = Counter({event_values.page_value_ids[token]: count for token, count in view_counts.items()})
    counter[_PAGEVIEW_ID] = sum(visitors.values())
    pages_by_goal: dict[int, set[str]] = {}  # tokens of pages, by the number of the goal that they reach
    for token in view_counts:
        for goal_id in event_values.ids_by_token[token] - {event_values.page_value_ids[token], _PAGEVIEW_ID}:
            pages_by_goal.setdefault(goal_id, set()).add(token)
    for goal_id, pages in pages_by_goal.items():
        counter[goal_id] = sum(count for tokens, count in visitors.items() if not pages.isdisjoint(tokens.split(",")))
    return counter
