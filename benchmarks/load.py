"""Sends requests over many connections at once, and counts the answers."""

import asyncio
import functools
import itertools
import random
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


class Look(NamedTuple):
    """A look at a page, from which the dialects' bodies are made."""

    url: str
    visitor: str
    referrer: str
    user_agent: str
    address: str


def looks(count: int, chance: random.Random) -> list[Look]:
    """Pageviews as a busy site has them: 200 visitors at a time, each of whom looks at four pages or so and leaves.

    Over 2,000 pages and 800 referrers, a few of which have most of the visits.
    """
    return list(itertools.islice(visiting(chance), count))


def visiting(chance: random.Random) -> Iterator[Look]:
    """The same without an end."""
    present = [_visitor(chance) for _ in range(200)]
    while True:
        place = chance.randrange(len(present))
        if chance.random() < 0.25:
            present[place] = _visitor(chance)
        page = int(chance.paretovariate(0.7)) % 2000
        yield present[place]._replace(url=f"https://example.com/articles/{page}")


def _visitor(chance: random.Random) -> Look:
    return Look(
        "",
        f"visitor-{chance.randrange(1 << 48):012x}",
        f"https://site-{int(chance.paretovariate(0.7)) % 800}.example/",
        chance.choice(BROWSERS).format(chance.randrange(10, 40)),
        str(IPv4Address(chance.randrange(1 << 24, 224 << 24))),
    )


def ovyxa(look: Look, site: str) -> dict[str, Any]:
    """The body of a pageview of Ovyxa's."""
    client = {"referrer": look.referrer, "user_agent": look.user_agent, "ip_address": look.address}
    return {"site_id": site, "url": look.url, **client}


def overcentric(look: Look, site: str) -> dict[str, Any]:
    """The body of an event of Overcentric's; one visitor in four has an identity."""
    event = {
        "name": "page_opened",
        "properties": {"plan": "premium"},
        "project_id": site,
        "device_id": look.visitor,
        "session_id": f"{look.visitor}-1",
        "context": "product",
        "url": look.url,
    }
    if look.visitor[-1] not in "0123":
        return {"event": event}
    email = f"{look.visitor}@example.com"
    return {"event": event, "identity": {"unique_identifier": look.visitor, "email": email, "project_id": site}}


def apex(look: Look, site: str) -> dict[str, Any]:
    """The body of a single pageview of Apex's."""
    return {
        "type": "pageview",
        "visitorId": look.visitor,
        "projectKey": site,
        "url": look.url,
        "referrer": look.referrer,
    }


def openanalytics(look: Look, site: str) -> dict[str, Any]:
    """The body of a pageview of OpenAnalytics', with a person."""
    return {"event_type": "pageview", "user_id": look.visitor, "url": look.url, "properties": {"plan": "premium"}}


def post(path: str, body: object, key: str = "", user_agent: str = "") -> bytes:
    """A whole HTTP request, as bytes."""
    encoded = msgspec.json.encode(body)
    lines = ("Host: localhost", f"Authorization: Bearer {key}", f"Content-Length: {len(encoded)}")
    agent = (f"User-Agent: {user_agent}",) if user_agent else ()
    return "\r\n".join((f"POST {path} HTTP/1.1", *lines, *agent, "", "")).encode() + encoded


class _Connection(asyncio.Protocol):
    """Sends one request after the other, each when the last one is answered."""

    def __init__(self, requests: Sequence[bytes], offset: int, until: float) -> None:
        self._requests = requests
        self._next = offset
        self._until = until
        self._transport: asyncio.WriteTransport | None = None
        self.answers = 0
        self.failures = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are none of asyncio's classes
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        if time.monotonic() > self._until:
            self._transport.close()
            return
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += 1

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 "):
            return  # the rest of a long answer
        if data.startswith(b"HTTP/1.1 2"):
            self.answers += 1
        else:
            self.failures += 1
        self._send()

    def connection_lost(self, reason: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


class _Paced(asyncio.Protocol):
    """Sends a request every so often; or, if the one before it is not answered by then, at once after that."""

    def __init__(self, requests: Iterator[bytes], due: float, gap: float, until: float, late: list[float]) -> None:
        self._requests = requests
        self._due = due
        self._gap = gap
        self._until = until
        self._late = late
        self._transport: asyncio.WriteTransport | None = None
        self._loop = asyncio.get_running_loop()
        self.done = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._wait()

    def _wait(self) -> None:
        assert self._transport is not None
        if self._due > self._until:
            self._transport.close()
        else:
            self._loop.call_later(max(0.0, self._due - time.monotonic()), self._send)

    def _send(self) -> None:
        assert self._transport is not None
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 2"):
            self.done.set_exception(RuntimeError(f"{data[:200]!r}"))
            return
        self._late.append(time.monotonic() - self._due)
        self._due += self._gap
        self._wait()

    def connection_lost(self, reason: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def paced(
    port: int, requests: Iterator[bytes], connections: int, per_second: float, seconds: float, late: list[float]
) -> None:
    """Send so many requests a second; append to `late` how long each took from when it was due to its answer.

    Raises RuntimeError if one was refused.
    """
    loop = asyncio.get_running_loop()
    begin, gap = time.monotonic(), connections / per_second
    made = []
    for number in range(connections):
        due = begin + gap * number / connections
        open_one = functools.partial(_Paced, requests, due, gap, begin + seconds, late)
        _, connection = await loop.create_connection(open_one, "127.0.0.1", port)
        made.append(connection)
    await asyncio.gather(*(connection.done for connection in made))


async def rate(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> float:
    """Answered requests a second. Raises RuntimeError if one was refused."""
    loop = asyncio.get_running_loop()
    begin = time.monotonic()
    made = []
    for number in range(connections):
        offset = number * len(requests) // connections
        open_one = functools.partial(_Connection, requests, offset, begin + seconds)
        _, connection = await loop.create_connection(open_one, "127.0.0.1", port)
        made.append(connection)
    await asyncio.gather(*(connection.done for connection in made))
    elapsed = time.monotonic() - begin
    failures = sum(connection.failures for connection in made)
    if failures:
        raise RuntimeError(f"{failures} requests were refused")
    return sum(connection.answers for connection in made) / elapsed
