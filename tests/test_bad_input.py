"""Invalid input: every request gets a proper response, none is a 5xx, and the server keeps working."""

import gzip
import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import repeat

import pytest

from tests.conftest import Response, RunningSite, Start, Store

EVENTS = "/api/v1/events/"
PAGEVIEW = EVENTS + "pageview"
GOOD = b'{"site_id": "my-site", "url": "app://a"}'
MAX_BODY_BYTES = 64 * 1024


@pytest.fixture(scope="module", autouse=True)
def _unharmed(running: RunningSite) -> Iterator[None]:
    """Check that the server still accepts events after all tests, and has logged no internal error."""
    yield
    assert running.server.send("/healthz", method="GET").json["status"] == "ok"
    assert running.server.pageview(running.key).status == 201
    assert running.server.stop() == 0
    log = running.server.log_path.read_text()
    assert "Traceback" not in log
    assert "ERROR" not in log


def connect(running: RunningSite) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.server.port), timeout=20)


def read_response(connection: socket.socket, method: str = "POST") -> Response | None:
    """Return the next response, or None if the connection was closed without one."""
    response = http.client.HTTPResponse(connection, method=method)
    with closing(response):
        try:
            response.begin()
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return None
        return Response(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )


def is_closed(connection: socket.socket) -> bool:
    """Wait for data or the end of the connection. Return whether the server closed it."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def head(running: RunningSite, *headers: str, method: str = "POST", path: str = PAGEVIEW) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {running.key}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def post(running: RunningSite, body: bytes, path: str = PAGEVIEW) -> Response:
    return running.server.send(path, body, running.key)


@pytest.mark.parametrize(("length", "expects"), [(MAX_BODY_BYTES + 1, False), (300_000_000, True), (2**63 - 1, False)])
def test_a_body_declared_too_large_is_refused_unread(running: RunningSite, length: int, expects: bool) -> None:
    with connect(running) as connection:
        headers = [f"Content-Length: {length}", *(["Expect: 100-continue"] if expects else [])]
        connection.sendall(head(running, *headers))
        response = read_response(connection)
        assert response is not None
        assert response.error == (413, "payload_too_large", None)
        assert is_closed(connection)


@pytest.mark.parametrize(
    ("path", "limit"), [("pageview", MAX_BODY_BYTES), ("custom", MAX_BODY_BYTES), ("batch", 5 * 1024 * 1024)]
)
def test_an_endless_body_is_refused_at_the_limit(running: RunningSite, path: str, limit: int) -> None:
    sent_bytes = 0
    with connect(running) as connection:
        connection.sendall(head(running, "Transfer-Encoding: chunked", path=EVENTS + path))
        with suppress(ConnectionError):
            for chunk in repeat(b"4000\r\n" + b" " * 0x4000 + b"\r\n", 50_000_000 // 0x4000):
                connection.sendall(chunk)
                sent_bytes += len(chunk)
        response = read_response(connection)
    assert response is not None
    assert response.error == (413, "payload_too_large", None)
    assert limit < sent_bytes < 40_000_000, "the server stopped reading at the limit"


def test_a_chunked_body_within_the_limit_is_accepted(running: RunningSite) -> None:
    with connect(running) as connection:
        connection.sendall(head(running, "Transfer-Encoding: chunked"))
        for part in (GOOD[:7], GOOD[7:]):
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n")
        response = read_response(connection)
    assert response is not None
    assert response.status == 201


def test_a_body_may_arrive_byte_by_byte(running: RunningSite) -> None:
    with connect(running) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head(running, f"Content-Length: {len(GOOD)}") + GOOD:
            connection.sendall(bytes([byte]))
        response = read_response(connection)
    assert response is not None
    assert response.status == 201


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_upgrade_offer_is_declined_and_the_request_answered(
    running: RunningSite, protocol: str, chunked: bool
) -> None:
    offer = ["Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAEAAEAAAAIAAAAB"]
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(GOOD)}"
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD) if chunked else GOOD
    with connect(running) as connection:  # Java's HttpClient sends this offer by default
        for _ in range(2):
            connection.sendall(head(running, *offer, length))
            connection.sendall(body)
            response = read_response(connection)
            assert response is not None
            assert response.status == 201


@pytest.mark.parametrize(("name", "cut"), [("UPGRADE", 9), ("upgrade", 9)])
def test_an_upgrade_offer_is_declined_wherever_it_is_split(running: RunningSite, name: str, cut: int) -> None:
    request = head(running, "Connection: Upgrade", f"{name}: h2c", f"Content-Length: {len(GOOD)}") + GOOD
    index = request.index(name.encode() + b":") + cut
    with connect(running) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request[:index])
        time.sleep(0.05)  # so that it arrives in two pieces
        connection.sendall(request[index:])
        response = read_response(connection)
    assert response is not None
    assert response.status == 201


def test_a_connection_serves_several_requests_in_sequence(running: RunningSite) -> None:
    good, bad = (head(running, f"Content-Length: {len(body)}") + body for body in (GOOD, b"[]"))
    with connect(running) as connection:
        for request, status in [(good, 201), (bad, 400), (good, 201)]:
            connection.sendall(request)
            response = read_response(connection)
            assert response is not None
            assert response.status == status


def test_an_incomplete_body_is_not_stored(store: Store, start: Start) -> None:
    site, key = store.site(), store.key()
    running = RunningSite(store, start(store), key, site["jwt_secret"])
    with_length = head(running, f"Content-Length: {len(GOOD) + 1}") + GOOD
    in_chunks = head(running, "Transfer-Encoding: chunked") + b"%x\r\n%s\r\n" % (len(GOOD), GOOD)
    for request in (with_length, in_chunks):
        for wait in (False, True):
            with connect(running) as connection:
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                if wait:
                    read_response(connection)
    assert running.server.stop() == 0
    assert store.events() == []


def test_a_half_closed_connection_does_no_harm(running: RunningSite) -> None:
    with connect(running) as connection:
        connection.sendall(head(running, f"Content-Length: {len(GOOD)}") + GOOD)
        connection.shutdown(socket.SHUT_WR)
        response = read_response(connection)
        assert response is None or response.status == 201


def test_a_content_length_may_have_thousands_of_leading_zeros(running: RunningSite) -> None:
    with connect(running) as connection:
        connection.sendall(head(running, f"Content-Length: {'0' * 5000}{len(GOOD)}") + GOOD)
        response = read_response(connection)
        assert response is not None
        assert response.status in (201, 400, 413)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 100,
        b"POST\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" % PAGEVIEW.encode(),
        b"POST / HTTP/1.1\r\nHost: x\r\nIdempotency-Key: a\x7f\r\nContent-Length: 0\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    ],
    ids=lambda data: repr(data[-24:]),
)
def test_data_that_is_not_http_is_refused(running: RunningSite, data: bytes) -> None:
    with connect(running) as connection:
        connection.sendall(data)
        response = read_response(connection)
        assert response is None or response.status in (400, 404, 414, 431, 505)


def test_an_unknown_method_gets_the_standard_error_body(running: RunningSite) -> None:
    with connect(running) as connection:
        connection.sendall(b"BREW /api/v1/events/pageview HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        response = read_response(connection)
    assert response is not None
    assert response.status in (400, 405, 501)
    assert response.json["error"]["code"]


# fmt: off
PATHS = [
    PAGEVIEW, "/healthz", "/nothing", "//", "/%00", "/%ff%ed%a0%80", "/../../etc/passwd", "/" + "a" * 9000, "*",
    "/?" + "a=1&" * 2000, "/static/%00", "/static/../../pyproject.toml", "/static/" + "a" * 3000, "/x%0d%0aX-Evil:%201",
]
# fmt: on


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:20])
def test_every_path_and_method_gets_a_response(running: RunningSite, path: str) -> None:
    for method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "TRACE", "PROPFIND"):
        with connect(running) as connection:
            connection.sendall(
                head(running, "Content-Length: 2", "Connection: close", method=method, path=path) + b"{}"
            )
            response = read_response(connection, method)
        assert response is not None, method
        assert response.status < 500, method
        assert "x-evil" not in response.headers
        if response.status >= 400 and method != "HEAD":
            assert (response.headers["content-type"], set(response.json)) == ("application/json", {"error"}), method


@pytest.mark.parametrize("host", ["[", "a b", "x" * 9000, "é", "", "evil.example/?", "a:b:c"])
def test_every_host_header_gets_a_response(running: RunningSite, host: str) -> None:
    for path in ("/nothing", "/healthz", "/"):
        assert running.server.send(path, method="GET", headers={"Host": host}).status in (200, 400, 403, 404)


# fmt: off
NOT_JSON = {
    "nothing": b"", "space": b" \n\t ", "cut off": GOOD[:-1], "two": GOOD + GOOD, "a comment": GOOD + b" // mine",
    "a byte order mark": b"\xef\xbb\xbf" + GOOD, "UTF-16": GOOD.decode().encode("utf-16"), "gzip": gzip.compress(GOOD),
    "a trailing comma": GOOD[:-1] + b",}", "single quotes": GOOD.replace(b'"', b"'"), "bytes": bytes(range(256)),
    "a form": b"site_id=my-site&url=app%3A%2F%2Fa", "a control character": GOOD.replace(b"app://a", b"app://\x01"),
    "5,000 brackets": b"[" * 5000, "5,000 pairs of brackets": b"[" * 5000 + b"]" * 5000,
    "5,000 objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
}
NON_JSON_VALUES = {
    "not UTF-8": b'"\xff\xfe"', "truncated UTF-8": b'"\xe2\x82"', "an encoded surrogate": b'"\xed\xa0\x80"',
    "a lone surrogate": rb'"\ud800"', "surrogates in the wrong order": rb'"\udc00\ud800"', "nothing": b"",
    "NaN": b"NaN", "Infinity": b"Infinity", "-Infinity": b"-Infinity", "a leading zero": b"01", "hexadecimal": b"0x1f",
    "a trailing dot": b"1.", "an unknown escape": rb'"\x41"',
}
UNUSUAL_VALUES = {
    "NUL": rb'"a\u0000b"', "control characters": json.dumps("".join(map(chr, range(32)))).encode(), "true": b"true",
    "a pair of surrogates": rb'"\ud83d\ude00"', "no character": rb'"\uffff"', "right to left": '"\u202eabc"'.encode(),
    "70 digits": b"9" * 70, "70 digits below zero": b"-" + b"9" * 70, "5,000 digits": b"9" * 5000, "null": b"null",
    "5,000 digits after the point": b"0." + b"9" * 5000, "1e999": b"1e999", "-1e999": b"-1e999", "1e-999": b"1e-999",
    "an empty object": b"{}", "4,001 empty lists": b"[" + b"[]," * 4000 + b"[]]",
}
POSITIONS = {
    "site_id": b'{"site_id": %s, "url": "app://a", "event_name": "a"}',
    "url": b'{"site_id": "my-site", "url": %s, "event_name": "a"}',
    "timestamp": b'{"site_id": "my-site", "url": "app://a", "event_name": "a", "timestamp": %s}',
    "user_agent": b'{"site_id": "my-site", "url": "app://a", "event_name": "a", "user_agent": %s}',
    "an unknown field": b'{"site_id": "my-site", "url": "app://a", "event_name": "a", "x": [{"y": %s}]}',
    "props": b'{"site_id": "my-site", "url": "app://a", "event_name": "a", "props": %s}',
    "a property": b'{"site_id": "my-site", "url": "app://a", "event_name": "a", "props": {"a": %s}}',
    "a key": b'{"site_id": "my-site", "url": "app://a", "event_name": "a", %s: 1}',
    "a property's key": b'{"site_id": "my-site", "url": "app://a", "event_name": "a", "props": {%s: 1}}',
}
# fmt: on


@pytest.mark.parametrize("path", ["pageview", "custom", "batch"])
@pytest.mark.parametrize("what", NOT_JSON)
def test_a_body_that_is_not_json_is_refused(running: RunningSite, what: str, path: str) -> None:
    assert post(running, NOT_JSON[what], EVENTS + path).error == (400, "invalid_request", None)


def in_every_position(value: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Put a JSON value in every position, alone and in a batch. Yield the position, URL path and body."""
    for position, template in POSITIONS.items():
        event = template.replace(b'"url"', b'"type": "custom", "url"') % value
        yield position, EVENTS + "custom", event
        yield position, EVENTS + "batch", b'{"site_id": "my-site", "events": [%s]}' % event


@pytest.mark.parametrize("what", NON_JSON_VALUES)
def test_non_json_values_are_refused_in_every_position(running: RunningSite, what: str) -> None:
    for position, path, body in in_every_position(NON_JSON_VALUES[what]):
        assert post(running, body, path).error == (400, "invalid_request", None), (position, path)


@pytest.mark.parametrize("what", UNUSUAL_VALUES)
def test_unusual_json_is_accepted_or_refused(running: RunningSite, what: str) -> None:
    for position, path, body in in_every_position(UNUSUAL_VALUES[what]):
        if "key" not in position or UNUSUAL_VALUES[what].startswith(b'"'):
            assert post(running, body, path).status in {201, 400, 404}, (position, path)
            invalid_body = body.replace(b'"url"', b'"referrer": 5, "url"')
            assert post(running, invalid_body, path).status == 400, (position, path)


def test_the_last_of_duplicate_fields_counts(running: RunningSite) -> None:
    body = b'{"site_id": "no-site", "url": "no", "url": "app://twice", "site_id": "my-site"}'
    id = post(running, body).json["event_id"]
    assert {event["id"]: event["host"] for event in running.store.events()}[id] == "twice"


@pytest.mark.parametrize("field", ["event_name", "url", "referrer", "user_agent", "props"])
def test_text_with_a_nul_is_refused(running: RunningSite, field: str) -> None:
    event = {"site_id": "my-site", "url": "https://example.com/", "event_name": "a"}
    value = {"a\0b": "x"} if field == "props" else "https://example.com/a\0b"
    response = running.server.send(EVENTS + "custom", {**event, field: value}, running.key)
    assert response.error == (400, "invalid_request", field)
    assert running.server.send(EVENTS + "custom", {**event, "unknown": "a\0b"}, running.key).status == 201
