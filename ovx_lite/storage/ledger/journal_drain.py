"""Draining the event journal: its oldest events go to the `EventWriter` of the engine, a slice per transaction."""

import sqlite3
from collections.abc import Iterable

import msgspec

from ovx_lite.storage.engine import EventWriter
from ovx_lite.storage.ledger import event_journal
from ovx_lite.storage.ledger.event_journal import JournalEvent
from ovx_lite.storage.sqlite import no_wait_for_disk, transaction

SLICE_EVENTS = 1_000
"""How many events a transaction projects at most, or slightly more: with SQLite, it takes less than 10 ms."""

_MAX_ID_ATTEMPTS = 1_000


def drain_slice(conn: sqlite3.Connection, writer: EventWriter, max_events: int = SLICE_EVENTS) -> int:
    """Move the oldest events of the journal to `writer` in one transaction, and return how many there were.

    The transaction does not wait for the disk: after a power cut, the journal has what the tables have lost.
    """
    try:
        return _drain_slice(conn, writer, max_events)
    except sqlite3.IntegrityError:
        # An ID is taken by another process's event of the same millisecond. So find out which, one by one.
        return _drain_slice(conn, writer, max_events, with_free_ids=True)


def drain(conn: sqlite3.Connection, writer: EventWriter) -> int:
    """Move all events of the journal to `writer`, and return how many there were."""
    total = 0
    while count := drain_slice(conn, writer):
        total += count
    return total


def _drain_slice(conn: sqlite3.Connection, writer: EventWriter, max_events: int, with_free_ids: bool = False) -> int:
    try:
        with no_wait_for_disk(conn), transaction(conn):
            batch = event_journal.read(conn, max_events)
            if batch.events:
                writer.begin()
                if with_free_ids:
                    _project_with_free_ids(conn, writer, batch.events)
                else:
                    writer.project(batch.events)
                event_journal.delete(conn, batch.last_seq)
    except BaseException:
        writer.reset()
        raise
    return len(batch.events)


def _project_with_free_ids(conn: sqlite3.Connection, writer: EventWriter, events: Iterable[JournalEvent]) -> None:
    """Project events one by one. An event whose ID is taken gets the next free one."""
    for event in events:
        for _ in range(_MAX_ID_ATTEMPTS):
            conn.execute("SAVEPOINT event")
            try:
                writer.project([event])
            except sqlite3.IntegrityError:
                conn.execute("ROLLBACK TO event")
                writer.reset()
                event = msgspec.structs.replace(event, id=event.id + 1)
            else:
                conn.execute("RELEASE event")
                break
        else:
            raise sqlite3.IntegrityError(f"the next {_MAX_ID_ATTEMPTS} IDs after {event.id} are taken, too")
