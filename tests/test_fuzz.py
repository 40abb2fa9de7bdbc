"""Random and damaged requests, and a well-behaved client that must be served meanwhile.

`OVX_FUZZ` sets the number of requests (default 10,000; try 1,000,000), `OVX_FUZZ_SEED` the seed. What a connection
sends depends only on the seed and the connection's number. A failure reports both, and the bytes sent.
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
LINGER_RESET = struct.pack("ii", 1, 0)
SPARE_BYTES = 8 * 1024 * 1024
PLACEHOLDER = "@placeholder@"  # replaced by raw JSON

# fmt: off
EVENT = {"url": "https://example.com/a?utm_source=b", "referrer": "https://c.example/", "user_agent": CHROME,
         "ip_address": "203.0.113.9", "props": {"plan": "pro", "n": 1}, "event_name": "signup", "type": "custom"}
CONVERSION = {"event_type": "conversion", "event_name": "buy", "user_id": "u", "revenue": 9.5, "currency": "EUR",
        "url": "https://example.com/b", "properties": {"a": [1, {"b": None}]}}
APEX_EVENT = {"type": "pageview", "url": "https://example.com/c", "visitorId": "v", "sessionId": "s", "timestamp": None}
BODIES: dict[str, Any] = {
    "/api/v1/events/pageview": EVENT | {"site_id": "my-site"},
    "/api/v1/events/custom": EVENT | {"site_id": "my-site"},
    "/api/v1/events/batch": {"site_id": "my-site", "events": [EVENT, EVENT | {"type": "pageview"}]},
    "/api/v1/event": {
        "event": {"name": "$purchase", "project_id": "my-site", "device_id": "d", "session_id": "s",
                  "context": "website", "properties": {"price": 9.99}},
        "identity": {"unique_identifier": "u", "project_id": "my-site", "email": "a@example.com"}},
    "/api/events": {"projectKey": "my-site", "events": [APEX_EVENT, APEX_EVENT]},
    "/v1/projects/my-site/events": CONVERSION,
    "/v1/projects/my-site/events/batch": {"events": [CONVERSION]},
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
    """A request. If it is complete, its end is unambiguous, so there must be a response."""

    method: str
    data: bytes
    is_complete: bool


def body_of(rng: Random, path: str) -> bytes:
    """Return a body for this path, sometimes with something unusual in it."""
    document = json.loads(json.dumps(BODIES.get(path) or rng.choice(list(BODIES.values()))))
    for _ in range(rng.choice((0, 0, 1, 1, 1, 3))):
        node, parent = document, document
        while node and isinstance(node, dict | list):
            parent, key = node, rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
            node = node[key]
            if rng.random() < 0.4:
                break
        if parent:
            parent[key] = PLACEHOLDER
    text = json.dumps(document)
    while f'"{PLACEHOLDER}"' in text:
        text = text.replace(f'"{PLACEHOLDER}"', rng.choice(JSON), 1)
    if rng.random() < 0.05:
        text = text.replace("{", '{"url": %s, ' % rng.choice(JSON), 1)  # noqa: UP031 - braces
    body = text.encode("latin-1" if rng.random() < 0.05 and text.isascii() else "utf-8")
    return body[: rng.randrange(len(body) + 1)] if rng.random() < 0.05 else body


def chunks(rng: Random, body: bytes) -> Iterator[bytes]:
    """Yield a body in HTTP chunks, without the last, empty one."""
    while body:
        size = rng.randint(1, max(len(body) // 2, 1) if rng.random() < 0.9 else 3 + len(body) // 20)
        yield b"%x%s\r\n%s\r\n" % (len(body[:size]), rng.choice((b"", b"", b";a=b")), body[:size])
        body = body[size:]


def framed(rng: Random, body: bytes) -> tuple[bytes, bytes, bool]:
    """Return the headers that declare a body's length, its bytes, and whether the two agree."""
    length_header, chunked_header, chunked_body = (
        b"Content-Length: %d",
        b"Transfer-Encoding: chunked",
        b"".join(chunks(rng, body)),
    )
    exact_length, other_length = (
        length_header % len(body),
        length_header % max(len(body) + rng.choice((-9, -1, 1, 99)), 0),
    )
    if rng.random() < 0.6:
        return exact_length, body, True
    if rng.random() < 0.4:
        return chunked_header, chunked_body + rng.choice((b"0\r\n\r\n", b"000\r\nX-Trailer: y\r\n\r\n")), True
    others = [
        (b"Content-Length: " + rng.choice(LENGTHS), body),
        (other_length, body),
        (exact_length + b"\r\n" + rng.choice((exact_length, other_length)), body),
        (chunked_header + b"\r\n" + exact_length, rng.choice((body, chunked_body + b"0\r\n\r\n"))),
        (chunked_header, chunked_body[: rng.randrange(len(chunked_body) + 1)]),
        (chunked_header, chunked_body + rng.choice(SIZES) + b"\r\nabcde\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: " + rng.choice(CODINGS), chunked_body + b"0\r\n\r\n"),
        (b"X-None: 0", body),
    ]
    return *rng.choice(others), False


def spoil_head(rng: Random, head: bytes) -> bytes:
    """Remove, change or insert bytes of a head."""
    if rng.random() < 0.3:
        return head.replace(b"\r\n", rng.choice((b"\n", b"\r", b"\r\r\n", b"\n\r\n")))
    for _ in range(rng.choice((1, 1, 2, 9))):
        index = rng.randrange(len(head))
        replacement = rng.choice((b"\0", b"\xff", b"\r\n", b"\n", b" ", b":", b"\t", b"", rng.randbytes(3)))
        head = head[:index] + replacement + head[index + rng.choice((0, 1, 1, 9)) :]
    return head


def make_case(rng: Random, credentials: list[bytes]) -> Case:
    """Generate one request."""
    path = rng.choice(list(BODIES)) if rng.random() < 0.8 else rng.choice(PAGES)
    method = "POST" if path in BODIES and rng.random() < 0.9 else rng.choice(METHODS)
    version = "1.1" if rng.random() < 0.97 else rng.choice(("1.0", "0.9", "2.0", "9.9", "1.1 ", "x"))
    headers = rng.choices(HEADERS, k=rng.choice((0, 0, 1, 1, 2, 6)))
    length, body, is_complete = framed(rng, body_of(rng, path))
    lines = [f"{method} {path} HTTP/{version}".encode("latin-1"), b"Host: x", rng.choice(credentials), *headers, length]
    head = b"\r\n".join([*lines, b"", b""])
    if method == "HEAD":  # its responses have no body, so its requests must be well-formed
        return Case(method, head.replace(length, b"Content-Length: 0"), True)
    if rng.random() < 0.06:
        return Case(method, spoil_head(rng, head) + body, False)
    return Case(method, head + body, is_complete and method not in ("CONNECT", ""))


def check_response(stream: BufferedReader, method: str = "") -> tuple[int, bool] | None:
    """Check the next response. Return its status and whether it is the last, or None if there is none."""
    status = 100
    while status < 200:
        line = stream.readline()
        if not line:
            return None
        first = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [ -~]*\r\n", line)
        assert first, f"not a status line: {line!r}"
        status, headers = int(first[1]), dict[bytes, bytes]()
        while (line := stream.readline()) != b"\r\n":
            assert re.fullmatch(rb"[\w-]+: [^\r\n\0]*\r\n", line), f"not a header: {line!r}"
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
        assert len(body) == int(headers[b"content-length"]), "the response was truncated"
    if status >= 400 and headers[b"content-type"] == b"application/json" and method != "HEAD":
        document = json.loads(body)
        assert set(document) == {"error"}, document
        assert set(document["error"]) - {"field"} == {"code", "message"}, document
        assert all(isinstance(text, str) and text for text in document["error"].values()), document
    return status, last


def format_bytes(chunks: list[bytes]) -> str:
    """Format bytes as Python literals, with long repetitions as products."""
    return re.sub(
        r"(\\x..\\x..|\\x..|[^\\])\1{99,}", lambda match: f"' + b'{match[1]}' * {len(match[0])} + b'", repr(chunks)
    )


@dataclass
class NoiseMaker:
    """Sends random requests and records the first failure."""

    running: RunningSite
    credentials: list[bytes]
    numbers: Iterator[int] = field(default_factory=count)
    latest_connections: deque[tuple[int, list[bytes]]] = field(default_factory=lambda: deque(maxlen=3 * THREADS))
    case_count: int = 0
    failure: str = ""

    def run(self, case_limit: int) -> None:
        """Open connections one after the other until `case_limit` is reached or a case has failed."""
        silent_clients: deque[socket.socket] = deque()
        with self.running.server.log_path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            while self.case_count < case_limit and not self.failure:
                number, sent_data = next(self.numbers), list[bytes]()
                self.latest_connections.append((number, sent_data))
                try:
                    self.run_connection(Random(f"{SEED} {number}"), sent_data, silent_clients)
                    new_log = log.read()
                    if b"Traceback" in new_log:
                        report_lines = [
                            f"connection {connection_number} had sent {format_bytes(connection_data)}"
                            for connection_number, connection_data in list(self.latest_connections)
                        ]
                        self.failure = "\n".join(
                            [f"With seed {SEED}, the log has:", new_log[-4000:].decode(), *report_lines]
                        )
                except Exception as exc:
                    report_lines = [
                        f"With seed {SEED}, connection {number}: {exc!r}. It had sent {format_bytes(sent_data)}"
                    ]
                    self.failure = "\n".join(report_lines)
        for client in silent_clients:
            client.close()

    def run_connection(self, rng: Random, sent_data: list[bytes], silent_clients: deque[socket.socket]) -> None:
        """Run one connection. Append the data it sends to `sent_data`; connections left silent are closed later."""
        cases = [make_case(rng, self.credentials) for _ in range(rng.randint(1, 8))]
        self.case_count += len(cases)
        client = socket.create_connection(("127.0.0.1", self.running.server.port), timeout=30)
        strategy = rng.choices((send_in_turn, send_at_once, send_and_reset, None), (50, 35, 10, 5))[0]
        if strategy:
            with client:
                strategy(rng, client, cases, sent_data)
            return
        client.sendall(b"".join(request.data for request in cases)[: rng.randint(1, 5000)])
        silent_clients.append(client)
        if len(silent_clients) > 20:
            with silent_clients.popleft() as client, suppress(ConnectionError), client.makefile("rb") as stream:
                half_close(client)
                stream.read()


def half_close(client: socket.socket) -> None:
    """Stop sending, but keep receiving."""
    with suppress(OSError):  # the server has already closed it
        client.shutdown(socket.SHUT_WR)


def send_in_turn(rng: Random, client: socket.socket, cases: list[Case], sent_data: list[bytes]) -> None:
    """Send requests one by one and wait for each response, until the last."""
    with client.makefile("rb") as stream:
        for request in cases:
            sent_data.append(request.data)
            try:
                client.sendall(request.data)
                if request.is_complete:
                    response = check_response(stream, request.method)
                    assert response, "there is no response"
                    if response[1]:
                        return
                else:
                    select.select([client], [], [], rng.choice((0, 0.02)))
                    half_close(client)
                    while check_response(stream):
                        pass
                    return
            except ConnectionError:  # the server may refuse a large request before reading all of it
                assert not request.is_complete or len(request.data) > 10_000, "there is no response"
                return


def send_at_once(rng: Random, client: socket.socket, cases: list[Case], sent_data: list[bytes]) -> None:
    """Send all requests at once, in pieces, stop sending, and wait for the responses."""
    cases = [request for request in cases if request.method != "HEAD"]
    incomplete_numbers = [number for number, request in enumerate(cases, 1) if not request.is_complete]
    del cases[incomplete_numbers[0] if incomplete_numbers else len(cases) :]
    sent_data += (request.data for request in cases)
    rest, answers = b"".join(sent_data), 0
    with suppress(ConnectionError), client.makefile("rb") as stream:
        while rest:
            size = rng.choice((len(rest), rng.randint(1, len(rest))))
            client.sendall(rest[:size])
            rest = rest[size:]
        half_close(client)
        while response := check_response(stream):
            answers += 1
            if response[1]:
                return
        assert incomplete_numbers or answers == len(cases), f"{answers} responses to {len(cases)} requests"


def send_and_reset(rng: Random, client: socket.socket, cases: list[Case], sent_data: list[bytes]) -> None:
    """Send part of the data and reset the connection."""
    data = b"".join(request.data for request in cases)
    sent_data.append(data[: rng.randrange(len(data) + 1)])
    with suppress(ConnectionError):
        client.sendall(sent_data[0])
        select.select([client], [], [], rng.choice((0, 0, 0.01)))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)


class WellBehavedClient(threading.Thread):
    """A client that sends valid events, one after another, on its own connection."""

    def __init__(self, running: RunningSite) -> None:
        super().__init__()
        self.running = running
        self.stored, self.failures, self.stop_requested = 0, list[str](), threading.Event()

    def run(self) -> None:
        headers, body = {"Authorization": f"Bearer {self.running.key}"}, b'{"site_id": "my-site", "url": "app://good"}'
        with closing(http.client.HTTPConnection("127.0.0.1", self.running.server.port, timeout=60)) as connection:
            connection.connect()
            connection.auto_open = 0  # never reconnect
            while not self.stop_requested.wait(0.005):
                try:
                    connection.request("POST", "/api/v1/events/pageview", body, headers)
                    response = connection.getresponse()
                    response_body = response.read()
                    if response.status == 201:
                        self.stored += 1
                    else:
                        self.failures.append(f"{response.status} {response_body.decode()}")
                except (OSError, http.client.HTTPException) as exc:
                    self.failures.append(repr(exc))
                    return


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 if the system does not report it."""
    statm = PROC / str(pid) / "statm"
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def open_file_count(pid: int) -> int:
    """Return the number of open files of a process; 0 if the system does not report it."""
    fd = PROC / str(pid) / "fd"
    return len(list(fd.iterdir())) if fd.exists() else 0


def test_random_requests_are_answered_and_do_not_harm_other_clients(tmp_path: Path, start: Start) -> None:
    store = Store(tmp_path / "data")
    site, key = store.site("my-site", "--hourly-limit", "1000000000"), store.key()
    store.site("quiet")
    with closing(open_store(store.path)) as conn:
        shared_links.save(conn, shared_links.SharedLink(2, "noise", "", 0))
    keys = [*[key] * 3, store.key("quiet"), store.key("my-site", "--hourly-limit", "50"), "a.b.c", "\xff", "e30.e30."]
    credentials = [
        b"Authorization: Basic Og==",
        *(f"Authorization: Bearer {value}".encode("latin-1") for value in keys),
    ]
    running = RunningSite(store, start(store, "--trusted-proxies", "127.0.0.1"), key, site["jwt_secret"])
    assert running.server.pageview(key).status == 201
    pid = running.server.process.pid
    files_before, bytes_before = open_file_count(pid), 0
    noise_maker, good_client = NoiseMaker(running, credentials), WellBehavedClient(running)
    good_client.start()
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            for case_limit in (CASES // 5, CASES):
                bytes_before = bytes_before or memory_bytes(pid) if noise_maker.case_count else 0
                for future in [pool.submit(noise_maker.run, case_limit) for _ in range(THREADS)]:
                    future.result()
    finally:
        good_client.stop_requested.set()
        good_client.join()
    if noise_maker.failure:
        pytest.fail(noise_maker.failure, pytrace=False)
    assert (good_client.failures, good_client.stored > 0) == ([], True)
    assert memory_bytes(pid) <= bytes_before * 1.25 + SPARE_BYTES
    deadline_s = time.monotonic() + 20
    while open_file_count(pid) > files_before + 20 and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert open_file_count(pid) <= files_before + 20
    assert running.server.stop(signal.SIGTERM) == 0
    assert "Traceback" not in running.server.log_path.read_text()
    checked = store.spawn("check")
    assert checked.exit_status == 0, checked.stdout + checked.stderr
