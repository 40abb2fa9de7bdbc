"""Visits in memory: those of current visitors, with what is needed to continue them, and how they are loaded.

The table `open_visits` leads from a visitor to their visits of the current day. The rows of visits that are in progress
at the same time are neighbours in their table, and so are the events of a visit. So a batch changes few pages of the
file.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from ovx_lite.domain.calendar import day_start_ms
from ovx_lite.domain.models import COUNTER_BITS
from ovx_lite.storage.ledger.event_journal import JournalEvent
from ovx_lite.storage.projection.dimension_keys import DimensionKeys
from ovx_lite.storage.sqlite import batches, insert

_COLUMNS = (
    "site_id, id, traffic_source_id, client_id, entry_page_id, exit_page_id, page_type_bloom, visitor_id,"
    " flags, early_ms, elapsed_ms, pageviews, other_events"
)
_INSERT_VISITS = f"INSERT INTO visits ({_COLUMNS})"
_UPDATE_VISITS = "ON CONFLICT (site_id, id) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in _COLUMNS.split(", ")[2:] if column != "visitor_id"
)
_VISIT_COLUMNS = """
visits.id, visitor_id, is_identified, traffic_source_id, client_id, entry_page_id, exit_page_id, page_type_bloom,
early_ms, elapsed_ms, pageviews, visits.events
"""
_OPEN_VISITS = f"""
SELECT visits.site_id, daily_visitor_id, session_key, {_VISIT_COLUMNS}
FROM open_visits CROSS JOIN visits ON visits.site_id = open_visits.site_id AND visits.id = visit_id
WHERE daily_visitor_id IN ({{}}) ORDER BY visit_id
"""
_VISITS_OF_IDENTIFIED = f"""
SELECT {_VISIT_COLUMNS} FROM visits INDEXED BY visits_by_identified_visitor
WHERE site_id = ? AND is_identified = 1 AND visits.id >= ? AND visits.id < ? AND visitor_id IN ({{}}) ORDER BY visits.id
"""
_EVENTS_OF_VISITS = """
SELECT visit_id, visit_id + id_offset, event_type_id, page_id FROM events
WHERE site_id = ? AND visit_id IN ({}) ORDER BY visit_id, id_offset
"""
_BATCH_SIZES = (128, 16, 4, 1)

VisitorKey = tuple[int, int | None]
"""The ID of a site, and the ID of its visitor on one day (`Event.daily_visitor_id`)."""


class Visit(msgspec.Struct, gc=False):
    """A visit. Its ID is that of the event that began it; its earliest event may be another one, which arrived late.

    `early_ms` is the time from the earliest event to the one that began the visit, `duration_ms` from there to the last
    event. `entry_event_id` and `exit_event_id` are the pageviews that determine entry and exit page; 0 without one.
    `dimension_keys` are those of its events. Only an open visit can continue.
    """

    site_id: int
    day: int
    daily_visitor_id: int
    id: int
    visitor_id: int
    is_identified: bool
    session_key: int | None
    traffic_source_id: int
    client_id: int
    first_event_id: int
    entry_page_id: int | None = None
    exit_page_id: int | None = None
    page_type_bloom: int = 0
    early_ms: int = 0
    duration_ms: int = 0
    pageviews: int = 0
    events: int = 0
    is_only_visit_of_day: bool = True
    is_open: bool = True
    entry_event_id: int = 0
    exit_event_id: int = 0
    dimension_keys: set[int] = set()


class VisitCache:
    """The visits of the visitors of a day who are likely to continue them.

    `look_up` fills the cache, the projection adds new visits to the lists that it returns, and `reset` empties it.
    """

    def __init__(self, conn: sqlite3.Connection, dimension_keys: DimensionKeys) -> None:
        self._conn = conn
        self._dimension_keys = dimension_keys
        self._visits: dict[VisitorKey, list[Visit]] = {}

    def __len__(self) -> int:
        return len(self._visits)

    def look_up(
        self, events_by_visitor: Mapping[VisitorKey, list[JournalEvent]], timezones: Mapping[int, str]
    ) -> Mapping[VisitorKey, list[Visit]]:
        """Return the visits of each of these visitors on the day of their events; load those that are not cached."""
        missing = [key for key in events_by_visitor if key not in self._visits]
        if missing:
            self._load(missing, events_by_visitor, timezones)
        return self._visits

    def _load(
        self,
        visitor_keys: list[VisitorKey],
        events_by_visitor: Mapping[VisitorKey, list[JournalEvent]],
        timezones: Mapping[int, str],
    ) -> None:
        identified: dict[tuple[int, int], dict[int, VisitorKey]] = {}  # visitors by site and day, then by visitor ID
        for key in visitor_keys:
            event = events_by_visitor[key][0]
            self._visits[key] = []
            if event.visitor_id is not None and event.visitor_id != event.daily_visitor_id:
                identified.setdefault((event.site_id, event.day), {})[event.visitor_id] = key
        visits = list(self._load_open(visitor_keys, events_by_visitor))
        for (site_id, day), visitors in identified.items():
            visits += self._load_identified(site_id, day, visitors, timezones[site_id])
        self._load_events(visits)
        for visit in visits:
            visit.is_only_visit_of_day = len(self._visits[visit.site_id, visit.daily_visitor_id]) == 1

    def _load_open(
        self, visitor_keys: list[VisitorKey], events_by_visitor: Mapping[VisitorKey, list[JournalEvent]]
    ) -> Iterator[Visit]:
        for batch_size, batch in batches(visitor_keys, _BATCH_SIZES):
            query = _OPEN_VISITS.format(", ".join("?" * batch_size))
            wanted = set(batch)  # the same visitor ID may exist on another site
            for site_id, daily_visitor_id, session_key, *row in self._conn.execute(query, [key[1] for key in batch]):
                key = (site_id, daily_visitor_id)
                if key in wanted:
                    visit = _visit_from_row(key, events_by_visitor[key][0].day, session_key, row)
                    self._visits[key].append(visit)
                    yield visit

    def _load_identified(
        self, site_id: int, day: int, visitors: Mapping[int, VisitorKey], timezone: str
    ) -> Iterator[Visit]:
        """Load the closed visits of identified visitors on a day, for events that arrive on another day.

        Visits close at midnight. Only identified visitors are recognised later, because their ID is the same every day.
        """
        id_range = [day_start_ms(date, timezone) << COUNTER_BITS for date in (day, day + 1)]
        for batch_size, batch in batches(list(visitors), _BATCH_SIZES):
            query = _VISITS_OF_IDENTIFIED.format(", ".join("?" * batch_size))
            for row in self._conn.execute(query, [site_id, *id_range, *batch]):
                key = visitors[row[1]]
                cached = self._visits[key]
                if all(visit.id != row[0] for visit in cached):
                    visit = _visit_from_row(key, day, None, row)
                    visit.is_open = False
                    cached.append(visit)
                    yield visit

    def _load_events(self, visits: list[Visit]) -> None:
        """Load what the events of these visits contribute: dimension keys, earliest event, entry and exit page."""
        visits_by_site: dict[int, dict[int, Visit]] = {}
        for visit in visits:
            visits_by_site.setdefault(visit.site_id, {})[visit.id] = visit
        for site_id, by_id in visits_by_site.items():
            for batch_size, batch in batches(list(by_id), _BATCH_SIZES):
                query = _EVENTS_OF_VISITS.format(", ".join("?" * batch_size))
                for visit_id, event_id, event_type_id, page_id in self._conn.execute(query, [site_id, *batch]):
                    visit = by_id[visit_id]
                    facts = self._dimension_keys.facts_of_day(site_id, visit.day)[event_type_id, page_id]
                    if facts.is_engagement:
                        continue
                    visit.dimension_keys |= facts.keys
                    visit.first_event_id = min(visit.first_event_id, event_id)
                    if facts.is_page:
                        visit.entry_event_id, visit.exit_event_id = visit.entry_event_id or event_id, event_id

    def reset(self) -> None:
        """Empty the cache. Call it after a rollback, and when another process may have changed visits."""
        self._visits.clear()


def _visit_from_row(key: VisitorKey, day: int, session_key: int | None, row: Iterable[Any]) -> Visit:
    visit_id, visitor_id, is_identified, *columns = row
    site_id, daily_visitor_id = key
    assert daily_visitor_id is not None, "only events with a daily visitor ID belong to a visit"
    source_id, client_id, *others = columns  # in the order of the fields of `Visit`, as all of `_VISIT_COLUMNS`
    return Visit(
        site_id,
        day,
        daily_visitor_id,
        visit_id,
        visitor_id,
        bool(is_identified),
        session_key,
        source_id,
        client_id,
        visit_id,  # the first event, until one is found that is earlier
        *others,
    )


def save(conn: sqlite3.Connection, visits: Iterable[Visit]) -> None:
    """Insert or update visits. Call it inside a transaction."""
    rows = [
        (
            visit.site_id,
            visit.id,
            visit.traffic_source_id,
            visit.client_id,
            visit.entry_page_id,
            visit.exit_page_id,
            visit.page_type_bloom,
            visit.visitor_id,
            visit.is_only_visit_of_day | visit.is_identified << 1,
            visit.early_ms,
            visit.duration_ms,
            visit.pageviews,
            visit.events - visit.pageviews,
        )
        for visit in visits
    ]
    insert(conn, _INSERT_VISITS, rows, _UPDATE_VISITS)


def save_open(conn: sqlite3.Connection, visits: Iterable[Visit]) -> None:
    """Insert new visits into the table of open visits. Call it inside a transaction."""
    with_session, without_session = [], []
    for visit in visits:
        if visit.session_key is None:  # binding NULL takes longer than leaving the column out
            without_session.append((visit.daily_visitor_id, visit.site_id, visit.id))
        else:
            with_session.append((visit.daily_visitor_id, visit.site_id, visit.id, visit.session_key))
    columns = "INSERT INTO open_visits (daily_visitor_id, site_id, visit_id"
    insert(conn, f"{columns})", sorted(without_session))
    insert(conn, f"{columns}, session_key)", sorted(with_session))


def close_open_visits(conn: sqlite3.Connection, site_id: int) -> int:
    """Close all open visits of a site, so that later events begin new ones. Return how many visits were open.

    Call it inside a transaction, when the journal has no events of the site.
    """
    return conn.execute("DELETE FROM open_visits WHERE site_id = ?", (site_id,)).rowcount
