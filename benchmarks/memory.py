"""The resident memory of the server: idle, after full load, and after many refused bodies."""

import asyncio
import itertools
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop

from benchmarks.load import make_pageviews, ovyxa, post, send_kept_alive
from benchmarks.server import SITE, new_site, on_core, serving
from benchmarks.table import Row

REFUSED_BODIES, BODY_SIZE_BYTES = 1000, 5 << 20
MAX_PAGEVIEWS = 500_000


def rows(folder: Path, duration_s: float, connections: int) -> Iterator[Row]:
    """Measure a server under full load of single events, and another one that refuses bodies."""
    key = new_site(folder / "load")
    on_core(1)()
    pageviews = make_pageviews(MAX_PAGEVIEWS, random.Random(4))
    requests = [post("/api/v1/events/pageview", ovyxa(pageview, SITE), key) for pageview in pageviews]
    with serving(folder / "load") as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        time.sleep(2)
        idle_mib = server.memory_mib
        runner.run(send_kept_alive(server.port, requests, connections, duration_s))
        server.wait_for_projection()
        loaded_mib, peak_mib = server.memory_mib, server.peak_memory_mib
    label = f"memory: idle, after {duration_s:.0f} s of full load, at most"
    yield Row(label, f"{idle_mib:.0f}, {loaded_mib:.0f}, {peak_mib:.0f} MiB")

    key = new_site(folder / "refused")
    with serving(folder / "refused") as server:
        time.sleep(2)
        idle_mib = server.memory_mib
        for request, status in itertools.islice(itertools.cycle(_refused_requests(key)), REFUSED_BODIES):
            _send(server.port, request, status)
        refused_mib, peak_mib = server.memory_mib, server.peak_memory_mib
    label = f"memory: idle, after {REFUSED_BODIES:,} refused bodies of 5 MiB, at most"
    yield Row(label, f"{idle_mib:.0f}, {refused_mib:.0f}, {peak_mib:.0f} MiB")


def _refused_requests(key: str) -> list[tuple[bytes, int]]:
    """Return requests with bodies just below 5 MiB, and the statuses of the responses."""
    path = "/api/v1/events/batch"
    event = {"type": "custom", "event_name": "e", "url": "app://a"}
    batch = {"site_id": SITE, "events": [event], "unknown": ["y" * 4000] * ((BODY_SIZE_BYTES - 100_000) // 4003)}
    wrong_events = {**batch, "events": [{**event, "url": "no"}]}
    return [
        (post(path, msgspec.Raw(msgspec.json.encode(batch)[:-1]), key), 400),  # not JSON
        (post(path, wrong_events, key), 400),
        (post(path, batch, "unknown"), 401),
        (post(path, {**batch, "site_id": "nowhere"}, key), 404),
        (post("/nowhere", batch, key), 404),
    ]


def _send(port: int, request: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(request)
        response = client.recv(65536)
    if not response.startswith(b"HTTP/1.1 %d " % status):
        raise RuntimeError(f"{status} was expected: {response[:200]!r}")
