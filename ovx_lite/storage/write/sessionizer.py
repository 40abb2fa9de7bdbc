"""Visits: series of events of one visitor without a pause of more than 30 minutes.

The rows of visits that are in progress at the same time are neighbours in the table, and so are the events of a visit.
So a group of events changes few pages of the file. The table `open_visits` leads from a visitor to their visits of the
current day.
"""

import sqlite3
from operator import attrgetter

from ovx_lite.domain.calendar import MINUTE_MS
from ovx_lite.domain.models import COUNTER_BITS, ClientInfo, Event, TrafficSource
from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.sqlite import insert
from ovx_lite.storage.write.rollup_writer import RollupWriter, dimension_of
from ovx_lite.storage.write.visit_cache import PageviewRef, Visit, VisitCache, event_type_bit, page_bit

VISIT_TIMEOUT_MS = 30 * MINUTE_MS
"""The longest pause within a visit."""

MAX_EVENTS_PER_VISITOR = 5_000
"""How many events a visitor's visits of a day can have together.

Only programs send more, and comparing each of their events with all visits of the day would take too long.
"""

_COLUMNS = (
    "site_id, id, traffic_source_id, client_id, entry_page_id, exit_page_id, page_type_bloom, visitor_id,"
    " is_identified, is_only_visit_of_day, early_ms, elapsed_ms, pageviews, events"
)
_INSERT_VISITS = f"INSERT INTO visits ({_COLUMNS})"
_UPDATE_VISITS = "ON CONFLICT (site_id, id) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}"
    for column in _COLUMNS.split(", ")[2:]
    if column not in ("visitor_id", "is_identified")
)


class Sessionizer:
    """Assigns events to visits and counts the visits, inside the transaction that appends the events.

    `EventWriter` owns it. Visits are cached in its `VisitCache`; `reset` empties the cache.
    """

    def __init__(self, conn: sqlite3.Connection, rollups: RollupWriter) -> None:
        self._conn = conn
        self._rollups = rollups
        self._visit_cache = VisitCache(conn, rollups)
        self._changed: list[Visit] = []
        self._new_visits: list[tuple[int, int, int, int | None]] = []

    def __len__(self) -> int:
        return len(self._visit_cache)

    def look_up(self, events: list[tuple[int, int, Event]], timezones: dict[int, str]) -> None:
        """Load the visits that `assign` needs for these events. `timezones` are those of the sites, by ID."""
        self._visit_cache.look_up(events, timezones)

    def assign(
        self,
        site_id: int,
        event_id: int,
        event: Event,
        type_and_page_ids: tuple[int, int],
        source_and_client_ids: tuple[int, int],
    ) -> int | None:
        """Assign an event to a visit, a new one if necessary, and count it there. The event may arrive late.

        Return the event's ID minus the visit's ID, which is negative for an event that is earlier than the one that
        began the visit. Return None if the event belongs to no visit: an engagement event without an open visit, or an
        event of a visitor who has reached `MAX_EVENTS_PER_VISITOR`.
        """
        assert event.daily_visitor_id is not None, "the caller assigns only events with a daily visitor ID"
        day_visits = self._visit_cache.visits_of(site_id, event.daily_visitor_id)
        if (
            day_visits
            and (day_visits[0].events if len(day_visits) == 1 else sum(visit.events for visit in day_visits))
            >= MAX_EVENTS_PER_VISITOR
        ):
            return None
        visit = _find_open_visit(day_visits, event)
        is_engagement = event.event_type.is_engagement
        if visit is None:
            if is_engagement:
                return None
            visit = self._begin_visit(site_id, event_id, event, source_and_client_ids, day_visits)
        self._mark_changed(visit)
        self._extend_duration(visit, event.timestamp_ms)
        visit.page_type_bloom |= event_type_bit(type_and_page_ids[0]) | page_bit(type_and_page_ids[1])
        if not is_engagement:
            self._count_event(visit, event_id, event, type_and_page_ids, source_and_client_ids, day_visits)
        return event_id - visit.id

    def _begin_visit(
        self, site_id: int, event_id: int, event: Event, source_and_client_ids: tuple[int, int], day_visits: list[Visit]
    ) -> Visit:
        assert event.visitor_id is not None, "an event with a daily visitor ID has a visitor ID"
        assert event.daily_visitor_id is not None, "see `assign`"
        visit = Visit(
            site_id=site_id,
            day=event.day,
            daily_visitor_id=event.daily_visitor_id,
            id=event_id,
            visitor_id=event.visitor_id,
            is_identified=event.visitor_id != event.daily_visitor_id,
            session_key=event.session_key,
            traffic_source=event.traffic_source,
            client=event.client,
            first_event_id=event_id,
            is_only_visit_of_day=not day_visits,
            source_and_client_ids=source_and_client_ids,
        )
        if len(day_visits) == 1:
            day_visits[0].is_only_visit_of_day = False
            self._mark_changed(day_visits[0])
        other_visits = ((other.traffic_source, other.client) for other in day_visits)
        self._rollups.begin_visit(site_id, event.day, event.traffic_source, event.client, other_visits)
        day_visits.append(visit)
        self._new_visits.append((site_id, event.daily_visitor_id, event_id, event.session_key))
        return visit

    def _mark_changed(self, visit: Visit) -> None:
        if not visit.is_changed:
            visit.is_changed = True
            self._changed.append(visit)

    def _extend_duration(self, visit: Visit, timestamp_ms: int) -> None:
        started_at_ms = visit.id >> COUNTER_BITS
        added_ms = max(timestamp_ms - started_at_ms - visit.duration_ms, 0) + max(
            started_at_ms - timestamp_ms - visit.early_ms, 0
        )
        if added_ms:
            visit.duration_ms = max(visit.duration_ms, timestamp_ms - started_at_ms)
            visit.early_ms = max(visit.early_ms, started_at_ms - timestamp_ms)
            self._rollups.delta(visit.site_id, visit.day).totals.duration_ms += added_ms

    def _count_event(
        self,
        visit: Visit,
        event_id: int,
        event: Event,
        type_and_page_ids: tuple[int, int],
        source_and_client_ids: tuple[int, int],
        day_visits: list[Visit],
    ) -> None:
        """Count an event in its visit and in the rollups."""
        event_type, page = event.event_type, event.page
        is_pageview = event_type.type == "pageview"
        delta = self._rollups.delta(visit.site_id, visit.day)
        visit.events += 1
        if visit.events == 2:
            delta.totals.bounces -= 1
        if event_id < visit.first_event_id:
            visit.first_event_id = event_id
            self._replace_source_and_client(visit, event.traffic_source, event.client, day_visits)
            visit.source_and_client_ids = source_and_client_ids
        visit_keys = visit.dimension_keys
        for dimension_key in self._rollups.dimension_keys(
            visit.site_id, visit.day, event_type, page, type_and_page_ids
        ):
            if dimension_key in visit_keys:
                delta.add(dimension_key, 0, 0, is_pageview, 1)
            else:
                is_new = len(day_visits) == 1 or not any(dimension_key in other.dimension_keys for other in day_visits)
                delta.add(dimension_key, is_new, 1, is_pageview, 1)
                visit_keys.add(dimension_key)
        if is_pageview:
            visit.pageviews += 1
            if page.path:
                self._record_pageview(visit, PageviewRef(event_id, page.path, type_and_page_ids[1]), day_visits)

    def _record_pageview(self, visit: Visit, pageview: PageviewRef, day_visits: list[Visit]) -> None:
        """Make a pageview the entry or exit page of its visit, if it is the earliest or latest one."""
        if visit.entry_page is None or pageview.event_id < visit.entry_page.event_id:
            previous, visit.entry_page = visit.entry_page, pageview
            if previous is None or previous.path != pageview.path:
                other_paths = [other.entry_page.path for other in day_visits if other is not visit and other.entry_page]
                self._move_page(visit, Dimension.ENTRY, previous, pageview, other_paths)
        if visit.exit_page is None or pageview.event_id > visit.exit_page.event_id:
            previous, visit.exit_page = visit.exit_page, pageview
            if visit.day >= self._rollups.finalized_before_day(visit.site_id):
                return  # exit pages are counted when the day is over, since the visit may continue
            if previous is None or previous.path != pageview.path:
                other_paths = [other.exit_page.path for other in day_visits if other is not visit and other.exit_page]
                self._move_page(visit, Dimension.EXIT, previous, pageview, other_paths)

    def _move_page(
        self,
        visit: Visit,
        dimension: Dimension,
        old_page: PageviewRef | None,
        new_page: PageviewRef,
        other_paths: list[str],
    ) -> None:
        """Count a visit under another entry or exit page. `other_paths` are those of the visitor's other visits."""
        site_id, day, dimension_key = visit.site_id, visit.day, self._rollups.dimension_key
        old_key = None if old_page is None else dimension_key(site_id, day, dimension, old_page.path)
        other_keys = [dimension_key(site_id, day, dimension, path) for path in other_paths]
        self._move_visit(visit, old_key, dimension_key(site_id, day, dimension, new_page.path), other_keys)

    def _replace_source_and_client(
        self, visit: Visit, traffic_source: TrafficSource, client: ClientInfo, day_visits: list[Visit]
    ) -> None:
        """Give a visit the traffic source and client of an earlier event that has arrived late."""
        old_keys = self._keys_by_dimension(visit)
        visit.traffic_source, visit.client = traffic_source, client
        new_keys = self._keys_by_dimension(visit)
        keys_of_others = [self._keys_by_dimension(other) for other in day_visits if other is not visit]
        for dimension in {**old_keys, **new_keys}:
            other_keys = [keys[dimension] for keys in keys_of_others if dimension in keys]
            self._move_visit(visit, old_keys.get(dimension), new_keys.get(dimension), other_keys)

    def _keys_by_dimension(self, visit: Visit) -> dict[int, int]:
        """Return the dimension keys of a visit's traffic source and client, by dimension."""
        keys_of = self._rollups.visit_dimension_keys
        keys = (
            *keys_of(visit.site_id, visit.day, visit.traffic_source),
            *keys_of(visit.site_id, visit.day, visit.client),
        )
        return {dimension_of(dimension_key): dimension_key for dimension_key in keys}

    def _move_visit(self, visit: Visit, old_key: int | None, new_key: int | None, other_keys: list[int]) -> None:
        """Move a visit to another value of a dimension.

        The visitor moves too, except from or to a value that another of their visits has (`other_keys`).
        """
        if old_key == new_key:
            return
        delta = self._rollups.delta(visit.site_id, visit.day)
        if old_key is not None:
            delta.add(old_key, -(old_key not in other_keys), -1)
        if new_key is not None:
            delta.add(new_key, new_key not in other_keys, 1)

    def flush(self) -> None:
        """Write the visits that changed."""
        # In the order of the primary key, SQLite visits each page of the table once.
        self._changed.sort(key=attrgetter("site_id", "id"))
        rows = []
        for visit in self._changed:
            visit.is_changed = False
            rows.append(
                (
                    visit.site_id,
                    visit.id,
                    *visit.source_and_client_ids,
                    visit.entry_page and visit.entry_page.page_id,
                    visit.exit_page and visit.exit_page.page_id,
                    visit.page_type_bloom,
                    visit.visitor_id,
                    visit.is_identified,
                    visit.is_only_visit_of_day,
                    visit.early_ms,
                    visit.duration_ms,
                    visit.pageviews,
                    visit.events,
                )
            )
        insert(self._conn, _INSERT_VISITS, rows, _UPDATE_VISITS)
        insert(
            self._conn, "INSERT INTO open_visits (site_id, daily_visitor_id, visit_id, session_key)", self._new_visits
        )
        self._changed.clear()
        self._new_visits.clear()

    def reset(self) -> None:
        """Empty the cache, and drop what is not written yet."""
        self._visit_cache.reset()
        self._changed.clear()
        self._new_visits.clear()


def _find_open_visit(visits: list[Visit], event: Event) -> Visit | None:
    """Return the visit that an event continues: by its session key, or, without one, by the pause between them."""
    timestamp_ms, session_key = event.timestamp_ms, event.session_key
    for visit in reversed(visits):
        if visit.is_open and visit.session_key == session_key:
            started_at_ms = visit.id >> COUNTER_BITS
            if (
                session_key is not None
                or started_at_ms - visit.early_ms - VISIT_TIMEOUT_MS
                <= timestamp_ms
                <= started_at_ms + visit.duration_ms + VISIT_TIMEOUT_MS
            ):
                return visit
    return None


def close_open_visits(conn: sqlite3.Connection, site_id: int) -> int:
    """Close all open visits of a site, so that later events begin new ones. Return how many visits were open.

    Call it inside a transaction.
    """
    return conn.execute("DELETE FROM open_visits WHERE site_id = ?", (site_id,)).rowcount
