"""Machine failures: power loss, a full disk, other processes using the file, a jumping clock."""

import asyncio
import random
import resource
import socket
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import httpx2
import pytest

from ovx_lite.app import App
from ovx_lite.domain.calendar import HOUR_MS
from ovx_lite.storage import integrity, lock_wait
from ovx_lite.storage.connections import Database
from ovx_lite.storage.lock_wait import SERVER_LOCK_TIMEOUT_S
from ovx_lite.storage.projection.projection import catch_up
from ovx_lite.storage.sqlite import STORE_FILE, open_store, transaction
from tests.conftest import Server, Start, Store
from tests.support.in_process import post, run_app
from tests.support.store import NOW, FrozenClock, new_key, new_site

PATH = "/api/v1/events/custom"


def send(server: Server, key: str, name: str) -> int:
    event = {"site_id": "my-site", "url": "https://example.com/", "event_name": name, "ip_address": "203.0.113.9"}
    return server.send(PATH, event | {"user_agent": "Mozilla/5.0 Firefox/120.0"}, key).status


def event_names(data_dir: Path) -> list[str]:
    """Check the store's integrity and return the names of its events."""
    with closing(open_store(data_dir)) as conn:
        catch_up(conn)
        assert integrity.problems(conn) == []
        query = "SELECT name FROM events JOIN event_types ON event_types.id = event_type_id"
        return [name for (name,) in conn.execute(query)]


def test_a_power_failure_loses_no_acknowledged_event(store: Store, start: Start, tmp_path: Path) -> None:
    store.site()
    key, server, wal_path = store.key(), start(store), store.path / f"{STORE_FILE}-wal"
    wal_sizes_bytes = []  # size of the log after each response
    for number in range(60):
        assert send(server, key, f"event {number}") == 201
        wal_sizes_bytes.append(wal_path.stat().st_size)
    torn_dir = tmp_path / "torn"
    torn_dir.mkdir()
    rng = random.Random(1)
    database_bytes, wal_bytes = (store.path / STORE_FILE).read_bytes(), wal_path.read_bytes()
    assert sorted(wal_sizes_bytes) == wal_sizes_bytes, "the log was reset meanwhile"
    for _ in range(40):
        cut_bytes = rng.randrange(wal_sizes_bytes[0], len(wal_bytes))
        rest = rng.choice([b"", bytes(len(wal_bytes) - cut_bytes), rng.randbytes(len(wal_bytes) - cut_bytes)])
        (torn_dir / STORE_FILE).write_bytes(database_bytes)
        (torn_dir / f"{STORE_FILE}-wal").write_bytes(wal_bytes[:cut_bytes] + rest)
        (torn_dir / f"{STORE_FILE}-shm").unlink(missing_ok=True)
        stored_names = event_names(torn_dir)
        acknowledged = sum(size_bytes <= cut_bytes for size_bytes in wal_sizes_bytes)
        assert stored_names[:acknowledged] == [f"event {number}" for number in range(acknowledged)]
        assert len(stored_names) == len(set(stored_names))


def test_the_log_is_synced_with_each_transaction(store: Store) -> None:
    with closing(open_store(store.path, create=True)) as conn:
        assert conn.execute("PRAGMA synchronous").fetchone() == (2,), "FULL: the log is synced with each commit"
        assert conn.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_used_up_disk_quota_causes_503_until_there_is_room(store: Store, start: Start) -> None:
    store.site()
    key, server = store.key(), start(store)
    assert send(server, key, "before") == 201
    size_bytes = (store.path / f"{STORE_FILE}-wal").stat().st_size
    _, hard_limit_bytes = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size_bytes, hard_limit_bytes))
    assert {send(server, key, "never") for _ in range(5)} == {503}
    assert server.send("/healthz", method="GET").status == 503
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard_limit_bytes, hard_limit_bytes))
    assert send(server, key, "after") == 201
    assert server.stop() == 0
    assert event_names(store.path) == ["before", "after"]


def test_a_short_lock_by_another_process_only_delays_responses(store: Store, start: Start) -> None:
    store.site()
    key, server = store.key(), start(store)
    with closing(sqlite3.connect(store.path / STORE_FILE, isolation_level=None)) as other, ThreadPoolExecutor() as pool:
        other.execute("BEGIN IMMEDIATE")
        futures = [pool.submit(send, server, key, f"waits {number}") for number in range(4)]
        time.sleep(1)
        assert not any(future.done() for future in futures), "an event was acknowledged before it was on disk"
        other.execute("ROLLBACK")
        assert [future.result() for future in futures] == [201] * 4
    assert server.stop() == 0
    assert sorted(event_names(store.path)) == [f"waits {number}" for number in range(4)]


def test_a_store_that_stays_locked_causes_503_after_a_few_seconds(store: Store, start: Start) -> None:
    store.site()
    key, server = store.key(), start(store, constants={"ovx_lite.storage.connections.SERVER_LOCK_TIMEOUT_S": 2})
    assert send(server, key, "before") == 201

    def request_status(path: str) -> int:
        return send(server, key, "never") if path == PATH else server.send(path, method="GET").status

    with (
        closing(sqlite3.connect(store.path / STORE_FILE, isolation_level=None)) as other,
        ThreadPoolExecutor(12) as pool,
    ):
        other.execute("BEGIN IMMEDIATE")
        assert set(pool.map(request_status, (PATH, "/healthz") * 6)) == {503}
        assert {request_status(path) for path in ("/healthz", PATH) * 3} == {503}
        server.stop()
        other.execute("ROLLBACK")
    assert event_names(store.path) == ["before"]


class ManualTime:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s


def test_transactions_behind_one_lock_wait_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.site()
    manual_time = ManualTime()
    monkeypatch.setattr(lock_wait, "time", manual_time)

    def write(conn: sqlite3.Connection) -> None:
        with transaction(conn):
            pass

    async def write_all() -> None:
        database = await Database.open(store.path)
        with closing(sqlite3.connect(store.path / STORE_FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            results = await asyncio.gather(*(database.write(write) for _ in range(12)), return_exceptions=True)
            assert {str(result) for result in results} == {"database is locked"}
            waited_s = manual_time.now_s
            assert waited_s >= SERVER_LOCK_TIMEOUT_S
            assert waited_s < SERVER_LOCK_TIMEOUT_S * 1.5, "not one after the other, nor again when it has lasted"
            other.execute("ROLLBACK")
        await database.write(write)
        await database.close()
        assert manual_time.now_s == waited_s

    asyncio.run(write_all())


def test_a_server_keeps_working_during_a_long_copy_by_another_process(store: Store, start: Start) -> None:
    store.site()
    key, server = store.key(), start(store)
    assert send(server, key, "before") == 201
    with closing(sqlite3.connect(store.path / STORE_FILE, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM events").fetchone()  # a copy only reads, so it blocks nothing
        assert [send(server, key, f"event {number}") for number in range(3)] == [201] * 3
        assert server.send("/healthz", method="GET").status == 200
        other.execute("ROLLBACK")
    assert server.stop() == 0
    assert len(event_names(store.path)) == 4


def replicate(data_dir: Path, stop_event: threading.Event) -> int:
    """Access the file as Litestream does, but much more often. Return the number of rounds."""
    checkpoint_count = 0
    with closing(sqlite3.connect(data_dir / STORE_FILE, timeout=30, isolation_level=None)) as conn:
        conn.execute("PRAGMA wal_autocheckpoint = 0")
        conn.execute("CREATE TABLE IF NOT EXISTS _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)")
        conn.execute("CREATE TABLE IF NOT EXISTS _litestream_lock (id INTEGER)")
        while not stop_event.wait(0.005):
            conn.execute("BEGIN")
            conn.execute("SELECT count(*) FROM _litestream_seq").fetchone()  # from here on, the log cannot be reset
            stop_event.wait(0.02)
            conn.execute("ROLLBACK")
            conn.execute("BEGIN IMMEDIATE")
            conn.execute("INSERT INTO _litestream_lock VALUES (1)")
            conn.execute("ROLLBACK")
            conn.execute("INSERT INTO _litestream_seq VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET seq = seq + 1")
            conn.execute("PRAGMA wal_checkpoint(PASSIVE)")
            checkpoint_count += 1
    return checkpoint_count


def test_replicating_the_store_loses_no_event(store: Store, start: Start) -> None:
    store.site()
    key, server, stop_event = store.key(), start(store), threading.Event()
    with ThreadPoolExecutor() as threads:
        replicator = threads.submit(replicate, store.path, stop_event)
        futures = [threads.submit(send, server, key, f"event {number}") for number in range(400)]
        assert {future.result() for future in futures} == {201}
        assert store.spawn("backup", str(store.path / "copy.sqlite3")).exit_status == 0
        stop_event.set()
        assert replicator.result() > 5
    assert server.stop() == 0
    assert sorted(event_names(store.path)) == sorted(f"event {number}" for number in range(400))


@pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS, 30 * HOUR_MS, -30 * HOUR_MS])
def test_a_clock_jump_breaks_neither_rate_limits_nor_replays(tmp_path: Path, jump_ms: int) -> None:
    clock = FrozenClock()
    with closing(open_store(tmp_path)) as conn:
        key = new_key(conn, new_site(conn), hourly_limit=10)
    statuses = []

    async def run(app: App) -> None:
        for number in range(12):
            clock.current_ms = NOW + number * 1000 + (jump_ms if number >= 6 else 0)
            fields = {"ip_address": "203.0.113.9", "user_agent": "Mozilla/5.0 Firefox/120.0"}
            statuses.append((await post(app, key, f"key-{number}", **fields))[0])
            status, _, headers = await post(app, key, f"key-{number}", **fields)
            assert (status, "idempotency-replayed" in headers) == (statuses[-1], status == 201)

    run_app(tmp_path, clock, run)
    assert statuses == [201] * 10 + ([429] * 2 if jump_ms == -HOUR_MS else [201] * 2)
    assert len(event_names(tmp_path)) == statuses.count(201)


def test_a_server_recovers_from_running_out_of_file_descriptors(store: Store, start: Start) -> None:
    store.site()
    key, server = store.key(), start(store)
    pid = server.process.pid
    _, hard_limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used_count = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used_count + 20, hard_limit))
    connections = []
    for _ in range(60):
        with suppress(OSError):
            connections.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
    time.sleep(0.5)
    for connection in connections:
        connection.close()
    deadline_s = time.monotonic() + 20
    status = 0
    while status != 201 and time.monotonic() < deadline_s:
        with suppress(httpx2.TransportError):
            status = send(server, key, "after")
    assert status == 201
    assert server.stop() == 0
    assert event_names(store.path) == ["after"]
