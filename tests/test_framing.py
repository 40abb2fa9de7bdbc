"""Request boundaries: however the bytes are split, no byte of a body is parsed as a request."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from ovx_lite.http import protocol
from ovx_lite.http.protocol import MAX_PIPELINED, HttpProtocol
from ovx_lite.http.request_buffer import BufferLimit
from tests.support.transport import Transport

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
SPELLINGS = ("Upgrade", "upgrade", "UPGRADE", "UPgrade", "uPGRADE", "Upgrad\x45")
Served = tuple[str, str, bytes]


class CountingProtocol(HttpProtocol):
    """Counts the requests whose parsing has started."""

    started_requests = 0

    def on_message_begin(self) -> None:
        self.started_requests += 1
        super().on_message_begin()


class Connection:
    """A connection to a server that records the requests it serves."""

    def __init__(self, hold: asyncio.Event | None = None) -> None:
        self.served: list[Served] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.hold = hold
        self.transport = Transport()
        config = uvicorn.Config(self.app, interface="asgi3", ws="none", lifespan="off", log_config=None)
        self.protocol = CountingProtocol(config, ServerState(), {})
        self.protocol.connection_made(self.transport)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        if self.hold is not None:
            await self.hold.wait()
        self.served.append((scope["method"], scope["path"], body))
        self.headers = scope["headers"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def send(self, chunks: Iterable[bytes]) -> None:
        """Send each chunk as a read of its own, until the server stops reading."""
        for chunk in chunks:
            for _ in range(200):
                if not self.transport.paused:
                    break
                await asyncio.sleep(0)
            if self.transport.closed or self.transport.paused:
                break
            self.protocol.data_received(chunk)
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)

    async def serve(self, count: int) -> None:
        """Wait for a limited time until `count` requests are served."""
        for _ in range(100 * count):
            if len(self.served) >= count:
                break
            await asyncio.sleep(0)

    def statuses(self) -> list[str]:
        return re.findall(r"HTTP/1\.1 (\d{3})", self.transport.written.decode())

    def end(self) -> None:
        self.protocol.connection_lost(ConnectionResetError())


def cut(data: bytes, *positions: int) -> list[bytes]:
    """Split the bytes at these positions (modulo the length)."""
    bounds = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
    return [data[a:b] for a, b in pairwise(bounds) if a < b]


async def _serve(chunks: Iterable[bytes]) -> tuple[list[Served], list[str]]:
    connection = Connection()
    await connection.send(chunks)
    connection.end()
    return connection.served, connection.statuses()


def serve(chunks: Iterable[bytes]) -> tuple[list[Served], list[str]]:
    """Send these reads over a connection. Return the requests served and the statuses of the responses."""
    return asyncio.run(_serve(chunks))


def serve_all(sequences: Sequence[Iterable[bytes]]) -> list[tuple[list[Served], list[str]]]:
    """Do the same for many connections."""

    async def all_of_them() -> list[tuple[list[Served], list[str]]]:
        return [await _serve(chunks) for chunks in sequences]

    return asyncio.run(all_of_them())


def upgrade_request(
    spelling: str = "Upgrade", body: bytes = SMUGGLED, chunked: bool = False, method: str = "POST"
) -> bytes:
    """Return a request with an upgrade offer, and a body that looks like a request."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    lines = [f"{method} /first HTTP/1.1", "Host: x", f"{spelling}: h2c", f"Connection: {spelling}, HTTP2-Settings"]
    head = "\r\n".join([*lines, "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", framing, "", ""]).encode()
    chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    return head + (chunk + b"0\r\n\r\n" if chunked else body)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_body_after_an_upgrade_offer_is_a_body_wherever_it_is_split(spelling: str, chunked: bool) -> None:
    data = upgrade_request(spelling, chunked=chunked)
    expected = ([("POST", "/first", SMUGGLED)], ["200"])
    sequences = [cut(data, position) for position in range(len(data))]
    assert all(result == expected for result in serve_all(sequences))


@pytest.mark.parametrize("chunked", [False, True])
def test_requests_split_into_single_bytes_are_parsed_the_same(chunked: bool) -> None:
    data = upgrade_request("UPgrade", chunked=chunked)
    expected = [("POST", "/first", SMUGGLED)] * 2
    assert serve(bytes([byte]) for byte in data * 2) == (expected, ["200"] * 2)


@pytest.mark.parametrize("chunked", [False, True])
def test_requests_around_an_upgrade_offer_are_served_in_order(chunked: bool) -> None:
    plain = b"POST /plain HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    data = plain + upgrade_request(chunked=chunked) * 3 + plain
    first, other = ("POST", "/first", SMUGGLED), ("POST", "/plain", b"hi")
    expected = ([other, first, first, first, other], ["200"] * 5)
    sequences = [
        [data],
        [bytes([byte]) for byte in data],
        *(cut(data, position) for position in range(0, len(data), 3)),
    ]
    assert all(result == expected for result in serve_all(sequences))


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PROPFIND"])
def test_an_upgrade_offer_without_a_body_is_a_request(method: str) -> None:
    data = upgrade_request(body=b"", method=method)
    assert serve([data + data]) == ([(method, "/first", b"")] * 2, ["200"] * 2)


def test_nothing_after_connect_is_a_request() -> None:
    for target in (b"x:443", b"/", b"*"):
        data = b"CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n" % target + SMUGGLED
        for served, statuses in serve_all([cut(data, position) for position in range(len(data))]):
            assert (served, statuses) == ([], ["400"])


def test_the_http_2_preface_is_not_a_request() -> None:
    data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED
    for served, statuses in serve_all([cut(data, position) for position in range(len(data))]):
        assert (served, statuses) == ([], ["400"])


CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 3\r\nContent-Length: 4",
        b"Content-Length: 3\r\nContent-Length: 3",
        b"Content-Length: 3, 3",
        b"Content-Length: +3",
        b"Content-Length: -3",
        b"Content-Length: 0x3",
        b"Content-Length: 3 3",
        b"Content-Length:",
        b"Content-Length: 18446744073709551619",
        b"Content-Length : 3",
        b" Content-Length: 3",
        b"\tContent-Length: 3",
        b"X: y\r\n Content-Length: 3",
        b"Content-Length: 1\r\n 0",
        b"Content-Length:\r\n 3",
        b"Content-Length: 3\nX: y",
        b"Content-Length: 3\rX: y",
        b"X: y\nContent-Length: 3",
        b"X\0: y\r\nContent-Length: 3",
        b": y\r\nContent-Length: 3",
        b"Content Length: 3",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Content-Length: 3\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: chunked, chunked-not",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding: chunk\r\n ed",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: chunked;q=1",
        b'Transfer-Encoding: "chunked"',
    ],
)
def test_ambiguous_framing_is_refused_and_nothing_after_it_is_read(framing: bytes) -> None:
    for upgrade in (b"", b"Upgrade: h2c\r\nConnection: Upgrade\r\n"):
        for body in (SMUGGLED, CHUNKED, b"0\r\n\r\n" + SMUGGLED):
            data = b"POST /first HTTP/1.1\r\nHost: x\r\n" + upgrade + framing + b"\r\n\r\n" + body
            places = (len(data), 40, data.index(b"\r\n\r\n") + 4, len(data) - 30)
            for served, statuses in serve_all([cut(data, position) for position in places]):
                assert (served, statuses) == ([], ["400"])


@pytest.mark.parametrize(
    "body",
    [
        b"3\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3;a\nb\r\nabc\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        b"\r\n0\r\n\r\n",
    ],
)
def test_invalid_chunks_are_refused_and_nothing_after_them_is_read(body: bytes) -> None:
    data = b"POST /first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body + SMUGGLED
    for served, statuses in serve_all([cut(data, position) for position in range(0, len(data), 2)]):
        assert (served, statuses) == ([], ["400"])


def test_chunk_extensions_and_spaces_around_header_values_are_accepted() -> None:
    head = b"POST /first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \t identity, chunked \r\n\r\n"
    data = head + b'3;a=b;c="d"\r\nabc\r\n0;e\r\n\r\n'
    for served, statuses in serve_all([cut(data * 2, position) for position in range(len(data))]):
        assert (served, statuses) == ([("POST", "/first", b"abc")] * 2, ["200"] * 2)


def test_nothing_after_the_last_request_is_a_request() -> None:
    for last in (
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        for chunks in ([last + SMUGGLED], [last, SMUGGLED]):
            assert serve(chunks) == ([("GET", "/", b"")], ["200"])


def test_trailers_are_not_headers() -> None:
    """An app trusts some headers that a proxy sets or removes."""

    async def headers_with_split_at(position: int) -> list[tuple[bytes, bytes]]:
        connection = Connection()
        head = b"POST / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        data = head + b"1\r\na\r\n0\r\nX-Forwarded-For: 192.0.2.9\r\nCookie: a=b\r\nUpgrade: h2c\r\n\r\n"
        await connection.send(cut(data, position))
        assert connection.served == [("POST", "/", b"a")]
        connection.end()
        return connection.headers

    for position in range(0, 170, 5):
        names = [name for name, _ in asyncio.run(headers_with_split_at(position))]
        assert names == [b"host", b"x-forwarded-for", b"transfer-encoding"]


REQUESTS = st.lists(
    st.builds(
        upgrade_request,
        st.sampled_from(["Upgrade", "UPgrade", "X-Other"]),
        st.sampled_from([b"", SMUGGLED, b"\r\n\r\n" * 9, SMUGGLED * 20, b"x" * 70_000]),
        st.booleans(),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(REQUESTS, st.lists(st.integers(0, 2**20), max_size=6))
def test_requests_are_parsed_the_same_however_they_are_split(requests: list[bytes], positions: list[int]) -> None:
    data = b"".join(requests)
    served, statuses = serve(cut(data, *positions))
    bodies = [SMUGGLED * 20, SMUGGLED, b"x" * 70_000, b"\r\n\r\n" * 9, b""]
    expected = [next(body for body in bodies if body in request.partition(b"\r\n\r\n")[2]) for request in requests]
    assert [body for _, _, body in served] == expected
    assert statuses == ["200"] * len(requests)


def test_at_most_16_requests_wait_and_then_reading_pauses() -> None:
    async def scenario() -> None:
        connection = Connection(hold := asyncio.Event())
        data = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(1000))
        await connection.send([data])
        assert connection.protocol.started_requests <= 1 + MAX_PIPELINED
        assert connection.transport.paused
        hold.set()
        await connection.serve(1000)
        assert [path for _, path, _ in connection.served] == [f"/{number}" for number in range(1000)]
        assert not connection.transport.paused
        connection.end()

    asyncio.run(scenario())


def test_an_error_is_sent_after_the_responses_to_earlier_requests() -> None:
    async def scenario(invalid_data: bytes, chunk_count: int) -> None:
        connection = Connection(hold := asyncio.Event())
        data = b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + invalid_data
        sending = asyncio.create_task(connection.send(cut(data, *[-len(invalid_data), -1][: chunk_count - 1])))
        await asyncio.sleep(0)
        assert connection.statuses() == []
        hold.set()
        await sending
        assert connection.statuses() == ["200", "200", "400"]
        assert connection.transport.closed
        connection.end()

    for chunk_count in (1, 2, 3):
        asyncio.run(scenario(b"no HTTP\r\n\r\n", chunk_count))
        asyncio.run(scenario(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno chunk", chunk_count))


HEAD = b"GET / HTTP/1.1\r\nHost: x\r\nX: "
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n"
CHUNKS = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
WAITING = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2


@pytest.mark.parametrize(
    ("begin", "before"), [(HEAD, 0), (POST, 0), (CHUNKS + b"X: ", 0), (WAITING + HEAD, 2), (WAITING + POST, 2)]
)
def test_the_oldest_unfinished_requests_are_refused_when_together_they_hold_too_much(
    begin: bytes, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(protocol, "_buffer_limit", BufferLimit(200_000))
        connections = [Connection(hold := asyncio.Event()) for _ in range(10)]
        for connection in connections:
            connection.hold = hold
            await connection.send([begin + b"y" * 30_000])
        hold.set()
        for connection in connections:
            await connection.send([])
        refused = [connection.transport.closed for connection in connections]
        assert refused == [True] * 4 + [False] * 6, "only 6 times 30,000 bytes may be held"
        for connection in connections:
            assert connection.statuses() == ["200"] * before + ["503"] * connection.transport.closed
            connection.end()

    asyncio.run(scenario())


def test_finished_requests_do_not_count_as_held(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(protocol, "_buffer_limit", BufferLimit(100_000))
        waiting = Connection()
        await waiting.send([HEAD, b"y" * 10_000])
        connection = Connection()
        for _ in range(50):
            whole = HEAD + b"y" * 30_000 + b"\r\n\r\n" + POST + b"y" * 90_000 + upgrade_request()
            await connection.send(cut(whole, 5, 20_000, 40_000, 60_000, 80_000))
        assert connection.statuses() == ["200"] * 150
        other = Connection()
        await other.send([HEAD, b"y" * 60_000])
        other.end()
        await connection.send([WAITING * 9, WAITING * 30])
        await connection.serve(150 + 78)
        assert connection.statuses() == ["200"] * (150 + 78)
        await waiting.send([b"\r\n\r\n"])
        assert waiting.statuses() == ["200"], "a finished request must not count as held"

    asyncio.run(scenario())
