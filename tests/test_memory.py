"""Memory: what was refused does not stay in it."""

import asyncio
import gc
import json
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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
from ovx_lite.domain.errors import Refused
from ovx_lite.emulator.app import EmulatorApp
from ovx_lite.emulator.clock import ManualClock
from ovx_lite.emulator.journal import Journal
from ovx_lite.emulator.journal_entries import JournalEntry
from ovx_lite.emulator.options import Options
from ovx_lite.http.request_head import Incoming
from ovx_lite.storage.sqlite import FILE
from tests.conftest import Start, Store
from tests.support.emulator import stage

BODIES_EACH = int(os.environ.get("OVX_REFUSED_BODIES", "1"))
"""How many bodies of 5 MiB are sent of each kind; 70 make more than a thousand in all."""

MAX_GROWTH_KIB = 60 * 1024
BATCH = "/api/v1/events/batch"
EVENT = {"type": "custom", "event_name": "e", "url": "app://a"}
FORM = "Content-Type: application/x-www-form-urlencoded"
OURS = "Sec-Fetch-Site: same-origin"  # else the form itself is refused
HANG_UP, NO_ANSWER = 0, -1


class Sent(NamedTuple):
    """A request as bytes, how many of them are sent before the caller hangs up, and the status that is expected."""

    request: bytes
    status: int
    sent_bytes: int | None = None


def request(path: str, body: bytes, key: str = "", *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


def document(fields: Mapping[str, object], size_bytes: int) -> bytes:
    """A JSON object with these fields, and one that nobody reads, of about so many bytes."""
    strings = ["y" * 4000] * (size_bytes // 4003)
    return json.dumps({**fields, "unknown": strings}, separators=(",", ":")).encode()


def refusals(key: str, limited_key: str, site: str, size_bytes: int) -> dict[str, Sent]:
    """Requests that every server refuses, with bodies of about so many bytes."""
    batch = document({"site_id": site, "events": [EVENT]}, size_bytes)
    two = document({"site_id": site, "events": [EVENT, EVENT]}, size_bytes)
    once = "Idempotency-Key: used"

    def of(**fields: object) -> bytes:
        return request(BATCH, document({"site_id": site, "events": [EVENT | fields]}, size_bytes), key)

    def apex(**fields: object) -> bytes:
        event = {"projectKey": site, "events": [{"type": "click", "url": "/"}]} | fields
        return request("/api/events", document(event, size_bytes))

    deep = {"site_id": site, "deep": json.loads("[" * 20 + "]" * 20)}
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (6 << 20, b"x" * (6 << 20))
    chunked = f"POST {BATCH} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks
    projects = f"/v1/projects/{site}/events/batch"
    return {
        "not JSON": Sent(request(BATCH, batch[:-1], key), 400),
        "not UTF-8": Sent(request(BATCH, batch[:-4] + b"\xff" + batch[-4:], key), 400),
        "too deep": Sent(request(BATCH, document(deep, size_bytes), key), 400),
        "NUL": Sent(of(event_name="a\0"), 400),
        "a field": Sent(of(url="no"), 400),
        "a field's type": Sent(of(type=5), 400),
        "an idempotency key": Sent(request(BATCH, batch, key, "Idempotency-Key: a b"), 400),
        "props": Sent(of(props=[]), 400),
        "OpenAnalytics": Sent(request(projects, document({"events": [{"event_type": "x"}]}, size_bytes), key), 400),
        "OpenAnalytics' array": Sent(request(projects, b'[{"event_type":"event"},' + batch + b"]", key), 400),
        "Apex": Sent(apex(events=[{"type": "click", "url": ""}]), 400),
        "no key": Sent(request(BATCH, batch, "unknown"), 401),
        "no JWT": Sent(request(BATCH, batch, "a.b.c"), 401),
        "no such site": Sent(request(BATCH, batch.replace(site.encode(), b"nowhere", 1), key), 404),
        "no such project": Sent(apex(projectKey="nowhere"), 404),
        "no such path": Sent(request("/nowhere", batch, key), 404),
        "a method": Sent(request(BATCH, batch, key, method="PUT"), 405),
        "a conflict": Sent(request(BATCH, batch.replace(b"app://a", b"app://b"), key, once), 409),
        "too large": Sent(request(BATCH, b"x" * (6 << 20), key), 413),
        "too large in chunks": Sent(chunked, 413),
        "the limit": Sent(request(BATCH, two, limited_key), 429),
        "the limit, perhaps a repeat": Sent(request(BATCH, two, limited_key, "Idempotency-Key: new"), 429),
        "broken off": Sent(request(BATCH, batch, key), HANG_UP, len(batch) * 3 // 4),
    }


def small_refusals(key: str) -> dict[str, Sent]:
    """Requests that every server refuses at endpoints that take no large bodies."""
    event = {"name": "$purchase", "project_id": "my-site", "device_id": "d", "session_id": "s", "context": "website"}
    overcentric = {"event": event | {"properties": {"amount": "x"}}}
    custom = {"site_id": "my-site", "event_name": "e", "url": "app://a", "props": []}
    query = {"site_id": "my-site", "metrics": ["visitors"], "date_range": "all"}
    pattern = ["matches", "event:page", ["("]]
    asked = "/api/v2/query"
    return {
        "Ovyxa": Sent(request("/api/v1/events/custom", document(custom, 9000), key), 400),
        "Overcentric's amount": Sent(request("/api/v1/event", document(overcentric, 9000)), 400),
        "Overcentric's context": Sent(
            request("/api/v1/event", document({"event": event | {"context": "x"}}, 9000)),
            400,
        ),
        "OpenAnalytics' name": Sent(
            request("/v1/projects/my-site/events", document({"event_type": "event"}, 9000), key), 400
        ),
        "a query's metric": Sent(request(asked, document(query | {"metrics": ["x"]}, 300_000), key), 400),
        "a query's pattern": Sent(request(asked, document(query | {"filters": [pattern]}, 9000), key), 400),
        "a query that is not JSON": Sent(request(asked, document(query, 9000)[:-1], key), 400),
        "a query without a key": Sent(request(asked, document(query, 9000), "unknown"), 401),
        "a query of no site": Sent(request(asked, document(query | {"site_id": "nowhere"}, 9000), key), 404),
        "a query that is too large": Sent(request(asked, b"x" * (2 << 20), key), 413),
        "a query broken off": Sent(request(asked, document(query, 300_000), key), HANG_UP, 200_000),
        "no form": Sent(request("/login", b"x" * 9000, "", OURS), 400),
        "a form that is not UTF-8": Sent(request("/login", b"a=%ff" * 999, "", FORM, OURS), 400),
        "too many fields": Sent(request("/login", b"a=1&" * 999, "", FORM, OURS), 400),
        "a form that is too large": Sent(request("/login", b"a=" + b"x" * 99_999, "", FORM, OURS), 413),
        "a form broken off": Sent(request("/login", b"a=" + b"x" * 50_000, "", FORM, OURS), HANG_UP, 20_000),
        "a form of another page": Sent(request("/login", b"a=1", "", FORM, "Sec-Fetch-Site: cross-site"), 403),
        "a page without a session": Sent(request("/sites/my-site/settings/general", b"a=" * 9000, "", FORM, OURS), 401),
        "no such share": Sent(request("/share/nowhere", b"a=" * 9000, "", FORM, OURS), 404),
        "no such page": Sent(request("/nowhere", b"a=" * 9000, "", "Accept: text/html"), 404),
        "no HTTP": Sent(b"POST / HTTP/1.1\r\nHost\r\n\r\n", 400),
        "a head broken off": Sent(b"POST / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 9000, HANG_UP, 9000),
    }


def refusals_of_the_standin() -> dict[str, Sent]:
    """Requests that only a stand-in refuses."""
    key, batch = "YOUR_API_KEY", document({"site_id": "your-site-id", "events": [EVENT]}, 300_000)
    told = document({"site": "nowhere"}, 9000)
    return {
        "a fault": Sent(request(BATCH, batch, key, "X-Ovx-Fault: 503"), 503),
        "a fault, not JSON": Sent(request(BATCH, batch[:-1], key, "X-Ovx-Fault: 503"), 503),
        "a fault that is none": Sent(request(BATCH, batch, key, "X-Ovx-Fault: no"), 400),
        "a fault after it was stored": Sent(request(BATCH, batch, key, "X-Ovx-Fault: 503; phase=after"), 503),
        "a reset": Sent(request(BATCH, batch, key, "X-Ovx-Fault: reset"), NO_ANSWER),
        "no clock": Sent(request("/_dev/clock", batch, key), 400),
        "no document": Sent(request("/_dev/clock", batch[:-1], key), 400),
        "no trigger": Sent(request("/_dev/trigger", told, key), 404),
        "no rules": Sent(request("/_dev/faults", batch, key, method="PUT"), 400),
        "no hook": Sent(request("/_dev/hook/x?reply=9", batch, key), 400),
    }


def status_of(port: int, sent: Sent, client: socket.socket | None = None) -> int:
    """Send a request, over a connection of its own or this one; the status of the answer."""
    if client is not None:
        return _talk(client, sent)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as own:
        return _talk(own, sent)


def _talk(client: socket.socket, sent: Sent) -> int:
    head = b""
    try:
        client.sendall(sent.request[: sent.sent_bytes])
        if sent.sent_bytes is not None:
            return HANG_UP
        while b"\r\n\r\n" not in head:
            piece = client.recv(65536)
            if not piece:
                return NO_ANSWER
            head += piece
    except ConnectionError:
        return NO_ANSWER
    return int(head.split()[1])


# No reference cycles: in this process, whose garbage one can look at.


class Place(NamedTuple):
    """An application that answers in this process."""

    app: App | EmulatorApp
    port: int
    state: ServerState


async def serving(store: Store, kind: str, do: Callable[[Place], Any]) -> None:
    """Serve a store by the way that `serve` and `dev` serve it, while something is done."""
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
        await do(Place(app, server.sockets[0].getsockname()[1], state))
    finally:
        server.close()
        await app.close()


async def answered(place: Place, sent: Sent) -> int:
    """Send a request from another thread, and wait until nothing of it is going on here."""
    status = await asyncio.to_thread(status_of, place.port, sent)
    async with asyncio.timeout(30):
        while place.state.tasks or place.state.connections:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)  # until the loop itself has let go of the transport
    return status


async def garbage_of(place: Place, sent: Sent) -> tuple[int, list[object]]:
    """The status of an answer, and what the request left behind: in reference cycles, or kept by somebody."""
    gc.collect()
    gc.freeze()  # what is there by now is looked at no more, so that it is quick
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        status = await answered(place, sent)
        kept = [one for one in gc.get_objects() if isinstance(one, Incoming | Refused)]
        gc.collect()
        return status, [*gc.garbage, *kept]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def run(store: Store, kind: str, do: Callable[[Place], Any]) -> None:
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serving(store, kind, do))
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("kind", ["serve", "dev"])
def test_what_is_refused_leaves_no_reference_cycle(store: Store, kind: str) -> None:
    if kind == "serve":
        store.site("my-site")
        key = store.key()
        requests = refusals(key, store.key("my-site", "--hourly-limit", "1"), "my-site", 300_000) | small_refusals(key)
    else:
        requests = refusals_of_the_standin()
        large = refusals("YOUR_API_KEY", "YOUR_API_KEY", "your-site-id", 300_000)
        requests |= {name: sent for name, sent in large.items() if sent.status not in (409, 429)}
    found = dict[str, Any]()

    async def send_all(place: Place) -> None:
        if kind == "serve":
            used = document({"site_id": "my-site", "events": [EVENT]}, 9000)
            assert await answered(place, Sent(request(BATCH, used, key, "Idempotency-Key: used"), 201)) == 201
        for sent in requests.values():
            await answered(place, sent)  # once before, as what is done for the first time may leave something
        await asyncio.sleep(0.5)
        for name, sent in requests.items():
            status, garbage = await garbage_of(place, sent)
            if status != sent.status or garbage:
                found[name] = (status, Counter(type(one).__name__ for one in garbage))

    run(store, kind, send_all)
    assert found == {}


def test_a_body_that_takes_too_long_leaves_no_reference_cycle(store: Store) -> None:
    store.site("my-site")
    body = document({"site_id": "my-site", "events": [EVENT]}, 300_000)
    slow = request(BATCH, body, store.key())[:-1]

    async def send_slowly(place: Place) -> None:
        assert isinstance(place.app, App)
        place.app.api.bodies._seconds = 0.2
        for _ in range(2):
            status, garbage = await garbage_of(place, Sent(slow, 400))
            assert status == 400
        assert [one for one in garbage if isinstance(one, FrameType | TracebackType | BaseException)] == []
        assert garbage == []

    run(store, "serve", send_slowly)


def test_a_store_that_cannot_be_written_leaves_no_reference_cycle(store: Store) -> None:
    store.site("my-site")
    key, file = store.key(), store.path / FILE
    body = document({"site_id": "my-site", "events": [EVENT]}, 300_000)
    elsewhere = file.with_name("elsewhere")

    async def send_in_vain(place: Place) -> None:
        await answered(place, Sent(request(BATCH, body, key), 201))
        file.rename(elsewhere)
        try:
            for _ in range(2):
                status, garbage = await garbage_of(place, Sent(request(BATCH, body, key), 503))
                assert status == 503
        finally:
            elsewhere.rename(file)
        assert garbage == []

    run(store, "serve", send_in_vain)


# What it comes to: the memory of a server of its own.


def resident_kib(process: subprocess.Popen[bytes]) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


@contextmanager
def running_as(kind: str, store: Store, start: Start, folder: Path) -> Iterator[tuple[Any, int, str, str, str]]:
    """A server or a stand-in: its process and port, a key, one for an event an hour, and the site of both."""
    if kind == "dev":
        with stage(folder) as dev:
            yield dev.process, int(dev.url.rsplit(":", 1)[1]), "YOUR_API_KEY", "", "your-site-id"
        return
    store.site("my-site")
    key, limited = store.key(), store.key("my-site", "--hourly-limit", "1")
    server = start(store)
    yield server.process, server.port, key, limited, "my-site"
    assert server.stop() == 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
@pytest.mark.parametrize("kind", ["serve", "dev"])
def test_refused_bodies_do_not_stay_in_memory(kind: str, store: Store, start: Start, tmp_path: Path) -> None:
    with running_as(kind, store, start, tmp_path) as (process, port, key, limited, site), ExitStack() as stack:
        large = refusals(key, limited, site, (5 << 20) - 100_000)
        if kind == "serve":
            used = document({"site_id": site, "events": [EVENT]}, 9000)
            assert status_of(port, Sent(request(BATCH, used, key, "Idempotency-Key: used"), 201)) == 201
        else:
            large = {name: sent for name, sent in large.items() if sent.status not in (409, 429)}
        small = small_refusals(key)
        for sent in small.values():
            status_of(port, sent)
        time.sleep(1)  # what a server does at its start is done
        idle_kib = resident_kib(process)
        for name, sent in large.items():
            for _ in range(BODIES_EACH):
                assert status_of(port, sent) == sent.status, name
        for sent in (*small.values(), *(refusals_of_the_standin().values() if kind == "dev" else ())):
            for _ in range(BODIES_EACH):
                status_of(port, sent)
        for name in ("not JSON", "no such path") * BODIES_EACH:  # connections that stay open keep none either
            client = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=60)))
            assert status_of(port, large[name], client) == large[name].status
        assert resident_kib(process) - idle_kib < MAX_GROWTH_KIB


def test_the_journal_keeps_no_body_of_an_entry_that_was_pushed_out() -> None:
    journal = Journal()
    for number in range(50):
        body = b"%d" % number + b"x" * (1 << 20)
        numbers = journal.record([JournalEntry("good", "ovyxa", "my-site", "e", {"problems": []}, body)])
        journal.amend(numbers, {"status": 201}, [])
    kept = [*journal.entries({}), *journal.changes(0)]
    assert len(kept) > 50
    assert sum(len(entry.body) for entry in kept) <= 12 << 20
