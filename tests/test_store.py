"""The store: groups, full disks, queues, visits, migrations, and what an event costs."""

import asyncio
import json
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

from ovx_lite.auth import api_keys
from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import ApiKey, ClientInfo, Event, EventType, PageUrl, Reply, Site, TrafficSource
from ovx_lite.services.group_commit import WriteRequest, write_group
from ovx_lite.storage import integrity, registry, salts, sqlite
from ovx_lite.storage.connections import Database
from ovx_lite.storage.copies import copy
from ovx_lite.storage.idempotency import IdempotencyKey
from ovx_lite.storage.read import events
from ovx_lite.storage.sqlite import migrate, open_store, steps
from ovx_lite.storage.write.sessionizer import MAX_EVENTS_PER_VISITOR
from ovx_lite.storage.write.unit_of_work import open_unit_of_work

NOW = 1_763_719_200_000  # 2025-11-21 10:00 UTC
MINUTE = 60_000
EVER = 2**42 - 1


class Still:
    """A clock that stands still until it is set."""

    def __init__(self, now: int = NOW) -> None:
        self.ms = now

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def new_site(conn: sqlite3.Connection, id: str = "my-site", timezone: str = "UTC", days: int | None = None) -> Site:
    new = Site(0, id, id, "example.com", timezone, f"pk_{id}", "secret", None, days, 0, b"names")
    return registry.add_site(conn, new)


def new_key(conn: sqlite3.Connection, site: Site, hourly_limit: int | None = None) -> str:
    id, secret, digest = api_keys.new_key()
    registry.add_api_key(conn, ApiKey(id, site.id, "", "enterprise", hourly_limit, digest, 0, None))
    return secret


def event(
    path: str = "/",
    ts: int = NOW,
    visitor: int | None = 1,
    props: str | None = None,
    name: str = "",
    timezone: str = "UTC",
) -> Event:
    kind = EventType("ovyxa", "event", name, "") if name else EventType("ovyxa", "pageview", "pageview", "")
    origin = TrafficSource("google.com/", "google", "search", "", "", "", "", "")
    client = ClientInfo("Chrome", "Windows", "desktop", "FR")
    day = local_day(ts, timezone)
    guest = None if visitor is None else visitor << 20 | day
    return Event(ts, day, kind, PageUrl("https", "example.com", path), origin, client, visitor, guest, props=props)


def request(site: Site, *sent: Event, repeat: IdempotencyKey | None = None) -> WriteRequest:
    return WriteRequest(site.id, list(sent), lambda ids: Reply(201, json.dumps(ids).encode()), repeat)


def paths(conn: sqlite3.Connection, site: Site) -> list[str]:
    return [found.path for found in events.read(conn, site, 0, EVER, True)]


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
    log = open_unit_of_work(conn, 0)
    group = [request(site, event("/1")), request(site, event("/2"), unfit), request(site, event("/3"))]
    first, bad, last = write_group(conn, log, group, {}, NOW)
    assert isinstance(first, Reply)
    assert isinstance(bad, Exception)
    assert isinstance(last, Reply)
    assert paths(conn, site) == ["/1", "/3"]


@pytest.mark.parametrize("unfit", UNFIT)
def test_a_group_that_was_rolled_back_leaves_no_dangling_codes(
    conn: sqlite3.Connection, site: Site, unfit: Event
) -> None:
    log = open_unit_of_work(conn, 0)
    write_group(conn, log, [request(site, event("/new", name="new")), request(site, unfit)], {}, NOW)
    write_group(conn, log, [request(site, event("/other")), request(site, event("/new"))], {}, NOW)
    assert paths(conn, site) == ["/new", "/other", "/new"]
    assert integrity.problems(conn) == []


def test_a_request_that_failed_does_not_use_up_its_idempotency_key(conn: sqlite3.Connection, site: Site) -> None:
    log, repeat = open_unit_of_work(conn, 0), IdempotencyKey("key", b"fingerprint")
    write_group(conn, log, [request(site, event("/\ud800"), repeat=repeat)], {}, NOW)
    (outcome,) = write_group(conn, log, [request(site, event("/good"), repeat=repeat)], {}, NOW)
    assert isinstance(outcome, Reply)
    assert not outcome.replayed
    assert paths(conn, site) == ["/good"]


def test_events_of_a_site_that_is_gone_fail_no_neighbour(conn: sqlite3.Connection, site: Site) -> None:
    log, gone = open_unit_of_work(conn, 0), new_site(conn, "gone")
    write_group(conn, log, [request(gone, event())], {}, NOW)
    with closing(sqlite._connect(Path(conn.execute("PRAGMA database_list").fetchone()[2]))) as another_process:
        another_process.execute("PRAGMA foreign_keys = ON")
        registry.remove_site(another_process, "gone")
    refused, stored = write_group(conn, log, [request(gone, event()), request(site, event("/1"))], {}, NOW)
    assert isinstance(refused, ApiError)
    assert refused.code == "invalid_site_id"
    assert isinstance(stored, Reply)


def test_two_processes_that_give_one_number_both_store(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    with closing(open_store(tmp_path)) as other:
        for number, (where, log) in enumerate(
            [(conn, open_unit_of_work(conn, 7)), (other, open_unit_of_work(other, 7))]
        ):
            (outcome,) = write_group(where, log, [request(site, event(f"/{number}"))], {}, NOW)
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
        sites = len((await database.read(registry.load)).sites_by_slug)
        read.set()
        assert await task, "the reader waited for the writer"
        return sites
    finally:
        read.set()
        await database.close()


def test_a_reader_does_not_wait_for_the_writer(tmp_path: Path, site: Site) -> None:
    assert asyncio.run(read_beside_a_writer(tmp_path)) == 1


def test_a_visitor_who_never_ends_is_counted_and_holds_nobody_up(conn: sqlite3.Connection, site: Site) -> None:
    books, more = open_unit_of_work(conn, 0), 300
    for first in range(0, MAX_EVENTS_PER_VISITOR + more, 1000):
        seen = [
            event(f"/{number}", visitor=7) for number in range(first, min(first + 1000, MAX_EVENTS_PER_VISITOR + more))
        ]
        write_group(conn, books, [request(site, *seen)], {}, NOW)
    found = [one.visit_id for one in events.read(conn, site, 0, EVER, True)]
    assert (len(found), found.count(None), len(set(found))) == (MAX_EVENTS_PER_VISITOR + more, more, 2)
    assert conn.execute("SELECT visitors, visits, pageviews, strays FROM days").fetchone() == (1, 1, len(found), more)
    assert integrity.problems(conn) == []


def test_those_who_have_seen_much_are_not_learnt_anew_all_the_time(conn: sqlite3.Connection, site: Site) -> None:
    # What each of them has seen is more, all in all, than what is remembered at most.
    books, pages = open_unit_of_work(conn, 0), iter(range(100_000))
    for visitor in range(25):
        seen = [event(f"/{next(pages)}", visitor=visitor + 1) for _ in range(1000)]
        write_group(conn, books, [request(site, *seen)], {}, NOW)
    statements: list[str] = []
    conn.set_trace_callback(statements.append)
    for _ in range(20):
        seen = [event(f"/{next(pages)}", visitor=visitor + 1) for visitor in range(25)]
        write_group(conn, books, [request(site, *seen)], {}, NOW)
    learnt = sum("FROM events JOIN kinds" in statement for statement in statements)
    assert learnt < 20, "each group learnt anew who is there"


def test_an_event_takes_at_most_60_bytes_on_a_busy_site(tmp_path: Path) -> None:
    chance, day_long = random.Random(1), 86_400_000
    pages = [f"/section-{n % 9}/a-page-with-a-longer-name-{n}" for n in range(100)]
    origins = [event().traffic_source._replace(referrer=f"partner-{n}.example/") for n in range(97)]
    clients = [event().client._replace(country=country) for country in ("FR", "DE", "US", "GB", "")]
    with closing(open_store(tmp_path)) as conn:
        site, log = new_site(conn), open_unit_of_work(conn, 0)
        empty = (tmp_path / sqlite.STORE_FILE).stat().st_size
        for midnight in range(0, 10 * day_long, day_long):
            salts.of_day(conn, site.id, midnight // day_long, b"salt")  # as the day's first event does
            sent = []
            for begin in range(midnight, midnight + day_long - 5 * MINUTE, day_long // 1300):
                visitor = chance.getrandbits(47)
                visit = {
                    "visitor_id": visitor,
                    "daily_visitor_id": visitor,
                    "traffic_source": chance.choice(origins),
                    "client": chance.choice(clients),
                }
                for ts in range(begin, begin + 4 * MINUTE, MINUTE):
                    view, custom = (
                        event(chance.choice(pages), ts),
                        event("/signup", ts, props='{"plan":"pro"}', name="signup"),
                    )
                    sent.append(msgspec.structs.replace(custom if chance.random() < 0.05 else view, **visit))
            sent.sort(key=attrgetter("timestamp_ms"))
            for start in range(0, len(sent), 20):
                write_group(conn, log, [request(site, *sent[start : start + 20])], {}, NOW)
        count = len(paths(conn, site))
        assert integrity.problems(conn) == []
    assert count >= 50_000
    assert (tmp_path / sqlite.STORE_FILE).stat().st_size - empty <= 60 * count
    assert [file.name for file in tmp_path.iterdir()] == [sqlite.STORE_FILE]


def test_a_failed_step_leaves_no_trace(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    before = list(conn.iterdump())
    failing = "CREATE TABLE extra (a INTEGER) STRICT; DROP TABLE answers; INSERT INTO extra VALUES ('no number');"
    with pytest.raises(sqlite3.Error):
        migrate(conn, tmp_path / sqlite.STORE_FILE, [*steps(), failing])
    assert not conn.in_transaction
    assert list(conn.iterdump()) == before
    assert conn.execute("PRAGMA user_version").fetchone() == (len(steps()),)


def test_a_step_is_done_whole(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    step = """
    CREATE TABLE extra (a TEXT) STRICT; -- a comment; with a semicolon
    CREATE TRIGGER more AFTER INSERT ON extra BEGIN UPDATE extra SET a = a || ';'; UPDATE sites SET name = 'x'; END;
    INSERT INTO extra VALUES ('one;two');"""
    migrate(conn, tmp_path / sqlite.STORE_FILE, [*steps(), step])
    assert conn.execute("SELECT a, name FROM extra, sites").fetchall() == [("one;two;", "x")]


def test_of_a_step_nothing_is_skipped_in_silence(tmp_path: Path, conn: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error, ValueError):
        migrate(
            conn, tmp_path / sqlite.STORE_FILE, [*steps(), "CREATE TABLE one (a); CREATE TABLE two (a)"]
        )  # no semicolon
    assert conn.execute("SELECT count(*) FROM sqlite_schema WHERE name IN ('one', 'two')").fetchone() in [(0,), (2,)]


def test_before_an_upgrade_the_store_is_copied(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    newer = len(steps()) + 1
    migrate(conn, tmp_path / sqlite.STORE_FILE, [*steps(), "DELETE FROM sites;"])
    assert conn.execute("PRAGMA user_version").fetchone() == (newer,)
    copied = tmp_path / "restored" / sqlite.STORE_FILE
    copied.parent.mkdir()
    (tmp_path / f"ovx-lite-before-schema-{newer}.sqlite3").rename(copied)
    with closing(open_store(copied.parent)) as restored:
        assert list(registry.load(restored).sites_by_slug) == ["my-site"]


def test_a_store_that_is_up_to_date_is_not_copied(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    open_store(tmp_path).close()
    assert {file.name.removeprefix(sqlite.STORE_FILE) for file in tmp_path.iterdir()} <= {"", "-wal", "-shm"}


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
    assert {file.name for file in tmp_path.iterdir()} >= {sqlite.STORE_FILE, sqlite.STORE_FILE + "-wal", "backup"}
    assert [file.name for file in tmp_path.iterdir() if file.stat().st_mode & 0o077] == []
