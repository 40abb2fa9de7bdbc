"""`python -m benchmarks`: each dialect, on disk, as a ratio of an empty endpoint on the same core."""

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
from typing import Any, NamedTuple

import uvloop

from benchmarks.load import Look, apex, looks, openanalytics, overcentric, ovyxa, post, rate

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
    _command(data_dir, "site", "add", SITE, "--domain", "example.com", "--hourly-limit", "1000000000")
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
            if process.poll() is not None:
                raise SystemExit("The server did not start: try ovx-lite serve.")
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


class Row(NamedTuple):
    """A row of the table: what is sent, how often at once, and how many events each request has."""

    label: str
    requests: list[bytes]
    connections: int
    events: int = 1


def _rows(key: str, connections: int) -> list[Row]:
    """What is measured; the first is the measure of the others."""
    seen = looks(20_000, random.Random(1))
    projects = f"/v1/projects/{SITE}/events"
    named = [openanalytics(look, SITE) for look in seen]
    return [
        Row("empty Starlette endpoint", [post("/", ovyxa(look, SITE), key) for look in seen], connections),
        Row("Ovyxa", [post("/api/v1/events/pageview", ovyxa(look, SITE), key) for look in seen], connections),
        Row("Overcentric", [post("/api/v1/event", overcentric(look, SITE)) for look in seen], connections),
        Row("Apex", [post("/api/events", apex(look, SITE), "", look.user_agent) for look in seen], connections),
        Row("OpenAnalytics", [post(projects, body, key) for body in named], connections),
        Row("Ovyxa, 1,000 at once", [post("/api/v1/events/batch", body, key) for body in _batches(seen)], 2, BATCH),
        Row(
            "OpenAnalytics, 1,000 at once",
            [post(f"{projects}/batch", named[first : first + BATCH], key) for first in range(0, len(named), BATCH)],
            2,
            BATCH,
        ),
    ]


FLOORS = {"Ovyxa": 0.25, "Ovyxa, 1,000 at once": 1.2}
"""What no change may go below, of the empty endpoint: about half of what is usual, as machines have their moods."""


def _load(args: argparse.Namespace, data_dir: Path) -> None:
    """Print the table of rates, and what the server took for it. Raises SystemExit for less than the `FLOORS`."""
    rows = _rows(_new_site(data_dir), args.connections)
    with _empty() as empty, _server(data_dir) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        time.sleep(2)
        idle = _memory(server.pid)
        _on_core(1)()
        rounds = []
        for number in range(args.rounds + 1):
            # One after the other within seconds, so that the machine's mood is the same for all of them; and each time
            # in another order, for what one leaves to be done for the disk slows down the next.
            seconds = args.seconds if number else 1  # the first round warms up
            found = [0.0] * len(rows)
            for at in random.Random(number).sample(range(len(rows)), len(rows)):
                row = rows[at]
                sent = rate(server.port if at else empty, row.requests, row.connections, seconds)
                found[at] = runner.run(sent) * row.events
            rounds.append(found)
        loaded = _memory(server.pid)
    print(f"medians of {args.rounds} rounds of {args.seconds:g} s, {args.connections} connections, one core\n")
    print("| events, each on disk         | events/s | of the empty endpoint | of Ovyxa's singles |")
    print("| ---------------------------- | -------: | --------------------: | -----------------: |")
    slow: list[str] = []
    for at, row in enumerate(rows):
        rates = [found[at] for found in rounds[1:]]
        ratios = [statistics.median(found[at] / found[to] for found in rounds[1:]) for to in (0, 1)]
        print(f"| {row.label:28} | {statistics.median(rates):8,.0f} | {ratios[0]:21.2f} | {ratios[1]:18.2f} |")
        if ratios[0] < FLOORS.get(row.label, 0):
            slow.append(f"{row.label}: {ratios[0]:.2f} of the empty endpoint, and not {FLOORS[row.label]}")
    print(f"\nready in {server.start:.2f} s; memory {idle:.0f} MiB idle, {loaded:.0f} MiB after this load")
    if slow:
        raise SystemExit("\n".join(slow))


def _batches(seen: list[Look]) -> list[dict[str, Any]]:
    items = [{"type": "pageview"} | ovyxa(look, SITE) for look in seen]
    return [{"site_id": SITE, "events": items[first : first + BATCH]} for first in range(0, len(items), BATCH)]


def _disk(data_dir: Path, count: int) -> None:
    """Print how many bytes an event takes in the end, on a site with one event a second."""
    key = _new_site(data_dir)
    batches = _batches(looks(count, random.Random(2)))
    begin = int(time.time() * 1000) - count * 1000
    for number, body in enumerate(body for batch in batches for body in batch["events"]):
        body["timestamp"] = begin + number * 1000
    with _server(data_dir) as server, closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        for batch in batches:
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
