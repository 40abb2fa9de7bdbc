"""The store: group commits, concurrent access, visits, migrations, and the size of an event."""

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

from ovx_lite.domain.calendar import DAY_MS, MINUTE_MS
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Event, Reply, Site
from ovx_lite.storage import integrity, registry, salts, sqlite, upkeep
from ovx_lite.storage.connections import Database
from ovx_lite.storage.copies import copy
from ovx_lite.storage.ledger.idempotency import IdempotencyKey
from ovx_lite.storage.projection.sessionizer import MAX_EVENTS_PER_VISITOR
from ovx_lite.storage.read import events
from ovx_lite.storage.sqlite import migrate, open_store, steps
from tests.support.store import MAX_TIME_MS, NOW, new_event, new_site, open_writer, paths, request, store_group

NEXT = max(steps()) + 1


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path)) as connection:
        yield connection


@pytest.fixture
def site(conn: sqlite3.Connection) -> Site:
    return new_site(conn)


INVALID_EVENTS = [
    new_event(props='{"a":"\ud800"}'),
    new_event("/\udfff"),
    new_event(name="\ud800"),
    new_event(timestamp_ms=2**45),
]


@pytest.mark.parametrize("invalid_event", INVALID_EVENTS)
def test_an_invalid_request_does_not_fail_its_group(conn: sqlite3.Connection, site: Site, invalid_event: Event) -> None:
    writer = open_writer(conn, 0)
    group = [
        request(site, new_event("/1")),
        request(site, new_event("/2"), invalid_event),
        request(site, new_event("/3")),
    ]
    first, invalid, last = store_group(conn, writer, group, {}, NOW)
    assert isinstance(first, Reply)
    assert isinstance(invalid, Exception)
    assert isinstance(last, Reply)
    assert paths(conn, site) == ["/1", "/3"]


@pytest.mark.parametrize("invalid_event", INVALID_EVENTS)
def test_a_rolled_back_request_leaves_no_dangling_lookup_ids(
    conn: sqlite3.Connection, site: Site, invalid_event: Event
) -> None:
    writer = open_writer(conn, 0)
    store_group(conn, writer, [request(site, new_event("/new", name="new")), request(site, invalid_event)], {}, NOW)
    store_group(conn, writer, [request(site, new_event("/other")), request(site, new_event("/new"))], {}, NOW)
    assert paths(conn, site) == ["/new", "/other", "/new"]
    assert integrity.problems(conn) == []


def test_a_failed_request_does_not_use_up_its_idempotency_key(conn: sqlite3.Connection, site: Site) -> None:
    writer, idempotency_key = open_writer(conn, 0), IdempotencyKey("key", b"fingerprint")
    store_group(conn, writer, [request(site, new_event("/\ud800"), idempotency_key=idempotency_key)], {}, NOW)
    (result,) = store_group(conn, writer, [request(site, new_event("/good"), idempotency_key=idempotency_key)], {}, NOW)
    assert isinstance(result, Reply)
    assert not result.replayed
    assert paths(conn, site) == ["/good"]


def test_events_of_a_removed_site_do_not_fail_their_group(conn: sqlite3.Connection, site: Site) -> None:
    writer, gone_site = open_writer(conn, 0), new_site(conn, "gone")
    store_group(conn, writer, [request(gone_site, new_event())], {}, NOW)
    with closing(sqlite._connect(Path(conn.execute("PRAGMA database_list").fetchone()[2]))) as another_process:
        another_process.execute("PRAGMA foreign_keys = ON")
        registry.remove_site(another_process, upkeep, "gone")
    refused, stored = store_group(
        conn, writer, [request(gone_site, new_event()), request(site, new_event("/1"))], {}, NOW
    )
    assert isinstance(refused, ApiError)
    assert refused.code == "invalid_site_id"
    assert isinstance(stored, Reply)


def test_two_processes_that_assign_the_same_id_both_store_their_events(
    tmp_path: Path, conn: sqlite3.Connection, site: Site
) -> None:
    with closing(open_store(tmp_path)) as other:
        for number, (connection, writer) in enumerate([(conn, open_writer(conn, 7)), (other, open_writer(other, 7))]):
            (result,) = store_group(connection, writer, [request(site, new_event(f"/{number}"))], {}, NOW)
            assert isinstance(result, Reply)
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
        sites = len((await database.read(registry.load)).sites_by_slug)
        read.set()
        assert await task, "the reader must not wait for the writer"
        return sites
    finally:
        read.set()
        await database.close()


def test_a_reader_does_not_wait_for_the_writer(tmp_path: Path, site: Site) -> None:
    assert asyncio.run(read_beside_a_writer(tmp_path)) == 1


def test_events_beyond_the_limit_of_a_visitor_are_counted_without_a_visit(conn: sqlite3.Connection, site: Site) -> None:
    writer, extra_count = open_writer(conn, 0), 300
    for first in range(0, MAX_EVENTS_PER_VISITOR + extra_count, 1000):
        group_events = [
            new_event(f"/{number}", visitor=7)
            for number in range(first, min(first + 1000, MAX_EVENTS_PER_VISITOR + extra_count))
        ]
        store_group(conn, writer, [request(site, *group_events)], {}, NOW)
    visit_ids = [stored.visit_id for stored in events.read(conn, site, 0, MAX_TIME_MS, True)]
    assert (len(visit_ids), visit_ids.count(None), len(set(visit_ids))) == (
        MAX_EVENTS_PER_VISITOR + extra_count,
        extra_count,
        2,
    )
    query = "SELECT visitors, visits, pageviews, sessionless_events FROM daily_totals"
    assert conn.execute(query).fetchone() == (1, 1, len(visit_ids), extra_count)
    assert integrity.problems(conn) == []


def test_visitors_with_many_pages_are_not_reloaded_for_every_group(conn: sqlite3.Connection, site: Site) -> None:
    # All their pages together exceed the size of the cache.
    writer, pages = open_writer(conn, 0), iter(range(100_000))
    for visitor in range(25):
        group_events = [new_event(f"/{next(pages)}", visitor=visitor + 1) for _ in range(1000)]
        store_group(conn, writer, [request(site, *group_events)], {}, NOW)
    statements: list[str] = []
    conn.set_trace_callback(statements.append)
    for _ in range(20):
        group_events = [new_event(f"/{next(pages)}", visitor=visitor + 1) for visitor in range(25)]
        store_group(conn, writer, [request(site, *group_events)], {}, NOW)
    reload_count = sum("FROM events JOIN event_types" in statement for statement in statements)
    assert reload_count < 20, "each group reloaded the visitors"


def test_an_event_takes_at_most_60_bytes_on_a_busy_site(tmp_path: Path) -> None:
    chance = random.Random(1)
    pages = [f"/section-{n % 9}/a-page-with-a-longer-name-{n}" for n in range(100)]
    origins = [new_event().traffic_source._replace(referrer=f"partner-{n}.example/") for n in range(97)]
    clients = [new_event().client._replace(country=country) for country in ("FR", "DE", "US", "GB", "")]
    with closing(open_store(tmp_path)) as conn:
        site, writer = new_site(conn), open_writer(conn, 0)
        empty_size_bytes = (tmp_path / sqlite.STORE_FILE).stat().st_size
        for midnight_ms in range(0, 10 * DAY_MS, DAY_MS):
            salts.of_day(conn, site.id, midnight_ms // DAY_MS, b"salt")  # as the first event of a day does
            day_events = []
            for visit_start_ms in range(midnight_ms, midnight_ms + DAY_MS - 5 * MINUTE_MS, DAY_MS // 1300):
                visitor = chance.getrandbits(47)
                visit_fields = {
                    "visitor_id": visitor,
                    "daily_visitor_id": visitor,
                    "traffic_source": chance.choice(origins),
                    "client": chance.choice(clients),
                }
                for timestamp_ms in range(visit_start_ms, visit_start_ms + 4 * MINUTE_MS, MINUTE_MS):
                    view, custom = (
                        new_event(chance.choice(pages), timestamp_ms),
                        new_event("/signup", timestamp_ms, props='{"plan":"pro"}', name="signup"),
                    )
                    day_events.append(
                        msgspec.structs.replace(custom if chance.random() < 0.05 else view, **visit_fields)
                    )
            day_events.sort(key=attrgetter("timestamp_ms"))
            for start in range(0, len(day_events), 100):
                store_group(conn, writer, [request(site, *day_events[start : start + 100])], {}, NOW)
        count = len(paths(conn, site))
        assert integrity.problems(conn) == []
    assert count >= 50_000
    assert (tmp_path / sqlite.STORE_FILE).stat().st_size - empty_size_bytes <= 60 * count
    assert [file.name for file in tmp_path.iterdir()] == [sqlite.STORE_FILE]


def test_a_failed_migration_is_rolled_back(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    before = list(conn.iterdump())
    failing = "CREATE TABLE extra (a INTEGER) STRICT; DROP TABLE goals; INSERT INTO extra VALUES ('no number');"
    with pytest.raises(sqlite3.Error):
        migrate(conn, tmp_path / sqlite.STORE_FILE, steps() | {NEXT: failing})
    assert not conn.in_transaction
    assert list(conn.iterdump()) == before
    assert conn.execute("PRAGMA user_version").fetchone() == (NEXT - 1,)


def test_a_migration_runs_all_its_statements(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    step = """
    CREATE TABLE extra (a TEXT) STRICT; -- a comment; with a semicolon
    CREATE TRIGGER more AFTER INSERT ON extra BEGIN UPDATE extra SET a = a || ';'; UPDATE sites SET name = 'x'; END;
    INSERT INTO extra VALUES ('one;two');"""
    migrate(conn, tmp_path / sqlite.STORE_FILE, steps() | {NEXT: step})
    assert conn.execute("SELECT a, name FROM extra, sites").fetchall() == [("one;two;", "x")]


def test_a_migration_without_a_final_semicolon_runs_completely_or_fails(
    tmp_path: Path, conn: sqlite3.Connection
) -> None:
    with suppress(sqlite3.Error, ValueError):
        script = "CREATE TABLE one (a); CREATE TABLE two (a)"  # no semicolon
        migrate(conn, tmp_path / sqlite.STORE_FILE, steps() | {NEXT: script})
    assert conn.execute("SELECT count(*) FROM sqlite_schema WHERE name IN ('one', 'two')").fetchone() in [(0,), (2,)]


def test_the_store_is_copied_before_an_upgrade(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    migrate(conn, tmp_path / sqlite.STORE_FILE, steps() | {NEXT: "DELETE FROM sites;"})
    assert conn.execute("PRAGMA user_version").fetchone() == (NEXT,)
    copy_path = tmp_path / "restored" / sqlite.STORE_FILE
    copy_path.parent.mkdir()
    (tmp_path / f"ovx-lite-before-schema-{NEXT}.sqlite3").rename(copy_path)
    with closing(open_store(copy_path.parent)) as restored:
        assert list(registry.load(restored).sites_by_slug) == ["my-site"]


def test_a_store_that_is_up_to_date_is_not_copied(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    open_store(tmp_path).close()
    assert {file.name.removeprefix(sqlite.STORE_FILE) for file in tmp_path.iterdir()} <= {"", "-wal", "-shm"}


def test_commits_are_synced_to_disk(tmp_path: Path) -> None:
    async def read_pragmas() -> list[tuple[Any]]:
        database = await Database.open(tmp_path)
        rows = [
            await database.write(lambda conn: conn.execute("PRAGMA journal_mode").fetchone()),
            await database.write(lambda conn: conn.execute("PRAGMA synchronous").fetchone()),
        ]
        await database.close()
        return rows

    assert asyncio.run(read_pragmas()) == [("wal",), (2,)]  # 2 is FULL


def test_only_the_owner_may_read_the_store(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    copy(conn, tmp_path / "backup")
    assert {file.name for file in tmp_path.iterdir()} >= {sqlite.STORE_FILE, sqlite.STORE_FILE + "-wal", "backup"}
    assert [file.name for file in tmp_path.iterdir() if file.stat().st_mode & 0o077] == []
