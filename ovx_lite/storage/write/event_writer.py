"""Appending events to the event log.

A storage engine for several machines would replace this module, `read.events`, and the modules that query the events.
"""

import sqlite3
from collections.abc import Sized

from ovx_lite.domain.errors import no_such_site
from ovx_lite.domain.models import COUNTER_BITS, Event
from ovx_lite.storage.sqlite import insert
from ovx_lite.storage.write.identity_links import IdentityLinks
from ovx_lite.storage.write.rollup_writer import RollupWriter
from ovx_lite.storage.write.sessionizer import Sessionizer

_COUNTER_MASK = (1 << COUNTER_BITS) - 1
_CACHE_SOFT_LIMIT, _CACHE_HARD_LIMIT = 20_000, 200_000  # entries of the largest cache

_LOOKUP_COLUMNS = {
    "pages": ("scheme", "host", "path"),
    "traffic_sources": (
        "referrer",
        "source",
        "channel",
        "utm_source",
        "utm_medium",
        "utm_campaign",
        "utm_content",
        "utm_term",
    ),
    "clients": ("browser", "os", "device", "country"),
    "event_types": ("api", "type", "name", "excluded_reason", "context", "currency"),
}

_INSERT_EVENTS = """
INSERT INTO events (
    site_id, visit_id, id_offset, event_type_id, page_id, traffic_source_id, client_id, props, import_line_hash,
    person_id, revenue_minor
)
"""


class LookupTable:
    """The row IDs of one lookup table, by the rows' values. `EventWriter` owns it and empties it in `reset`.

    Read `ids` first, and call `look_up` for values that it does not have.
    """

    def __init__(self, conn: sqlite3.Connection, table: str) -> None:
        columns = _LOOKUP_COLUMNS[table]
        self._conn = conn
        self._select = f"SELECT id FROM {table} WHERE " + " AND ".join(f"{column} = ?" for column in columns)
        self._insert = (
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) RETURNING id"
        )
        self.ids: dict[tuple[str, ...], int] = {}

    def look_up(self, values: tuple[str, ...]) -> int:
        """Return the ID of the row with these values, and cache it; insert the row if it is missing.

        Call it inside a transaction.
        """
        row = self._conn.execute(self._select, values).fetchone() or self._conn.execute(self._insert, values).fetchone()
        row_id = self.ids[values] = int(row[0])
        return row_id


class EventWriter:
    """Appends events over one connection, with their visits, rollups and identity links.

    In a transaction, call `begin`, then `add` for each request, then `flush`. After a failed transaction, call `reset`.
    It owns the caches of the write path. `begin` empties them when another connection has written, when sites, keys,
    goals or webhooks have changed, or when they are too large.
    """

    def __init__(self, conn: sqlite3.Connection, counter: int) -> None:
        """`counter` is the first value of the counter that makes the IDs of events in one millisecond distinct.

        Any value works, but a random one makes clashes with the IDs of another writer unlikely.
        """
        self._conn = conn
        self._counter = counter
        self._data_version = -1
        self._lookup_tables = [LookupTable(conn, table) for table in _LOOKUP_COLUMNS]
        self._rollups = RollupWriter(conn)
        self._sessionizer = Sessionizer(conn, self._rollups)
        self._identity_links = IdentityLinks(conn)
        self._timezones: dict[int, str] = {}
        self._added: list[tuple[int, int, Event]] = []
        self._events_since_reset = 0

    def begin(self) -> bool:
        """Empty the caches if they may be outdated or are too large. Return whether they were emptied."""
        (data_version,) = self._conn.execute("PRAGMA data_version").fetchone()
        caches: tuple[Sized, ...] = (
            self._sessionizer,
            self._identity_links,
            self._rollups,
            *(lookup_table.ids for lookup_table in self._lookup_tables),
        )
        largest = max(map(len, caches))
        # Filling the caches again costs time. Above the soft limit, do it only once per as many events as are cached.
        is_too_large = largest > _CACHE_SOFT_LIMIT and (
            largest < self._events_since_reset or largest > _CACHE_HARD_LIMIT
        )
        # Cached visits have the goals that they reached, but not those of new goals. So new goals empty the caches.
        if self._rollups.begin() or data_version != self._data_version or is_too_large:
            self.reset()
            self._rollups.begin()
            self._data_version = data_version
            return True
        return False

    def add(self, site_id: int, events: list[Event]) -> list[int]:
        """Queue events of one site for `flush`. Return their IDs; `models.public_event_id` turns them into public IDs.

        Raises `ApiError` (`invalid_site_id`), and queues none of them, if the site was removed in the meantime.
        """
        if site_id not in self._timezones:
            row = self._conn.execute("SELECT timezone FROM sites WHERE id = ?", (site_id,)).fetchone()
            if row is None:
                raise no_such_site()
            self._timezones[site_id] = row[0]
        event_ids = []
        for event in events:
            self._counter = (self._counter + 1) & _COUNTER_MASK
            event_id = event.timestamp_ms << COUNTER_BITS | self._counter
            event_ids.append(event_id)
            self._added.append((site_id, event_id, event))
        return event_ids

    def flush(self) -> None:
        """Append the queued events, and write what follows from them: visits, identity links and rollups."""
        sessionizer, identity_links, rollups = self._sessionizer, self._identity_links, self._rollups
        sessionizer.look_up(self._added, self._timezones)
        pages, traffic_sources, clients, event_types = self._lookup_tables
        rows = []
        for site_id, event_id, event in self._added:
            event_type_id = event_types.ids.get(event.event_type) or event_types.look_up(event.event_type)
            page_id = pages.ids.get(event.page) or pages.look_up(event.page)
            type_and_page_ids = (event_type_id, page_id)
            traffic_source_id = traffic_sources.ids.get(event.traffic_source) or traffic_sources.look_up(
                event.traffic_source
            )
            client_id = clients.ids.get(event.client) or clients.look_up(event.client)
            id_offset = (
                None
                if event.daily_visitor_id is None
                else sessionizer.assign(site_id, event_id, event, type_and_page_ids, (traffic_source_id, client_id))
            )
            rollups.add_event(site_id, event, type_and_page_ids, id_offset is None)
            id_offset = id_offset or 0
            rows.append(
                (
                    site_id,
                    event_id - id_offset,
                    id_offset,
                    event_type_id,
                    page_id,
                    traffic_source_id,
                    client_id,
                    event.props,
                    event.import_line_hash,
                    None if event.person is None else identity_links.assign(site_id, event, event.person),
                    event.revenue_minor,
                )
            )
        insert(self._conn, _INSERT_EVENTS, rows)
        sessionizer.flush()
        identity_links.flush()
        rollups.flush()
        self._events_since_reset += len(self._added)
        self._added.clear()

    def reset(self) -> None:
        """Empty the caches, and drop the queued events."""
        for lookup_table in self._lookup_tables:
            lookup_table.ids.clear()
        self._timezones.clear()
        self._sessionizer.reset()
        self._identity_links.reset()
        self._rollups.reset()
        self._added.clear()
        self._events_since_reset = 0


def open_event_writer(conn: sqlite3.Connection, counter: int) -> EventWriter:
    """Return an `EventWriter` over a connection. Call it in the thread that will use the writer."""
    return EventWriter(conn, counter)
