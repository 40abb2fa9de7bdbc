"""Requests that arrive in one read are answered directly: with the same bytes as through ASGI, and as safely."""

import asyncio
import contextlib
import json
import logging
import re
import shutil
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from uvicorn.server import ServerState

from ovx_lite.app import App
from ovx_lite.domain import config
from ovx_lite.domain.models import Event
from ovx_lite.http import request_id
from ovx_lite.storage.sqlite import STORE_FILE, open_store
from ovx_lite.web.api import ingest, ingest_response
from tests.conftest import Start, Store
from tests.support.refused import RequestCase, refusals, request, small_refusals
from tests.support.store import FrozenClock
from tests.support.transport import Transport

WAYS = ("direct", "asgi", "pieces")
PAGEVIEW, CUSTOM, BATCH = (f"/api/v1/events/{name}" for name in ("pageview", "custom", "batch"))
CUSTOM_EVENT = {"site_id": "my-site", "event_name": "e", "url": "https://example.com/"}
APEX_EVENT = {"projectKey": "my-site", "type": "click", "visitorId": "v", "url": "https://example.com/"}
OVERCENTRIC_EVENT = {
    "event": {"name": "e", "project_id": "my-site", "device_id": "d", "session_id": "s", "context": "website"}
}
ORIGIN = "Origin: https://example.com"
CHROME = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36"
BOT = "Googlebot/2.1 (+http://www.google.com/bot.html)"


class Listener(NamedTuple):
    """A server in this process; `asgi_count` counts the requests that went through ASGI."""

    app: App
    port: int
    state: ServerState
    asgi_count: list[str]


async def listen(stack: AsyncExitStack, data_dir: Path, way: str) -> Listener:
    app = await App.open(data_dir, config.read(data_dir, {}), FrozenClock())
    stack.push_async_callback(app.close)
    state, loop, asgi_paths = ServerState(), asyncio.get_running_loop(), list[str]()

    async def asgi_only(scope: Any, receive: Any, send: Any) -> None:
        asgi_paths.append(scope["path"])
        await app(scope, receive, send)

    class Recording:
        """The application, with a record of what went through ASGI."""

        direct_handler = staticmethod(app.direct_handler)

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await asgi_only(scope, receive, send)

    served: Any = asgi_only if way == "asgi" else Recording()
    uvicorn_config = uvicorn.Config(served, interface="asgi3", lifespan="off", ws="none", log_config=None)
    server = await loop.create_server(lambda: app.http_protocol(uvicorn_config, state, {}, loop), "127.0.0.1", 0)
    stack.callback(server.close)
    return Listener(app, server.sockets[0].getsockname()[1], state, asgi_paths)


async def exchange(port: int, data: bytes, way: str) -> bytes:
    """Send a request, and return the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    has_body = not data.startswith(b"HEAD ")
    try:
        if way == "pieces":
            cut = data.index(b"\r\n\r\n") + (5 if data.partition(b"\r\n\r\n")[2] else 0)
            writer.write(data[:cut])
            await asyncio.sleep(0.02)
            data = data[cut:]
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        return head + (await reader.readexactly(int(length[1])) if length and has_body else b"")
    finally:
        writer.close()


def normalized(response: bytes) -> bytes:
    response = re.sub(rb"x-request-id: [0-9a-f]{8}-[0-9a-f]+\r\n", b"x-request-id: new\r\n", response)
    return re.sub(rb"evt_[0-9a-f]{16}", b"evt", re.sub(rb"date: [^\r]*\r\n", b"", response))


def compare(store: Store, cases: Sequence[RequestCase]) -> list[bytes]:
    """Send requests to three servers with equal stores. Returns the responses, which must be equal."""

    async def send_all() -> list[bytes]:
        async with AsyncExitStack() as stack:
            listeners = dict[str, Listener]()
            for way in WAYS:
                data_dir = store.path.with_name(f"store-{way}")
                shutil.copytree(store.path, data_dir)
                listeners[way] = await listen(stack, data_dir, way)
            responses = list[bytes]()
            for case in cases:
                answers = {
                    way: normalized(await exchange(listener.port, case.request, way))
                    for way, listener in listeners.items()
                }
                assert answers["direct"] == answers["asgi"] == answers["pieces"], case.request[:200]
                responses.append(answers["direct"])
            counts = {way: listener.app.api.response_counts for way, listener in listeners.items()}
            assert counts["direct"] == counts["asgi"]
            rejected = {
                way: [
                    (rejected.body, rejected.problems)
                    for site in listener.app.services.sites.registry.sites_by_id.values()
                    for rejected in listener.app.services.rejected.for_site(site)
                ]
                for way, listener in listeners.items()
            }
            assert rejected["direct"] == rejected["asgi"] == rejected["pieces"]
            return responses

    return asyncio.run(send_all())


def event(path: str, body: object, key: str = "", *headers: str, method: str = "POST") -> RequestCase:
    return RequestCase(request(path, json.dumps(body).encode(), key, *headers, method=method), 0)


def status_of(response: bytes) -> int:
    return int(response.split()[1])


def test_accepted_requests_get_the_same_bytes_on_each_way(store: Store) -> None:
    store.site("my-site")
    store.site("strict", "--allowed-hosts", "example.com", "--hourly-limit", "3")
    key, limited = store.key(), store.key("my-site", "--hourly-limit", "2")
    projects = "/v1/projects/my-site/events"
    pageview = {"site_id": "my-site", "url": "https://example.com/?utm_source=x", "ip_address": "203.0.113.9"}
    cases = [
        event(PAGEVIEW, pageview, key),
        event(PAGEVIEW, pageview | {"user_agent": BOT}, key),
        event(CUSTOM, CUSTOM_EVENT | {"props": {"a": 1}}, key, "X-Request-Id: mine", "Origin: https://x.example"),
        event(CUSTOM, CUSTOM_EVENT, key, "X-Request-Id: not valid", "X-Request-Id: second"),
        event(f"{CUSTOM}?x=%20&y", CUSTOM_EVENT, key),
        event(BATCH, {"site_id": "my-site", "events": [{"type": "pageview", "url": "app://a"}] * 100}, key),
        event(projects, {"event_type": "pageview", "user_id": "u"}, key),
        event(f"{projects}/batch", [{"event_type": "pageview"}] * 3, key),
        event("/api/events", APEX_EVENT, "", CHROME),
        event("/api/events", APEX_EVENT, "", ORIGIN),
        event("/api/events", {"projectKey": "my-site", "events": [{"type": "click", "url": "/a"}] * 3}),
        event("/api/v1/event", OVERCENTRIC_EVENT, "", CHROME, ORIGIN),
        event("/api/events", APEX_EVENT, "", CHROME, "X-Forwarded-For: 192.0.2.1"),
        event("/api/events", APEX_EVENT, "", "X-Forwarded-For: 192.0.2.9", "X-Forwarded-For: 192.0.2.1, 127.0.0.1"),
        event("/api/events", APEX_EVENT, "", "X-Forwarded-For: nobody"),
        event("/api/events", APEX_EVENT, "", "X-Forwarded-For:"),
        event(CUSTOM, CUSTOM_EVENT, key, "Idempotency-Key: one"),
        event(CUSTOM, CUSTOM_EVENT, key, "Idempotency-Key: one"),
        event(CUSTOM, CUSTOM_EVENT, limited, "Idempotency-Key: two"),
        event(CUSTOM, CUSTOM_EVENT, limited),
        event(CUSTOM, CUSTOM_EVENT, limited, "Idempotency-Key: two"),
        event("/api/events", APEX_EVENT | {"projectKey": "strict"}, "", ORIGIN),
        event(CUSTOM, CUSTOM_EVENT, key, "Connection: close"),
        RequestCase(event(CUSTOM, CUSTOM_EVENT, key).request.replace(b"HTTP/1.1", b"HTTP/1.0", 1), 0),
        RequestCase(b"OPTIONS /api/events HTTP/1.1\r\nHost: x\r\nOrigin: https://example.com\r\n\r\n", 0),
    ]
    responses = compare(store, cases)
    assert [status for status in map(status_of, responses) if not 200 <= status < 300] == []
    assert b"\r\nx-request-id: mine\r\n" in responses[2]
    assert [b"idempotency-replayed: true" in response for response in responses].count(True) == 2
    assert [b"connection: close" in response for response in responses].count(True) == 2


def test_rejected_requests_get_the_same_bytes_on_each_way(store: Store) -> None:
    store.site("my-site")
    store.site("strict", "--allowed-hosts", "example.com", "--hourly-limit", "1")
    key, limited = store.key(), store.key("my-site", "--hourly-limit", "1")
    apex = APEX_EVENT | {"projectKey": "strict"}
    used = {"site_id": "my-site", "events": [{"type": "custom", "event_name": "e", "url": "app://a"}]}
    cases = [
        event(BATCH, used, key, "Idempotency-Key: used"),
        *refusals(key, limited, "my-site", 5_000).values(),
        *small_refusals(key).values(),
        *(
            RequestCase(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{ORIGIN}\r\n\r\n".encode(), 0)
            for method in ("GET", "HEAD", "DELETE", "OPTIONS")
            for path in (CUSTOM, "/api/events", "/v1/projects/my-site/events")
        ),
        event(CUSTOM, {**CUSTOM_EVENT, "unknown": ["y" * 4000] * 17}, key),
        event(CUSTOM, CUSTOM_EVENT, key, "Idempotency-Key: a b", "X-Request-Id: mine"),
        event(CUSTOM, CUSTOM_EVENT | {"props": []}, key, "Idempotency-Key: a b"),
        event("/v1/projects/other/events", {"event_type": "pageview"}, key),
        event("/api/events", apex | {"url": "https://evil.example/"}, "", ORIGIN),
        event("/api/events", apex, "", "Origin: https://evil.example"),
        event("/api/events", apex, "", ORIGIN),
        event("/api/events", apex, "", ORIGIN),
        event("/api/events", apex | {"projectKey": "nowhere"}, "", ORIGIN),
        event("/api/events%2F", apex),
        event("/api/events/", apex),
    ]
    cases = [case for case in cases if case.sent_bytes is None and len(case.request) < 200_000]
    responses = compare(store, cases)
    assert {400, 401, 404, 405, 409, 413, 429} <= set(map(status_of, responses))


@pytest.mark.parametrize("way", WAYS)
def test_an_internal_error_is_logged_with_the_id_of_its_request(
    store: Store, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.site("my-site")
    key, ids = store.key(), list[str]()

    def fail(*args: object) -> Event:
        raise RuntimeError("a defect")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ids.append(request_id.current.get())

    async def send(listener: Listener) -> None:
        response = await exchange(listener.port, event(CUSTOM, CUSTOM_EVENT, key, "X-Request-Id: mine").request, way)
        assert status_of(response) == 500
        assert b"a defect" not in response
        assert request_id.current.get() == ""

    monkeypatch.setattr(ingest, "enrich_hit", fail)
    handler = Handler()
    logging.getLogger("ovx_lite").addHandler(handler)
    try:
        run(store, way, send)
    finally:
        logging.getLogger("ovx_lite").removeHandler(handler)
    assert ids == ["mine"]


@pytest.mark.parametrize("way", WAYS)
def test_a_client_never_waits_in_vain(store: Store, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.site("my-site")
    key = store.key()

    def fail(*args: object) -> bytes:
        raise RuntimeError("a defect in what builds the response")

    async def send(listener: Listener) -> None:
        for data in (event(CUSTOM, CUSTOM_EVENT, key).request, event(CUSTOM, CUSTOM_EVENT, "unknown").request):
            assert status_of(await exchange(listener.port, data, way)) == 500

    monkeypatch.setattr(ingest_response, "_rate_limit_lines", fail)
    run(store, way, send)


def run(store: Store, way: str, action: Callable[[Listener], Awaitable[None]]) -> None:
    async def serve() -> None:
        async with AsyncExitStack() as stack:
            await action(await listen(stack, store.path, way))

    asyncio.run(serve())


@pytest.mark.parametrize("way", WAYS)
def test_sites_and_keys_that_are_newer_than_the_cache_are_looked_up(store: Store, way: str) -> None:
    store.site("my-site")

    async def send(listener: Listener) -> None:
        await asyncio.to_thread(store.site, "new-site")
        key = await asyncio.to_thread(store.key, "new-site")
        custom = event(CUSTOM, CUSTOM_EVENT | {"site_id": "new-site"}, key).request
        assert status_of(await exchange(listener.port, custom, way)) == 201
        await asyncio.to_thread(store.site, "newer-site")
        apex = event("/api/events", APEX_EVENT | {"projectKey": "newer-site"}).request
        assert status_of(await exchange(listener.port, apex, way)) == 200
        unknown = event(CUSTOM, CUSTOM_EVENT, "unknown").request
        assert status_of(await exchange(listener.port, unknown, way)) == 401

    run(store, way, send)
    assert [event["name"] for event in store.events("new-site")] == ["e"]
    assert len(store.events("newer-site")) == 1


def test_a_direct_request_needs_no_task_and_no_asgi(store: Store) -> None:
    store.site("my-site")
    key, gate = store.key(), threading.Event()

    async def send(listener: Listener) -> None:
        data = event(CUSTOM, CUSTOM_EVENT, key).request
        assert status_of(await exchange(listener.port, data, "direct")) == 201  # loads the salt of the day
        blocking = asyncio.create_task(listener.app.services.database.write(lambda conn: gate.wait(30)))
        responses = [asyncio.create_task(exchange(listener.port, data, "direct")) for _ in range(5)]
        async with asyncio.timeout(30):
            while listener.app.services.writer.queued_events < 5:
                await asyncio.sleep(0.01)
        assert listener.state.tasks == set()
        gate.set()
        assert list(map(status_of, await asyncio.gather(*responses))) == [201] * 5
        await blocking
        assert listener.asgi_count == []

    run(store, "direct", send)


@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_hangs_up_while_its_event_is_written_loses_nothing(
    store: Store, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.site("my-site")
    key, gate = store.key(), threading.Event()

    async def send(listener: Listener) -> None:
        data = event(CUSTOM, CUSTOM_EVENT, key).request
        blocking = asyncio.create_task(listener.app.services.database.write(lambda conn: gate.wait(30)))
        with socket.create_connection(("127.0.0.1", listener.port)) as client:
            client.sendall(data)
            async with asyncio.timeout(30):
                while not listener.state.connections:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
        async with asyncio.timeout(30):
            while listener.state.connections and way != "pieces":
                await asyncio.sleep(0.01)
        gate.set()
        await blocking
        assert status_of(await exchange(listener.port, data, way)) == 201

    run(store, way, send)
    assert len(store.events()) == 2
    assert [record for record in caplog.records if record.name.startswith("ovx_lite")] == []


def test_a_request_that_waits_for_the_disk_is_answered_at_shutdown(store: Store, start: Start) -> None:
    store.site("my-site")
    key, server = store.key(), start(store)
    data = event(CUSTOM, CUSTOM_EVENT, key).request
    with closing(open_store(store.path)) as conn, socket.create_connection(("127.0.0.1", server.port), 20) as client:
        client.sendall(data)
        assert status_of(client.recv(65536)) == 201
        conn.execute("BEGIN IMMEDIATE")
        client.sendall(data)
        time.sleep(0.2)
        server.process.terminate()
        time.sleep(0.3)
        conn.execute("ROLLBACK")
        response = b"".join(iter(lambda: client.recv(65536), b""))
    assert status_of(response) == 201
    assert b"connection: close\r\n" in response
    assert server.process.wait(20) == 0
    assert len(store.events()) == 2
    assert (store.path / STORE_FILE).exists()


def test_a_response_waits_until_its_client_has_read_the_earlier_ones(store: Store) -> None:
    store.site("my-site")

    async def send(listener: Listener) -> None:
        uvicorn_config = uvicorn.Config(listener.app, interface="asgi3", lifespan="off", ws="none", log_config=None)
        transport = Transport()
        protocol = listener.app.http_protocol(uvicorn_config, ServerState(), {})
        protocol.connection_made(transport)
        data = event("/api/events", APEX_EVENT, method="PUT").request
        protocol.data_received(data)
        assert transport.written.count(b"HTTP/1.1 405") == 1
        protocol.pause_writing()
        protocol.data_received(data * 3)
        await asyncio.sleep(0.05)
        assert transport.written.count(b"HTTP/1.1 405") == 1
        protocol.resume_writing()
        await asyncio.sleep(0.05)
        assert transport.written.count(b"HTTP/1.1 405") == 4
        protocol.connection_lost(None)

    run(store, "direct", send)


def test_rejected_requests_that_arrive_together_are_each_answered_once(store: Store) -> None:
    """Their responses are sent while the read that contains them is still being parsed."""
    store.site("my-site")
    get = f"GET {CUSTOM} HTTP/1.1\r\nHost: x\r\nX-Request-Id: %d\r\n\r\n"
    data = b"".join((get % number).encode() for number in range(50))

    async def send(listener: Listener) -> None:
        for cut in (0, 10, 60, len(data) - 20):
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(data[:cut])
            await asyncio.sleep(0.02)
            writer.write(data[cut:] + b"GET / HTTP/1.0\r\n\r\n")
            text = (await reader.read(-1)).decode()
            ids = re.findall(r"x-request-id: (\d+)\r\n", text)
            assert ids == [str(number) for number in range(50)]
            writer.close()

    run(store, "direct", send)


def test_a_full_disk_is_answered_directly_and_does_not_count(store: Store) -> None:
    store.site("my-site")
    key = store.key("my-site", "--hourly-limit", "5")

    async def send(listener: Listener) -> None:
        data = event(CUSTOM, CUSTOM_EVENT, key).request
        first = await exchange(listener.port, data, "direct")
        listener.app.services.disk.is_low = True
        refusal = await exchange(listener.port, data, "direct")
        assert status_of(refusal) == 503
        assert b"ratelimit-remaining: 4\r\n" in first
        assert b"ratelimit-remaining: 4\r\n" in refusal
        assert listener.asgi_count == []

    run(store, "direct", send)


def test_nothing_after_a_response_that_closes_the_connection_is_a_request(store: Store, start: Start) -> None:
    store.site()
    server = start(store)
    event_body = json.dumps(APEX_EVENT).encode()
    oversized, good = (
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body)
        for path, body in ((b"/api/v1/event", b"x" * 66_000), (b"/api/events", event_body))
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(oversized + good * 3)
        received = b""
        with contextlib.suppress(ConnectionResetError):  # what follows is not read
            while data := client.recv(65_536):
                received += data
    assert received.count(b"HTTP/1.1 ") == 1
    assert server.stop() == 0
    assert store.events() == []
