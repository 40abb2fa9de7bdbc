"""`python -m benchmarks.webhooks`: the rate of deliveries, the delays by hanging receivers, and the cost of goals."""

import argparse
import asyncio
import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import uvloop
from click.testing import CliRunner

from benchmarks.load import make_pageviews, ovyxa, post, send_kept_alive
from benchmarks.server import ServerProcess, serving
from benchmarks.table import Row
from ovx_lite.cli import main

ALLOWED_NETWORK = "127.0.0.0/8"
WEBHOOKS_PER_SITE = 5
DELIVERIES_PER_HOUR = 100


class Receiver(asyncio.Protocol):
    """Answers 200 at once, or never below /hang; records when it received which event."""

    received: list[tuple[float, str, str]] = []  # noqa: RUF012 - of all connections

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer each complete request."""
        assert self._transport is not None
        self._buffer += data
        while (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:head_end].decode("latin-1")
            _, _, length_text = head.lower().partition("content-length:")
            request_end = head_end + 4 + int(length_text.split("\r\n")[0] or 0)
            if len(self._buffer) < request_end:
                return
            body, self._buffer = self._buffer[head_end + 4 : request_end], self._buffer[request_end:]
            path = head.split(" ", 2)[1]
            if path == "/came":
                response, self.received[:] = json.dumps(self.received).encode(), []
            else:
                self.received.append((time.monotonic(), path, json.loads(body)["data"]["url"]))
                if path.startswith("/hang"):
                    return
                response = b""
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(response) + response)


async def _receive(ports: int) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Receiver, "127.0.0.1", 0, backlog=512) for _ in range(ports)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.Event().wait()


@contextmanager
def _receiver(ports: int = 1) -> Iterator[list[int]]:
    command = [sys.executable, "-m", "benchmarks.webhooks", "--receive", str(ports)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


def _fetch_received(port: int) -> list[tuple[float, str, str]]:
    """Return the deliveries since the last call: time (monotonic, the same in all processes), path and page."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/came", headers={"Content-Length": "0"})
        return [
            (received_at_s, path, page) for received_at_s, path, page in json.loads(connection.getresponse().read())
        ]


def _run_cli(data_dir: Path, *args: str) -> dict[str, Any]:
    env = {"OVX_DATA_DIR": str(data_dir), "OVX_WEBHOOK_ALLOW_NET": ALLOWED_NETWORK}
    result = CliRunner().invoke(main, [*args, "--json"], env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    output: dict[str, Any] = json.loads(result.stdout)
    return output


def _new_site(data_dir: Path, site: str, urls: list[str], goal_count: int = 1) -> str:
    """Add a site with webhooks and with goals that /goal/… meets. Returns an API key."""
    _run_cli(data_dir, "site", "add", site)
    for index in range(goal_count):
        _run_cli(data_dir, "goal", "add", site, f"goal{index}", "--path", f"/goal/{index or '**'}")
    for url in urls:
        _run_cli(data_dir, "webhook", "add", site, url, "--on", "goal.completed")
    return str(_run_cli(data_dir, "key", "add", site)["key"])


def _send_pageviews(server: ServerProcess, key: str, site: str, pages: list[str]) -> None:
    """Send pageviews in one batch."""
    events = [{"type": "pageview", "url": f"https://example.com{page}"} for page in pages]
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        body = json.dumps({"site_id": site, "events": events})
        connection.request("POST", "/api/v1/events/batch", body, {"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        assert response.status == 201, response.read()


@contextmanager
def _server(data_dir: Path) -> Iterator[ServerProcess]:
    with serving(data_dir, "--webhook-allow-net", ALLOWED_NETWORK) as server:
        yield server
        os.kill(server.pid, signal.SIGKILL)  # its store is no longer needed


def _collect(port: int, count: int, timeout_s: float) -> list[tuple[float, str, str]]:
    """Return `count` deliveries, or those that arrived within `timeout_s`."""
    deliveries: list[tuple[float, str, str]] = []
    deadline_s = time.monotonic() + timeout_s
    while len(deliveries) < count and time.monotonic() < deadline_s:
        time.sleep(0.2)
        deliveries += _fetch_received(port)
    return deliveries


def _throughput(folder: Path, ports: int) -> Row:
    """Measure the deliveries per second, when as many are pending as webhooks may send in an hour."""
    sites = 6
    with _receiver(ports) as receiver_ports:
        urls = [
            f"http://127.0.0.1:{receiver_ports[index % ports]}/{index}" for index in range(sites * WEBHOOKS_PER_SITE)
        ]
        keys = [
            _new_site(folder, f"s{n}", urls[n * WEBHOOKS_PER_SITE : (n + 1) * WEBHOOKS_PER_SITE]) for n in range(sites)
        ]
        count = len(urls) * DELIVERIES_PER_HOUR
        with _server(folder) as server:
            cpu_time_s = server.cpu_time_s
            for site, key in enumerate(keys):
                _send_pageviews(server, key, f"s{site}", [f"/goal/{index}" for index in range(DELIVERIES_PER_HOUR)])
            deliveries = _collect(receiver_ports[0], count, 120)
            cpu_time_s = server.cpu_time_s - cpu_time_s
    times_s = sorted(received_at_s for received_at_s, *_ in deliveries)
    elapsed_s = times_s[-1] - times_s[0]
    assert len(deliveries) == count, f"{len(deliveries)} of {count} arrived"
    label = f"webhooks: {count:,} deliveries to {len(urls)} on {ports} receiver{'s'[: ports > 1]}"
    return Row(label, f"{(count - 1) / elapsed_s:,.0f}/s, {1000 * cpu_time_s / count:.2f} ms of a core each")


def _print_hanging(folder: Path, hanging_count: int, alone: bool, interval_s: float) -> None:
    """Print the delays of deliveries to 200 webhooks when some hang, on a separate receiver or on the same one."""
    sites = 40
    with _receiver(2) as (port, other_port):
        keys = []
        for site in range(sites):
            urls = [f"http://127.0.0.1:{port}/{site}/{index}" for index in range(WEBHOOKS_PER_SITE)]
            if site < hanging_count:
                urls[0] = f"http://127.0.0.1:{other_port if alone else port}/hang/{site}"
            keys.append(_new_site(folder, f"s{site}", urls))
        sent_at_s: dict[str, float] = {}
        with _server(folder) as server:
            _send_pageviews(server, keys[-1], f"s{sites - 1}", ["/goal/first"])  # warms up the sender
            time.sleep(2)
            _fetch_received(port)
            cpu_fraction, started_at_s = server.cpu_time_s, time.monotonic()
            for index in range(int(20 / interval_s)):
                site = index % sites
                time.sleep(max(0.0, started_at_s + index * interval_s - time.monotonic()))
                sent_at_s[f"/goal/{index}"] = time.monotonic()
                _send_pageviews(server, keys[site], f"s{site}", [f"/goal/{index}"])
            cpu_fraction = (server.cpu_time_s - cpu_fraction) / (time.monotonic() - started_at_s)
            expected = sum(WEBHOOKS_PER_SITE - (n % sites < hanging_count) for n in range(len(sent_at_s)))
            deliveries = [delivery for delivery in _collect(port, expected, 3) if not delivery[1].startswith("/hang")]
    delays_s = sorted(received_at_s - sent_at_s[page] for received_at_s, _, page in deliveries if page in sent_at_s)
    label = "none hangs" if not hanging_count else f"{hanging_count} hang, {'alone' if alone else 'among others'}"
    print(
        f"(b) {label}: {len(delays_s):,} of {expected:,} arrived; after {1000 * statistics.median(delays_s):.1f} ms,",
        end="",
    )
    print(f" 99 % within {1000 * delays_s[len(delays_s) * 99 // 100]:,.0f} ms; {100 * cpu_fraction:.0f} % of a core")


def rows(folder: Path) -> Iterator[Row]:
    """Measure the deliveries per second, to one and to 30 receivers."""
    for ports in (1, 30):
        yield _throughput(folder / str(ports), ports)


def _print_cost(folder: Path, rounds: int, duration_s: float) -> None:
    """Print the rate of single pageviews on a site with webhooks and goals, and on one without."""
    with _receiver() as (port,):
        urls = [f"http://127.0.0.1:{port}/{index}" for index in range(WEBHOOKS_PER_SITE)]
        keys = {
            "plain": _new_site(folder, "plain", [], 0),
            "with-webhooks": _new_site(folder, "with-webhooks", urls, 20),
        }
        requests = {}
        for site, key in keys.items():
            bodies = [ovyxa(pageview, site) for pageview in make_pageviews(20_000, random.Random(1))]
            for body in bodies[::50]:
                body["url"] = "https://example.com/goal/reached"
            requests[site] = [post("/api/v1/events/pageview", body, key) for body in bodies]
        rates_by_site: dict[str, list[float]] = {"plain": [], "with-webhooks": []}
        with _server(folder) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for round_number in range(rounds + 1):
                for site in random.Random(round_number).sample(sorted(rates_by_site), 2):
                    result = runner.run(
                        send_kept_alive(server.port, requests[site], 128, duration_s if round_number else 1)
                    )
                    rates_by_site[site] += [result.rate_per_s] if round_number else []  # the first round warms up
    ratios = [
        with_webhooks / plain
        for plain, with_webhooks in zip(rates_by_site["plain"], rates_by_site["with-webhooks"], strict=True)
    ]
    rates = {site: statistics.median(site_rates) for site, site_rates in rates_by_site.items()}
    print(
        f"(c) {rates['plain']:,.0f} pageviews/s without, {rates['with-webhooks']:,.0f} with 5 webhooks and 20 goals:",
        end="",
    )
    print(f" ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.webhooks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--only", choices=("a", "b", "c"))
    parser.add_argument("--receive", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.receive:
        uvloop.run(_receive(args.receive))
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.only in (None, "a"):
            for row in rows(Path(folder, "a")):
                row.show()
        if args.only in (None, "b"):
            for index, (hanging_count, alone) in enumerate([(0, True), (1, True), (2, False), (17, True)]):
                _print_hanging(Path(folder, f"b{index}"), hanging_count, alone, 0.1)
        if args.only in (None, "c"):
            _print_cost(Path(folder, "c"), args.rounds, args.seconds)


if __name__ == "__main__":
    _main()
