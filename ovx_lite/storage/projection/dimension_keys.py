"""What events and visits contribute to the rollups: their values in the dimensions, each as one integer."""

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from ovx_lite.domain.goal_patterns import GoalMatcher
from ovx_lite.domain.models import ClientInfo, EventType, PageUrl, TrafficSource
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import (
    CLIENT_DIMENSIONS,
    REQUIRED_DIMENSIONS,
    TRAFFIC_SOURCE_DIMENSIONS,
    Dimension,
    dimension_keys,
)
from ovx_lite.storage.rollups.value_limit import OTHER, DimensionValueLimits, max_values
from ovx_lite.storage.webhooks import goals

DIMENSION_BITS = 5
"""A value in a dimension is one integer here, its dimension key: `value_id << DIMENSION_BITS | dimension`."""

PAGE_BITS, EVENT_TYPE_BITS = 36, 11  # 47 bits are the largest non-negative integer that SQLite stores in six bytes

_DIMENSION_MASK = (1 << DIMENSION_BITS) - 1
_SELECT_EVENT_TYPE = "SELECT api, type, name, excluded_reason, context, currency FROM event_types WHERE id = ?"
_SELECT_PAGE = "SELECT scheme, host, path FROM pages WHERE id = ?"
_SELECT_TRAFFIC_SOURCE = """
SELECT referrer, source, channel, utm_source, utm_medium, utm_campaign, utm_content, utm_term
FROM traffic_sources WHERE id = ?
"""
_SELECT_CLIENT = "SELECT browser, os, device, country FROM clients WHERE id = ?"


def dimension_of(dimension_key: int) -> Dimension:
    """Return the dimension of a dimension key."""
    return Dimension(dimension_key & _DIMENSION_MASK)


def page_bit(page_id: int) -> int:
    """Return the bit of a page in `page_type_bloom` of visits, by the page's ID."""
    return 1 << page_id % PAGE_BITS


def event_type_bit(event_type_id: int) -> int:
    """Return the bit of an event type in `page_type_bloom` of visits, by the event type's ID."""
    return 1 << PAGE_BITS + event_type_id % EVENT_TYPE_BITS


class EventFacts(msgspec.Struct, frozen=True, gc=False):
    """What all events of one type on one page have in common, on one day of a site.

    `keys` are the dimension keys of event name, page, host and goals. `bloom_bits` are the bits of event type and page
    in `page_type_bloom` of visits. `is_page` says that it is a pageview with a path, which may be an entry or exit
    page. `excluded` is the reason why it is in no count, or `""`. `currency` is that of its revenue.
    """

    keys: frozenset[int]
    bloom_bits: int
    is_pageview: bool
    is_page: bool
    is_engagement: bool
    excluded: str
    currency: str


class DayFacts(dict[tuple[int, int], EventFacts]):
    """The facts of a day's events by the IDs of event type and page. It resolves those that it does not have."""

    __slots__ = ("_resolve",)

    def __init__(self, resolve: Callable[[int, int], EventFacts]) -> None:
        self._resolve = resolve

    def __missing__(self, ids: tuple[int, int]) -> EventFacts:
        facts = self[ids] = self._resolve(*ids)
        return facts


class _DayKeys:
    """The cache of a site's day: the values that it keeps, and what was resolved with them."""

    __slots__ = ("clients", "facts", "traffic_sources", "value_limits")

    def __init__(self, value_limits: DimensionValueLimits, facts: DayFacts) -> None:
        self.value_limits = value_limits
        self.facts = facts
        self.traffic_sources: dict[int, tuple[int, ...]] = {}
        self.clients: dict[int, tuple[int, ...]] = {}


class DimensionKeys:
    """Resolves row IDs of lookup tables to dimension keys, over one connection. It inserts the values that are new.

    The day of a site decides which values have a key of their own (`rollups.value_limit`). `reset` empties the caches.
    """

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._goals: dict[int, GoalMatcher | None] = {}
        self._finalized_before_day: dict[int, int] = {}
        self._value_ids: dict[str, int] = {}
        self._days: dict[tuple[int, int], _DayKeys] = {}
        self._cached_keys = 0  # number of keys in `_days`

    def __len__(self) -> int:
        return max(len(self._value_ids), self._cached_keys // 4)  # a key takes less memory than an entry elsewhere

    def reset(self) -> None:
        """Empty the caches. Call it after a rollback, and when goals, or values in the store, may have changed."""
        self._goals.clear()
        self._finalized_before_day.clear()
        self._value_ids.clear()
        self._days.clear()
        self._cached_keys = 0

    def finalized_before_day(self, site_id: int) -> int:
        """Return the first day of a site that is not finalized: exit pages and weeks are not counted from here on."""
        if site_id not in self._finalized_before_day:
            self._finalized_before_day[site_id] = weekly.finalized_before_day(self._conn, site_id)
        return self._finalized_before_day[site_id]

    def facts_of_day(self, site_id: int, day: int) -> DayFacts:
        """Return what the events of a day contribute."""
        return self._day(site_id, day).facts

    def _resolve_event(self, site_id: int, day: int, event_type_id: int, page_id: int) -> EventFacts:
        event_type = EventType(*self._row(_SELECT_EVENT_TYPE, event_type_id))
        page = PageUrl(*self._row(_SELECT_PAGE, page_id))
        is_pageview = event_type.type == "pageview"
        keys: frozenset[int] = frozenset()
        if not event_type.excluded and not event_type.is_engagement:
            pairs = dimension_keys(event_type, page, self._goals_of(site_id), day)
            keys = frozenset(
                value << DIMENSION_BITS | dimension
                if isinstance(value, int)
                else self.value_key(site_id, day, dimension, value)
                for dimension, value in pairs
            )
            self._cached_keys += len(keys)
        return EventFacts(
            keys=keys,
            bloom_bits=event_type_bit(event_type_id) | page_bit(page_id),
            is_pageview=is_pageview,
            is_page=is_pageview and page.path != "",
            is_engagement=event_type.is_engagement,
            excluded=event_type.excluded,
            currency=event_type.currency,
        )

    def visit_keys(self, site_id: int, day: int, traffic_source_id: int, client_id: int) -> tuple[int, ...]:
        """Return the dimension keys of a visit's traffic source and client. Empty optional dimensions have none."""
        return self.traffic_source_keys(site_id, day, traffic_source_id) + self.client_keys(site_id, day, client_id)

    def traffic_source_keys(self, site_id: int, day: int, traffic_source_id: int) -> tuple[int, ...]:
        """Return the dimension keys of a visit's traffic source."""
        cached = self._day(site_id, day).traffic_sources
        keys = cached.get(traffic_source_id)
        if keys is None:
            traffic_source = TrafficSource(*self._row(_SELECT_TRAFFIC_SOURCE, traffic_source_id))
            keys = self._resolve_values(site_id, day, TRAFFIC_SOURCE_DIMENSIONS, traffic_source)
            cached[traffic_source_id] = keys
        return keys

    def client_keys(self, site_id: int, day: int, client_id: int) -> tuple[int, ...]:
        """Return the dimension keys of a visit's client."""
        cached = self._day(site_id, day).clients
        keys = cached.get(client_id)
        if keys is None:
            client = ClientInfo(*self._row(_SELECT_CLIENT, client_id))
            keys = cached[client_id] = self._resolve_values(site_id, day, CLIENT_DIMENSIONS, client)
        return keys

    def _resolve_values(
        self, site_id: int, day: int, dimensions: Sequence[Dimension], values: Sequence[str]
    ) -> tuple[int, ...]:
        keys = tuple(
            self.value_key(site_id, day, dimension, value)
            for dimension, value in zip(dimensions, values, strict=True)
            if value or dimension in REQUIRED_DIMENSIONS
        )
        self._cached_keys += len(keys)
        return keys

    def page_key(self, site_id: int, day: int, dimension: Dimension, page_id: int) -> int:
        """Return the dimension key of a page as an entry or exit page."""
        return self.value_key(site_id, day, dimension, self._row(_SELECT_PAGE, page_id)[2])

    def person_key(self, site_id: int, day: int, person_id: int) -> int:
        """Return the dimension key of a person."""
        assigned = self._day(site_id, day).value_limits.assign(Dimension.PERSON, person_id)
        return assigned << DIMENSION_BITS | Dimension.PERSON

    def value_key(self, site_id: int, day: int, dimension: Dimension, text: str) -> int:
        """Return the dimension key of a value on a site's day; that of `OTHER` if the day does not keep the value."""
        value_limits = self._day(site_id, day).value_limits
        value_id = self._value_ids.get(text) or self._find_value_id(text)
        if value_id is None:
            if value_limits.is_full(dimension):
                return OTHER << DIMENSION_BITS | dimension
            value_id = self._insert_value(text)
        return value_limits.assign(dimension, value_id) << DIMENSION_BITS | dimension

    def _day(self, site_id: int, day: int) -> _DayKeys:
        day_keys = self._days.get((site_id, day))
        if day_keys is None:
            value_limits = DimensionValueLimits(self._conn, site_id, day, max_values(self._conn))
            facts = DayFacts(partial(self._resolve_event, site_id, day))
            day_keys = self._days[site_id, day] = _DayKeys(value_limits, facts)
        return day_keys

    def _goals_of(self, site_id: int) -> GoalMatcher | None:
        if site_id not in self._goals:
            rows = goals.goals_of(self._conn, site_id)
            self._goals[site_id] = GoalMatcher(rows) if rows else None
        return self._goals[site_id]

    def _row(self, query: str, row_id: int) -> tuple[str, ...]:
        row: tuple[str, ...] | None = self._conn.execute(query, (row_id,)).fetchone()
        if row is None:
            raise sqlite3.DatabaseError("an event refers to a row of a lookup table that does not exist")
        return row

    def _find_value_id(self, text: str) -> int | None:
        row = self._conn.execute("SELECT id FROM dimension_values WHERE value = ?", (text,)).fetchone()
        if row is None:
            return None
        value_id = self._value_ids[text] = int(row[0])
        return value_id

    def _insert_value(self, text: str) -> int:
        row = self._conn.execute("INSERT INTO dimension_values (value) VALUES (?) RETURNING id", (text,)).fetchone()
        value_id = self._value_ids[text] = int(row[0])
        return value_id
