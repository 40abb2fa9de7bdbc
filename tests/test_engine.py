"""The protocols of an engine: that SQLite implements them, and how the journal is handed to a writer."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from ovx_lite.storage import upkeep
from ovx_lite.storage.engine import EventReader, EventUpkeep, EventWriter
from ovx_lite.storage.ledger import event_journal
from ovx_lite.storage.ledger.event_journal import JournalEvent
from ovx_lite.storage.ledger.journal_drain import drain, drain_slice
from ovx_lite.storage.ledger.ledger import Ledger, write_group
from ovx_lite.storage.projection.projection import Projection
from ovx_lite.storage.read.reader import SqliteReader
from ovx_lite.storage.sqlite import open_store
from tests.support.store import NOW, new_event, new_site, request


class RecordingWriter:
    """A writer of another engine, which takes no part in SQLite's transaction. It can fail after it has written."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.batches: list[list[int]] = []
        self.fails = False

    def begin(self) -> bool:
        self.calls.append("begin")
        return False

    def project(self, events: Sequence[JournalEvent]) -> None:
        self.calls.append("project")
        self.batches.append([event.id for event in events])
        if self.fails:
            raise OSError("the connection was lost")

    def reset(self) -> None:
        self.calls.append("reset")


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path, create=True)) as conn:
        yield conn


def store_events(conn: sqlite3.Connection, group_count: int) -> None:
    site, ledger = new_site(conn), Ledger(conn, 0)
    for number in range(group_count):
        entry = ledger.prepare(request(site, new_event(f"/{number}"), new_event(f"/{number}/b")))
        write_group(conn, ledger, [entry], {}, NOW)


def test_sqlite_implements_the_protocols(conn: sqlite3.Connection) -> None:
    """The type checker verifies the assignments; this verifies that the projection drains the same journal."""
    writer: EventWriter = Projection(conn)
    reader: EventReader = SqliteReader(conn)
    sqlite_upkeep: EventUpkeep = upkeep
    store_events(conn, 1)
    assert drain(conn, writer) == 2
    (site_id,) = reader.latest_events([1, 2])
    assert sqlite_upkeep.problems(conn) == []
    assert sqlite_upkeep.forget_site(conn, site_id) == 2
    assert reader.oldest_event_ms(site_id) is None


def test_a_writer_gets_the_journal_in_order_and_in_slices(conn: sqlite3.Connection) -> None:
    store_events(conn, 5)
    writer, event_ids = RecordingWriter(), [event.id for event in event_journal.read_all(conn)]
    assert drain_slice(conn, writer, max_events=4) == 4
    assert drain(conn, writer) == 6
    assert drain_slice(conn, writer) == 0
    assert writer.batches == [event_ids[:4], event_ids[4:]]
    assert writer.calls == ["begin", "project", "begin", "project"]
    assert event_journal.event_count(conn) == 0


def test_what_a_writer_could_not_take_stays_in_the_journal_and_comes_again(conn: sqlite3.Connection) -> None:
    store_events(conn, 3)
    writer = RecordingWriter()
    writer.fails = True
    with pytest.raises(OSError, match="lost"):
        drain_slice(conn, writer, max_events=4)
    assert event_journal.event_count(conn) == 6
    assert writer.calls == ["begin", "project", "reset"]
    writer.fails = False
    assert drain(conn, writer) == 6
    first, second = writer.batches
    assert second[: len(first)] == first
