"""One delivery attempt: what can go wrong with the receiver, its name or the network, and the result."""

import asyncio
import gzip
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from ovx_lite.webhooks.client import MAX_RESPONSE_BYTES, WebhookClient, interpret_response
from ovx_lite.webhooks.message import AttemptResult
from ovx_lite.webhooks.response_limits import MAX_PROVISIONAL
from ovx_lite.webhooks.ssrf import parse_networks
from tests.support.receiver import Receiver, http_response, server_context
from tests.support.store import NOW

LOOPBACK = "127.0.0.0/8"
BODY = '{"event":"goal.completed","data":{"goal_name":"Größe"}}'.encode()


def send(*urls: str, allowed_networks: str = LOOPBACK, timeout_s: float = 10) -> list[AttemptResult]:
    """Send a message to each URL in turn with one client."""

    async def run() -> list[AttemptResult]:
        client = WebhookClient(parse_networks(allowed_networks), lambda: NOW, timeout_s)
        try:
            return [await client.post(url, BODY, {"X-Ovyxa-Event": "goal.completed"}) for url in urls]
        finally:
            await client.close()

    return asyncio.run(run())


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Replace DNS by addresses by host: several entries are returned in turn. `lookups` lists the requested names."""
    addresses_by_host: dict[str, list[str]] = {"lookups": []}

    async def getaddrinfo(loop: object, host: str, port: int, **options: Any) -> list[Any]:
        addresses_by_host["lookups"].append(host)
        if host not in addresses_by_host:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses = addresses_by_host[host].pop(0) if len(addresses_by_host[host]) > 1 else addresses_by_host[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses.split()]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return addresses_by_host


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Return a certificate authority that is the only trusted one."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return ca


@pytest.fixture
def other() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(code: int) -> None:
    with Receiver(http_response(code, b"" if code == 204 else b"thanks")) as receiver:
        (outcome,) = send(receiver.url + "?token=a%20b")
    assert (outcome.status, outcome.error, outcome.hint, outcome.started_at_ms) == (code, "", "", NOW)
    assert outcome.response_body == ("" if code == 204 else "thanks")
    (request,) = receiver.requests
    assert (request.path, request.body, request.headers["x-ovyxa-event"]) == (
        "/hook?token=a%20b",
        BODY,
        "goal.completed",
    )
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize("code", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_reported_and_not_followed(code: int, other: Receiver) -> None:
    with Receiver(http_response(code, location=other.url)) as receiver:
        (outcome,) = send(receiver.url)
    assert (outcome.status, outcome.error) == (code, "redirect")
    assert other.url in outcome.hint
    assert other.connections == 0


STATUSES = [
    (400, "status", "400"),
    (401, "status", "credential"),
    (403, "status", "denies access"),
    (404, "status", "nothing at this URL"),
    (405, "status", "POST"),
    (410, "gone", "no more"),
    (429, "status", "limits the rate"),
    (500, "status", "500"),
    (503, "status", "is not available now"),
]


@pytest.mark.parametrize(("code", "error", "hint"), STATUSES)
def test_a_status_other_than_2xx_is_a_failure_with_a_hint(code: int, error: str, hint: str) -> None:
    with Receiver(http_response(code, b"because")) as receiver:
        (outcome,) = send(receiver.url)
    assert (outcome.status, outcome.error, outcome.response_body, outcome.retry_after_ms) == (code, error, "because", 0)
    assert hint in outcome.hint


def http_date(offset_s: int) -> str:
    return format_datetime(datetime.fromtimestamp(NOW // 1000 + offset_s, UTC), usegmt=True)


RETRY_AFTER_VALUES = [
    ("120", 120_000),
    (" 120 ", 120_000),
    ("0", 0),
    (http_date(90), 90_000),
    (http_date(-90), 0),
    ("9" * 400, 999_999_999_000),
    *(
        (invalid, 0)
        for invalid in ("", "-5", "1.5", "soon", "Fri, 99 Nov 2025 10:00:00 GMT", "Fri, 21 Nov 99999 10:00:00 GMT")
    ),
    *((invalid, 0) for invalid in ("²", "0x10", ",", "1 2 3", "Fri,", "é")),
]


@pytest.mark.parametrize(("retry_after", "delay_ms"), RETRY_AFTER_VALUES)
@pytest.mark.parametrize("code", [429, 503, 500])
def test_retry_after_of_429_and_503_is_read_as_seconds_or_a_date(code: int, retry_after: str, delay_ms: int) -> None:
    expected_ms = delay_ms if code in (429, 503) else 0
    assert interpret_response(code, {"retry-after": retry_after}, b"", "example.com", NOW).retry_after_ms == expected_ms
    if retry_after.isascii():
        with Receiver(http_response(code, retry_after=retry_after)) as receiver:
            assert send(receiver.url)[0].retry_after_ms == expected_ms


def test_an_unresolvable_host_name_is_a_dns_error(dns: dict[str, list[str]]) -> None:
    (outcome,) = send("https://nowhere.test/")
    assert (outcome.status, outcome.error) == (None, "dns")
    assert "Name or service not known" in outcome.hint


def test_a_closed_port_is_a_connect_error() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        (outcome,) = send(f"http://127.0.0.1:{bound.getsockname()[1]}/")
    assert (outcome.status, outcome.error) == (None, "connect")


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


BROKEN_REPLIES: list[tuple[bytes | Callable[[socket.socket], None], str]] = [
    (reset, "reset"),
    (lambda sock: None, "reset"),  # it closes without a response
    (lambda sock: sock.sendall(http_response(200, b"12345")[:-1]), "reset"),
    (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "protocol"),
    (bytes(range(256)) * 10, "protocol"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "protocol"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "protocol"),
    (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 50_000 + b"\r\n", "protocol"),
]


@pytest.mark.parametrize(("reply", "error"), BROKEN_REPLIES, ids=range(len(BROKEN_REPLIES)))
def test_a_missing_or_malformed_response_is_an_error(
    reply: bytes | Callable[[socket.socket], None], error: str
) -> None:
    with Receiver(reply) as receiver:
        (outcome,) = send(receiver.url)
    assert (outcome.error, outcome.status) == (error, None)
    assert outcome.hint


@pytest.mark.parametrize("quick_bytes", [0, 80], ids=["head", "body"])
def test_a_slow_response_is_cut_off_at_the_timeout(quick_bytes: int) -> None:
    response_bytes = http_response(200, b"x" * 4000)

    def drip(sock: socket.socket) -> None:
        sock.sendall(response_bytes[:quick_bytes])
        for byte in response_bytes[quick_bytes:]:
            sock.sendall(bytes([byte]))
            if receiver.closed.wait(0.05):
                return

    with Receiver(drip) as receiver:
        (outcome,) = send(receiver.url, timeout_s=0.5)
    assert (outcome.error, outcome.status) == ("timeout", None)
    assert "0.5 seconds" in outcome.hint


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_silent_receiver_times_out(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (outcome,) = send(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.5)
    assert outcome.error == "timeout"


def flood_of_provisional(sock: socket.socket) -> None:
    with suppress(OSError):
        while True:
            sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000)


def drip_of_provisional(sock: socket.socket) -> None:
    with suppress(OSError):
        while True:
            for byte in b"HTTP/1.1 100 Continue\n\n":
                sock.sendall(bytes([byte]))
            time.sleep(0.01)


@pytest.mark.parametrize("reply", [flood_of_provisional, drip_of_provisional])
def test_endless_provisional_responses_end_an_attempt_before_its_timeout(
    reply: Callable[[socket.socket], None],
) -> None:
    with Receiver(reply) as receiver:
        (outcome,) = send(receiver.url, timeout_s=60)
    assert (outcome.error, outcome.status) == ("protocol", None)
    assert "provisional" in outcome.hint


@pytest.mark.parametrize("number", [0, 1, MAX_PROVISIONAL])
def test_a_few_provisional_responses_are_skipped(number: int) -> None:
    body = b"HTTP/1.1 100 Continue\r\n\r\n" * 50  # in a body, this has no meaning
    with Receiver(b"HTTP/1.1 102 Processing\r\n\r\n" * number + http_response(200, body)) as receiver:
        outcomes = send(*[receiver.url] * 3)
    assert [(outcome.status, outcome.error, outcome.response_body) for outcome in outcomes] == [
        (200, "", body.decode())
    ] * 3
    assert receiver.connections == 1


def test_only_4_kib_of_a_huge_response_are_read() -> None:
    sent_bytes = [0]

    def flood(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 300000000\r\n\r\n")
        while sent_bytes[0] < 300_000_000:
            sent_bytes[0] += sock.send(b"x" * 65_536)

    with Receiver(flood) as receiver:
        (outcome,) = send(receiver.url)
    assert (outcome.status, outcome.response_body) == (500, "x" * MAX_RESPONSE_BYTES)
    assert sent_bytes[0] < 30_000_000  # the buffers of the two sockets


def test_a_compressed_response_is_not_decompressed() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with Receiver(http_response(200, bomb, content_encoding="gzip")) as receiver:
        (outcome,) = send(receiver.url)
    assert (outcome.error, len(outcome.response_body)) == (
        "",
        len(bomb[:MAX_RESPONSE_BYTES].decode("utf-8", "replace")),
    )
    assert "\0" not in outcome.response_body


def test_a_long_location_is_truncated() -> None:
    with Receiver(http_response(302, location="https://example.com/" + "x" * 60_000)) as receiver:
        (outcome,) = send(receiver.url)
    assert outcome.error == "redirect"
    assert len(outcome.hint) <= MAX_RESPONSE_BYTES


CERTIFICATES: list[tuple[str, Mapping[str, object], bool, str]] = [
    ("hook.test", {}, True, ""),
    ("hook.test", {}, False, "tls"),
    ("other.test", {}, True, "tls"),
    ("127.0.0.1", {}, True, "tls"),  # the certificate must be for the host name
    ("hook.test", {"not_after": datetime(2020, 1, 1, tzinfo=UTC)}, True, "tls"),
]


@pytest.mark.parametrize(("name", "options", "trusted", "error"), CERTIFICATES)
def test_the_certificate_is_checked(
    authority: trustme.CA,
    dns: dict[str, list[str]],
    name: str,
    options: Mapping[str, object],
    trusted: bool,
    error: str,
) -> None:
    dns["hook.test"] = ["127.0.0.1"]
    with Receiver(context=server_context(authority if trusted else trustme.CA(), name, **options)) as receiver:
        (outcome,) = send(f"https://hook.test:{receiver.port}/hook")
    assert (outcome.error, len(receiver.requests)) == (error, not error)
    assert receiver.server_names == ["hook.test"]
    assert dns["lookups"] == ["hook.test"]
    assert [request.headers["host"] for request in receiver.requests] == [f"hook.test:{receiver.port}"] * (not error)


def test_a_receiver_without_tls_is_a_tls_error(other: Receiver) -> None:
    (outcome,) = send(other.url.replace("http:", "https:"))
    assert (outcome.error, other.requests) == ("tls", [])


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch, other: Receiver) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, other.url)
    with Receiver() as receiver:
        assert send(receiver.url)[0].error == ""
    assert (len(receiver.requests), other.connections) == (1, 0)


@pytest.mark.parametrize("addresses", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "8.8.8.8 10.0.0.1"])
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_an_address_that_is_not_public_is_refused_at_sending(
    dns: dict[str, list[str]], other: Receiver, scheme: str, addresses: str
) -> None:
    dns["hook.test"] = [addresses]
    for outcome in send(
        f"{scheme}://hook.test:{other.port}/", f"{scheme}://127.0.0.1:{other.port}/", allowed_networks=""
    ):
        assert (outcome.status, outcome.error) in [(None, "forbidden"), (None, "dns")]
    assert other.connections == 0


def test_plain_http_to_a_public_address_is_refused(dns: dict[str, list[str]]) -> None:
    dns["hook.test"] = ["8.8.8.8"]
    assert send("http://hook.test/")[0].error == "forbidden"


def test_an_address_is_checked_again_at_every_send(dns: dict[str, list[str]], other: Receiver) -> None:
    dns["hook.test"] = ["127.0.0.1", "10.0.0.1", "127.0.0.1"]
    outcomes = send(*[f"http://hook.test:{other.port}/"] * 3)
    assert [outcome.error for outcome in outcomes] == ["", "forbidden", ""]
    assert len(other.requests) == 2


def test_a_connection_is_reused_only_for_the_same_host_name(authority: trustme.CA, dns: dict[str, list[str]]) -> None:
    dns["a.test"] = dns["b.test"] = ["127.0.0.1"]
    with Receiver(context=server_context(authority, "a.test", "b.test")) as receiver:
        outcomes = send(*(f"https://{name}.test:{receiver.port}/" for name in "abab"))
    assert [outcome.error for outcome in outcomes] == [""] * 4
    assert receiver.server_names == ["a.test", "b.test"]
    assert [request.connection_number for request in receiver.requests] == [1, 2, 1, 2]
