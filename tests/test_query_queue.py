"""Read queries: who is served when many ask, what a full queue says, and how a query ends when nobody waits for it."""

import asyncio
import gc
import http.client
import select
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ovx_lite.domain.errors import Refused
from ovx_lite.storage import priority
from ovx_lite.storage.priority import API_KEYS, LEVELS, MAX_RUNNING, PEOPLE, PUBLIC, Asker, PriorityLevel, Turns
from ovx_lite.storage.query_queue import WAIT_TIMEOUT_S, QueryQueue
from ovx_lite.storage.sqlite import open_reader, open_store
from tests.conftest import Server, Start, Store
from tests.support.metrics import samples
from tests.support.pages import Office, open_office
from tests.support.sharing import link

SITE = "/sites/my-site"
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.mark.parametrize(
    ("running", "may"),
    [
        ({}, (PEOPLE, API_KEYS, PUBLIC)),
        ({PUBLIC: 1}, (PEOPLE, API_KEYS)),
        ({API_KEYS: 1}, (PEOPLE, API_KEYS, PUBLIC)),
        ({PEOPLE: 2}, (API_KEYS, PUBLIC)),
        ({API_KEYS: 2}, (PEOPLE,)),
        ({API_KEYS: 1, PUBLIC: 1}, (PEOPLE,)),
        ({PEOPLE: 2, PUBLIC: 1}, ()),
        ({PEOPLE: 1, API_KEYS: 2}, ()),
    ],
)
def test_no_level_takes_all_threads(running: dict[PriorityLevel, int], may: tuple[PriorityLevel, ...]) -> None:
    assert tuple(level for level in LEVELS if priority.may_start(level, running)) == may


def test_a_level_and_a_flow_may_have_so_many_that_wait() -> None:
    for level in LEVELS:
        one, other = Asker(level, "one"), Asker(level, "other")
        assert not priority.is_full(one, [one] * (level.max_waiting_per_flow - 1))
        assert priority.is_full(one, [one] * level.max_waiting_per_flow)
        assert priority.is_full(one, [other] * level.max_waiting)
    of_link, of_level = PUBLIC.max_waiting_per_flow, PUBLIC.max_waiting
    assert of_link < of_level
    assert not priority.is_full(Asker(PUBLIC, "other"), [Asker(PUBLIC, "one")] * of_link)
    assert not priority.is_full(Asker(PEOPLE, "one"), [Asker(PUBLIC, "one")] * of_level)


def test_flows_take_turns_and_people_come_first() -> None:
    turns, order = Turns(), []
    waiting = [Asker(PUBLIC, "loud")] * 3 + [Asker(PUBLIC, "quiet"), Asker(API_KEYS, "key"), Asker(PEOPLE, "me")]
    while waiting:
        asker = min(waiting, key=turns.rank)
        waiting.remove(asker)
        turns.take(asker)
        order.append(asker.flow)
    assert order == ["me", "loud", "key", "quiet", "loud", "loud"]


# The queue itself, in this process.

Body = Callable[["Bench"], Awaitable[None]]


class Bench:
    """A queue on a store, and queries that wait for a gate or never end by themselves."""

    def __init__(self, folder: Path) -> None:
        self.queue = QueryQueue(lambda: open_reader(folder))
        self.gate = threading.Event()
        self.begun: list[str] = []

    def ask(
        self, asker: Asker, name: str, version: int = 0, wait: bool = True, fails: Exception | None = None
    ) -> asyncio.Future[str]:
        def run(conn: sqlite3.Connection) -> str:
            self.begun.append(name)
            if wait:
                self.gate.wait(20)
            if fails is not None:
                raise fails
            return name

        return self.queue.submit(asker, name, version, run)

    def endless(self, asker: Asker) -> asyncio.Future[list[Any]]:
        def run(conn: sqlite3.Connection) -> list[Any]:
            self.begun.append("endless")
            return conn.execute(ENDLESS).fetchall()

        return self.queue.submit(asker, object(), 0, run)


def during(folder: Path, body: Body) -> None:
    open_store(folder).close()

    async def run() -> None:
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        bench = Bench(folder)
        try:
            await body(bench)
        finally:
            bench.gate.set()
            await bench.queue.close()
        del bench
        gc.collect()
        await asyncio.sleep(0)
        assert complaints == []

    asyncio.run(run())


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


ME, KEY, ONE, OTHER = Asker(PEOPLE, "me"), Asker(API_KEYS, "key"), Asker(PUBLIC, "one"), Asker(PUBLIC, "other")


def test_people_are_served_while_a_public_link_asks_again_and_again(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        public = [bench.ask(ONE, f"public {number}") for number in range(9)]
        assert await bench.ask(ME, "mine", wait=False) == "mine"
        assert await bench.ask(KEY, "a key's", wait=False) == "a key's"
        late = bench.ask(OTHER, "another link's")
        bench.gate.set()
        await asyncio.gather(*public, late)
        assert bench.begun.index("another link's") < bench.begun.index("public 2"), "links take turns"

    during(tmp_path, body)


def test_others_are_served_while_people_ask_again_and_again(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        mine = [bench.ask(ME, f"mine {number}") for number in range(9)]
        assert await bench.ask(ONE, "public", wait=False) == "public"
        assert await bench.ask(KEY, "a key's", wait=False) == "a key's"
        bench.gate.set()
        await asyncio.gather(*mine)

    during(tmp_path, body)


def test_a_full_queue_refuses_and_has_room_again(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        waiting = [bench.ask(ONE, f"public {number}") for number in range(1 + PUBLIC.max_waiting_per_flow)]
        with pytest.raises(Refused, match="Too many") as refused:
            bench.ask(ONE, "one more")
        assert (refused.value.code, refused.value.status, refused.value.retry_after) == ("unavailable", 503, 5)
        waiting += [bench.ask(OTHER, f"other {number}") for number in range(9)]
        waiting[5].cancel()
        await asyncio.sleep(0)
        waiting.append(bench.ask(ONE, "one more"))
        bench.gate.set()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert Counter(type(one) for one in told) == {str: len(waiting) - 1, asyncio.CancelledError: 1}
        assert "public 5" not in bench.begun

    during(tmp_path, body)


def test_equal_queries_run_once_unless_the_data_have_changed(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        first = [bench.ask(asker, "equal", version=1) for asker in (ONE, OTHER, ME, KEY) for _ in range(30)]
        newer = [bench.ask(ME, "equal", version=2) for _ in range(30)]
        first[0].cancel()
        bench.gate.set()
        told = await asyncio.gather(*first[1:], *newer)
        assert set(told) == {"equal"}
        assert len(bench.begun) == 2
        assert bench.queue.outcomes["public", "answered"] + bench.queue.outcomes["people", "answered"] == 2

    during(tmp_path, body)


def test_a_public_query_that_a_person_asks_for_too_has_their_priority(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        public = [bench.ask(ONE, f"public {number}", wait=number == 0) for number in range(5)]
        await until(lambda: bench.begun)
        assert await bench.ask(ME, "public 4") == "public 4"
        assert bench.begun == ["public 0", "public 4"]
        bench.gate.set()
        await asyncio.gather(*public)

    during(tmp_path, body)


def test_a_query_ends_once_all_who_asked_have_hung_up(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        for _ in range(20):
            tickets = [bench.endless(asker) for asker in (ONE, ME, ME, KEY)]
            await until(lambda: bench.queue.running.total() == MAX_RUNNING or len(bench.begun) >= MAX_RUNNING)
            for ticket in tickets:
                ticket.cancel()
            await until(lambda: not bench.queue.running.total())
            bench.begun.clear()
        assert await bench.ask(ONE, "the next", wait=False) == "the next"
        assert bench.queue.outcomes.total() == bench.queue.outcomes["public", "answered"] + sum(
            bench.queue.outcomes[level.name, "cancelled"] for level in LEVELS
        )

    during(tmp_path, body)


def test_a_query_goes_on_while_one_of_those_who_asked_is_there(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        tickets = [bench.ask(asker, "equal") for asker in (ONE, ONE, OTHER)]
        await until(lambda: bench.begun)
        tickets[0].cancel()
        tickets[2].cancel()
        bench.gate.set()
        assert await tickets[1] == "equal"
        assert len(bench.begun) == 1

    during(tmp_path, body)


def test_a_query_that_takes_or_waits_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovx_lite.storage.query_queue.WAIT_TIMEOUT_S", 0.1)

    async def body(bench: Bench) -> None:
        impatient = Asker(PUBLIC._replace(query_timeout_s=0.2), "one")
        ticket, late = bench.endless(impatient), bench.ask(impatient, "late")
        told = await asyncio.gather(ticket, late, return_exceptions=True)
        assert [one.code for one in told if isinstance(one, Refused)] == ["unavailable"] * 2
        assert ["seconds to count" in str(told[0]), "Too many" in str(told[1])] == [True, True]
        assert bench.queue.outcomes == {("public", "timed_out"): 1, ("public", "refused"): 1}

    during(tmp_path, body)


def test_a_slow_public_query_ends_long_before_others_give_up() -> None:
    assert PUBLIC.query_timeout_s * 3 < WAIT_TIMEOUT_S


def test_a_stop_refuses_what_waits_and_ends_what_runs(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        tickets = [bench.endless(asker) for asker in (ONE, ONE, ME, ME, ME, KEY, KEY)]
        bench.queue.stop()
        async with asyncio.timeout(15):
            told = await asyncio.gather(*tickets, return_exceptions=True)
        assert {(type(one), one.code) for one in told if isinstance(one, Refused)} == {(Refused, "unavailable")}
        assert all(isinstance(one, Refused) and "shutting down" in str(one) for one in told)
        with pytest.raises(Refused, match="shutting down"):
            bench.ask(ME, "too late")

    during(tmp_path, body)


def test_a_fault_is_told_to_all_who_asked(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        for fault in (
            Refused("invalid_request", "no such goal", "filters"),
            sqlite3.DatabaseError("damaged"),
            KeyError(),
        ):
            bench.gate.clear()
            tickets = [bench.ask(ONE, "equal", fails=fault) for _ in range(3)]
            tickets[0].cancel()
            bench.gate.set()
            told = await asyncio.gather(*tickets[1:], return_exceptions=True)
            assert [type(one) for one in told] == [type(fault)] * 2
        assert await bench.ask(ONE, "the next", wait=False) == "the next"

    during(tmp_path, body)


# The server, from outside.


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, start: Start) -> Office:
    """A server with a site where filters by page take long: each looks at 20,000 paths."""
    store = Store(tmp_path_factory.mktemp("busy") / "data")
    store.site()
    with store.opened() as conn, conn:
        conn.executemany(
            "INSERT INTO pages (scheme, host, path) VALUES ('https', 'x', ?)", ((f"/{n}",) for n in range(20_000))
        )
    return open_office(store, start)


@pytest.fixture(scope="module")
def share(busy: Office) -> str:
    return link(busy.done(f"{SITE}/settings/sharing", {"password": ""}))


def slow(path: str, name: object, tests: int = 20) -> str:
    """A dashboard of a path that takes about a second or more, and another one for each name."""
    return f"{path}?" + "&".join(f"f=contains_not,page,{name}-{number}" for number in range(tests))


def call(server: Server, path: str, accept: str = "*/*", cut: int = 0) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    whole = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode()
    client.sendall(whole[: cut or len(whole)])
    if cut:
        time.sleep(0.02)
        client.sendall(whole[cut:])
    return client


def response(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    told = http.client.HTTPResponse(client)
    told.begin()
    return told.status, {name.lower(): value for name, value in told.getheaders()}, told.read()


def queries(server: Server, outcome: str, level: str = "public") -> float:
    metrics = samples(server.send("/metrics", method="GET").body.decode())
    return metrics.get(f'ovx_queries_total{{level="{level}",outcome="{outcome}"}}', 0)


def quiet(server: Server) -> bool:
    metrics = samples(server.send("/metrics", method="GET").body.decode())
    return not any(value for name, value in metrics.items() if name.startswith(("ovx_queries_r", "ovx_queries_w")))


def wait_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


@pytest.fixture
def idle(busy: Office) -> Iterator[None]:
    wait_for(lambda: quiet(busy.server))
    yield
    wait_for(lambda: quiet(busy.server))


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("how", ["at once", "in pieces", "in the middle", "with a reset"])
def test_callers_who_hang_up_keep_nobody_waiting(busy: Office, share: str, how: str) -> None:
    answered = queries(busy.server, "answered")
    clients = []
    for number in range(100):
        client = call(busy.server, slow(share, f"{how} {number}".replace(" ", "-")), cut=30 * (how == "in pieces"))
        if how == "with a reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        clients.append(client)
        if how != "in the middle":
            client.close()
    for client in clients:
        client.close()
    assert busy.person.get(SITE).status == 200
    wait_for(lambda: quiet(busy.server))
    assert queries(busy.server, "answered") - answered < 10, "what nobody waits for is not counted"


@pytest.mark.usefixtures("idle")
def test_people_are_answered_before_a_public_links_crowd(busy: Office, share: str) -> None:
    key = busy.store.key()
    with ExitStack() as stack:
        crowd = [stack.enter_context(call(busy.server, slow(share, f"crowd-{number}"))) for number in range(12)]
        assert busy.person.get(slow(SITE, "mine", 3)).status == 200
        asked = {"site_id": "my-site", "metrics": ["visitors"], "date_range": "7d"}
        assert busy.server.send("/api/v1/stats/query", asked, key).status == 200
        assert busy.server.send("/api/v1/stats/realtime?site_id=my-site", None, key, method="GET").status == 200
        ready, _, _ = select.select(crowd, [], [], 0)
        assert len(ready) < 9, "most of those who asked before are still waiting"


@pytest.mark.usefixtures("idle")
def test_who_is_too_many_is_told_to_come_again(busy: Office, share: str) -> None:
    limit = PUBLIC.max_waiting_per_flow + PUBLIC.max_running
    with ExitStack() as stack:
        crowd = [stack.enter_context(call(busy.server, slow(share, f"many-{number}"))) for number in range(limit + 9)]
        refused = queries(busy.server, "refused")
        wait_for(lambda: len(select.select(crowd, [], [], 0)[0]) >= 5)
        program = next(one for one in crowd if one in select.select(crowd, [], [], 0)[0] and peek(one) == b"503")
        status, headers, body = response(program)
        assert (status, headers["content-type"]) == (503, "application/json")
        assert b'"code":"unavailable"' in body
        assert int(headers["retry-after"]) >= 1
        browser = stack.enter_context(call(busy.server, slow(share, "a-person"), "text/html"))
        status, headers, body = response(browser)
        assert (status, headers["content-type"]) == (503, "text/html; charset=utf-8")
        assert "retry-after" in headers
        assert b"Too many other queries" in body
        assert busy.server.send(slow(f"{share}/badge.json", "a-badge"), method="GET").status == 503
        assert busy.person.get(slow(SITE, "mine-too", 3)).status == 200
        assert refused >= 1


def peek(client: socket.socket) -> bytes:
    return client.recv(12, socket.MSG_PEEK)[9:12]


@pytest.mark.usefixtures("idle")
def test_equal_requests_are_counted_once(busy: Office, share: str) -> None:
    before = queries(busy.server, "answered") + queries(busy.server, "answered", "people")
    with ExitStack() as stack:
        clients = [stack.enter_context(call(busy.server, slow(share, "equal", 10))) for _ in range(40)]
        assert busy.person.get(slow(SITE, "equal", 10)).status == 200
        assert {response(client)[0] for client in clients} == {200}
    after = queries(busy.server, "answered") + queries(busy.server, "answered", "people")
    assert after - before <= 3, "once, and once more for whoever came after the minute, or after something was written"


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("cut", [0, 30])
def test_who_has_closed_their_end_is_told_that_it_must_stay_open(busy: Office, share: str, cut: int) -> None:
    with ExitStack() as stack:
        for number in range(9):
            stack.enter_context(call(busy.server, slow(share, f"before-half-{number}")))
        client = stack.enter_context(call(busy.server, slow(share, f"half-{cut}"), cut=cut))
        client.shutdown(socket.SHUT_WR)
        status, _, body = response(client)
        assert status == 503
        assert b"keep it open" in body


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("cut", [0, 30])
def test_who_has_closed_their_end_gets_what_is_there_soon(busy: Office, share: str, cut: int) -> None:
    with call(busy.server, f"{share}/badge.json", cut=cut) as client:
        client.shutdown(socket.SHUT_WR)
        assert response(client)[0] == 200


def test_a_stop_does_not_wait_for_queries(tmp_path: Path, start: Start) -> None:
    store = Store(tmp_path / "data")
    store.site()
    with store.opened() as conn, conn:
        conn.executemany(
            "INSERT INTO pages (scheme, host, path) VALUES ('https', 'x', ?)", ((f"/{n}",) for n in range(20_000))
        )
    office = open_office(store, start)
    path = link(office.done(f"{SITE}/settings/sharing", {"password": ""}))
    with ExitStack() as stack:
        crowd = [stack.enter_context(call(office.server, slow(path, f"stop-{n}", 50))) for n in range(9)]
        metrics = "ovx_queries_running"
        wait_for(lambda: f'{metrics}{{level="public"}} 1' in office.server.send("/metrics", method="GET").body.decode())
        began = time.monotonic()
        assert office.server.stop() == 0
        assert time.monotonic() - began < 12, "no query is waited for to its end"
        assert {response(client)[0] for client in crowd} == {503}
    assert "Traceback" not in office.server.log.read_text()
    assert "never retrieved" not in office.server.log.read_text()


def test_nothing_was_left_behind(busy: Office) -> None:
    log = busy.server.log.read_text()
    assert [word for word in ("Traceback", "never retrieved", "ERROR") if word in log] == []
