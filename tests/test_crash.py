"""What was acknowledged is on disk, once: through `kill -9`, SIGTERM, a full disk and a flood."""

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
from ovx_lite.auth.rate_limit import Limits
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Reply, Site
from ovx_lite.services import group_commit as ingestion
from ovx_lite.services.disk_space import DiskSpace
from ovx_lite.services.group_commit import MOST_WAITING, Ingest
from ovx_lite.services.notifier import News
from ovx_lite.storage import integrity
from ovx_lite.storage.connections import Database
from ovx_lite.storage.sqlite import open_store
from ovx_lite.storage.write.unit_of_work import open_books
from tests.conftest import Start, Store
from tests.support.in_process import during, post
from tests.support.load import CLIENTS, ROUNDS, Load
from tests.support.store import NOW, Still, event, new_key, new_site, paths, request


def test_what_was_acknowledged_survives_kill_9_and_what_is_sent_again_counts_once(store: Store, start: Start) -> None:
    store.site()
    load = Load(store.key())
    server = start(store)
    for number in range(ROUNDS):
        load.until_it_ends(server, f"round{number}")
        checked = store.run("check")
        assert checked.status == 0, checked.err + checked.out
        server = start(store)
        unanswered = [key for key, paths in load.sent.items() if paths[0] not in load.acknowledged]
        assert len(unanswered) <= CLIENTS
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
            for repeat in unanswered:
                load.send(connection, repeat)
        assert load.trouble == []
        exported = store.events()
        assert Counter(found["path"] for found in exported) == Counter(dict.fromkeys(load.acknowledged, 1))
        assert {found["path"]: found["id"] for found in exported} == load.acknowledged
    assert len(load.acknowledged) > ROUNDS * CLIENTS
    assert server.stop() == 0
    assert store.run("check").status == 0


@pytest.mark.parametrize("number", range(3))
def test_a_stop_under_load_is_in_order(store: Store, start: Start, number: int) -> None:
    store.site()
    load, server = Load(store.key()), start(store)
    assert load.until_it_ends(server, f"stop{number}", signal.SIGTERM) == 0
    assert load.trouble == []
    stored = {found["path"]: found["id"] for found in store.events()}
    assert stored == load.acknowledged, "what is stored was answered, too"
    assert server.log.read_text().count("\n") <= 2, "nothing but where it is, and how to set it up"
    assert store.run("check").status == 0


def test_on_sigterm_a_request_in_flight_is_answered_and_stored(store: Store, start: Start) -> None:
    store.site()
    key, server = store.key(), start(store)
    body = b'{"site_id":"my-site","url":"https://example.com/last"}'
    head = f"POST /api/v1/events/pageview HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head.encode() + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert client.recv(1000).startswith(b"HTTP/1.1 100")  # from here on it is in flight
        server.process.terminate()
        while listens(server.port):
            time.sleep(0.01)
        client.sendall(body)
        assert client.recv(1000).startswith(b"HTTP/1.1 201")
    assert server.process.wait(30) == 0
    assert [found["path"] for found in store.events()] == ["/last"]


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


def full(conn: sqlite3.Connection, more: int = 0) -> None:
    """Let the file grow by no more than `more` pages, as on a full disk."""
    (pages,) = conn.execute("PRAGMA page_count").fetchone()
    conn.execute(f"PRAGMA max_page_count = {pages + more}")


def test_what_is_answered_with_503_was_not_stored(conn: sqlite3.Connection, site: Site) -> None:
    # The first request sends all others on their own way, the second fits, the third takes the last room and more.
    large = [event(f"/{number}", props='"' + "x" * 2000 + '"') for number in range(1000)]
    group = [request(site, event("/\ud800")), request(site, event("/small")), request(site, *large)]
    full(conn, 20)
    try:
        outcomes = ingestion.store(conn, open_books(conn, 0), group, {}, NOW)
    except sqlite3.OperationalError:
        assert paths(conn, site) == []  # `Ingest` tells all of the group that nothing was stored
    else:
        assert isinstance(outcomes[1], Reply)
        assert not isinstance(outcomes[2], Reply)
        assert paths(conn, site) == ["/small"]


async def fill_the_disk(app: App, key: str) -> int:
    stored, text = 0, {str(number): "x" * 2000 for number in range(10)}
    await app.services.database.write(full)
    while (answered := await post(app, key, props=text))[0] == 201:
        stored += 1
    status, answer, headers = answered
    assert (status, answer["error"]["code"]) == (503, "unavailable")
    assert int(headers["retry-after"]) >= 1
    remaining = headers["ratelimit-remaining"]
    assert (await post(app, key, props=text))[2]["ratelimit-remaining"] == remaining  # what is refused does not count
    await app.services.database.write(lambda conn: conn.execute("PRAGMA max_page_count = 4294967294"))
    assert (await post(app, key, props=text))[0] == 201
    return stored + 1


def test_a_full_disk_is_503_until_there_is_room_again(tmp_path: Path, conn: sqlite3.Connection, site: Site) -> None:
    key, stored = new_key(conn, site, hourly_limit=5000), list[int]()

    async def run(app: App) -> None:
        stored.append(await fill_the_disk(app, key))

    during(tmp_path, Still(), run)
    assert [len(paths(conn, site))] == stored
    assert integrity.problems(conn) == []


async def flooded(database: Database, site: Site) -> None:
    gate = threading.Event()
    books = await database.write(open_books, 0)
    ingest = Ingest(database, books, Limits(), Still(), lambda: None, News(), DiskSpace(Path(), 0))
    blocking = asyncio.create_task(database.write(lambda conn: gate.wait(30)))
    together = request(site, *[event()] * 500)
    waiting = [asyncio.create_task(ingest.submit(together)) for _ in range(MOST_WAITING // 500 + 10)]
    await asyncio.sleep(0)  # each of them runs up to where it waits
    refused = [task.exception() for task in waiting if task.done()]
    gate.set()
    await blocking
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(outcome, Reply) for outcome in outcomes) == MOST_WAITING // 500
    assert len(refused) == 10
    for refusal in refused:
        assert isinstance(refusal, Refused)
        assert (refusal.code, refusal.retry_after) == ("unavailable", 1)
    assert isinstance(await ingest.submit(request(site, event())), Reply)


def test_a_flood_is_refused_and_what_waits_already_is_stored(
    tmp_path: Path, conn: sqlite3.Connection, site: Site
) -> None:
    async def run(app: App) -> None:
        await flooded(app.services.database, site)

    during(tmp_path, Still(), run)
    assert len(paths(conn, site)) == MOST_WAITING + 1


OPENING = """
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
def test_two_processes_open_a_store_at_once(tmp_path: Path, folder: str) -> None:
    words = [sys.executable, "-c", OPENING, str(tmp_path / folder), "60"]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    begin = str(time.time() + 0.05) + "\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(begin)
        process.stdin.flush()
    assert [process.communicate()[1] for process in processes] == ["", ""]
