"""The event journal: accepted events that the projection has not read yet, in the order in which they were accepted.

A row holds the events of a commit group. One row for many events is cheap to write and to read: it takes 0.4 µs an
event, where a row for each event takes 1.5 µs.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from ovx_lite.domain.models import Person

MAX_EVENTS_PER_ROW = 500
"""A larger group gets several rows, so that a slice of the projection never has many more events than it should."""


class JournalEvent(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """An event as the journal holds it: `models.Event` with its ID, and row IDs of lookup tables in place of texts.

    The order of the fields is stored, so new ones go to the end and need a default.
    """

    site_id: int
    id: int
    day: int
    event_type_id: int
    page_id: int
    traffic_source_id: int
    client_id: int
    visitor_id: int | None = None
    daily_visitor_id: int | None = None
    session_key: int | None = None
    props: str | None = None
    import_line_hash: int | None = None
    person: Person | None = None
    revenue_minor: int | None = None


class Batch(NamedTuple):
    """The oldest events of the journal, and the `seq` of the last row that they come from."""

    events: list[JournalEvent]
    last_seq: int


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[JournalEvent])


def append(conn: sqlite3.Connection, events: Sequence[JournalEvent]) -> None:
    """Append events. Call it inside a transaction."""
    for start in range(0, len(events), MAX_EVENTS_PER_ROW):
        row_events = events[start : start + MAX_EVENTS_PER_ROW]
        query = "INSERT INTO event_journal (event_count, events) VALUES (?, ?)"
        conn.execute(query, (len(row_events), _encode(row_events)))


def read(conn: sqlite3.Connection, max_events: int) -> Batch:
    """Return the oldest events: those of the first row, and of further rows as long as `max_events` are enough.

    Raises `sqlite3.DatabaseError` if a row is damaged.
    """
    events: list[JournalEvent] = []
    last_seq = -1
    for seq, event_count, encoded in conn.execute("SELECT seq, event_count, events FROM event_journal ORDER BY seq"):
        if events and len(events) + event_count > max_events:
            break
        events += _decode(encoded)
        last_seq = seq
    return Batch(events, last_seq)


def read_row(conn: sqlite3.Connection, seq: int) -> list[JournalEvent]:
    """Return the events of one row. Raises `sqlite3.DatabaseError` if it is damaged."""
    return _decode(conn.execute("SELECT events FROM event_journal WHERE seq = ?", (seq,)).fetchone()[0])


def read_all(conn: sqlite3.Connection) -> Iterator[JournalEvent]:
    """Yield all events, oldest first. Raises `sqlite3.DatabaseError` if a row is damaged."""
    for (encoded,) in conn.execute("SELECT events FROM event_journal ORDER BY seq"):
        yield from _decode(encoded)


def _decode(encoded: bytes) -> list[JournalEvent]:
    try:
        return _decoder.decode(encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise sqlite3.DatabaseError("a row of the event journal cannot be decoded") from None


def delete(conn: sqlite3.Connection, last_seq: int) -> None:
    """Delete the rows up to `last_seq`. Call it in the transaction that writes what follows from their events."""
    conn.execute("DELETE FROM event_journal WHERE seq <= ?", (last_seq,))


def event_count(conn: sqlite3.Connection) -> int:
    """Return how many events wait for the projection."""
    return int(conn.execute("SELECT coalesce(sum(event_count), 0) FROM event_journal").fetchone()[0])
