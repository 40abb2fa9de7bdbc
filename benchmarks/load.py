"""Sends requests over many connections at once, and counts the responses."""

import asyncio
import functools
import itertools
import math
import random
import select
import socket
import time
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from typing import Any, NamedTuple, cast

import msgspec

BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/1{}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/1{}.1 Safari/605",
    "Mozilla/5.0 (X11; Linux x86_64; rv:1{0}.0) Gecko/20100101 Firefox/1{0}.0",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/1{}.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 1{}_1 like Mac OS X) AppleWebKit/605.1 (KHTML, like Gecko) Mobile/15E148",
)


class Pageview(NamedTuple):
    """A pageview, from which the request bodies of the dialects are built."""

    url: str
    visitor: str
    referrer: str
    user_agent: str
    address: str


def make_pageviews(count: int, rng: random.Random) -> list[Pageview]:
    """Return pageviews like those of a busy site: 200 visitors at a time, each with about four pageviews.

    They are spread over 2,000 pages and 800 referrers, a few of which have most of the visits.
    """
    return list(itertools.islice(endless_pageviews(rng), count))


def endless_pageviews(rng: random.Random) -> Iterator[Pageview]:
    """Yield such pageviews without end."""
    visitors = [_visitor(rng) for _ in range(200)]
    while True:
        index = rng.randrange(len(visitors))
        if rng.random() < 0.25:
            visitors[index] = _visitor(rng)
        page_number = int(rng.paretovariate(0.7)) % 2000
        yield visitors[index]._replace(url=f"https://example.com/articles/{page_number}")


def _visitor(rng: random.Random) -> Pageview:
    return Pageview(
        "",
        f"visitor-{rng.randrange(1 << 48):012x}",
        f"https://site-{int(rng.paretovariate(0.7)) % 800}.example/",
        rng.choice(BROWSERS).format(rng.randrange(10, 40)),
        str(IPv4Address(rng.randrange(1 << 24, 224 << 24))),
    )


def ovyxa(pageview: Pageview, site: str) -> dict[str, Any]:
    """Return the body of a pageview for Ovyxa's API."""
    client = {"referrer": pageview.referrer, "user_agent": pageview.user_agent, "ip_address": pageview.address}
    return {"site_id": site, "url": pageview.url, **client}


def overcentric(pageview: Pageview, site: str) -> dict[str, Any]:
    """Return the body of an event for Overcentric's API; one visitor in four has an identity."""
    event = {
        "name": "page_opened",
        "properties": {"plan": "premium"},
        "project_id": site,
        "device_id": pageview.visitor,
        "session_id": f"{pageview.visitor}-1",
        "context": "product",
        "url": pageview.url,
    }
    if pageview.visitor[-1] not in "0123":
        return {"event": event}
    email = f"{pageview.visitor}@example.com"
    return {"event": event, "identity": {"unique_identifier": pageview.visitor, "email": email, "project_id": site}}


def apex(pageview: Pageview, site: str) -> dict[str, Any]:
    """Return the body of a single pageview for Apex's API."""
    return {
        "type": "pageview",
        "visitorId": pageview.visitor,
        "projectKey": site,
        "url": pageview.url,
        "referrer": pageview.referrer,
    }


def openanalytics(pageview: Pageview, site: str) -> dict[str, Any]:
    """Return the body of a pageview for OpenAnalytics' API, with a person."""
    return {
        "event_type": "pageview",
        "user_id": pageview.visitor,
        "url": pageview.url,
        "properties": {"plan": "premium"},
    }


def post(path: str, body: object, key: str = "", user_agent: str = "") -> bytes:
    """Return a whole HTTP request as bytes."""
    encoded = msgspec.json.encode(body)
    lines = ("Host: localhost", f"Authorization: Bearer {key}", f"Content-Length: {len(encoded)}")
    agent_header = (f"User-Agent: {user_agent}",) if user_agent else ()
    return "\r\n".join((f"POST {path} HTTP/1.1", *lines, *agent_header, "", "")).encode() + encoded


def with_close(request: bytes) -> bytes:
    """Return a request that asks the server to close the connection after the response."""
    return request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


def percentile_ms(latencies_s: Sequence[float], fraction: float) -> float:
    """Return the time in milliseconds within which this fraction of the responses arrived."""
    return sorted(latencies_s)[math.ceil(fraction * len(latencies_s)) - 1] * 1000


class LoadResult(NamedTuple):
    """How many requests were answered, and how long that took."""

    responses: int
    duration_s: float

    @property
    def rate_per_s(self) -> float:
        """The answered requests per second."""
        return self.responses / self.duration_s


class _Connection(asyncio.Protocol):
    """Sends one request after the other, each when the previous one is answered. Connections share `requests`."""

    def __init__(self, requests: Iterator[bytes], deadline_s: float) -> None:
        self._requests = requests
        self._deadline_s = deadline_s
        self._transport: asyncio.WriteTransport | None = None
        self.response_count = 0
        self.failure_count = 0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's transports do not inherit from asyncio's
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        if time.monotonic() > self._deadline_s:
            self._transport.close()
            return
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 "):
            return  # the rest of a long response
        if data.startswith(b"HTTP/1.1 2"):
            self.response_count += 1
        else:
            self.failure_count += 1
        self._send()

    def connection_lost(self, reason: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


class _PacedConnection(asyncio.Protocol):
    """Sends a request every `interval_s`; if the previous response is late, as soon as it arrives."""

    def __init__(
        self, requests: Iterator[bytes], due_at_s: float, interval_s: float, deadline_s: float, latencies_s: list[float]
    ) -> None:
        self._requests = requests
        self._due_at_s = due_at_s
        self._interval_s = interval_s
        self._deadline_s = deadline_s
        self._latencies_s = latencies_s
        self._transport: asyncio.WriteTransport | None = None
        self._loop = asyncio.get_running_loop()
        self.closed = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._schedule()

    def _schedule(self) -> None:
        assert self._transport is not None
        if self._due_at_s > self._deadline_s:
            self._transport.close()
        else:
            self._loop.call_later(max(0.0, self._due_at_s - time.monotonic()), self._send)

    def _send(self) -> None:
        assert self._transport is not None
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 2"):
            self.closed.set_exception(RuntimeError(f"{data[:200]!r}"))
            return
        self._latencies_s.append(time.monotonic() - self._due_at_s)
        self._due_at_s += self._interval_s
        self._schedule()

    def connection_lost(self, reason: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


async def send_paced(
    port: int,
    requests: Iterator[bytes],
    connections: int,
    rate_per_s: float,
    duration_s: float,
    latencies_s: list[float],
) -> None:
    """Send `rate_per_s` requests a second; append to `latencies_s` the time from when each was due to its response.

    Raises RuntimeError if a request fails.
    """
    loop = asyncio.get_running_loop()
    started_at_s, interval_s = time.monotonic(), connections / rate_per_s
    protocols = []
    for index in range(connections):
        due_at_s = started_at_s + interval_s * index / connections
        make_protocol = functools.partial(
            _PacedConnection, requests, due_at_s, interval_s, started_at_s + duration_s, latencies_s
        )
        _, connection = await loop.create_connection(make_protocol, "127.0.0.1", port)
        protocols.append(connection)
    await asyncio.gather(*(connection.closed for connection in protocols))


async def send_kept_alive(port: int, requests: Sequence[bytes], connections: int, duration_s: float) -> LoadResult:
    """Send requests in their order, over connections that stay open, each as fast as it is answered.

    So visitors come and go as in the traffic from which the requests were made: about 200 at a time. Raises
    RuntimeError if a request fails.
    """
    loop = asyncio.get_running_loop()
    started_at_s = time.monotonic()
    protocols = []
    shared_requests = itertools.cycle(requests)
    for _ in range(connections):
        make_protocol = functools.partial(_Connection, shared_requests, started_at_s + duration_s)
        _, connection = await loop.create_connection(make_protocol, "127.0.0.1", port)
        protocols.append(connection)
    await asyncio.gather(*(connection.closed for connection in protocols))
    elapsed_s = time.monotonic() - started_at_s
    failures = sum(connection.failure_count for connection in protocols)
    if failures:
        raise RuntimeError(f"{failures} requests failed")
    return LoadResult(sum(connection.response_count for connection in protocols), elapsed_s)


def send_with_new_connections(port: int, requests: Sequence[bytes], connections: int, duration_s: float) -> LoadResult:
    """Send each request over a new connection, `connections` of them at a time. Raises RuntimeError if one fails.

    It uses sockets and epoll (of Linux) directly, because creating a transport for each connection costs too much.
    """
    started_at_s = time.monotonic()
    responses, waiting, remaining = 0, dict[int, socket.socket](), itertools.cycle(requests)
    with select.epoll() as epoll:

        def send_next() -> None:
            client = socket.socket()
            client.connect(("127.0.0.1", port))
            client.send(next(remaining))
            waiting[client.fileno()] = client
            epoll.register(client, select.EPOLLIN)

        for _ in range(connections):
            send_next()
        while waiting:
            is_over = time.monotonic() > started_at_s + duration_s
            for descriptor, _ in epoll.poll():
                with waiting.pop(descriptor) as client:
                    response = client.recv(65536)
                if not response.startswith(b"HTTP/1.1 2"):
                    raise RuntimeError(f"{response[:200]!r}")
                responses += 1
                if not is_over:
                    send_next()
    return LoadResult(responses, time.monotonic() - started_at_s)
