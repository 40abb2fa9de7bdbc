"""The lookup tables: each distinct page, traffic source, client and event type is stored once. Events refer to it."""

import sqlite3
from collections.abc import Iterable, Iterator

from ovx_lite.domain.models import COUNTER_BITS, Event
from ovx_lite.storage.ledger.event_journal import JournalEvent

_COLUMNS = {
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


class LookupTable:
    """The row IDs of one lookup table, by the rows' values.

    Read `ids` first, and call `look_up` for values that it does not have.
    """

    def __init__(self, conn: sqlite3.Connection, table: str) -> None:
        columns = _COLUMNS[table]
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


class LookupTables:
    """The four lookup tables over one connection. `encode` fills their caches, and `reset` empties them."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._pages, self._traffic_sources = LookupTable(conn, "pages"), LookupTable(conn, "traffic_sources")
        self._clients, self._event_types = LookupTable(conn, "clients"), LookupTable(conn, "event_types")

    def __len__(self) -> int:
        """Return the number of cached rows of the largest table."""
        return max(len(table.ids) for table in (self._pages, self._traffic_sources, self._clients, self._event_types))

    def encode(self, site_id: int, events: Iterable[Event], counters: Iterator[int]) -> list[JournalEvent]:
        """Return the events as the journal holds them. `counters` are the lowest bits of their IDs (see `models`).

        Call it inside a transaction.
        """
        pages, traffic_sources, clients, event_types = (
            self._pages,
            self._traffic_sources,
            self._clients,
            self._event_types,
        )
        return [
            JournalEvent(
                site_id,
                event.timestamp_ms << COUNTER_BITS | counter,
                event.day,
                event_types.ids.get(event.event_type) or event_types.look_up(event.event_type),
                pages.ids.get(event.page) or pages.look_up(event.page),
                traffic_sources.ids.get(event.traffic_source) or traffic_sources.look_up(event.traffic_source),
                clients.ids.get(event.client) or clients.look_up(event.client),
                event.visitor_id,
                event.daily_visitor_id,
                event.session_key,
                event.props,
                event.import_line_hash,
                event.person,
                event.revenue_minor,
            )
            for event, counter in zip(events, counters, strict=False)
        ]

    def reset(self) -> None:
        """Empty the caches. Call it after a rollback, and when another process may have deleted rows."""
        for table in (self._pages, self._traffic_sources, self._clients, self._event_types):
            table.ids.clear()
