"""The event log: appending to it.

A later engine for more than one machine would replace this module, `events` and those that report from them.
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
_MAX_CACHED, _MAX_CACHED_EVER = 20_000, 200_000

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
    """The numbers of strings that repeat, in one table: looked up once, then remembered."""

    def __init__(self, conn: sqlite3.Connection, table: str) -> None:
        columns = _LOOKUP_COLUMNS[table]
        self._conn = conn
        self._select = f"SELECT id FROM {table} WHERE " + " AND ".join(f"{column} = ?" for column in columns)
        self._insert = (
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) RETURNING id"
        )
        self.ids: dict[tuple[str, ...], int] = {}

    def look_up(self, values: tuple[str, ...]) -> int:
        """The number of `words`, which is not among the `known`: a new one if they are new. Inside a transaction."""
        row = self._conn.execute(self._select, values).fetchone() or self._conn.execute(self._insert, values).fetchone()
        row_id = self.ids[values] = int(row[0])
        return row_id


class EventWriter:
    """Appends events over one connection. What it remembers of the file is only a shortcut, and checked.

    Use within a transaction: `begin`, `add` as often as there are requests, `flush`. After a transaction that
    failed: `forget`.
    """

    def __init__(self, conn: sqlite3.Connection, counter: int) -> None:
        """`counter` is where the numbers that tell apart events of one millisecond begin: any, best a random one."""
        self._conn = conn
        self._counter = counter
        self._file_version = -1
        self._lookup_tables = [LookupTable(conn, table) for table in _LOOKUP_COLUMNS]
        self._rollups = RollupWriter(conn)
        self._sessionizer = Sessionizer(conn, self._rollups)
        self._identity_links = IdentityLinks(conn)
        self._timezones: dict[int, str] = {}
        self._added: list[tuple[int, int, Event]] = []
        self._events_since_reset = 0

    def begin(self) -> bool:
        """Forget what another process may have changed since, and do not remember more than a fair amount.

        Returns whether all was forgotten.
        """
        (version,) = self._conn.execute("PRAGMA data_version").fetchone()
        caches: tuple[Sized, ...] = (
            self._sessionizer,
            self._identity_links,
            self._rollups,
            *(lookup_table.ids for lookup_table in self._lookup_tables),
        )
        cached = max(map(len, caches))
        # If those who are there now have seen much, it is much to learn again, and worth it only after as many events.
        is_worn_out = cached > _MAX_CACHED and (cached < self._events_since_reset or cached > _MAX_CACHED_EVER)
        # Of which goals a visit has met, nothing is known of those that are new.
        if self._rollups.begin() or version != self._file_version or is_worn_out:
            self.reset()
            self._rollups.begin()
            self._file_version = version
            return True
        return False

    def add(self, site_id: int, events: list[Event]) -> list[int]:
        """Take events of one site, to be appended. Returns their numbers; `model.event_id` makes their names of them.

        Raises `ApiError` (`invalid_site_id`), with nothing taken, if the site was removed in the meantime.
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
        """Append what was added."""
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
        """Drop what is remembered and what was added but not written."""
        for lookup_table in self._lookup_tables:
            lookup_table.ids.clear()
        self._timezones.clear()
        self._sessionizer.reset()
        self._identity_links.reset()
        self._rollups.reset()
        self._added.clear()
        self._events_since_reset = 0


def open_event_writer(conn: sqlite3.Connection, counter: int) -> EventWriter:
    """The event log over a connection, to be made in the thread that will use it."""
    return EventWriter(conn, counter)
