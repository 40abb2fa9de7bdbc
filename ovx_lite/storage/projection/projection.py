"""From accepted events to everything that is derived from them, a batch at a time."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ovx_lite.domain.models import COUNTER_BITS
from ovx_lite.storage import registry_version
from ovx_lite.storage.ledger.event_journal import JournalEvent
from ovx_lite.storage.ledger.journal_drain import drain
from ovx_lite.storage.projection import rollup_writer, visits
from ovx_lite.storage.projection.dimension_keys import DimensionKeys
from ovx_lite.storage.projection.identity_links import IdentityLinks
from ovx_lite.storage.projection.rollup_writer import SiteDay
from ovx_lite.storage.projection.sessionizer import VisitChange, sessionize
from ovx_lite.storage.projection.visits import Visit, VisitCache, VisitorKey
from ovx_lite.storage.sqlite import insert

_CACHE_SOFT_LIMIT, _CACHE_HARD_LIMIT = 20_000, 200_000  # entries of the largest cache

# Most events have neither of the last two columns, and binding NULL takes longer than leaving a column out.
_INSERT_EVENTS = (
    "INSERT INTO events (site_id, visit_id, id_offset, event_type_id, page_id, traffic_source_id, client_id{})"
)
_OPTIONAL_COLUMNS = ", props, person_id"
_INSERT_REVENUE = "INSERT INTO event_revenue (site_id, visit_id, id_offset, amount_minor)"
_INSERT_IMPORTED_LINES = "INSERT INTO imported_lines (site_id, logged_at, line_hash)"


class Projection:
    """`EventWriter` over SQLite: derives visits, persons and rollups. It owns the caches that this needs.

    In a transaction, call `begin`, then `project`; after a failed one, `reset`. For the journal, `drain` does that.
    """

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._versions = (-1, -1)
        self._dimension_keys = DimensionKeys(conn)
        self._visit_cache = VisitCache(conn, self._dimension_keys)
        self._identity_links = IdentityLinks(conn)
        self._timezones: dict[int, str] = {}
        self._events_since_reset = 0

    def begin(self) -> bool:
        """Empty the caches if they may be outdated or are too large. Return whether they were emptied."""
        (data_version,) = self._conn.execute("PRAGMA data_version").fetchone()
        versions = (data_version, registry_version.version(self._conn))
        largest = max(len(self._visit_cache), len(self._identity_links), len(self._dimension_keys))
        # Filling the caches again costs time. Above the soft limit, do it only once per as many events as are cached.
        is_too_large = largest > _CACHE_SOFT_LIMIT and (
            largest < self._events_since_reset or largest > _CACHE_HARD_LIMIT
        )
        # Cached visits have the goals that they reached, but not those of new goals. So new goals empty the caches.
        if versions != self._versions or is_too_large:
            self.reset()
            self._versions = versions
            return True
        return False

    def project(self, events: Sequence[JournalEvent]) -> None:
        """Write events, and what follows from them. Call it inside a transaction, after `begin`."""
        events = self._of_known_sites(events)
        events_by_visitor = _group_by_visitor(events)
        visits_by_visitor = self._visit_cache.look_up(events_by_visitor, self._timezones)
        changes = list(self._sessionize(events_by_visitor, visits_by_visitor))
        changes.sort(key=_visit_order)
        sessionless_events = _not_in_visits(events, changes)
        deltas = rollup_writer.count_batch(events, sessionless_events, changes, self._dimension_keys)
        self._write_events(changes, sessionless_events)
        self._write_imported_lines(events)
        visits.save(self._conn, [change.visit for change in changes])
        visits.save_open(self._conn, [change.visit for change in changes if change.began_with is not None])
        self._identity_links.record(events)
        rollup_writer.write(self._conn, deltas, self._dimension_keys.finalized_before_day)
        self._events_since_reset += len(events)

    def _of_known_sites(self, events: Sequence[JournalEvent]) -> Sequence[JournalEvent]:
        """Return the events without those of sites that were removed after the events were accepted."""
        site_ids = {event.site_id for event in events}
        for site_id in site_ids - self._timezones.keys():
            row = self._conn.execute("SELECT timezone FROM sites WHERE id = ?", (site_id,)).fetchone()
            if row is not None:
                self._timezones[site_id] = row[0]
        if site_ids <= self._timezones.keys():
            return events
        return [event for event in events if event.site_id in self._timezones]

    def _sessionize(
        self,
        events_by_visitor: Mapping[VisitorKey, list[JournalEvent]],
        visits_by_visitor: Mapping[VisitorKey, list[Visit]],
    ) -> Iterator[VisitChange]:
        latest_day: SiteDay | None = None
        for visitor_key, events in events_by_visitor.items():
            site_day = (events[0].site_id, events[0].day)
            if site_day != latest_day:
                facts = self._dimension_keys.facts_of_day(*site_day)
                is_finalized = events[0].day < self._dimension_keys.finalized_before_day(events[0].site_id)
                latest_day = site_day
            yield from sessionize(events, visits_by_visitor[visitor_key], facts, counts_exit_pages=is_finalized)

    def _write_events(self, changes: Iterable[VisitChange], sessionless_events: Iterable[JournalEvent]) -> None:
        short_rows: list[tuple[object, ...]] = []
        long_rows: list[tuple[object, ...]] = []
        revenue_rows: list[tuple[object, ...]] = []
        for change in changes:
            site_id, visit_id = change.visit.site_id, change.visit.id
            for event in change.events:
                row = (
                    site_id,
                    visit_id,
                    event.id - visit_id,
                    event.event_type_id,
                    event.page_id,
                    event.traffic_source_id,
                    event.client_id,
                )
                if event.props is None and event.person is None:
                    short_rows.append(row)
                else:
                    long_rows.append(row + _optional_columns(event))
                if event.revenue_minor is not None:
                    revenue_rows.append((*row[:3], event.revenue_minor))
        long_rows += [
            (
                event.site_id,
                event.id,
                0,
                event.event_type_id,
                event.page_id,
                event.traffic_source_id,
                event.client_id,
                *_optional_columns(event),
            )
            for event in sessionless_events
        ]
        revenue_rows += [
            (event.site_id, event.id, 0, event.revenue_minor)
            for event in sessionless_events
            if event.revenue_minor is not None
        ]
        insert(self._conn, _INSERT_EVENTS.format(""), short_rows)
        insert(self._conn, _INSERT_EVENTS.format(_OPTIONAL_COLUMNS), long_rows)
        insert(self._conn, _INSERT_REVENUE, revenue_rows)

    def _write_imported_lines(self, events: Iterable[JournalEvent]) -> None:
        rows = [
            (event.site_id, event.id >> COUNTER_BITS, event.import_line_hash)
            for event in events
            if event.import_line_hash is not None
        ]
        insert(self._conn, _INSERT_IMPORTED_LINES, sorted(rows), "ON CONFLICT DO NOTHING")

    def reset(self) -> None:
        """Empty the caches. Call it after a rollback, and after a change of stored events over this connection."""
        self._versions = (-1, -1)
        self._dimension_keys.reset()
        self._visit_cache.reset()
        self._identity_links.reset()
        self._timezones.clear()
        self._events_since_reset = 0


def open_projection(conn: sqlite3.Connection) -> Projection:
    """Return a `Projection` over a connection, for use in the calling thread."""
    return Projection(conn)


def catch_up(conn: sqlite3.Connection) -> int:
    """Project all events of the journal, and return how many there were. For commands; the server has a projector."""
    return drain(conn, Projection(conn))


def _group_by_visitor(events: Iterable[JournalEvent]) -> Mapping[VisitorKey, list[JournalEvent]]:
    """Return the events of each visitor and day, in their order. Events without a visitor are left out."""
    events_by_visitor: defaultdict[VisitorKey, list[JournalEvent]] = defaultdict(list)
    for event in events:
        if event.daily_visitor_id is not None:
            events_by_visitor[event.site_id, event.daily_visitor_id].append(event)
    return events_by_visitor


def _not_in_visits(events: Sequence[JournalEvent], changes: Iterable[VisitChange]) -> list[JournalEvent]:
    """Return the events that no change has put into a visit."""
    if sum(len(change.events) for change in changes) == len(events):
        return []
    placed = {event.id for change in changes for event in change.events}
    return [event for event in events if event.id not in placed]


def _visit_order(change: VisitChange) -> tuple[int, int]:
    """Return the order of the table of visits, in which SQLite visits each of its pages once."""
    return (change.visit.site_id, change.visit.id)


def _optional_columns(event: JournalEvent) -> tuple[object, ...]:
    return (event.props, event.person and event.person.id)
