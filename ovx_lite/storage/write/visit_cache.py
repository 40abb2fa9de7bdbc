"""Visits in memory: those of the current visitors, with what is needed to continue them."""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain.calendar import day_start_ms
from ovx_lite.domain.models import COUNTER_BITS, ClientInfo, Event, EventType, PageUrl, TrafficSource
from ovx_lite.storage.sqlite import batches
from ovx_lite.storage.write.rollup_writer import RollupWriter

_VISIT_COLUMNS = """
visits.id, visitor_id, is_identified, early_ms, elapsed_ms, pageviews, visits.events, page_type_bloom,
traffic_sources.id, clients.id,
referrer, source, channel, utm_source, utm_medium, utm_campaign, utm_content, utm_term, browser, os, device, country
"""
_JOIN_SOURCE_AND_CLIENT = (
    "JOIN traffic_sources ON traffic_sources.id = traffic_source_id JOIN clients ON clients.id = client_id"
)
_OPEN_VISITS = f"""
SELECT visits.site_id, daily_visitor_id, session_key, {_VISIT_COLUMNS}
FROM open_visits CROSS JOIN visits ON visits.site_id = open_visits.site_id AND visits.id = visit_id
{_JOIN_SOURCE_AND_CLIENT}
WHERE daily_visitor_id IN ({{}}) ORDER BY visit_id
"""
_VISITS_OF_IDENTIFIED = f"""
SELECT {_VISIT_COLUMNS} FROM visits INDEXED BY visits_by_identified_visitor {_JOIN_SOURCE_AND_CLIENT}
WHERE site_id = ? AND is_identified = 1 AND visits.id >= ? AND visits.id < ? AND visitor_id IN ({{}}) ORDER BY visits.id
"""
_EVENTS_OF_VISITS = """
SELECT visit_id, id_offset, event_type_id, page_id, api, type, name, excluded_reason, scheme, host, path
FROM events JOIN event_types ON event_types.id = event_type_id JOIN pages ON pages.id = page_id
WHERE site_id = ? AND visit_id IN ({}) ORDER BY visit_id, id_offset
"""
_BATCH_SIZES = (64, 8, 1)

VisitorKey = tuple[int, int]
"""The ID of a site, and the ID of its visitor on one day (`Event.daily_visitor_id`)."""

PAGE_BITS, EVENT_TYPE_BITS = 36, 11  # 47 bits are the largest non-negative integer that SQLite stores in six bytes


def page_bit(page_id: int) -> int:
    """Return the bit of a page in `page_type_bloom` of visits, by the page's ID."""
    return 1 << page_id % PAGE_BITS


def event_type_bit(event_type_id: int) -> int:
    """Return the bit of an event type in `page_type_bloom` of visits, by the event type's ID."""
    return 1 << PAGE_BITS + event_type_id % EVENT_TYPE_BITS


class PageviewRef(NamedTuple):
    """A pageview, as the entry or exit page of a visit."""

    event_id: int
    path: str
    page_id: int


class Visit(msgspec.Struct, gc=False):
    """A visit. Its ID is that of the event that began it; its earliest event may be another one, which arrived late.

    `early_ms` is the time from the earliest event to the one that began the visit, `duration_ms` from there to the last
    event. `source_and_client_ids` are row IDs of `traffic_sources` and `clients`. Only an open visit can continue.
    """

    site_id: int
    day: int
    daily_visitor_id: int
    id: int
    visitor_id: int
    is_identified: bool
    session_key: int | None
    traffic_source: TrafficSource
    client: ClientInfo
    first_event_id: int
    is_only_visit_of_day: bool = True
    early_ms: int = 0
    duration_ms: int = 0
    pageviews: int = 0
    events: int = 0
    page_type_bloom: int = 0
    source_and_client_ids: tuple[int, int] = (0, 0)
    entry_page: PageviewRef | None = None
    exit_page: PageviewRef | None = None
    dimension_keys: set[int] = msgspec.field(default_factory=set)
    is_open: bool = True
    is_changed: bool = False


class VisitCache:
    """The visits of daily visitors, used inside the transaction that appends their events.

    `look_up` fills the cache, the `Sessionizer` adds and changes visits, and `reset` empties it.
    """

    def __init__(self, conn: sqlite3.Connection, rollups: RollupWriter) -> None:
        self._conn = conn
        self._rollups = rollups
        self._visits: dict[VisitorKey, list[Visit]] = {}

    def __len__(self) -> int:
        return len(self._visits)

    def visits_of(self, site_id: int, daily_visitor_id: int) -> list[Visit]:
        """Return the visits of a daily visitor who is in the cache, as a list to which the caller may add."""
        return self._visits[site_id, daily_visitor_id]

    def reset(self) -> None:
        """Empty the cache."""
        self._visits.clear()

    def look_up(self, events: Iterable[tuple[int, int, Event]], timezones: dict[int, str]) -> None:
        """Load the visits of the daily visitors of these events, unless they are cached."""
        identified: dict[tuple[int, int], dict[int, int]] = {}  # daily visitor IDs, by site and day, then by visitor ID
        missing: dict[VisitorKey, Event] = {}
        for site_id, _, event in events:
            daily_visitor_id = event.daily_visitor_id
            if daily_visitor_id is not None and (site_id, daily_visitor_id) not in self._visits:
                missing[site_id, daily_visitor_id] = event
                self._visits[site_id, daily_visitor_id] = []
                if event.visitor_id is not None and event.visitor_id != daily_visitor_id:
                    identified.setdefault((site_id, event.day), {})[event.visitor_id] = daily_visitor_id
        visits = list(self._load_open(list(missing), missing))
        for (site_id, day), daily_ids in identified.items():
            visits += self._load_identified(site_id, day, daily_ids, timezones[site_id])
        self._load_events(visits)

    def _load_open(self, visitor_keys: list[VisitorKey], events: dict[VisitorKey, Event]) -> Iterator[Visit]:
        for batch_size, batch in batches(visitor_keys, _BATCH_SIZES):
            rows = self._conn.execute(
                _OPEN_VISITS.format(", ".join("?" * batch_size)), [daily_visitor_id for _, daily_visitor_id in batch]
            )
            for site_id, daily_visitor_id, session_key, *row in rows:
                if (site_id, daily_visitor_id) in batch:
                    visit = _visit_from_row(
                        site_id, events[site_id, daily_visitor_id].day, daily_visitor_id, session_key, row
                    )
                    self._visits[site_id, daily_visitor_id].append(visit)
                    yield visit

    def _load_identified(self, site_id: int, day: int, daily_ids: dict[int, int], timezone: str) -> Iterator[Visit]:
        """Load the closed visits of identified visitors on a day, for events that arrive on another day.

        Visits close at midnight. Only identified visitors are recognised later, because their ID is the same every day.
        """
        id_range = [day_start_ms(date, timezone) << COUNTER_BITS for date in (day, day + 1)]
        for batch_size, batch in batches(list(daily_ids), _BATCH_SIZES):
            for row in self._conn.execute(
                _VISITS_OF_IDENTIFIED.format(", ".join("?" * batch_size)), [site_id, *id_range, *batch]
            ):
                cached = self._visits[site_id, daily_ids[row[1]]]
                if all(visit.id != row[0] for visit in cached):
                    visit = _visit_from_row(site_id, day, daily_ids[row[1]], None, row)
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
                for visit_id, id_offset, event_type_id, page_id, *values in self._conn.execute(
                    query, [site_id, *batch]
                ):
                    self._add_event(
                        by_id[visit_id],
                        visit_id + id_offset,
                        (event_type_id, page_id),
                        EventType(*values[:4]),
                        PageUrl(*values[4:]),
                    )
        for visit in visits:
            visit.is_only_visit_of_day = len(self._visits[visit.site_id, visit.daily_visitor_id]) == 1

    def _add_event(
        self, visit: Visit, event_id: int, type_and_page_ids: tuple[int, int], event_type: EventType, page: PageUrl
    ) -> None:
        """Add one event to its visit. The events of a visit must come in the order of time."""
        if event_type.is_engagement:
            return
        visit.dimension_keys.update(
            self._rollups.dimension_keys(visit.site_id, visit.day, event_type, page, type_and_page_ids)
        )
        visit.first_event_id = min(visit.first_event_id, event_id)
        if event_type.type == "pageview" and page.path:
            visit.exit_page = PageviewRef(event_id, page.path, type_and_page_ids[1])
            visit.entry_page = visit.entry_page or visit.exit_page


def _visit_from_row(
    site_id: int, day: int, daily_visitor_id: int, session_key: int | None, row: Iterable[Any]
) -> Visit:
    (
        visit_id,
        visitor_id,
        is_identified,
        early_ms,
        duration_ms,
        pageviews,
        events,
        page_type_bloom,
        traffic_source_id,
        client_id,
        *values,
    ) = row
    return Visit(
        site_id=site_id,
        day=day,
        daily_visitor_id=daily_visitor_id,
        id=visit_id,
        visitor_id=visitor_id,
        is_identified=bool(is_identified),
        session_key=session_key,
        traffic_source=TrafficSource(*values[:8]),
        client=ClientInfo(*values[8:]),
        first_event_id=visit_id,
        early_ms=early_ms,
        duration_ms=duration_ms,
        pageviews=pageviews,
        events=events,
        page_type_bloom=page_type_bloom,
        source_and_client_ids=(traffic_source_id, client_id),
    )
