"""Noise at the door: requests spoilt in every way, and a neighbour who is served all the while.

`OVX_FUZZ` says how many requests (10,000 if left out; try 1,000,000), `OVX_FUZZ_SEED` which ones. All that a connection
sends follows from the seed and the connection's number, which are told, with the bytes, where an answer is no good.
"""

import http.client
import json
import os
import re
import select
import signal
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ovx_lite.storage import shared_links
from ovx_lite.storage.sqlite import open_store
from tests.conftest import CHROME, RunningSite, Start, Store

CASES = int(os.environ.get("OVX_FUZZ", "10000"))
SEED = os.environ.get("OVX_FUZZ_SEED", "1")
THREADS = 3
PROC = Path("/proc")
RESET = struct.pack("ii", 1, 0)
SPARE = 8 * 1024 * 1024
HOLE = "@hole@"  # where raw JSON goes

# fmt: off
EVENT = {"url": "https://example.com/a?utm_source=b", "referrer": "https://c.example/", "user_agent": CHROME,
         "ip_address": "203.0.113.9", "props": {"plan": "pro", "n": 1}, "event_name": "signup", "type": "custom"}
TOLD = {"event_type": "conversion", "event_name": "buy", "user_id": "u", "revenue": 9.5, "currency": "EUR",
        "url": "https://example.com/b", "properties": {"a": [1, {"b": None}]}}
SEEN = {"type": "pageview", "url": "https://example.com/c", "visitorId": "v", "sessionId": "s", "timestamp": None}
BODIES: dict[str, Any] = {
    "/api/v1/events/pageview": EVENT | {"site_id": "my-site"},
    "/api/v1/events/custom": EVENT | {"site_id": "my-site"},
    "/api/v1/events/batch": {"site_id": "my-site", "events": [EVENT, EVENT | {"type": "pageview"}]},
    "/api/v1/event": {
        "event": {"name": "$purchase", "project_id": "my-site", "device_id": "d", "session_id": "s",
                  "context": "website", "properties": {"price": 9.99}},
        "identity": {"unique_identifier": "u", "project_id": "my-site", "email": "a@example.com"}},
    "/api/events": {"projectKey": "my-site", "events": [SEEN, SEEN]},
    "/v1/projects/my-site/events": TOLD,
    "/v1/projects/my-site/events/batch": {"events": [TOLD]},
    "/api/v1/stats/query": {
        "site_id": "quiet", "metrics": ["visitors", "bounce_rate"], "date_range": "7d", "dimensions": ["event:page"],
        "filters": [["is", "event:page", ["/a"]]], "order_by": [["visitors", "desc"]], "limit": 5, "include": {}},
}
PAGES = [
    "/", "/healthz", "/login", "/login?next=%0d%0aX:%20y", "/setup?token=%c3%a9", "/share/x", "/share/noise/csv/pages",
    "/share/noise?f=is,page,/a", "/share/noise?period=%00&from=9999-99-99&f=matches,page,((", "/js/ovx.js",
    "/openapi.json", "/static/..%2f", "/static/%00", "/sites/my-site", "/account", "/v1/projects//events", "?",
    "/api/v1/stats/realtime?site_id=quiet", "/api/v1/stats/realtime?site_id=%ff", "/" + "a" * 70_000, "*", "", "//",
    "http://[", "http://x:99999/", "http://x", "x:80", "/%", "/%ff%fe", "/v1/projects/%00%2f/events", "/#a", "/\xff",
]
METHODS = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW", "get", "", "A" * 999]
JSON = [
    "null", "true", "-1", "0", "1e999", "-1e-999", "9" * 400, "0." + "1" * 900, "NaN", "01", "9007199254740993", "{}",
    "[]", '""', r'"\ud800"', r'"\udc00\ud800"', r'"\ud83d\ude00"', r'"a\u0000b"', r'"\x41"', '"\xff"',
    '"9999-12-31T23:59:59Z"', "253402300800000", "1e18", "[" * 9000, '{"a":' * 99 + "1" + "}" * 99,
    '"' + "x" * 4097 + '"', '"' + "é" * 3000 + '"', '"https://["', '"http://\u202e/"', '"javascript:0"', "",
    '{"a": 1, "a": 2}', '["matches", "event:page", ["("]]', "[" + "0," * 2000 + "0]", '"' + "a" * 66_000 + '"', '"XXX"',
]
HEADERS = [
    b"Content-Type: text/plain", b"Accept: text/html", b"Connection: close", b"Connection: keep-alive, x", b"Host:",
    b"Range: bytes=0-1", b"Range: bytes=-9999999999999999999,1-,a", b"If-None-Match: *", b"If-Modified-Since: \xff",
    b"Expect: 100-continue", b"Expect: a miracle", b"Upgrade: h2c\r\nConnection: Upgrade", b"Cookie: =;;\xff", b"X",
    b"Connection: Upgrade\r\nUpgrade: websocket", b"Cookie: " + b"ovx-00000000=e30.x.y; " * 9, b"Origin: null", b": y",
    b"Origin: https://[", b"Sec-Fetch-Site: cross-site", b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-Proto: \xe9",
    b"X-Forwarded-For: ,,\xff, [::1]:x", b"X-Forwarded-For: " + b"1.2.3.4," * 800, b"X-Forwarded-Host: a b", b"X : y",
    b"X-Forwarded-For: ::ffff:10.0.0.1%eth0", b"Idempotency-Key: again", b"Idempotency-Key: \xff", b"Idempotency-Key:",
    b"User-Agent: " + CHROME.encode(), b"User-Agent: " + b"(" * 5000, b"X: " + b"y" * 60_000, b"X: \x01", b"X: a\x00b",
    b"\r\n".join(b"X-%d: y" % number for number in range(300)), b"X" * 9000 + b": y", b"Host: a, b", b"\xff: \xff",
    b"X: a\r\n\tfolded", b"Content-Encoding: gzip", b"Referer: https://[/?" + b"a=" * 99,
    b"Content-Type: application/x-www-form-urlencoded",
]
LENGTHS = [b"-5", b"9" * 30, b"300000000", b"9223372036854775807", b"+1", b"0x9", b"1 1", b"1, 2", b"", b"\xb2"]
CODINGS = [b"gzip, chunked", b"chunked, gzip", b"identity", b"xchunked", b"chunked, chunked", b"\x0bchunked", b""]
SIZES = [b"zz", b"-1", b"fffffffffffffffff", b"ffffffff", b"5;" + b"x" * 9000, b"", b"0x5", b" 5"]
# fmt: on


@dataclass(frozen=True)
class Case:
    """A request. If it is `whole`, no two can differ about where it ends, so there must be an answer."""

    method: str
    sent: bytes
    whole: bool


def body_of(rng: Random, path: str) -> bytes:
    """A body as this path takes it, with something strange in it, perhaps."""
    document = json.loads(json.dumps(BODIES.get(path) or rng.choice(list(BODIES.values()))))
    for _ in range(rng.choice((0, 0, 1, 1, 1, 3))):
        place, last = document, document
        while place and isinstance(place, dict | list):
            last, at = place, rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
            place = place[at]
            if rng.random() < 0.4:
                break
        if last:
            last[at] = HOLE
    text = json.dumps(document)
    while f'"{HOLE}"' in text:
        text = text.replace(f'"{HOLE}"', rng.choice(JSON), 1)
    if rng.random() < 0.05:
        text = text.replace("{", '{"url": %s, ' % rng.choice(JSON), 1)  # noqa: UP031 - braces
    body = text.encode("latin-1" if rng.random() < 0.05 and text.isascii() else "utf-8")
    return body[: rng.randrange(len(body) + 1)] if rng.random() < 0.05 else body


def chunks(rng: Random, body: bytes) -> Iterator[bytes]:
    """A body in pieces, without the last one, which is empty."""
    while body:
        size = rng.randint(1, max(len(body) // 2, 1) if rng.random() < 0.9 else 3 + len(body) // 20)
        yield b"%x%s\r\n%s\r\n" % (len(body[:size]), rng.choice((b"", b"", b";a=b")), body[:size])
        body = body[size:]


def framed(rng: Random, body: bytes) -> tuple[bytes, bytes, bool]:
    """How long a body says that it is, as headers; its bytes; and whether that is so."""
    size, coded, pieces = b"Content-Length: %d", b"Transfer-Encoding: chunked", b"".join(chunks(rng, body))
    right, wrong = size % len(body), size % max(len(body) + rng.choice((-9, -1, 1, 99)), 0)
    if rng.random() < 0.6:
        return right, body, True
    if rng.random() < 0.4:
        return coded, pieces + rng.choice((b"0\r\n\r\n", b"000\r\nX-Trailer: y\r\n\r\n")), True
    others = [
        (b"Content-Length: " + rng.choice(LENGTHS), body),
        (wrong, body),
        (right + b"\r\n" + rng.choice((right, wrong)), body),
        (coded + b"\r\n" + right, rng.choice((body, pieces + b"0\r\n\r\n"))),
        (coded, pieces[: rng.randrange(len(pieces) + 1)]),
        (coded, pieces + rng.choice(SIZES) + b"\r\nabcde\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: " + rng.choice(CODINGS), pieces + b"0\r\n\r\n"),
        (b"X-None: 0", body),
    ]
    return *rng.choice(others), False


def spoilt(rng: Random, head: bytes) -> bytes:
    """A head with bytes of it gone, or changed, or others among them."""
    if rng.random() < 0.3:
        return head.replace(b"\r\n", rng.choice((b"\n", b"\r", b"\r\r\n", b"\n\r\n")))
    for _ in range(rng.choice((1, 1, 2, 9))):
        at = rng.randrange(len(head))
        new = rng.choice((b"\0", b"\xff", b"\r\n", b"\n", b" ", b":", b"\t", b"", rng.randbytes(3)))
        head = head[:at] + new + head[at + rng.choice((0, 1, 1, 9)) :]
    return head


def case(rng: Random, credentials: list[bytes]) -> Case:
    """One request."""
    path = rng.choice(list(BODIES)) if rng.random() < 0.8 else rng.choice(PAGES)
    method = "POST" if path in BODIES and rng.random() < 0.9 else rng.choice(METHODS)
    version = "1.1" if rng.random() < 0.97 else rng.choice(("1.0", "0.9", "2.0", "9.9", "1.1 ", "x"))
    headers = rng.choices(HEADERS, k=rng.choice((0, 0, 1, 1, 2, 6)))
    length, body, whole = framed(rng, body_of(rng, path))
    lines = [f"{method} {path} HTTP/{version}".encode("latin-1"), b"Host: x", rng.choice(credentials), *headers, length]
    head = b"\r\n".join([*lines, b"", b""])
    if method == "HEAD":  # whose answers have no body, so that it must be known which ones these are
        return Case(method, head.replace(length, b"Content-Length: 0"), True)
    if rng.random() < 0.06:
        return Case(method, spoilt(rng, head) + body, False)
    return Case(method, head + body, whole and method not in ("CONNECT", ""))


def answer(stream: BufferedReader, method: str = "") -> tuple[int, bool] | None:
    """See that the next answer is a good one: its status, and whether it is the last; None if there is no other."""
    status = 100
    while status < 200:
        line = stream.readline()
        if not line:
            return None
        first = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [ -~]*\r\n", line)
        assert first, f"no answer begins with {line!r}"
        status, headers = int(first[1]), dict[bytes, bytes]()
        while (line := stream.readline()) != b"\r\n":
            assert re.fullmatch(rb"[\w-]+: [^\r\n\0]*\r\n", line), f"no header is {line!r}"
            name, _, value = line.rstrip().lower().partition(b": ")
            headers[name] = value
    assert status < 500, f"the status is {status}"
    last = headers.get(b"connection") == b"close"
    body = b""
    if b"transfer-encoding" in headers and method != "HEAD":
        while size := int(stream.readline(), 16):
            body += stream.read(size + 2)[:-2]
        assert stream.readline() == b"\r\n"
    elif method != "HEAD" and status not in (204, 304):
        body = stream.read(int(headers[b"content-length"]))
        assert len(body) == int(headers[b"content-length"]), "the answer was cut off"
    if status >= 400 and headers[b"content-type"] == b"application/json" and method != "HEAD":
        told = json.loads(body)
        assert set(told) == {"error"}, told
        assert set(told["error"]) - {"field"} == {"code", "message"}, told
        assert all(isinstance(word, str) and word for word in told["error"].values()), told
    return status, last


def shown(sent: list[bytes]) -> str:
    """Bytes as Python has them, with what is long and all the same as a product."""
    return re.sub(
        r"(\\x..\\x..|\\x..|[^\\])\1{99,}", lambda same: f"' + b'{same[1]}' * {len(same[0])} + b'", repr(sent)
    )


@dataclass
class Noise:
    """Those who make the noise, and what they have found."""

    running: RunningSite
    credentials: list[bytes]
    numbers: Iterator[int] = field(default_factory=count)
    latest: deque[tuple[int, list[bytes]]] = field(default_factory=lambda: deque(maxlen=3 * THREADS))
    made: int = 0
    fault: str = ""

    def make(self, until: int) -> None:
        """Open connections one after the other, until there were so many cases, or one went wrong."""
        left: deque[socket.socket] = deque()
        with self.running.server.log_path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            while self.made < until and not self.fault:
                number, sent = next(self.numbers), list[bytes]()
                self.latest.append((number, sent))
                try:
                    self.talk(Random(f"{SEED} {number}"), sent, left)
                    said = log.read()
                    if b"Traceback" in said:
                        told = [f"connection {which} had sent {shown(those)}" for which, those in list(self.latest)]
                        self.fault = "\n".join([f"With seed {SEED}, it is in the log:", said[-4000:].decode(), *told])
                except Exception as wrong:
                    told = [f"With seed {SEED}, connection {number}: {wrong!r}. It had sent {shown(sent)}"]
                    self.fault = "\n".join(told)
        for client in left:
            client.close()

    def talk(self, rng: Random, sent: list[bytes], left: deque[socket.socket]) -> None:
        """One connection. What it sends is put into `sent`; those that are `left` silent are ended later."""
        cases = [case(rng, self.credentials) for _ in range(rng.randint(1, 8))]
        self.made += len(cases)
        client = socket.create_connection(("127.0.0.1", self.running.server.port), timeout=30)
        how = rng.choices((in_turn, at_once, broken_off, None), (50, 35, 10, 5))[0]
        if how:
            with client:
                how(rng, client, cases, sent)
            return
        client.sendall(b"".join(one.sent for one in cases)[: rng.randint(1, 5000)])
        left.append(client)
        if len(left) > 20:
            with left.popleft() as client, suppress(ConnectionError), client.makefile("rb") as stream:
                end(client)
                stream.read()


def end(client: socket.socket) -> None:
    """Say no more, but listen on."""
    with suppress(OSError):  # as the server was faster
        client.shutdown(socket.SHUT_WR)


def in_turn(rng: Random, client: socket.socket, cases: list[Case], sent: list[bytes]) -> None:
    """Ask, and wait for the answer, until one is the last."""
    with client.makefile("rb") as stream:
        for one in cases:
            sent.append(one.sent)
            try:
                client.sendall(one.sent)
                if one.whole:
                    told = answer(stream, one.method)
                    assert told, "there is no answer"
                    if told[1]:
                        return
                else:
                    select.select([client], [], [], rng.choice((0, 0.02)))
                    end(client)
                    while answer(stream):
                        pass
                    return
            except ConnectionError:  # what is large need not be read to its end
                assert not one.whole or len(one.sent) > 10_000, "there is no answer"
                return


def at_once(rng: Random, client: socket.socket, cases: list[Case], sent: list[bytes]) -> None:
    """Ask for all at once, in pieces, and say no more; then wait for the answers."""
    cases = [one for one in cases if one.method != "HEAD"]
    ends = [number for number, one in enumerate(cases, 1) if not one.whole]
    del cases[ends[0] if ends else len(cases) :]
    sent += (one.sent for one in cases)
    rest, answers = b"".join(sent), 0
    with suppress(ConnectionError), client.makefile("rb") as stream:
        while rest:
            size = rng.choice((len(rest), rng.randint(1, len(rest))))
            client.sendall(rest[:size])
            rest = rest[size:]
        end(client)
        while told := answer(stream):
            answers += 1
            if told[1]:
                return
        assert ends or answers == len(cases), f"there were {answers} answers to {len(cases)}"


def broken_off(rng: Random, client: socket.socket, cases: list[Case], sent: list[bytes]) -> None:
    """Say some of it, and reset the connection."""
    data = b"".join(one.sent for one in cases)
    sent.append(data[: rng.randrange(len(data) + 1)])
    with suppress(ConnectionError):
        client.sendall(sent[0])
        select.select([client], [], [], rng.choice((0, 0, 0.01)))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


class Neighbour(threading.Thread):
    """Somebody who sends one good event after another, on a connection of their own."""

    def __init__(self, running: RunningSite) -> None:
        super().__init__()
        self.running = running
        self.stored, self.failures, self.enough = 0, list[str](), threading.Event()

    def run(self) -> None:
        headers, body = {"Authorization": f"Bearer {self.running.key}"}, b'{"site_id": "my-site", "url": "app://good"}'
        with closing(http.client.HTTPConnection("127.0.0.1", self.running.server.port, timeout=60)) as connection:
            connection.connect()
            connection.auto_open = 0  # one is enough
            while not self.enough.wait(0.005):
                try:
                    connection.request("POST", "/api/v1/events/pageview", body, headers)
                    came = connection.getresponse()
                    told = came.read()
                    if came.status == 201:
                        self.stored += 1
                    else:
                        self.failures.append(f"{came.status} {told.decode()}")
                except (OSError, http.client.HTTPException) as wrong:
                    self.failures.append(repr(wrong))
                    return


def memory(pid: int) -> int:
    """Bytes of a process that are in memory; 0 where nobody says."""
    statm = PROC / str(pid) / "statm"
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def files(pid: int) -> int:
    """How many files a process has open; 0 where nobody says."""
    fd = PROC / str(pid) / "fd"
    return len(list(fd.iterdir())) if fd.exists() else 0


def test_noise_is_answered_and_harms_nobody(tmp_path: Path, start: Start) -> None:
    store = Store(tmp_path / "data")
    site, key = store.site("my-site", "--hourly-limit", "1000000000"), store.key()
    store.site("quiet")
    with closing(open_store(store.path)) as conn:
        shared_links.save(conn, shared_links.SharedLink(2, "noise", "", 0))
    keys = [*[key] * 3, store.key("quiet"), store.key("my-site", "--hourly-limit", "50"), "a.b.c", "\xff", "e30.e30."]
    credentials = [b"Authorization: Basic Og==", *(f"Authorization: Bearer {one}".encode("latin-1") for one in keys)]
    running = RunningSite(store, start(store, "--trusted-proxies", "127.0.0.1"), key, site["jwt_secret"])
    assert running.server.pageview(key).status == 201
    pid = running.server.process.pid
    open_before, in_memory = files(pid), 0
    noise, neighbour = Noise(running, credentials), Neighbour(running)
    neighbour.start()
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            for until in (CASES // 5, CASES):
                in_memory = in_memory or memory(pid) if noise.made else 0
                for made in [pool.submit(noise.make, until) for _ in range(THREADS)]:
                    made.result()
    finally:
        neighbour.enough.set()
        neighbour.join()
    if noise.fault:
        pytest.fail(noise.fault, pytrace=False)
    assert (neighbour.failures, neighbour.stored > 0) == ([], True)
    assert memory(pid) <= in_memory * 1.25 + SPARE
    deadline = time.monotonic() + 20
    while files(pid) > open_before + 20 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert files(pid) <= open_before + 20
    assert running.server.stop(signal.SIGTERM) == 0
    assert "Traceback" not in running.server.log_path.read_text()
    checked = store.spawn("check")
    assert checked.exit_status == 0, checked.stdout + checked.stderr
