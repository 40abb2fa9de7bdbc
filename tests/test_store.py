"""The store: groups, full disks, queues, visits, migrations, and what an event costs."""

import asyncio
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Event, Reply, Site
from ovx_lite.services.group_commit import store
from ovx_lite.storage import integrity, registry, salts, sqlite
from ovx_lite.storage.connections import Database
from ovx_lite.storage.copies import copy
from ovx_lite.storage.idempotency import Repeat
from ovx_lite.storage.read import events
from ovx_lite.storage.sqlite import migrate, open_store, steps
from ovx_lite.storage.write.sessionizer import MOST_EVENTS
from ovx_lite.storage.write.unit_of_work import open_books
from tests.support.store import EVER, MINUTE, NOW, event, new_site, paths, request

NEXT = max(steps()) + 1


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path)) as opened:
        yield opened


@pytest.fixture
def site(conn: sqlite3.Connection) -> Site:
    return new_site(conn)


UNFIT = [
    event(props='{"a":"\ud800"}'),
    event("/\udfff"),
    event(name="\ud800"),
    event(ts=2**45),
]


@pytest.mark.parametrize("unfit", UNFIT)
def test_a_bad_request_fails_no_neighbour(conn: sqlite3.Connection, site: Site, unfit: Event) -> None:
    log = open_books(conn, 0)
    group = [request(site, event("/1")), request(site, event("/2"), unfit), request(site, event("/3"))]
    first, bad, last = store(conn, log, group, {}, NOW)
    assert isinstance(first, Reply)
    assert isinstance(bad, Exception)
    assert isinstance(last, Reply)
    assert paths(conn, site) == ["/1", "/3"]


@pytest.mark.parametrize("unfit", UNFIT)
def test_a_group_that_was_rolled_back_leaves_no_dangling_codes(
    conn: sqlite3.Connection, site: Site, unfit: Event
) -> None:
    log = open_books(conn, 0)
    store(conn, log, [request(site, event("/new", name="new")), request(site, unfit)], {}, NOW)
    store(conn, log, [request(site, event("/other")), request(site, event("/new"))], {}, NOW)
    assert paths(conn, site) == ["/new", "/other", "/new"]
    assert integrity.problems(conn) == []


def test_a_request_that_failed_does_not_use_up_its_idempotency_key(conn: sqlite3.Connection, site: Site) -> None:
    log, repeat = open_books(conn, 0), Repeat("key", b"fingerprint")
    store(conn, log, [request(site, event("/\ud800"), repeat=repeat)], {}, NOW)
    (outcome,) = store(conn, log, [request(site, event("/good"), repeat=repeat)], {}, NOW)
    assert isinstance(outcome, Reply)
    assert not outcome.replayed
    assert paths(conn, site) == ["/good"]


def test_events_of_a_site_that_is_gone_fail_no_neighbour(conn: sqlite3.Connection, site: Site) -> None:
    log, gone = open_books(conn, 0), new_site(conn, "gone")
    store(conn, log, [request(gone, event())], {}, NOW)
    with closing(sqlite._connect(Path(conn.execute("PRAGMA database_list").fetchone()[2]))) as another_process:
        another_process.execute("PRAGMA foreign_keys = ON")
        registry.remove_site(another_process, "gone")
    refused, stored = store(conn, log, [request(gone, event()), request(site, event("/1"))], {}, NOW)
    assert isinstance(refused, Refused)
    assert refused.code == "invalid_site_id"
    assert isinstance(stored, Reply)


def test_two_processes_that_give_one_number_both_store(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    with closing(open_store(tmp_path)) as other:
        for number, (where, log) in enumerate([(conn, open_books(conn, 7)), (other, open_books(other, 7))]):
            (outcome,) = store(where, log, [request(site, event(f"/{number}"))], {}, NOW)
            assert isinstance(outcome, Reply)
    assert paths(conn, site) == ["/0", "/1"]


async def read_beside_a_writer(data_dir: Path) -> int:
    database, writing, read = await Database.open(data_dir), threading.Event(), threading.Event()

    def write(conn: sqlite3.Connection) -> bool:
        with sqlite.transaction(conn):
            conn.execute("DELETE FROM sites")
            writing.set()
            return read.wait(30)

    try:
        task = asyncio.create_task(database.write(write))
        await asyncio.to_thread(writing.wait, 30)
        sites = len((await database.read(registry.load)).sites)
        read.set()
        assert await task, "the reader waited for the writer"
        return sites
    finally:
        read.set()
        await database.close()


def test_a_reader_does_not_wait_for_the_writer(tmp_path: Path, site: Site) -> None:
    assert asyncio.run(read_beside_a_writer(tmp_path)) == 1


def test_a_visitor_who_never_ends_is_counted_and_holds_nobody_up(conn: sqlite3.Connection, site: Site) -> None:
    books, more = open_books(conn, 0), 300
    for first in range(0, MOST_EVENTS + more, 1000):
        seen = [event(f"/{number}", visitor=7) for number in range(first, min(first + 1000, MOST_EVENTS + more))]
        store(conn, books, [request(site, *seen)], {}, NOW)
    found = [one.visit for one in events.read(conn, site, 0, EVER, True)]
    assert (len(found), found.count(None), len(set(found))) == (MOST_EVENTS + more, more, 2)
    query = "SELECT visitors, visits, pageviews, sessionless_events FROM daily_totals"
    assert conn.execute(query).fetchone() == (1, 1, len(found), more)
    assert integrity.problems(conn) == []


def test_those_who_have_seen_much_are_not_learnt_anew_all_the_time(conn: sqlite3.Connection, site: Site) -> None:
    # What each of them has seen is more, all in all, than what is remembered at most.
    books, pages = open_books(conn, 0), iter(range(100_000))
    for visitor in range(25):
        seen = [event(f"/{next(pages)}", visitor=visitor + 1) for _ in range(1000)]
        store(conn, books, [request(site, *seen)], {}, NOW)
    statements: list[str] = []
    conn.set_trace_callback(statements.append)
    for _ in range(20):
        seen = [event(f"/{next(pages)}", visitor=visitor + 1) for visitor in range(25)]
        store(conn, books, [request(site, *seen)], {}, NOW)
    learnt = sum("FROM events JOIN event_types" in statement for statement in statements)
    assert learnt < 20, "each group learnt anew who is there"


def test_an_event_takes_at_most_60_bytes_on_a_busy_site(tmp_path: Path) -> None:
    chance, day_long = random.Random(1), 86_400_000
    pages = [f"/section-{n % 9}/a-page-with-a-longer-name-{n}" for n in range(100)]
    origins = [event().origin._replace(referrer=f"partner-{n}.example/") for n in range(97)]
    clients = [event().client._replace(country=country) for country in ("FR", "DE", "US", "GB", "")]
    with closing(open_store(tmp_path)) as conn:
        site, log = new_site(conn), open_books(conn, 0)
        empty = (tmp_path / sqlite.FILE).stat().st_size
        for midnight in range(0, 10 * day_long, day_long):
            salts.today(conn, site.number, midnight // day_long, b"salt")  # as the day's first event does
            sent = []
            for begin in range(midnight, midnight + day_long - 5 * MINUTE, day_long // 1300):
                visitor = chance.getrandbits(47)
                visit = {
                    "visitor": visitor,
                    "guest": visitor,
                    "origin": chance.choice(origins),
                    "client": chance.choice(clients),
                }
                for ts in range(begin, begin + 4 * MINUTE, MINUTE):
                    view, custom = (
                        event(chance.choice(pages), ts),
                        event("/signup", ts, props='{"plan":"pro"}', name="signup"),
                    )
                    sent.append(msgspec.structs.replace(custom if chance.random() < 0.05 else view, **visit))
            sent.sort(key=attrgetter("ts"))
            for start in range(0, len(sent), 100):
                store(conn, log, [request(site, *sent[start : start + 100])], {}, NOW)
        count = len(paths(conn, site))
        assert integrity.problems(conn) == []
    assert count >= 50_000
    assert (tmp_path / sqlite.FILE).stat().st_size - empty <= 60 * count
    assert [file.name for file in tmp_path.iterdir()] == [sqlite.FILE]


def test_a_failed_step_leaves_no_trace(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    before = list(conn.iterdump())
    failing = "CREATE TABLE extra (a INTEGER) STRICT; DROP TABLE goals; INSERT INTO extra VALUES ('no number');"
    with pytest.raises(sqlite3.Error):
        migrate(conn, tmp_path / sqlite.FILE, steps() | {NEXT: failing})
    assert not conn.in_transaction
    assert list(conn.iterdump()) == before
    assert conn.execute("PRAGMA user_version").fetchone() == (NEXT - 1,)


def test_a_step_is_done_whole(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    step = """
    CREATE TABLE extra (a TEXT) STRICT; -- a comment; with a semicolon
    CREATE TRIGGER more AFTER INSERT ON extra BEGIN UPDATE extra SET a = a || ';'; UPDATE sites SET name = 'x'; END;
    INSERT INTO extra VALUES ('one;two');"""
    migrate(conn, tmp_path / sqlite.FILE, steps() | {NEXT: step})
    assert conn.execute("SELECT a, name FROM extra, sites").fetchall() == [("one;two;", "x")]


def test_of_a_step_nothing_is_skipped_in_silence(tmp_path: Path, conn: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error, ValueError):
        script = "CREATE TABLE one (a); CREATE TABLE two (a)"  # no semicolon
        migrate(conn, tmp_path / sqlite.FILE, steps() | {NEXT: script})
    assert conn.execute("SELECT count(*) FROM sqlite_schema WHERE name IN ('one', 'two')").fetchone() in [(0,), (2,)]


def test_before_an_upgrade_the_store_is_copied(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    migrate(conn, tmp_path / sqlite.FILE, steps() | {NEXT: "DELETE FROM sites;"})
    assert conn.execute("PRAGMA user_version").fetchone() == (NEXT,)
    copied = tmp_path / "restored" / sqlite.FILE
    copied.parent.mkdir()
    (tmp_path / f"ovx-lite-before-schema-{NEXT}.sqlite3").rename(copied)
    with closing(open_store(copied.parent)) as restored:
        assert list(registry.load(restored).sites) == ["my-site"]


def test_a_store_that_is_up_to_date_is_not_copied(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    open_store(tmp_path).close()
    assert {file.name.removeprefix(sqlite.FILE) for file in tmp_path.iterdir()} <= {"", "-wal", "-shm"}


def test_what_is_committed_is_on_disk(tmp_path: Path) -> None:
    async def pragmas() -> list[tuple[Any]]:
        database = await Database.open(tmp_path)
        found = [
            await database.write(lambda conn: conn.execute("PRAGMA journal_mode").fetchone()),
            await database.write(lambda conn: conn.execute("PRAGMA synchronous").fetchone()),
        ]
        await database.close()
        return found

    assert asyncio.run(pragmas()) == [("wal",), (2,)]  # 2 is FULL


def test_nobody_else_may_read_the_store(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    copy(conn, tmp_path / "backup")
    assert {file.name for file in tmp_path.iterdir()} >= {sqlite.FILE, sqlite.FILE + "-wal", "backup"}
    assert [file.name for file in tmp_path.iterdir() if file.stat().st_mode & 0o077] == []
