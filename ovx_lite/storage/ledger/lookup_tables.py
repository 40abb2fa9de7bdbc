"""The lookup tables: each distinct page, traffic source, client and event type is stored once. Events refer to it."""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple

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
_COUNTER_MASK = (1 << COUNTER_BITS) - 1


class LookupTable:
    """The row IDs of one lookup table, by the rows' values. `ids` has those that `find` has looked up."""

    def __init__(self, conn: sqlite3.Connection, table: str) -> None:
        columns = _COLUMNS[table]
        self._conn = conn
        self._select = f"SELECT id FROM {table} WHERE " + " AND ".join(f"{column} = ?" for column in columns)
        self._insert = (
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) RETURNING id"
        )
        self.ids: dict[tuple[str, ...], int] = {}

    def find(self, values: tuple[str, ...]) -> int:
        """Return the ID of the row with these values; insert the row if it is missing. Call it inside a transaction."""
        if row_id := self.ids.get(values):
            return row_id
        row = self._conn.execute(self._select, values).fetchone() or self._conn.execute(self._insert, values).fetchone()
        row_id = self.ids[values] = int(row[0])
        return row_id


class EncodedEvents(NamedTuple):
    """Events as the journal holds them, and those of them, with their origin, that lack a row ID of a lookup table."""

    events: list[JournalEvent]
    incomplete: list[tuple[JournalEvent, Event]]


class LookupTables:
    """The four lookup tables over one connection. `complete` fills their caches, and `reset` empties them.

    `encode` may run in another thread than these two.
    """

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._pages, self._traffic_sources = LookupTable(conn, "pages"), LookupTable(conn, "traffic_sources")
        self._clients, self._event_types = LookupTable(conn, "clients"), LookupTable(conn, "event_types")

    def __len__(self) -> int:
        """Return the number of cached rows of the largest table."""
        return max(len(table.ids) for table in (self._pages, self._traffic_sources, self._clients, self._event_types))

    def encode(self, site_id: int, events: Iterable[Event], counters: Iterator[int]) -> EncodedEvents:
        """Return events as the journal holds them, with the row IDs that are cached. It does not use the connection.

        `counters` are the lowest bits of the IDs of the events (see `models`).
        """
        journal_events: list[JournalEvent] = []
        incomplete: list[tuple[JournalEvent, Event]] = []
        event_types, pages = self._event_types.ids, self._pages.ids
        traffic_sources, clients = self._traffic_sources.ids, self._clients.ids
        for event in events:
            event_type_id = event_types.get(event.event_type, 0)
            page_id = pages.get(event.page, 0)
            traffic_source_id = traffic_sources.get(event.traffic_source, 0)
            client_id = clients.get(event.client, 0)
            journal_event = JournalEvent(
                site_id,
                event.timestamp_ms << COUNTER_BITS | next(counters) & _COUNTER_MASK,
                event.day,
                event_type_id,
                page_id,
                traffic_source_id,
                client_id,
                event.visitor_id,
                event.daily_visitor_id,
                event.session_key,
                event.props,
                event.import_line_hash,
                event.person,
                event.revenue_minor,
            )
            journal_events.append(journal_event)
            if not (event_type_id and page_id and traffic_source_id and client_id):
                incomplete.append((journal_event, event))
        return EncodedEvents(journal_events, incomplete)

    def complete(self, encoded: EncodedEvents) -> list[JournalEvent]:
        """Look up, or insert, the rows whose IDs are missing. Return all events. Call it inside a transaction."""
        for journal_event, event in encoded.incomplete:
            journal_event.event_type_id = self._event_types.find(event.event_type)
            journal_event.page_id = self._pages.find(event.page)
            journal_event.traffic_source_id = self._traffic_sources.find(event.traffic_source)
            journal_event.client_id = self._clients.find(event.client)
        return encoded.events

    def reset(self) -> None:
        """Empty the caches. Call it after a rollback, and when another process may have deleted rows."""
        for table in (self._pages, self._traffic_sources, self._clients, self._event_types):
            table.ids.clear()
