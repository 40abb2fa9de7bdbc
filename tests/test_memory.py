"""Rejected requests do not stay in memory."""

import asyncio
import gc
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import pytest
import uvicorn
from uvicorn.server import ServerState

from ovx_lite.app import App
from ovx_lite.cli.serve import _loop_factory
from ovx_lite.domain import config
from ovx_lite.domain.clock import SystemClock
from ovx_lite.domain.errors import ApiError
from ovx_lite.emulator.app import EmulatorApp
from ovx_lite.emulator.clock import ManualClock
from ovx_lite.emulator.journal import Journal
from ovx_lite.emulator.journal_entries import JournalEntry
from ovx_lite.emulator.options import Options
from ovx_lite.http.request_head import RequestHead
from ovx_lite.storage.sqlite import STORE_FILE
from ovx_lite.web.api.ingest_context import IngestContext
from tests.conftest import Start, Store
from tests.support.emulator import run_emulator
from tests.support.refused import (
    BATCH,
    EVENT,
    HANG_UP,
    NO_RESPONSE,
    RequestCase,
    document,
    refusals,
    request,
    small_refusals,
)

BODIES_EACH = int(os.environ.get("OVX_REFUSED_BODIES", "1"))
"""How many bodies of 5 MiB are sent for each case; with 70, it is more than a thousand in total."""

MAX_GROWTH_KIB = 60 * 1024


def emulator_refusals() -> dict[str, RequestCase]:
    """Return requests that only the emulator rejects."""
    key, batch = "YOUR_API_KEY", document({"site_id": "your-site-id", "events": [EVENT]}, 300_000)
    trigger_body = document({"site": "nowhere"}, 9000)
    return {
        "a fault": RequestCase(request(BATCH, batch, key, "X-Ovx-Fault: 503"), 503),
        "a fault, not JSON": RequestCase(request(BATCH, batch[:-1], key, "X-Ovx-Fault: 503"), 503),
        "a fault that is none": RequestCase(request(BATCH, batch, key, "X-Ovx-Fault: no"), 400),
        "a fault after it was stored": RequestCase(request(BATCH, batch, key, "X-Ovx-Fault: 503; phase=after"), 503),
        "a reset": RequestCase(request(BATCH, batch, key, "X-Ovx-Fault: reset"), NO_RESPONSE),
        "no clock": RequestCase(request("/_dev/clock", batch, key), 400),
        "no document": RequestCase(request("/_dev/clock", batch[:-1], key), 400),
        "no trigger": RequestCase(request("/_dev/trigger", trigger_body, key), 404),
        "no rules": RequestCase(request("/_dev/faults", batch, key, method="PUT"), 400),
        "no hook": RequestCase(request("/_dev/hook/x?reply=9", batch, key), 400),
    }


def status_of(port: int, case: RequestCase, client: socket.socket | None = None) -> int:
    """Send a request over a new connection or `client`, and return the status of the response."""
    if client is not None:
        return _exchange(client, case)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        return _exchange(connection, case)


def _exchange(client: socket.socket, case: RequestCase) -> int:
    head = b""
    try:
        client.sendall(case.request[: case.sent_bytes])
        if case.sent_bytes is not None:
            return HANG_UP
        while b"\r\n\r\n" not in head:
            chunk = client.recv(65536)
            if not chunk:
                return NO_RESPONSE
            head += chunk
    except ConnectionError:
        return NO_RESPONSE
    return int(head.split()[1])


# Reference cycles: the server runs in this process, so that its garbage can be inspected.


class InProcessServer(NamedTuple):
    """An application that serves requests in this process."""

    app: App | EmulatorApp
    port: int
    state: ServerState


async def serve_while(store: Store, kind: str, action: Callable[[InProcessServer], Any]) -> None:
    """Serve a store as `serve` and `dev` do, while `action` runs."""
    settings, clock = config.read(store.path, {}), SystemClock()
    app: App | EmulatorApp
    if kind == "serve":
        app = await App.open(store.path, settings, clock)
    else:
        app = await EmulatorApp.open(store.path, settings, ManualClock(clock, None), Options())
    protocol, state, loop = app.http_protocol, ServerState(), asyncio.get_running_loop()
    uvicorn_config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False)
    server = await loop.create_server(lambda: protocol(uvicorn_config, state, {}, loop), "127.0.0.1", 0)
    app.start()
    try:
        await action(InProcessServer(app, server.sockets[0].getsockname()[1], state))
    finally:
        server.close()
        await app.close()


async def send_and_settle(server: InProcessServer, case: RequestCase) -> int:
    """Send a request from another thread, and wait until the server has finished with it."""
    status = await asyncio.to_thread(status_of, server.port, case)
    async with asyncio.timeout(30):
        while server.state.tasks or server.state.connections:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)  # until the event loop has released the transport
    return status


async def garbage_of(server: InProcessServer, case: RequestCase) -> tuple[int, list[object]]:
    """Send a request. Returns its status and the objects that it left behind, in cycles or still referenced."""
    gc.collect()
    gc.freeze()  # objects that exist by now are ignored, so that the collection is fast
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        status = await send_and_settle(server, case)
        leftovers = [obj for obj in gc.get_objects() if isinstance(obj, IngestContext | RequestHead | ApiError)]
        gc.collect()
        return status, [*gc.garbage, *leftovers]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def run(store: Store, kind: str, action: Callable[[InProcessServer], Any]) -> None:
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve_while(store, kind, action))
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("kind", ["serve", "dev"])
def test_a_rejected_request_leaves_no_reference_cycle(store: Store, kind: str) -> None:
    if kind == "serve":
        store.site("my-site")
        key = store.key()
        requests = refusals(key, store.key("my-site", "--hourly-limit", "1"), "my-site", 300_000) | small_refusals(key)
    else:
        requests = emulator_refusals()
        large = refusals("YOUR_API_KEY", "YOUR_API_KEY", "your-site-id", 300_000)
        requests |= {name: case for name, case in large.items() if case.status not in (409, 429)}
    leaks = dict[str, Any]()

    async def send_all(server: InProcessServer) -> None:
        if kind == "serve":
            used_body = document({"site_id": "my-site", "events": [EVENT]}, 9000)
            assert (
                await send_and_settle(server, RequestCase(request(BATCH, used_body, key, "Idempotency-Key: used"), 201))
                == 201
            )
        for case in requests.values():
            await send_and_settle(server, case)  # warm up: the first request may leave objects behind
        await asyncio.sleep(0.5)
        for name, case in requests.items():
            status, garbage = await garbage_of(server, case)
            if status != case.status or garbage:
                leaks[name] = (status, Counter(type(obj).__name__ for obj in garbage))

    run(store, kind, send_all)
    assert leaks == {}


def test_a_body_that_times_out_leaves_no_reference_cycle(store: Store) -> None:
    store.site("my-site")
    body = document({"site_id": "my-site", "events": [EVENT]}, 300_000)
    slow = request(BATCH, body, store.key())[:-1]

    async def send_slowly(server: InProcessServer) -> None:
        assert isinstance(server.app, App)
        server.app.api.body_reader._timeout_s = 0.2
        for _ in range(2):
            status, garbage = await garbage_of(server, RequestCase(slow, 400))
            assert status == 400
        assert [obj for obj in garbage if isinstance(obj, FrameType | TracebackType | BaseException)] == []
        assert garbage == []

    run(store, "serve", send_slowly)


def test_a_failed_write_leaves_no_reference_cycle(store: Store) -> None:
    store.site("my-site")
    key, file = store.key(), store.path / STORE_FILE
    body = document({"site_id": "my-site", "events": [EVENT]}, 300_000)
    moved_file = file.with_name("moved_file")

    async def send_to_missing_store(server: InProcessServer) -> None:
        await send_and_settle(server, RequestCase(request(BATCH, body, key), 201))
        file.rename(moved_file)
        try:
            for _ in range(2):
                status, garbage = await garbage_of(server, RequestCase(request(BATCH, body, key), 503))
                assert status == 503
        finally:
            moved_file.rename(file)
        assert garbage == []

    run(store, "serve", send_to_missing_store)


# Resident memory: the server runs in its own process.


def resident_kib(process: subprocess.Popen[bytes]) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


@contextmanager
def run_server_or_emulator(
    kind: str, store: Store, start: Start, directory: Path
) -> Iterator[tuple[Any, int, str, str, str]]:
    """Run a server or an emulator: its process, port, key, a key with one event an hour, and the slug of the site."""
    if kind == "dev":
        with run_emulator(directory) as dev:
            yield dev.process, int(dev.url.rsplit(":", 1)[1]), "YOUR_API_KEY", "", "your-site-id"
        return
    store.site("my-site")
    key, limited_key = store.key(), store.key("my-site", "--hourly-limit", "1")
    server = start(store)
    yield server.process, server.port, key, limited_key, "my-site"
    assert server.stop() == 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
@pytest.mark.parametrize("kind", ["serve", "dev"])
def test_rejected_bodies_are_freed(kind: str, store: Store, start: Start, tmp_path: Path) -> None:
    with (
        run_server_or_emulator(kind, store, start, tmp_path) as (process, port, key, limited_key, site_slug),
        ExitStack() as stack,
    ):
        large = refusals(key, limited_key, site_slug, (5 << 20) - 100_000)
        if kind == "serve":
            used_body = document({"site_id": site_slug, "events": [EVENT]}, 9000)
            assert status_of(port, RequestCase(request(BATCH, used_body, key, "Idempotency-Key: used"), 201)) == 201
        else:
            large = {name: case for name, case in large.items() if case.status not in (409, 429)}
        small = small_refusals(key)
        for case in small.values():
            status_of(port, case)
        time.sleep(1)  # until the start-up work is done
        idle_kib = resident_kib(process)
        for name, case in large.items():
            for _ in range(BODIES_EACH):
                assert status_of(port, case) == case.status, name
        for case in (*small.values(), *(emulator_refusals().values() if kind == "dev" else ())):
            for _ in range(BODIES_EACH):
                status_of(port, case)
        for name in ("not JSON", "no such path") * BODIES_EACH:  # connections that remain open hold no bodies either
            client = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=60)))
            assert status_of(port, large[name], client) == large[name].status
        assert resident_kib(process) - idle_kib < MAX_GROWTH_KIB


def test_the_journal_drops_the_bodies_of_evicted_entries() -> None:
    journal = Journal()
    for number in range(50):
        body = b"%d" % number + b"x" * (1 << 20)
        numbers = journal.record([JournalEntry("good", "ovyxa", "my-site", "e", {"problems": []}, body)])
        journal.amend(numbers, {"status": 201}, [])
    stored_entries = [*journal.entries({}), *journal.changes(0)]
    assert len(stored_entries) > 50
    assert sum(len(entry.body) for entry in stored_entries) <= 12 << 20
