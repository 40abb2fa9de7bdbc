"""`python -m benchmarks`: single events and batches, on disk, as a ratio of an empty endpoint on the same core."""

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
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import uvloop

from benchmarks.load import events, post, rate

OVX = [sys.executable, "-m", "ovx_lite"]
SITE = "bench"
BATCH = 1000


class Running(NamedTuple):
    """A server: its process, its port, and how many seconds it took to get ready."""

    pid: int
    port: int
    start: float


def _on_core(core: int) -> Callable[[], None]:
    def pin() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})

    return pin


def _command(data_dir: Path, *words: str) -> dict[str, str]:
    done = subprocess.run([*OVX, *words, "--data-dir", str(data_dir), "--json"], check=True, capture_output=True)
    told: dict[str, str] = json.loads(done.stdout)
    return told


def _new_site(data_dir: Path) -> str:
    """A new store with a site; returns a key of it."""
    _command(data_dir, "site", "add", SITE, "--domain", "example.com")
    return _command(data_dir, "key", "add", SITE)["key"]


@contextmanager
def _server(data_dir: Path) -> Iterator[Running]:
    ready = data_dir / "ready.json"
    begin = time.monotonic()
    process = subprocess.Popen(
        [*OVX, "serve", "--port", "0", "--data-dir", str(data_dir), "--ready-file", str(ready)],
        stderr=subprocess.DEVNULL,
        preexec_fn=_on_core(0),
    )
    try:
        while not ready.exists():
            time.sleep(0.001)
        start = time.monotonic() - begin
        yield Running(process.pid, int(json.loads(ready.read_text())["url"].rsplit(":", 1)[1]), start)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextmanager
def _empty() -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.empty"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=_on_core(0)) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


def _memory(pid: int) -> float:
    """Resident memory in MiB."""
    statm = Path(f"/proc/{pid}/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if statm.exists() else 0


def _load(args: argparse.Namespace, data_dir: Path) -> None:
    """Print the table of rates, and what the server took for it."""
    key = _new_site(data_dir)
    singles = events(SITE, 20_000, random.Random(1))
    requests = [post("/api/v1/events/pageview", body, key) for body in singles]
    empties = [post("/", body, key) for body in singles]
    batches = [post("/api/v1/events/batch", body, key) for body in _batches(singles)]
    with _empty() as empty, _server(data_dir) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        time.sleep(2)
        idle = _memory(server.pid)
        _on_core(1)()

        def measure(port: int, what: list[bytes], connections: int, seconds: float) -> float:
            return runner.run(rate(port, what, connections, seconds))

        rounds = []
        for number in range(args.rounds + 1):
            # One after the other within seconds, so that the machine's mood is the same for all three.
            seconds = args.seconds if number else 1  # the first round warms up
            nothing = measure(empty, empties, args.connections, seconds)
            single = measure(server.port, requests, args.connections, seconds)
            batch = measure(server.port, batches, 2, seconds) * BATCH
            rounds.append((nothing, single, batch, single / nothing, batch / nothing))
        medians = [statistics.median(column) for column in zip(*rounds[1:], strict=True)]
        loaded = _memory(server.pid)
    print(f"medians of {args.rounds} rounds of {args.seconds:g} s, {args.connections} connections, one core\n")
    print("| endpoint                       | events/s | of the empty endpoint |")
    print("| ------------------------------ | -------: | --------------------: |")
    print(f"| empty Starlette endpoint       | {medians[0]:8,.0f} | {1:21.2f} |")
    print(f"| single pageviews, each on disk | {medians[1]:8,.0f} | {medians[3]:21.2f} |")
    print(f"| batches of {BATCH:,}, each on disk | {medians[2]:8,.0f} | {medians[4]:21.2f} |")
    print(f"\nready in {server.start:.2f} s; memory {idle:.0f} MiB idle, {loaded:.0f} MiB after this load")


def _batches(bodies: list[dict[str, object]]) -> list[dict[str, object]]:
    items = [{"type": "pageview"} | body for body in bodies]
    return [{"site_id": SITE, "events": items[first : first + BATCH]} for first in range(0, len(items), BATCH)]


def _disk(data_dir: Path, count: int) -> None:
    """Print how many bytes an event takes in the end, on a site with one event a second."""
    key = _new_site(data_dir)
    bodies = events(SITE, count, random.Random(2))
    begin = int(time.time() * 1000) - count * 1000
    for number, body in enumerate(bodies):
        body["timestamp"] = begin + number * 1000
    with _server(data_dir) as server, closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        for batch in _batches(bodies):
            connection.request("POST", "/api/v1/events/batch", json.dumps(batch), {"Authorization": f"Bearer {key}"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 201, answer.status
    sizes = _command(data_dir, "check")
    taken = (data_dir / "ovx-lite.sqlite3").stat().st_size / count
    print(f"{count:,} events in {int(sizes['visits']):,} visits take {taken:.1f} bytes an event, all included")


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--events", type=int, default=200_000, help="how many to measure the disk with")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _load(args, Path(folder, "load"))
        _disk(Path(folder, "disk"), args.events)


if __name__ == "__main__":
    _main()
