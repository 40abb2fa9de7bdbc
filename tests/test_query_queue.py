"""The queue of read queries: priorities, rejection when it is full, and cancellation when all callers disconnect."""

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

from ovx_lite.domain.errors import ApiError
from ovx_lite.storage import priority
from ovx_lite.storage.priority import (
    API_KEYS,
    LEVELS,
    MAX_RUNNING,
    PEOPLE,
    PUBLIC,
    PriorityLevel,
    Requester,
    TurnHistory,
)
from ovx_lite.storage.query_queue import WAIT_TIMEOUT_S, QueryQueue
from ovx_lite.storage.sqlite import open_reader, open_store
from tests.conftest import Server, Start, Store
from tests.support.metrics import samples
from tests.support.pages import AdminSession, open_admin_session
from tests.support.sharing import link

SITE_PATH = "/sites/my-site"
ENDLESS_SQL = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.mark.parametrize(
    ("running", "allowed"),
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
def test_no_level_takes_all_threads(running: dict[PriorityLevel, int], allowed: tuple[PriorityLevel, ...]) -> None:
    assert tuple(level for level in LEVELS if priority.may_start(level, running)) == allowed


def test_waiting_queries_are_limited_by_level_and_flow() -> None:
    for level in LEVELS:
        requester, other_requester = Requester(level, "one"), Requester(level, "other")
        assert not priority.is_full(requester, [requester] * (level.max_waiting_per_flow - 1))
        assert priority.is_full(requester, [requester] * level.max_waiting_per_flow)
        assert priority.is_full(requester, [other_requester] * level.max_waiting)
    flow_limit, level_limit = PUBLIC.max_waiting_per_flow, PUBLIC.max_waiting
    assert flow_limit < level_limit
    assert not priority.is_full(Requester(PUBLIC, "other"), [Requester(PUBLIC, "one")] * flow_limit)
    assert not priority.is_full(Requester(PEOPLE, "one"), [Requester(PUBLIC, "one")] * level_limit)


def test_flows_take_turns_and_people_come_first() -> None:
    turns, order = TurnHistory(), []
    waiting = [Requester(PUBLIC, "loud")] * 3 + [
        Requester(PUBLIC, "quiet"),
        Requester(API_KEYS, "key"),
        Requester(PEOPLE, "me"),
    ]
    while waiting:
        requester = min(waiting, key=turns.rank)
        waiting.remove(requester)
        turns.record(requester)
        order.append(requester.flow)
    assert order == ["me", "loud", "key", "quiet", "loud", "loud"]


# The queue itself, in this process:

Scenario = Callable[["QueueHarness"], Awaitable[None]]


class QueueHarness:
    """A queue on a store, with queries that wait for a gate or never end."""

    def __init__(self, data_dir: Path) -> None:
        self.queue = QueryQueue(lambda: open_reader(data_dir))
        self.gate = threading.Event()
        self.started: list[str] = []

    def submit(
        self,
        requester: Requester,
        name: str,
        version: int = 0,
        waits_for_gate: bool = True,
        error: Exception | None = None,
    ) -> asyncio.Future[str]:
        def run(conn: sqlite3.Connection) -> str:
            self.started.append(name)
            if waits_for_gate:
                self.gate.wait(20)
            if error is not None:
                raise error
            return name

        return self.queue.submit(requester, name, version, run)

    def submit_endless(self, requester: Requester) -> asyncio.Future[list[Any]]:
        def run(conn: sqlite3.Connection) -> list[Any]:
            self.started.append("endless")
            return conn.execute(ENDLESS_SQL).fetchall()

        return self.queue.submit(requester, object(), 0, run)


def run_scenario(data_dir: Path, scenario: Scenario) -> None:
    open_store(data_dir).close()

    async def run() -> None:
        loop_errors: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: loop_errors.append(context))
        harness = QueueHarness(data_dir)
        try:
            await scenario(harness)
        finally:
            harness.gate.set()
            await harness.queue.close()
        del harness
        gc.collect()
        await asyncio.sleep(0)
        assert loop_errors == []

    asyncio.run(run())


async def wait_until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


PERSON_REQUESTER, KEY_REQUESTER, LINK_REQUESTER, OTHER_LINK_REQUESTER = (
    Requester(PEOPLE, "me"),
    Requester(API_KEYS, "key"),
    Requester(PUBLIC, "one"),
    Requester(PUBLIC, "other"),
)


def test_a_busy_public_link_does_not_block_people(tmp_path: Path) -> None:
    async def scenario(harness: QueueHarness) -> None:
        public = [harness.submit(LINK_REQUESTER, f"public {number}") for number in range(9)]
        assert await harness.submit(PERSON_REQUESTER, "mine", waits_for_gate=False) == "mine"
        assert await harness.submit(KEY_REQUESTER, "a key's", waits_for_gate=False) == "a key's"
        late = harness.submit(OTHER_LINK_REQUESTER, "another link's")
        harness.gate.set()
        await asyncio.gather(*public, late)
        assert harness.started.index("another link's") < harness.started.index("public 2"), "links take turns"

    run_scenario(tmp_path, scenario)


def test_busy_people_do_not_block_other_levels(tmp_path: Path) -> None:
    async def scenario(harness: QueueHarness) -> None:
        mine = [harness.submit(PERSON_REQUESTER, f"mine {number}") for number in range(9)]
        assert await harness.submit(LINK_REQUESTER, "public", waits_for_gate=False) == "public"
        assert await harness.submit(KEY_REQUESTER, "a key's", waits_for_gate=False) == "a key's"
        harness.gate.set()
        await asyncio.gather(*mine)

    run_scenario(tmp_path, scenario)


def test_a_full_queue_rejects_queries_until_one_is_cancelled(tmp_path: Path) -> None:
    async def scenario(harness: QueueHarness) -> None:
        waiting = [
            harness.submit(LINK_REQUESTER, f"public {number}") for number in range(1 + PUBLIC.max_waiting_per_flow)
        ]
        with pytest.raises(ApiError, match="Too many") as refused:
            harness.submit(LINK_REQUESTER, "one more")
        assert (refused.value.code, refused.value.status, refused.value.retry_after_s) == ("unavailable", 503, 5)
        waiting += [harness.submit(OTHER_LINK_REQUESTER, f"other {number}") for number in range(9)]
        waiting[5].cancel()
        await asyncio.sleep(0)
        waiting.append(harness.submit(LINK_REQUESTER, "one more"))
        harness.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert Counter(type(result) for result in results) == {str: len(waiting) - 1, asyncio.CancelledError: 1}
        assert "public 5" not in harness.started

    run_scenario(tmp_path, scenario)


def test_equal_queries_run_once_unless_the_data_has_changed(tmp_path: Path) -> None:
    async def scenario(harness: QueueHarness) -> None:
        first = [
            harness.submit(requester, "equal", version=1)
            for requester in (LINK_REQUESTER, OTHER_LINK_REQUESTER, PERSON_REQUESTER, KEY_REQUESTER)
            for _ in range(30)
        ]
        newer = [harness.submit(PERSON_REQUESTER, "equal", version=2) for _ in range(30)]
        first[0].cancel()
        harness.gate.set()
        results = await asyncio.gather(*first[1:], *newer)
        assert set(results) == {"equal"}
        assert len(harness.started) == 2
        assert harness.queue.outcomes["public", "answered"] + harness.queue.outcomes["people", "answered"] == 2

    run_scenario(tmp_path, scenario)


def test_a_public_query_that_a_person_sends_too_gets_their_priority(tmp_path: Path) -> None:
    async def scenario(harness: QueueHarness) -> None:
        public = [harness.submit(LINK_REQUESTER, f"public {number}", waits_for_gate=number == 0) for number in range(5)]
        await wait_until(lambda: harness.started)
        assert await harness.submit(PERSON_REQUESTER, "public 4") == "public 4"
        assert harness.started == ["public 0", "public 4"]
        harness.gate.set()
        await asyncio.gather(*public)

    run_scenario(tmp_path, scenario)


def test_a_query_is_cancelled_when_all_its_callers_disconnect(tmp_path: Path) -> None:
    async def scenario(harness: QueueHarness) -> None:
        for _ in range(20):
            tickets = [
                harness.submit_endless(requester)
                for requester in (LINK_REQUESTER, PERSON_REQUESTER, PERSON_REQUESTER, KEY_REQUESTER)
            ]
            await wait_until(
                lambda: harness.queue.running.total() == MAX_RUNNING or len(harness.started) >= MAX_RUNNING
            )
            for ticket in tickets:
                ticket.cancel()
            await wait_until(lambda: not harness.queue.running.total())
            harness.started.clear()
        assert await harness.submit(LINK_REQUESTER, "the next", waits_for_gate=False) == "the next"
        assert harness.queue.outcomes.total() == harness.queue.outcomes["public", "answered"] + sum(
            harness.queue.outcomes[level.name, "cancelled"] for level in LEVELS
        )

    run_scenario(tmp_path, scenario)


def test_a_query_continues_while_one_of_its_callers_is_connected(tmp_path: Path) -> None:
    async def scenario(harness: QueueHarness) -> None:
        tickets = [
            harness.submit(requester, "equal") for requester in (LINK_REQUESTER, LINK_REQUESTER, OTHER_LINK_REQUESTER)
        ]
        await wait_until(lambda: harness.started)
        tickets[0].cancel()
        tickets[2].cancel()
        harness.gate.set()
        assert await tickets[1] == "equal"
        assert len(harness.started) == 1

    run_scenario(tmp_path, scenario)


def test_a_query_that_runs_or_waits_too_long_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovx_lite.storage.query_queue.WAIT_TIMEOUT_S", 0.1)

    async def scenario(harness: QueueHarness) -> None:
        impatient = Requester(PUBLIC._replace(query_timeout_s=0.2), "one")
        ticket, late = harness.submit_endless(impatient), harness.submit(impatient, "late")
        results = await asyncio.gather(ticket, late, return_exceptions=True)
        assert [result.code for result in results if isinstance(result, ApiError)] == ["unavailable"] * 2
        assert ["longer than 0.2 seconds" in str(results[0]), "Too many" in str(results[1])] == [True, True]
        assert harness.queue.outcomes == {("public", "timed_out"): 1, ("public", "refused"): 1}

    run_scenario(tmp_path, scenario)


def test_the_public_query_timeout_is_far_below_the_wait_timeout() -> None:
    assert PUBLIC.query_timeout_s * 3 < WAIT_TIMEOUT_S


def test_a_stop_rejects_waiting_queries_and_interrupts_running_ones(tmp_path: Path) -> None:
    async def scenario(harness: QueueHarness) -> None:
        tickets = [
            harness.submit_endless(requester)
            for requester in (
                LINK_REQUESTER,
                LINK_REQUESTER,
                PERSON_REQUESTER,
                PERSON_REQUESTER,
                PERSON_REQUESTER,
                KEY_REQUESTER,
                KEY_REQUESTER,
            )
        ]
        harness.queue.stop()
        async with asyncio.timeout(15):
            results = await asyncio.gather(*tickets, return_exceptions=True)
        assert {(type(result), result.code) for result in results if isinstance(result, ApiError)} == {
            (ApiError, "unavailable")
        }
        assert all(isinstance(result, ApiError) and "shutting down" in str(result) for result in results)
        with pytest.raises(ApiError, match="shutting down"):
            harness.submit(PERSON_REQUESTER, "too late")

    run_scenario(tmp_path, scenario)


def test_an_error_is_raised_for_every_waiting_caller(tmp_path: Path) -> None:
    async def scenario(harness: QueueHarness) -> None:
        for error in (
            ApiError("invalid_request", "no such goal", "filters"),
            sqlite3.DatabaseError("damaged"),
            KeyError(),
        ):
            harness.gate.clear()
            tickets = [harness.submit(LINK_REQUESTER, "equal", error=error) for _ in range(3)]
            tickets[0].cancel()
            harness.gate.set()
            results = await asyncio.gather(*tickets[1:], return_exceptions=True)
            assert [type(result) for result in results] == [type(error)] * 2
        assert await harness.submit(LINK_REQUESTER, "the next", waits_for_gate=False) == "the next"

    run_scenario(tmp_path, scenario)


# The server, over HTTP:


@pytest.fixture(scope="module")
def busy_admin(tmp_path_factory: pytest.TempPathFactory, start: Start) -> AdminSession:
    """Start a server with a site where page filters are slow: each one scans 20,000 paths."""
    store = Store(tmp_path_factory.mktemp("busy") / "data")
    store.site()
    with store.connect() as conn, conn:
        conn.executemany(
            "INSERT INTO pages (scheme, host, path) VALUES ('https', 'x', ?)", ((f"/{n}",) for n in range(20_000))
        )
    return open_admin_session(store, start)


@pytest.fixture(scope="module")
def share_path(busy_admin: AdminSession) -> str:
    return link(busy_admin.submit(f"{SITE_PATH}/settings/sharing", {"password": ""}))


def slow_path(path: str, name: object, condition_count: int = 20) -> str:
    """Return the path of a dashboard that takes a second or more; each name makes a different query."""
    return f"{path}?" + "&".join(f"f=contains_not,page,{name}-{number}" for number in range(condition_count))


def send_request(server: Server, path: str, accept: str = "*/*", split_at: int = 0) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    request_bytes = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode()
    client.sendall(request_bytes[: split_at or len(request_bytes)])
    if split_at:
        time.sleep(0.02)
        client.sendall(request_bytes[split_at:])
    return client


def read_response(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def query_count(server: Server, outcome: str, level: str = "public") -> float:
    metrics = samples(server.send("/metrics", method="GET").body.decode())
    return metrics.get(f'ovx_queries_total{{level="{level}",outcome="{outcome}"}}', 0)


def is_idle(server: Server) -> bool:
    metrics = samples(server.send("/metrics", method="GET").body.decode())
    return not any(value for name, value in metrics.items() if name.startswith(("ovx_queries_r", "ovx_queries_w")))


def poll_until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s, "the condition was not met in time"
        time.sleep(0.05)


@pytest.fixture
def idle(busy_admin: AdminSession) -> Iterator[None]:
    poll_until(lambda: is_idle(busy_admin.server))
    yield
    poll_until(lambda: is_idle(busy_admin.server))


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("hang_up", ["at once", "in pieces", "in the middle", "with a reset"])
def test_disconnected_callers_do_not_delay_others(busy_admin: AdminSession, share_path: str, hang_up: str) -> None:
    answered_before = query_count(busy_admin.server, "answered")
    clients = []
    for number in range(100):
        client = send_request(
            busy_admin.server,
            slow_path(share_path, f"{hang_up} {number}".replace(" ", "-")),
            split_at=30 * (hang_up == "in pieces"),
        )
        if hang_up == "with a reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        clients.append(client)
        if hang_up != "in the middle":
            client.close()
    for client in clients:
        client.close()
    assert busy_admin.client.get(SITE_PATH).status == 200
    poll_until(lambda: is_idle(busy_admin.server))
    assert query_count(busy_admin.server, "answered") - answered_before < 10, "most abandoned queries were cancelled"


@pytest.mark.usefixtures("idle")
def test_people_are_answered_before_a_crowd_on_a_public_link(busy_admin: AdminSession, share_path: str) -> None:
    key = busy_admin.store.key()
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(send_request(busy_admin.server, slow_path(share_path, f"crowd-{number}")))
            for number in range(12)
        ]
        assert busy_admin.client.get(slow_path(SITE_PATH, "mine", 3)).status == 200
        query = {"site_id": "my-site", "metrics": ["visitors"], "date_range": "7d"}
        assert busy_admin.server.send("/api/v1/stats/query", query, key).status == 200
        assert busy_admin.server.send("/api/v1/stats/realtime?site_id=my-site", None, key, method="GET").status == 200
        ready, _, _ = select.select(crowd, [], [], 0)
        assert len(ready) < 9, "most of the earlier callers are still waiting"


@pytest.mark.usefixtures("idle")
def test_excess_requests_get_a_503_with_retry_after(busy_admin: AdminSession, share_path: str) -> None:
    limit = PUBLIC.max_waiting_per_flow + PUBLIC.max_running
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(send_request(busy_admin.server, slow_path(share_path, f"excess-{number}")))
            for number in range(limit + 9)
        ]
        refused = query_count(busy_admin.server, "refused")
        poll_until(lambda: len(select.select(crowd, [], [], 0)[0]) >= 5)
        api_client = next(
            client for client in crowd if client in select.select(crowd, [], [], 0)[0] and peek_status(client) == b"503"
        )
        status, headers, body = read_response(api_client)
        assert (status, headers["content-type"]) == (503, "application/json")
        assert b'"code":"unavailable"' in body
        assert int(headers["retry-after"]) >= 1
        browser = stack.enter_context(send_request(busy_admin.server, slow_path(share_path, "a-person"), "text/html"))
        status, headers, body = read_response(browser)
        assert (status, headers["content-type"]) == (503, "text/html; charset=utf-8")
        assert "retry-after" in headers
        assert b"Too many queries" in body
        assert busy_admin.server.send(slow_path(f"{share_path}/badge.json", "a-badge"), method="GET").status == 503
        assert busy_admin.client.get(slow_path(SITE_PATH, "mine-too", 3)).status == 200
        assert refused >= 1


def peek_status(client: socket.socket) -> bytes:
    return client.recv(12, socket.MSG_PEEK)[9:12]


@pytest.mark.usefixtures("idle")
def test_equal_requests_share_one_query(busy_admin: AdminSession, share_path: str) -> None:
    before = query_count(busy_admin.server, "answered") + query_count(busy_admin.server, "answered", "people")
    with ExitStack() as stack:
        clients = [
            stack.enter_context(send_request(busy_admin.server, slow_path(share_path, "equal", 10))) for _ in range(40)
        ]
        assert busy_admin.client.get(slow_path(SITE_PATH, "equal", 10)).status == 200
        assert {read_response(client)[0] for client in clients} == {200}
    after = query_count(busy_admin.server, "answered") + query_count(busy_admin.server, "answered", "people")
    assert after - before <= 3, "one query, and one more if a minute ends or data is written meanwhile"


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("cut", [0, 30])
def test_a_slow_query_on_a_half_closed_connection_fails_with_a_hint(
    busy_admin: AdminSession, share_path: str, cut: int
) -> None:
    with ExitStack() as stack:
        for number in range(9):
            stack.enter_context(send_request(busy_admin.server, slow_path(share_path, f"before-half-{number}")))
        client = stack.enter_context(
            send_request(busy_admin.server, slow_path(share_path, f"half-{cut}"), split_at=cut)
        )
        client.shutdown(socket.SHUT_WR)
        status, _, body = read_response(client)
        assert status == 503
        assert b"keep it open" in body


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("cut", [0, 30])
def test_a_fast_query_on_a_half_closed_connection_is_answered(
    busy_admin: AdminSession, share_path: str, cut: int
) -> None:
    with send_request(busy_admin.server, f"{share_path}/badge.json", split_at=cut) as client:
        client.shutdown(socket.SHUT_WR)
        assert read_response(client)[0] == 200


def test_a_stop_does_not_wait_for_queries(tmp_path: Path, start: Start) -> None:
    store = Store(tmp_path / "data")
    store.site()
    with store.connect() as conn, conn:
        conn.executemany(
            "INSERT INTO pages (scheme, host, path) VALUES ('https', 'x', ?)", ((f"/{n}",) for n in range(20_000))
        )
    # So that 503 means a query that was given up, not one that has waited for too long.
    admin = open_admin_session(store, start, constants={"ovx_lite.storage.query_queue.WAIT_TIMEOUT_S": 3600})
    path = link(admin.submit(f"{SITE_PATH}/settings/sharing", {"password": ""}))
    with ExitStack() as stack:
        clients = [stack.enter_context(send_request(admin.server, slow_path(path, f"stop-{n}", 50))) for n in range(9)]
        metrics = "ovx_queries_running"
        poll_until(
            lambda: f'{metrics}{{level="public"}} 1' in admin.server.send("/metrics", method="GET").body.decode()
        )
        assert admin.server.stop() == 0
        assert {read_response(client)[0] for client in clients} == {503}, "the stop does not wait for a query to end"
    assert "Traceback" not in admin.server.log_path.read_text()
    assert "never retrieved" not in admin.server.log_path.read_text()


def test_the_log_has_no_errors(busy_admin: AdminSession) -> None:
    log = busy_admin.server.log_path.read_text()
    assert [marker for marker in ("Traceback", "never retrieved", "ERROR") if marker in log] == []
