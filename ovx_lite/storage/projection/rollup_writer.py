"""Counting a batch of events, and the changes of visits that it causes, into the rollups of days and weeks.

A visitor counts once per day (see `models.Event`), so the visitors of several days are the sum of each day's. In a
dimension of visits, visitors and visits are counted when a visit begins. In a dimension of events, pageviews and events
are counted too. `rollups.rebuild` computes the same counts from the stored events.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter

import msgspec

from ovx_lite.domain.calendar import monday
from ovx_lite.storage.ledger.event_journal import JournalEvent
from ovx_lite.storage.projection.dimension_keys import DIMENSION_BITS, DimensionKeys, dimension_of
from ovx_lite.storage.projection.sessionizer import PageMove, SourceMove, VisitChange
from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.sqlite import insert

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

SiteDay = tuple[int, int]
"""The ID of a site, and a day in its time zone."""


class DayTotals(msgspec.Struct, gc=False):
    """Counts of a day, or counts to add to them. Sessionless events are those that belong to no visit."""

    visitors: int = 0
    visits: int = 0
    pageviews: int = 0
    events: int = 0
    bounces: int = 0
    duration_ms: int = 0
    sessionless_events: int = 0


class DayDelta:
    """Counts to add to a site's day.

    `rows` has visitors, visits, pageviews and events by dimension key. `revenue` has transactions and the amount in
    minor units by currency.
    """

    __slots__ = ("revenue", "rows", "totals")

    def __init__(self) -> None:
        self.totals = DayTotals()
        self.rows: dict[int, list[int]] = {}
        self.revenue: dict[str, list[int]] = {}

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

    def move_visit(self, old_key: int | None, new_key: int, other_keys: Sequence[int]) -> None:
        """Move a visit to another value of a dimension.

        The visitor moves too, except from or to a value that another of their visits has (`other_keys`).
        """
        if old_key == new_key:
            return
        if old_key is not None:
            self.add(old_key, -(old_key not in other_keys), -1)
        self.add(new_key, new_key not in other_keys, 1)


def count_batch(
    events: Sequence[JournalEvent],
    sessionless_events: Iterable[JournalEvent],
    changes: Iterable[VisitChange],
    dimension_keys: DimensionKeys,
) -> dict[SiteDay, DayDelta]:
    """Return what a batch of events adds to the counts of days.

    `changes` are all changes of visits that the events cause; `sessionless_events` are those that are in no visit.
    """
    deltas: dict[SiteDay, DayDelta] = {}
    _count_events(events, deltas, dimension_keys)
    for event in sessionless_events:
        facts = dimension_keys.facts_of_day(event.site_id, event.day)[event.event_type_id, event.page_id]
        if not facts.is_engagement and not facts.excluded:
            deltas[event.site_id, event.day].totals.sessionless_events += 1
    changes_by_day: dict[SiteDay, list[VisitChange]] = {}
    for change in changes:
        changes_by_day.setdefault((change.visit.site_id, change.visit.day), []).append(change)
    for site_day, day_changes in changes_by_day.items():
        _count_changes(site_day, day_changes, deltas.setdefault(site_day, DayDelta()), dimension_keys)
    return deltas


def _count_events(
    events: Sequence[JournalEvent], deltas: dict[SiteDay, DayDelta], dimension_keys: DimensionKeys
) -> None:
    """Count events and pageviews in the totals and by name, page, host, goal and person, and revenue by currency."""
    counts = Counter(map(attrgetter("site_id", "day", "event_type_id", "page_id"), events))
    for (site_id, day, event_type_id, page_id), count in counts.items():
        facts = dimension_keys.facts_of_day(site_id, day)[event_type_id, page_id]
        if facts.is_engagement:
            continue
        delta = deltas.get((site_id, day)) or deltas.setdefault((site_id, day), DayDelta())
        pageviews = count if facts.is_pageview else 0
        if facts.excluded:
            delta.add(
                dimension_keys.value_key(site_id, day, Dimension.EXCLUDED, facts.excluded), 0, 0, pageviews, count
            )
            continue
        delta.totals.events += count
        delta.totals.pageviews += pageviews
        for key in facts.keys:
            delta.add(key, 0, 0, pageviews, count)
    for event in events:
        if event.person is not None or event.revenue_minor is not None:
            _count_person_and_revenue(event, deltas, dimension_keys)


def _count_person_and_revenue(
    event: JournalEvent, deltas: dict[SiteDay, DayDelta], dimension_keys: DimensionKeys
) -> None:
    facts = dimension_keys.facts_of_day(event.site_id, event.day)[event.event_type_id, event.page_id]
    if facts.is_engagement or facts.excluded:
        return
    delta = deltas[event.site_id, event.day]
    if event.person is not None:
        key = dimension_keys.person_key(event.site_id, event.day, event.person.id)
        delta.add(key, 0, 0, int(facts.is_pageview), 1)
    if event.revenue_minor is not None:
        revenue = delta.revenue.setdefault(facts.currency, [0, 0])
        revenue[0] += 1
        revenue[1] += event.revenue_minor


def _count_changes(
    site_day: SiteDay, changes: list[VisitChange], delta: DayDelta, dimension_keys: DimensionKeys
) -> None:
    """Count visits and visitors: when a visit begins, and for each value that a visit or its visitor did not have."""
    totals = delta.totals
    first_visits: list[VisitChange] = []
    entry_pages: list[int] = []
    for change in changes:
        totals.duration_ms += change.added_duration_ms
        totals.bounces += change.bounces
        if change.began_with is not None:
            totals.visits += 1
            if change.others:
                _count_repeat_visit(site_day, change, delta, dimension_keys)
            else:
                first_visits.append(change)
        for key in change.visit_keys:
            delta.add(key, 0, 1)
        for page_move in change.page_moves:
            if page_move.old_page_id is None and not page_move.others and page_move.dimension is Dimension.ENTRY:
                entry_pages.append(page_move.new_page_id)
            else:
                _move_page(site_day, page_move, delta, dimension_keys)
        for source_move in change.source_moves:
            _move_source(site_day, source_move, delta, dimension_keys)
    totals.visitors += len(first_visits)
    for key, count in Counter(chain.from_iterable(change.visitor_keys for change in changes)).items():
        delta.add(key, count, count)
    for page_id, count in Counter(entry_pages).items():
        delta.add(dimension_keys.page_key(*site_day, Dimension.ENTRY, page_id), count, count)
    for source_and_client, count in Counter(change.began_with for change in first_visits).items():
        assert source_and_client is not None, "only visits that began are first visits"
        for key in dimension_keys.visit_keys(*site_day, *source_and_client):
            delta.add(key, count, count)


def _count_repeat_visit(site_day: SiteDay, change: VisitChange, delta: DayDelta, dimension_keys: DimensionKeys) -> None:
    """Count a visit of a visitor who has other visits on this day."""
    assert change.began_with is not None, "the caller counts visits that began"
    other_keys = {key for other in change.others for key in dimension_keys.visit_keys(*site_day, *other)}
    for key in dimension_keys.visit_keys(*site_day, *change.began_with):
        delta.add(key, key not in other_keys, 1)


def _move_page(site_day: SiteDay, move: PageMove, delta: DayDelta, dimension_keys: DimensionKeys) -> None:
    """Count a visit under another entry or exit page."""

    def page_key(page_id: int) -> int:
        return dimension_keys.page_key(*site_day, move.dimension, page_id)

    old_key = None if move.old_page_id is None else page_key(move.old_page_id)
    delta.move_visit(old_key, page_key(move.new_page_id), [page_key(page_id) for page_id in move.others])


def _move_source(site_day: SiteDay, move: SourceMove, delta: DayDelta, dimension_keys: DimensionKeys) -> None:
    """Count a visit under another traffic source and client."""
    old, new, *others = (
        {dimension_of(key): key for key in dimension_keys.visit_keys(*site_day, *source_and_client)}
        for source_and_client in (move.old, move.new, *move.others)
    )
    for dimension in {**old, **new}:
        other_keys = [keys[dimension] for keys in others if dimension in keys]
        old_key, new_key = old.get(dimension), new.get(dimension)
        if new_key is not None:
            delta.move_visit(old_key, new_key, other_keys)
        elif old_key is not None:
            delta.add(old_key, -(old_key not in other_keys), -1)


def write(
    conn: sqlite3.Connection, deltas: Mapping[SiteDay, DayDelta], finalized_before_day: Callable[[int], int]
) -> None:
    """Add counts to the stored ones. `finalized_before_day` returns a site's first day that is not finalized.

    Call it inside a transaction.
    """
    days: dict[tuple[int, ...], list[int]] = {}
    weeks: dict[tuple[int, ...], list[int]] = {}
    for (site_id, day), delta in deltas.items():
        week = monday(day)
        is_finalized = week + 7 <= finalized_before_day(site_id)
        for dimension_key, counts in delta.rows.items():
            dimension = dimension_key & (1 << DIMENSION_BITS) - 1
            value_id = dimension_key >> DIMENSION_BITS
            days[site_id, 1, day, dimension, value_id] = counts
            if not is_finalized or dimension == Dimension.PERSON:
                continue  # weeks are added up when they are over; no query needs weeks of persons
            previous = weeks.get(key := (site_id, 7, week, dimension, value_id))
            weeks[key] = counts if previous is None else [*map(sum, zip(previous, counts, strict=True))]
    # In the order of the primary key, SQLite visits each page of the table once. Rows of zeros are left out.
    rows = sorted(
        (*key, *counts) for counts_by_key in (days, weeks) for key, counts in counts_by_key.items() if any(counts)
    )
    insert(conn, _INSERT_ROLLUPS, rows, _ADD_TO_ROLLUPS)
    if decreased := [row[:5] for row in rows if row[6] < 0]:
        conn.executemany(_DELETE_EMPTY_ROLLUPS, decreased)
    total_rows = [(*site_day, *msgspec.structs.astuple(delta.totals)) for site_day, delta in deltas.items()]
    insert(conn, _INSERT_DAYS, total_rows, _ADD_TO_DAYS)
    revenue_rows = [
        (*site_day, currency, *transactions_and_amount)
        for site_day, delta in deltas.items()
        for currency, transactions_and_amount in delta.revenue.items()
    ]
    insert(conn, _INSERT_REVENUE, revenue_rows, _ADD_TO_REVENUE)
