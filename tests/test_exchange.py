"""HTTP over real connections: whole or split requests, pipelining, and the order of responses."""

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import RunningSite
from tests.support.raw_http import PATH, statuses, talk, write_request


def test_pipelined_requests_are_answered_in_order(running: RunningSite) -> None:
    key = running.store.key()
    paths = [f"/{number}" for number in range(9)]
    data = b"".join(
        f"GET /nowhere{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() if number % 2 else write_request(key, path)
        for number, path in enumerate(paths)
    )
    text = talk(running, data, pause_s=0)
    assert statuses(text) == ["201", "404"] * 4 + ["201"]
    assert re.findall(r"/nowhere(/\d)", text) == ["/1", "/3", "/5", "/7"]


def test_upgrade_offers_are_ignored(running: RunningSite) -> None:
    key = running.store.key()
    requests = [
        write_request(key, f"upgrade {n}", "Connection: Upgrade", f"{n}: h2c")
        for n in ("Upgrade", "upgrade", "UPGRADE")
    ]
    assert statuses(talk(running, b"".join(requests), pause_s=0)) == ["201"] * 3
    assert (
        statuses(talk(running, requests[0][:-9], requests[0][-9:] + requests[1][:-9], requests[1][-9:] + requests[2]))
        == ["201"] * 3
    )


@pytest.mark.parametrize("spelling", ["Upgrade", "UPgrade"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_after_an_upgrade_offer_is_not_a_request_wherever_its_head_is_split(
    running: RunningSite, chunked: bool, spelling: str
) -> None:
    body = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    lines = [f"POST {PATH} HTTP/1.1", "Host: x", f"{spelling}: h2c", f"Connection: {spelling}", framing, "", ""]
    data = "\r\n".join(lines).encode() + (b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body)

    end = data.index(b"\r\n\r\n") + 4

    def send_cut_at(cut: int) -> str:
        with socket.create_connection(("127.0.0.1", running.server.port), timeout=10) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(data[:cut])
            time.sleep(0.01)
            client.sendall(data[cut:end])
            client.sendall(data[max(cut, end) :])
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()

    with ThreadPoolExecutor(32) as pool:
        assert {tuple(statuses(text)) for text in pool.map(send_cut_at, range(1, len(data)))} == {("400",)}


@pytest.mark.parametrize("cut", [1, 10, 40, 120, -20, -1])
def test_a_request_may_arrive_in_pieces(running: RunningSite, cut: int) -> None:
    whole = write_request(running.store.key(), f"cut {cut}")
    text = talk(running, whole[:cut], whole[cut:] + whole)
    assert statuses(text) == ["201", "201"]


def test_a_client_that_expects_100_continue_gets_it(running: RunningSite) -> None:
    whole = write_request(running.store.key(), "waits", "Expect: 100-continue")
    head, end, body = whole.partition(b"\r\n\r\n")
    assert statuses(talk(running, head + end, body)) == ["100", "201"]
    assert statuses(talk(running, whole)) == ["100", "201"]


@pytest.mark.parametrize(("version", "headers"), [("1.0", []), ("1.1", ["Connection: close"])])
def test_the_connection_closes_when_it_should(running: RunningSite, version: str, headers: list[str]) -> None:
    # A connection that is left alone stays open for longer than these 3 seconds.
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=3) as client:
        client.sendall(write_request(running.store.key(), "last", *headers, version=version))
        text = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    assert statuses(text) == ["201"]
    assert "connection: close" in text


def test_a_head_response_has_no_body(running: RunningSite) -> None:
    text = talk(running, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert statuses(text) == ["200", "200"]
    assert text.count('{"status"') == 1
    assert len(re.findall(r"^content-length: \d+\r$", text, re.MULTILINE)) == 2
    assert text.count("\r\ndate: ") == 2


@pytest.mark.parametrize("target", ["http://x", "http://x?a", "http://[", "*"])
def test_a_target_without_a_path_is_refused(running: RunningSite, target: str) -> None:
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n".encode()
    for chunks in ((head + b"body",), (head, b"body"), (head + b"bo", b"dy"), (head[:9], head[9:])):
        assert statuses(talk(running, *chunks)) in (["400"], ["404"])
    assert "Traceback" not in running.server.log_path.read_text()


def test_a_half_closed_connection_gets_its_response(running: RunningSite) -> None:
    whole = write_request(running.store.key(), "half")
    assert statuses(talk(running, whole, end=True, pause_s=0)) == ["201"]
    assert statuses(talk(running, whole * 3, end=True, pause_s=0)) == ["201"] * 3
    assert statuses(talk(running, whole[:-1], end=True, pause_s=0)) == []


@pytest.mark.parametrize("head", [b"GET /" + b"a" * 2_000_000, b"GET / HTTP/1.1\r\nX: " + b"a" * 2_000_000])
def test_an_endless_head_is_refused(running: RunningSite, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=10) as client:
        sent_bytes = 0
        try:
            while sent_bytes < len(head):
                sent_bytes += client.send(head[sent_bytes : sent_bytes + 10_000])
                time.sleep(0.001)
        except ConnectionError:
            pass
        assert sent_bytes < 1_500_000, "the server must stop reading early"


@pytest.mark.parametrize("chunk_size_bytes", [8_000, 64_000, 10**6])
def test_a_head_may_have_64_kib_however_it_is_split(running: RunningSite, chunk_size_bytes: int) -> None:
    for length, status in ((60_000, "404"), (65_600, "431"), (120_000, "431"))[: 2 + (chunk_size_bytes == 10**6)]:
        head = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nX: " + b"y" * length + b"\r\n\r\n"
        chunks = [head[first : first + chunk_size_bytes] for first in range(0, len(head), chunk_size_bytes)]
        assert statuses(talk(running, *chunks, pause_s=0.01)) == [status], length
    key = running.store.key()
    assert (
        statuses(talk(running, b"".join(write_request(key, f"n{n}") for n in range(400)), pause_s=0)) == ["201"] * 400
    )


def test_too_many_small_headers_are_refused(running: RunningSite) -> None:
    text = talk(running, b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(20_000)), pause_s=0.2)
    assert text == "" or statuses(text) == ["431"]
    assert statuses(talk(running, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 50_000 + b"\r\n\r\n")) == ["200"]
