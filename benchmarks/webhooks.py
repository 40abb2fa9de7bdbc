"""`python -m benchmarks.webhooks`: how fast deliveries leave, whom a hanging receiver delays, what goals cost."""

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

from benchmarks.load import looks, ovyxa, post, rate
from benchmarks.server import Running, serving
from benchmarks.table import Row
from ovx_lite.cli import main

ALLOWED = "127.0.0.0/8"
OF_A_SITE = 5
IN_AN_HOUR = 100


class Receiver(asyncio.Protocol):
    """Answers 200 at once, or never under /hang; remembers when it read which event."""

    came: list[tuple[float, str, str]] = []  # noqa: RUF012 - of all connections

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the other end."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        assert self._transport is not None
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end].decode("latin-1")
            _, _, after = head.lower().partition("content-length:")
            whole = end + 4 + int(after.split("\r\n")[0] or 0)
            if len(self._read) < whole:
                return
            body, self._read = self._read[end + 4 : whole], self._read[whole:]
            path = head.split(" ", 2)[1]
            if path == "/came":
                answer, self.came[:] = json.dumps(self.came).encode(), []
            else:
                self.came.append((time.monotonic(), path, json.loads(body)["data"]["url"]))
                if path.startswith("/hang"):
                    return
                answer = b""
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)


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


def _came(port: int) -> list[tuple[float, str, str]]:
    """What came since the last look: when (monotonic, the same in all processes), to which path, of which page."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/came", headers={"Content-Length": "0"})
        return [(when, path, page) for when, path, page in json.loads(connection.getresponse().read())]


def _call(data_dir: Path, *words: str) -> dict[str, Any]:
    env = {"OVX_DATA_DIR": str(data_dir), "OVX_WEBHOOK_ALLOW_NET": ALLOWED}
    ran = CliRunner().invoke(main, [*words, "--json"], env=env, catch_exceptions=False)
    assert ran.exit_code == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def _new_site(data_dir: Path, site: str, urls: list[str], goals: int = 1) -> str:
    """A site with goals, which /goal/… meets, and webhooks. Returns a key of it."""
    _call(data_dir, "site", "add", site)
    for goal in range(goals):
        _call(data_dir, "goal", "add", site, f"goal{goal}", "--path", f"/goal/{goal or '**'}")
    for url in urls:
        _call(data_dir, "webhook", "add", site, url, "--on", "goal.completed")
    return str(_call(data_dir, "key", "add", site)["key"])


def _send(server: Running, key: str, site: str, pages: list[str]) -> None:
    """Send looks at pages, all at once."""
    events = [{"type": "pageview", "url": f"https://example.com{page}"} for page in pages]
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        body = json.dumps({"site_id": site, "events": events})
        connection.request("POST", "/api/v1/events/batch", body, {"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()


@contextmanager
def _server(data_dir: Path) -> Iterator[Running]:
    with serving(data_dir, "--webhook-allow-net", ALLOWED) as server:
        yield server
        os.kill(server.pid, signal.SIGKILL)  # nobody needs its store any more


def _collect(port: int, count: int, seconds: float) -> list[tuple[float, str, str]]:
    """So many deliveries, or what came of them within so many seconds."""
    came: list[tuple[float, str, str]] = []
    deadline = time.monotonic() + seconds
    while len(came) < count and time.monotonic() < deadline:
        time.sleep(0.2)
        came += _came(port)
    return came


def _throughput(folder: Path, ports: int) -> Row:
    """How many deliveries leave in a second, when as many wait as webhooks may send in an hour."""
    sites = 6
    with _receiver(ports) as found:
        urls = [f"http://127.0.0.1:{found[hook % ports]}/{hook}" for hook in range(sites * OF_A_SITE)]
        keys = [_new_site(folder, f"s{n}", urls[n * OF_A_SITE : (n + 1) * OF_A_SITE]) for n in range(sites)]
        count = len(urls) * IN_AN_HOUR
        with _server(folder) as server:
            busy = server.seconds
            for site, key in enumerate(keys):
                _send(server, key, f"s{site}", [f"/goal/{number}" for number in range(IN_AN_HOUR)])
            came = _collect(found[0], count, 120)
            busy = server.seconds - busy
    times = sorted(when for when, *_ in came)
    taken = times[-1] - times[0]
    assert len(came) == count, f"{len(came)} of {count} came"
    label = f"webhooks: {count:,} deliveries to {len(urls)} on {ports} receiver{'s'[: ports > 1]}"
    return Row(label, f"{(count - 1) / taken:,.0f}/s, {1000 * busy / count:.2f} ms of a core each")


def _hanging(folder: Path, hanging: int, alone: bool, gap: float) -> None:
    """Print how long deliveries to 200 webhooks take when some hang, on a receiver of their own or with others."""
    sites = 40
    with _receiver(2) as (port, other):
        keys = []
        for site in range(sites):
            urls = [f"http://127.0.0.1:{port}/{site}/{hook}" for hook in range(OF_A_SITE)]
            if site < hanging:
                urls[0] = f"http://127.0.0.1:{other if alone else port}/hang/{site}"
            keys.append(_new_site(folder, f"s{site}", urls))
        sent: dict[str, float] = {}
        with _server(folder) as server:
            _send(server, keys[-1], f"s{sites - 1}", ["/goal/first"])  # loads what it sends with
            time.sleep(2)
            _came(port)
            busy, begin = server.seconds, time.monotonic()
            for number in range(int(20 / gap)):
                site = number % sites
                time.sleep(max(0.0, begin + number * gap - time.monotonic()))
                sent[f"/goal/{number}"] = time.monotonic()
                _send(server, keys[site], f"s{site}", [f"/goal/{number}"])
            busy = (server.seconds - busy) / (time.monotonic() - begin)
            wanted = sum(OF_A_SITE - (n % sites < hanging) for n in range(len(sent)))
            came = [one for one in _collect(port, wanted, 3) if not one[1].startswith("/hang")]
    late = sorted(when - sent[page] for when, _, page in came if page in sent)
    where = "none hangs" if not hanging else f"{hanging} hang, {'alone' if alone else 'among others'}"
    print(f"(b) {where}: {len(late):,} of {wanted:,} came; after {1000 * statistics.median(late):.1f} ms,", end="")
    print(f" 99 % within {1000 * late[len(late) * 99 // 100]:,.0f} ms; {100 * busy:.0f} % of a core")


def rows(folder: Path) -> Iterator[Row]:
    """How many leave in a second."""
    for ports in (1, 30):
        yield _throughput(folder / str(ports), ports)


def _cost(folder: Path, rounds: int, seconds: float) -> None:
    """Print the rate of single pageviews with webhooks and goals on the site, against that without."""
    with _receiver() as (port,):
        urls = [f"http://127.0.0.1:{port}/{hook}" for hook in range(OF_A_SITE)]
        keys = {"plain": _new_site(folder, "plain", [], 0), "heard": _new_site(folder, "heard", urls, 20)}
        requests = {}
        for site, key in keys.items():
            seen = [ovyxa(look, site) for look in looks(20_000, random.Random(1))]
            for body in seen[::50]:
                body["url"] = "https://example.com/goal/reached"
            requests[site] = [post("/api/v1/events/pageview", body, key) for body in seen]
        found: dict[str, list[float]] = {"plain": [], "heard": []}
        with _server(folder) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for number in range(rounds + 1):
                for site in random.Random(number).sample(sorted(found), 2):
                    done = runner.run(rate(server.port, requests[site], 128, seconds if number else 1))
                    found[site] += [done] if number else []  # the first round warms up
    ratios = [heard / plain for plain, heard in zip(found["plain"], found["heard"], strict=True)]
    rates = {site: statistics.median(done) for site, done in found.items()}
    print(f"(c) {rates['plain']:,.0f} pageviews/s without, {rates['heard']:,.0f} with 5 webhooks and 20 goals:", end="")
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
            for number, (hanging, alone) in enumerate([(0, True), (1, True), (2, False), (17, True)]):
                _hanging(Path(folder, f"b{number}"), hanging, alone, 0.1)
        if args.only in (None, "c"):
            _cost(Path(folder, "c"), args.rounds, args.seconds)


if __name__ == "__main__":
    _main()
