"""Acknowledged events are stored exactly once: after `kill -9`, SIGTERM, a full disk and a flood of requests."""

import asyncio
import http.client
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ovx_lite.app import App
from ovx_lite.auth.rate_limit import RateLimiter
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Reply, Site
from ovx_lite.services.disk_space import DiskSpace
from ovx_lite.services.group_commit import MAX_QUEUED_EVENTS, GroupCommitWriter
from ovx_lite.services.notifier import Notifier
from ovx_lite.services.projector import Projector
from ovx_lite.storage import integrity
from ovx_lite.storage.connections import Database
from ovx_lite.storage.ledger.ledger import WriteResult, open_ledger
from ovx_lite.storage.projection.projection import catch_up, open_projection
from ovx_lite.storage.sqlite import open_store
from tests.conftest import Start, Store
from tests.support.in_process import post, run_app
from tests.support.load import CLIENTS, ROUNDS, Load
from tests.support.metrics import wait_until_projected
from tests.support.store import NOW, FrozenClock, new_event, new_key, new_site, open_writer, paths, request, store_group


def test_acknowledged_events_survive_kill_9_and_resent_events_count_once(store: Store, start: Start) -> None:
    store.site()
    load = Load(store.key())
    server = start(store)
    for number in range(ROUNDS):
        load.run_until_stopped(server, f"round{number}")
        checked = store.run("check")
        assert checked.exit_status == 0, checked.stderr + checked.stdout
        server = start(store)
        wait_until_projected(server)
        checked = store.run("check")
        assert checked.exit_status == 0, checked.stderr + checked.stdout
        unanswered = [key for key, paths in load.paths_by_key.items() if paths[0] not in load.acknowledged]
        assert len(unanswered) <= CLIENTS
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
            for idempotency_key in unanswered:
                load.send(connection, idempotency_key)
        assert load.errors == []
        exported = store.events()
        assert Counter(event["path"] for event in exported) == Counter(dict.fromkeys(load.acknowledged, 1))
        assert {event["path"]: event["id"] for event in exported} == load.acknowledged
    assert len(load.acknowledged) > ROUNDS * CLIENTS
    assert server.stop() == 0
    assert store.run("check").exit_status == 0


@pytest.mark.parametrize("number", range(3))
def test_a_stop_under_load_loses_no_acknowledged_event(store: Store, start: Start, number: int) -> None:
    store.site()
    load, server = Load(store.key()), start(store)
    assert load.run_until_stopped(server, f"stop{number}", signal.SIGTERM) == 0
    assert load.errors == []
    stored = {event["path"]: event["id"] for event in store.events()}
    assert stored == load.acknowledged, "every stored event was acknowledged"
    assert server.log_path.read_text().count("\n") <= 2, "the log has only the address and the setup link"
    assert store.run("check").exit_status == 0


def test_sigterm_lets_a_request_in_flight_finish(store: Store, start: Start) -> None:
    store.site()
    key, server = store.key(), start(store)
    body = b'{"site_id":"my-site","url":"https://example.com/last"}'
    head = f"POST /api/v1/events/pageview HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head.encode() + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert client.recv(1000).startswith(b"HTTP/1.1 100")  # from here on, the request is in flight
        server.process.terminate()
        while listens(server.port):
            time.sleep(0.01)
        client.sendall(body)
        assert client.recv(1000).startswith(b"HTTP/1.1 201")
    assert server.process.wait(30) == 0
    assert [event["path"] for event in store.events()] == ["/last"]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path)) as opened:
        yield opened


@pytest.fixture
def site(conn: sqlite3.Connection) -> Site:
    return new_site(conn)


def limit_store_size(conn: sqlite3.Connection, extra_pages: int = 0) -> None:
    """Limit the growth of the file to `extra_pages` pages, as on a full disk."""
    (page_count,) = conn.execute("PRAGMA page_count").fetchone()
    conn.execute(f"PRAGMA max_page_count = {page_count + extra_pages}")


def test_a_request_answered_with_503_is_not_stored(conn: sqlite3.Connection, site: Site) -> None:
    # The first request makes the group fall back to single writes, the second fits, the third exceeds the space.
    large = [new_event(f"/{number}", props='"' + "x" * 2000 + '"') for number in range(1000)]
    group = [request(site, new_event("/\ud800")), request(site, new_event("/small")), request(site, *large)]
    limit_store_size(conn, 20)
    try:
        outcomes = store_group(conn, open_writer(conn, 0), group, {}, NOW)
    except sqlite3.OperationalError:
        assert paths(conn, site) == []  # the writer reports to the whole group that nothing was stored
    else:
        assert isinstance(outcomes[1], Reply)
        assert not isinstance(outcomes[2], Reply)
        assert paths(conn, site) == ["/small"]


async def fill_the_disk(app: App, key: str) -> int:
    stored, text = 0, {str(number): "x" * 2000 for number in range(10)}
    await app.services.database.write(limit_store_size)
    while (response := await post(app, key, props=text))[0] == 201:
        stored += 1
    status, body, headers = response
    assert (status, body["error"]["code"]) == (503, "unavailable")
    assert int(headers["retry-after"]) >= 1
    remaining = headers["ratelimit-remaining"]
    assert (await post(app, key, props=text))[2]["ratelimit-remaining"] == remaining  # a refused request does not count
    await app.services.database.write(lambda conn: conn.execute("PRAGMA max_page_count = 4294967294"))
    assert (await post(app, key, props=text))[0] == 201
    return stored + 1


def test_a_full_disk_causes_503_until_there_is_room(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    key, stored = new_key(conn, site, hourly_limit=5000), list[int]()

    async def run(app: App) -> None:
        stored.append(await fill_the_disk(app, key))

    run_app(tmp_path, FrozenClock(), run)
    assert [len(paths(conn, site))] == stored
    assert integrity.problems(conn) == []


async def flood(database: Database, site: Site) -> None:
    gate = threading.Event()
    ledger, projection = await database.write(open_ledger, 0), await database.write(open_projection)
    writer = GroupCommitWriter(
        database,
        ledger,
        Projector(database, projection, 0),
        RateLimiter(),
        FrozenClock(),
        lambda: None,
        Notifier(),
        DiskSpace(Path(), 0),
    )
    blocking = asyncio.create_task(database.write(lambda conn: gate.wait(30)))
    large_request = request(site, *[new_event()] * 500)
    results = list[WriteResult]()
    for _ in range(MAX_QUEUED_EVENTS // 500):
        writer.submit(large_request, results.append)
    for _ in range(10):
        with pytest.raises(ApiError, match="queue is full") as refusal:
            writer.submit(large_request, results.append)
        assert (refusal.value.code, refusal.value.retry_after_s) == ("unavailable", 1)
    assert results == []
    gate.set()
    await blocking
    async with asyncio.timeout(60):
        while len(results) < MAX_QUEUED_EVENTS // 500:
            await asyncio.sleep(0.01)
    writer.submit(request(site, new_event()), results.append)
    await writer.close()
    assert len(results) == MAX_QUEUED_EVENTS // 500 + 1
    assert all(isinstance(result, Reply) for result in results)


def test_a_flood_is_refused_and_queued_events_are_stored(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    async def run(app: App) -> None:
        await flood(app.services.database, site)

    run_app(tmp_path, FrozenClock(), run)
    catch_up(conn)
    assert len(paths(conn, site)) == MAX_QUEUED_EVENTS + 1


OPEN_STORES = """
import sys, time
from pathlib import Path
from ovx_lite.storage.sqlite import open_store
print("ready", flush=True)
begin = float(sys.stdin.readline())
for number in range(int(sys.argv[2])):
    while time.time() < begin + number * 0.015:
        pass
    open_store(Path(sys.argv[1].format(number))).close()
"""


@pytest.mark.parametrize("folder", ["{}", "same"], ids=["new", "existing"])
def test_two_processes_can_open_a_store_at_once(tmp_path: Path, folder: str) -> None:
    command = [sys.executable, "-c", OPEN_STORES, str(tmp_path / folder), "60"]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    start_line = str(time.time() + 0.05) + "\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(start_line)
        process.stdin.flush()
    assert [process.communicate()[1] for process in processes] == ["", ""]
