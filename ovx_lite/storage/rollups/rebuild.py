"""Rebuilding the rollups of a day from its events and visits.

A day needs this when counting events as they arrived is not enough: after some upgrades, for new goals, and when a
person was erased. It also checks whether `rollup_writer` counted right.
"""

import sqlite3
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import msgspec

from ovx_lite.domain.calendar import monday
from ovx_lite.domain.goal_patterns import GoalMatcher
from ovx_lite.domain.models import ClientInfo, EventType, PageUrl, Site, TrafficSource
from ovx_lite.storage.projection.rollup_writer import DayTotals
from ovx_lite.storage.read import events
from ovx_lite.storage.read.events import OF_DAY, REVENUE_OF_EVENT, ids_of_day
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import (
    ID_DIMENSIONS,
    Dimension,
    DimensionKey,
    dimension_keys,
    visit_dimension_keys,
)
from ovx_lite.storage.rollups.value_limit import OTHER, ValueSelector, max_values
from ovx_lite.storage.sqlite import insert, transaction
from ovx_lite.storage.webhooks import goals

_VISITS = """
SELECT visitor_id, is_only_visit_of_day, early_ms + elapsed_ms, events,
    entry_page.path, exit_page.path,
    referrer, source, channel, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
    browser, os, device, country
FROM (SELECT * FROM visits WHERE site_id = ? AND id >= ? AND id < ?) AS visits
JOIN traffic_sources ON traffic_sources.id = traffic_source_id JOIN clients ON clients.id = client_id
LEFT JOIN pages AS entry_page ON entry_page.id = entry_page_id
LEFT JOIN pages AS exit_page ON exit_page.id = exit_page_id
"""
# The order keeps the events of a visit together: see `DistinctCounts.add_visit`.
EVENTS = f"""
SELECT visits.id, visitor_id, is_only_visit_of_day, person_id, {REVENUE_OF_EVENT},
    api, type, name, excluded_reason, context, currency, scheme, host, path
FROM (SELECT * FROM events WHERE {OF_DAY}) AS events
CROSS JOIN event_types ON event_types.id = event_type_id CROSS JOIN pages ON pages.id = page_id
LEFT JOIN visits ON visits.site_id = events.site_id AND visits.id = visit_id
ORDER BY events.site_id, events.visit_id, id_offset
"""
# Visits whose `is_only_visit_of_day` is wrong.
_MISMARKED_VISITS = """
site_id = :site_id AND id >= :first_id AND id < :end_id AND is_only_visit_of_day = (visitor_id IN (
    SELECT visitor_id FROM visits WHERE site_id = :site_id AND id >= :first_id AND id < :end_id
    GROUP BY visitor_id HAVING count(*) > 1
))
"""


class DayCounts(NamedTuple):
    """The counts of a site's day.

    `revenue` has transactions and the amount in minor units, by currency. `rows` has visitors, visits, pageviews and
    events, by value of a dimension.
    """

    totals: DayTotals
    revenue: dict[str, tuple[int, int]]
    rows: dict[DimensionKey, tuple[int, int, int, int]]


class DistinctCounts(msgspec.Struct):
    """The counts of one value on a day.

    A visitor with one visit that day is only counted. The IDs of visitors with several visits are kept, so that each
    counts once.
    """

    single_visitors: int = 0
    repeat_visitors: set[int] = msgspec.field(default_factory=set)
    visits: int = 0
    pageviews: int = 0
    events: int = 0
    last_visit_id: int | None = None

    def add_visit(self, visit_id: int, visitor_id: int, is_only_visit: bool) -> None:
        """Count a visit and its visitor, unless it is the same visit as in the call before."""
        if visit_id == self.last_visit_id:
            return
        self.last_visit_id = visit_id
        self.visits += 1
        if is_only_visit:
            self.single_visitors += 1
        else:
            self.repeat_visitors.add(visitor_id)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """The numbers of visitors, visits, pageviews and events."""
        return (self.single_visitors + len(self.repeat_visitors), self.visits, self.pageviews, self.events)


def count_day(conn: sqlite3.Connection, site: Site, day: int, selector: ValueSelector) -> DayCounts:
    """Count a site's day from its visits and events. Exit pages are counted only if the day is finalized.

    `selector` decides which values have their own row and which are counted as `OTHER`.
    """
    is_finalized = day < weekly.finalized_before_day(conn, site.id)
    day_params = (site.id, *ids_of_day(day, site.timezone))
    totals, all_visits = DayTotals(), DistinctCounts()
    revenue: dict[str, tuple[int, int]] = {}
    counts: dict[DimensionKey, DistinctCounts] = {}
    for index, row in enumerate(conn.execute(_VISITS, day_params)):
        visitor_id, is_only_visit, duration_ms, event_count, entry_path, exit_path, *values = row
        all_visits.add_visit(index, visitor_id, is_only_visit)
        totals.bounces += event_count == 1
        totals.duration_ms += duration_ms
        page_keys: list[DimensionKey] = (
            [(Dimension.ENTRY, entry_path), (Dimension.EXIT, exit_path)] if entry_path is not None else []
        )
        for dimension, value in chain(
            page_keys if is_finalized else page_keys[:1],
            visit_dimension_keys(TrafficSource(*values[:8]), ClientInfo(*values[8:])),
        ):
            dimension_key = (dimension, selector.assign(dimension, value))
            count = counts.get(dimension_key) or counts.setdefault(dimension_key, DistinctCounts())
            count.add_visit(index, visitor_id, is_only_visit)
    for count in counts.values():
        count.last_visit_id = None
    totals.visitors, totals.visits, *_ = all_visits.counts
    goal_matcher = GoalMatcher(goal for goal in goals.goals_of(conn, site.id) if goal.counted_from_day <= day)
    for visit_id, visitor_id, is_only_visit, person, revenue_minor, *values in conn.execute(EVENTS, day_params):
        event_type, page = EventType(*values[:6]), PageUrl(*values[6:])
        if event_type.is_engagement:
            continue
        is_pageview = event_type.type == "pageview"
        if not event_type.excluded:
            totals.events += 1
            totals.pageviews += is_pageview
            totals.sessionless_events += visit_id is None
            if revenue_minor is not None:
                previous = revenue.get(event_type.currency, (0, 0))
                revenue[event_type.currency] = (previous[0] + 1, previous[1] + revenue_minor)
        for dimension, value in _event_dimension_keys(event_type, page, goal_matcher, day, person):
            dimension_key = (dimension, selector.assign(dimension, value))
            count = counts.get(dimension_key) or counts.setdefault(dimension_key, DistinctCounts())
            count.pageviews += is_pageview
            count.events += 1
            if visit_id is not None and dimension is not Dimension.PERSON:
                count.add_visit(visit_id, visitor_id, is_only_visit)
    return DayCounts(totals, revenue, {dimension_key: count.counts for dimension_key, count in counts.items()})


def _event_dimension_keys(
    event_type: EventType, page: PageUrl, goal_matcher: GoalMatcher, day: int, person: int | None
) -> Iterator[DimensionKey]:
    if event_type.excluded:
        yield Dimension.EXCLUDED, event_type.excluded
        return
    yield from dimension_keys(event_type, page, goal_matcher, day)
    if person is not None:
        yield Dimension.PERSON, person


def stored_day(conn: sqlite3.Connection, site: Site, day: int) -> DayCounts:
    """Return the counts of a site's day that are stored."""
    site_and_day = (site.id, day)
    columns = "visitors, visits, pageviews, events, bounces, duration_ms, sessionless_events"
    totals = conn.execute(f"SELECT {columns} FROM daily_totals WHERE site_id = ? AND day = ?", site_and_day).fetchone()
    query = "SELECT currency, transactions, amount_minor FROM daily_revenue WHERE site_id = ? AND day = ?"
    revenue = conn.execute(query, site_and_day)
    id_dimensions = ", ".join(str(int(dimension)) for dimension in ID_DIMENSIONS)
    rows = conn.execute(
        "SELECT dimension,"
        f" CASE WHEN dimension IN ({id_dimensions}) OR value_id = {OTHER} THEN value_id ELSE value END,"
        " visitors, visits, pageviews, events"
        " FROM rollups LEFT JOIN dimension_values ON dimension_values.id = value_id"
        " WHERE site_id = ? AND period_days = 1 AND start_day = ?",
        site_and_day,
    )
    return DayCounts(
        DayTotals(*totals) if totals else DayTotals(),
        {currency: (transactions, amount_minor) for currency, transactions, amount_minor in revenue},
        {(Dimension(dimension), value): tuple(counts) for dimension, value, *counts in rows},
    )


def is_consistent(conn: sqlite3.Connection, site: Site, day: int) -> bool:
    """Return whether the stored counts of a site's day match its visits and events."""
    (mismarked,) = conn.execute(
        f"SELECT count(*) FROM visits WHERE {_MISMARKED_VISITS}", _day_params(site, day)
    ).fetchone()
    if mismarked:
        return False
    # The order in which values arrived is lost. So count with the values that the day kept: all counts must then match.
    stored = stored_day(conn, site, day)
    stored_values: dict[Dimension, set[str | int]] = {}
    for dimension, value in stored.rows:
        stored_values.setdefault(dimension, set()).add(value)
    return count_day(conn, site, day, ValueSelector(0, stored_values)) == stored


def _day_params(site: Site, day: int) -> dict[str, int]:
    first_id, end_id = ids_of_day(day, site.timezone)
    return {"site_id": site.id, "first_id": first_id, "end_id": end_id}


def rebuild_day(conn: sqlite3.Connection, site: Site, day: int) -> None:
    """Replace the stored counts of a site's day by those of its visits and events. Call it inside a transaction."""
    query = f"UPDATE visits SET flags = flags + 1 - 2 * is_only_visit_of_day WHERE {_MISMARKED_VISITS}"
    conn.execute(query, _day_params(site, day))
    counts = count_day(conn, site, day, ValueSelector(max_values(conn)))
    weekly.delete_day(conn, site.id, day)
    if counts.totals != DayTotals() or counts.rows:
        query = "INSERT INTO daily_totals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        conn.execute(query, (site.id, day, *_as_row(counts.totals)))
    rows = [
        (site.id, day, currency, *transactions_and_amount)
        for currency, transactions_and_amount in counts.revenue.items()
    ]
    insert(conn, "INSERT INTO daily_revenue (site_id, day, currency, transactions, amount_minor)", rows)
    insert_rollups(conn, site.id, day, counts.rows)
    weekly.sum_week(conn, site.id, monday(day))


def _as_row(totals: DayTotals) -> tuple[int, ...]:
    return tuple(msgspec.structs.astuple(totals))


def insert_rollups(
    conn: sqlite3.Connection, site_id: int, day: int, rows: dict[DimensionKey, tuple[int, int, int, int]]
) -> None:
    """Insert the counts of a day's values. Call it inside a transaction."""
    texts = sorted({value for _, value in rows if isinstance(value, str)})
    insert(conn, "INSERT INTO dimension_values (value)", [(text,) for text in texts], "ON CONFLICT DO NOTHING")
    query = "SELECT id FROM dimension_values WHERE value = ?"
    value_ids = {text: conn.execute(query, (text,)).fetchone()[0] for text in texts}
    rollup_rows = sorted(
        (site_id, 1, day, dimension, value if isinstance(value, int) else value_ids[value], *counts)
        for (dimension, value), counts in rows.items()
    )
    insert(conn, "INSERT INTO rollups", rollup_rows)


def mark_all_dirty(conn: sqlite3.Connection, site: Site) -> int:
    """Mark all days of a site as dirty, so that `catch_up` rebuilds them. Return how many days there are."""
    with transaction(conn):
        stored_days = {day for (day,) in conn.execute("SELECT day FROM daily_totals WHERE site_id = ?", (site.id,))}
        rows = [(site.id, day) for day in {*stored_days, *events.days(conn, site)}]
        insert(conn, "INSERT INTO dirty_days (site_id, day)", rows, "ON CONFLICT DO NOTHING")
    return len(rows)
