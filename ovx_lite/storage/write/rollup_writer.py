"""Counting events and visits into the rollups of days and weeks, in the transaction that stores the events.

A visitor counts once per day (see `models.Event`), so the visitors of several days are the sum of each day's. In a
dimension of visits, visitors and visits are counted when a visit begins. In a dimension of events, pageviews and events
are counted too. `rollups.rebuild` computes the same counts from the stored events.
"""

import sqlite3
from collections.abc import Iterable

import msgspec

from ovx_lite.domain.calendar import monday
from ovx_lite.domain.goal_patterns import GoalMatcher
from ovx_lite.domain.models import ClientInfo, Event, EventType, PageUrl, TrafficSource
from ovx_lite.storage import registry_version
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import (
    CLIENT_DIMENSIONS,
    REQUIRED_DIMENSIONS,
    TRAFFIC_SOURCE_DIMENSIONS,
    Dimension,
    dimension_keys,
)
from ovx_lite.storage.rollups.value_limit import OTHER, DimensionValueLimits, max_values
from ovx_lite.storage.sqlite import insert
from ovx_lite.storage.webhooks import goals

DIMENSION_BITS = 5
"""A value in a dimension is one integer here, its dimension key: `value_id << DIMENSION_BITS | dimension`."""

_DIMENSION_MASK = (1 << DIMENSION_BITS) - 1

_INSERT_ROLLUPS = (
    "INSERT INTO rollups (site_id, period_days, start_day, dimension, value_id, visitors, visits, pageviews, events)"
)
_ADD_TO_ROLLUPS = """
ON CONFLICT (site_id, period_days, start_day, dimension, value_id) DO UPDATE SET
    visitors = visitors + excluded.visitors, visits = visits + excluded.visits,
    pageviews = pageviews + excluded.pageviews, events = events + excluded.events
"""
_DELETE_EMPTY_ROLLUPS = """
DELETE FROM rollups WHERE site_id = ? AND period_days = ? AND start_day = ? AND dimension = ? AND value_id = ?
    AND visits = 0 AND events = 0
"""
_INSERT_DAYS = """
INSERT INTO daily_totals (site_id, day, visitors, visits, pageviews, events, bounces, duration_ms, sessionless_events)
"""
_ADD_TO_DAYS = "ON CONFLICT (site_id, day) DO UPDATE SET " + ", ".join(
    f"{column} = {column} + excluded.{column}"
    for column in ("visitors", "visits", "pageviews", "events", "bounces", "duration_ms", "sessionless_events")
)
_INSERT_REVENUE = "INSERT INTO daily_revenue (site_id, day, currency, transactions, amount_minor)"
_ADD_TO_REVENUE = """
ON CONFLICT (site_id, day, currency) DO UPDATE SET
    transactions = transactions + excluded.transactions, amount_minor = amount_minor + excluded.amount_minor
"""


def dimension_of(dimension_key: int) -> int:
    """Return the dimension of a dimension key."""
    return dimension_key & _DIMENSION_MASK


class DayTotals(msgspec.Struct, gc=False):
    """Counts to add to a row of `daily_totals`. Sessionless events are those that belong to no visit."""

    visitors: int = 0
    visits: int = 0
    pageviews: int = 0
    events: int = 0
    bounces: int = 0
    duration_ms: int = 0
    sessionless_events: int = 0


class DayDelta:
    """Counts to add to a site's day.

    `rows` has visitors, visits, pageviews and events by dimension key; `revenue` has transactions and the amount in
    minor units by currency. `new_visitor_counts` has the first visits of visitors on this day, by traffic source and by
    client. `flush` adds them to `rows`.
    """

    __slots__ = ("new_visitor_counts", "revenue", "rows", "totals")

    def __init__(self) -> None:
        self.totals = DayTotals()
        self.rows: dict[int, list[int]] = {}
        self.revenue: dict[str, list[int]] = {}
        self.new_visitor_counts: dict[TrafficSource | ClientInfo, int] = {}

    def add(self, dimension_key: int, visitors: int, visits: int, pageviews: int = 0, events: int = 0) -> None:
        """Add counts to the row of a dimension key."""
        row = self.rows.get(dimension_key)
        if row is None:
            self.rows[dimension_key] = [visitors, visits, pageviews, events]
            return
        row[0] += visitors
        row[1] += visits
        row[2] += pageviews
        row[3] += events


class _DayState:
    """The cache of a site's day: the values that it keeps, and the dimension keys of events and visits.

    The keys of events are cached by the IDs of event type and page, those of visits by traffic source or client.
    """

    __slots__ = ("event_keys", "value_limits", "visit_keys")

    def __init__(self, value_limits: DimensionValueLimits) -> None:
        self.value_limits = value_limits
        self.event_keys: dict[tuple[int, int], tuple[int, ...]] = {}
        self.visit_keys: dict[TrafficSource | ClientInfo, tuple[int, ...]] = {}


class RollupWriter:
    """Collects counts and writes them all at once, inside the transaction that appends the events.

    `EventWriter` owns it. `begin` empties the cache of goals when the registry has changed. `reset` empties all caches.
    """

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._version = -1
        self._goals: dict[int, GoalMatcher | None] = {}
        self._finalized_before_day: dict[int, int] = {}
        self._value_ids: dict[str, int] = {}
        self._day_states: dict[tuple[int, int], _DayState] = {}
        self._cached_keys = 0  # number of keys in `_day_states`
        self._latest_day: tuple[int, int, _DayState] | None = None
        self._deltas: dict[tuple[int, int], DayDelta] = {}

    def __len__(self) -> int:
        return max(
            len(self._value_ids), self._cached_keys // 4
        )  # a key takes less memory than an entry of other caches

    def begin(self) -> bool:
        """Forget the goals if they may have changed. Return whether they may have."""
        version, previous = registry_version.version(self._conn), self._version
        if version != previous:
            self._version = version
            self._goals.clear()
        return version != previous

    def finalized_before_day(self, site_id: int) -> int:
        """Return the first day of a site that is not finalized: exit pages and weeks are not counted from here on."""
        if site_id not in self._finalized_before_day:
            self._finalized_before_day[site_id] = weekly.finalized_before_day(self._conn, site_id)
        return self._finalized_before_day[site_id]

    def delta(self, site_id: int, day: int) -> DayDelta:
        """Return the counts of a site's day that are not written yet. The caller may add to them."""
        delta = self._deltas.get((site_id, day))
        if delta is None:
            delta = self._deltas[site_id, day] = DayDelta()
        return delta

    def _day_state(self, site_id: int, day: int) -> _DayState:
        latest = self._latest_day
        if latest is not None and latest[0] == site_id and latest[1] == day:
            return latest[2]
        state = self._day_states.get((site_id, day))
        if state is None:
            value_limits = DimensionValueLimits(self._conn, site_id, day, max_values(self._conn))
            state = self._day_states[site_id, day] = _DayState(value_limits)
        self._latest_day = (site_id, day, state)
        return state

    def dimension_key(self, site_id: int, day: int, dimension: Dimension, text: str) -> int:
        """Return the dimension key of a value on a site's day; that of `OTHER` if the day does not keep the value."""
        value_limits = self._day_state(site_id, day).value_limits
        value_id = self._value_ids.get(text) or self._find_value_id(text)
        if value_id is None:
            if value_limits.is_full(dimension):
                return OTHER << DIMENSION_BITS | dimension
            value_id = self._insert_value(text)
        return value_limits.assign(dimension, value_id) << DIMENSION_BITS | dimension

    def dimension_keys(
        self, site_id: int, day: int, event_type: EventType, page: PageUrl, type_and_page_ids: tuple[int, int]
    ) -> tuple[int, ...]:
        """Return the dimension keys of an event in the dimensions of events: name, page, host and goals."""
        event_keys = self._day_state(site_id, day).event_keys
        keys = event_keys.get(type_and_page_ids)
        if keys is None:
            goal_matcher = self._goals[site_id] if site_id in self._goals else self._load_goals(site_id)
            pairs = dimension_keys(event_type, page, goal_matcher, day)
            keys = event_keys[type_and_page_ids] = tuple(
                value << DIMENSION_BITS | dimension
                if isinstance(value, int)
                else self.dimension_key(site_id, day, dimension, value)
                for dimension, value in pairs
            )
            self._cached_keys += len(keys)
        return keys

    def visit_dimension_keys(self, site_id: int, day: int, attributes: TrafficSource | ClientInfo) -> tuple[int, ...]:
        """Return the dimension keys of a visit's traffic source or client. Empty optional dimensions have none."""
        visit_keys = self._day_state(site_id, day).visit_keys
        keys = visit_keys.get(attributes)
        if keys is None:
            dimensions = TRAFFIC_SOURCE_DIMENSIONS if isinstance(attributes, TrafficSource) else CLIENT_DIMENSIONS
            keys = visit_keys[attributes] = tuple(
                self.dimension_key(site_id, day, dimension, value)
                for dimension, value in zip(dimensions, attributes, strict=True)
                if value or dimension in REQUIRED_DIMENSIONS
            )
            self._cached_keys += len(keys)
        return keys

    def _load_goals(self, site_id: int) -> GoalMatcher | None:
        rows = goals.goals_of(self._conn, site_id)
        goal_matcher = self._goals[site_id] = GoalMatcher(rows) if rows else None
        return goal_matcher

    def begin_visit(
        self,
        site_id: int,
        day: int,
        traffic_source: TrafficSource,
        client: ClientInfo,
        other_visits: Iterable[tuple[TrafficSource, ClientInfo]],
    ) -> None:
        """Count a visit that begins. `other_visits` are the visitor's other visits of the day."""
        delta = self.delta(site_id, day)
        delta.totals.visits += 1
        delta.totals.bounces += 1
        other_keys = {
            dimension_key
            for pair in other_visits
            for attributes in pair
            for dimension_key in self.visit_dimension_keys(site_id, day, attributes)
        }
        if not other_keys:
            delta.totals.visitors += 1
            delta.new_visitor_counts[traffic_source] = delta.new_visitor_counts.get(traffic_source, 0) + 1
            delta.new_visitor_counts[client] = delta.new_visitor_counts.get(client, 0) + 1
            return
        for dimension_key in (
            *self.visit_dimension_keys(site_id, day, traffic_source),
            *self.visit_dimension_keys(site_id, day, client),
        ):
            delta.add(dimension_key, dimension_key not in other_keys, 1)

    def add_event(self, site_id: int, event: Event, type_and_page_ids: tuple[int, int], is_sessionless: bool) -> None:
        """Count an event: in the totals, by person, and its revenue; or by the reason why it is excluded.

        A sessionless event is also counted by name, page, host and goal. The `Sessionizer` does this for other events,
        because it knows whether the visit and the visitor count too.
        """
        event_type = event.event_type
        if event_type.is_engagement:
            return
        delta, is_pageview = self.delta(site_id, event.day), event_type.type == "pageview"
        if event_type.excluded:
            delta.add(
                self.dimension_key(site_id, event.day, Dimension.EXCLUDED, event_type.excluded), 0, 0, is_pageview, 1
            )
            return
        delta.totals.events += 1
        delta.totals.pageviews += is_pageview
        if is_sessionless:
            delta.totals.sessionless_events += 1
            for dimension_key in self.dimension_keys(site_id, event.day, event_type, event.page, type_and_page_ids):
                delta.add(dimension_key, 0, 0, is_pageview, 1)
        if event.person is not None:
            person = self._day_state(site_id, event.day).value_limits.assign(Dimension.PERSON, event.person.id)
            delta.add(person << DIMENSION_BITS | Dimension.PERSON, 0, 0, is_pageview, 1)
        if event.revenue_minor is not None:
            revenue = delta.revenue.setdefault(event_type.currency, [0, 0])
            revenue[0] += 1
            revenue[1] += event.revenue_minor

    def flush(self) -> None:
        """Write the collected counts."""
        days: dict[tuple[int, ...], list[int]] = {}
        weeks: dict[tuple[int, ...], list[int]] = {}
        for (site_id, day), delta in self._deltas.items():
            self._count_new_visitors(site_id, day, delta)
            week = monday(day)
            is_finalized = week + 7 <= self.finalized_before_day(site_id)
            for dimension_key, counts in delta.rows.items():
                value = (dimension_key & _DIMENSION_MASK, dimension_key >> DIMENSION_BITS)
                days[site_id, 1, day, *value] = counts
                if not is_finalized or dimension_key & _DIMENSION_MASK == Dimension.PERSON:
                    continue  # weeks are added up when they are over; no query needs weeks of persons
                previous = weeks.get(key := (site_id, 7, week, *value))
                weeks[key] = counts if previous is None else [*map(sum, zip(previous, counts, strict=True))]
        # In the order of the primary key, SQLite visits each page of the table once. Rows of zeros are left out.
        rows = sorted(
            (*key, *counts) for counts_by_key in (days, weeks) for key, counts in counts_by_key.items() if any(counts)
        )
        insert(self._conn, _INSERT_ROLLUPS, rows, _ADD_TO_ROLLUPS)
        if decreased := [row[:5] for row in rows if row[6] < 0]:
            self._conn.executemany(_DELETE_EMPTY_ROLLUPS, decreased)
        total_rows = [
            (*site_and_day, *msgspec.structs.astuple(delta.totals)) for site_and_day, delta in self._deltas.items()
        ]
        insert(self._conn, _INSERT_DAYS, total_rows, _ADD_TO_DAYS)
        revenue_rows = [
            (*site_and_day, currency, *transactions_and_amount)
            for site_and_day, delta in self._deltas.items()
            for currency, transactions_and_amount in delta.revenue.items()
        ]
        insert(self._conn, _INSERT_REVENUE, revenue_rows, _ADD_TO_REVENUE)
        self._deltas.clear()

    def _count_new_visitors(self, site_id: int, day: int, delta: DayDelta) -> None:
        for attributes, count in delta.new_visitor_counts.items():
            for dimension_key in self.visit_dimension_keys(site_id, day, attributes):
                delta.add(dimension_key, count, count)

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

    def reset(self) -> None:
        """Empty the caches (that of goals at the next `begin`), and drop what is not written yet."""
        self._version = -1
        self._finalized_before_day.clear()
        self._value_ids.clear()
        self._day_states.clear()
        self._latest_day = None
        self._cached_keys = 0
        self._deltas.clear()
