"""`python -m benchmarks`: single events and batches, on disk, as a ratio of an empty endpoint on the same core."""

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from benchmarks.load import events, post, rate

OVX = [sys.executable, "-m", "ovx_lite"]
BATCH = 1000


def _on_core(core: int) -> Callable[[], None]:
    def pin() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})

    return pin


def _command(data_dir: Path, *words: str) -> dict[str, str]:
    done = subprocess.run([*OVX, *words, "--data-dir", str(data_dir), "--json"], check=True, capture_output=True)
    told: dict[str, str] = json.loads(done.stdout)
    return told


def _memory(pid: int) -> float:
    """Resident memory in MiB."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def _measure(args: argparse.Namespace, data_dir: Path) -> None:
    _command(data_dir, "site", "add", "bench", "--domain", "example.com")
    key = _command(data_dir, "key", "add", "bench")["key"]
    singles = events("bench", 20_000, random.Random(1))
    requests = [post("/api/v1/events/pageview", body, key) for body in singles]
    empties = [post("/", body, key) for body in singles]
    items = [{"type": "pageview"} | body for body in singles]
    batches = [
        post("/api/v1/events/batch", {"site_id": "bench", "events": items[first : first + BATCH]}, key)
        for first in range(0, len(items), BATCH)
    ]
    ready = data_dir / "ready.json"
    empty = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.empty"], stdout=subprocess.PIPE, text=True, preexec_fn=_on_core(0)
    )
    begin = time.monotonic()
    server = subprocess.Popen(
        [*OVX, "serve", "--port", "0", "--data-dir", str(data_dir), "--ready-file", str(ready)],
        stderr=subprocess.DEVNULL,
        preexec_fn=_on_core(0),
    )
    try:
        while not ready.exists():
            await asyncio.sleep(0.001)
        start = time.monotonic() - begin
        port = int(json.loads(ready.read_text())["url"].rsplit(":", 1)[1])
        assert empty.stdout is not None
        empty_port = int(empty.stdout.readline())
        await asyncio.sleep(2)
        idle = _memory(server.pid)
        _on_core(1)()
        await _table(args, port, empty_port, requests, empties, batches)
        print(f"\nready in {start:.2f} s; memory {idle:.0f} MiB idle, {_memory(server.pid):.0f} MiB after this load")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
        empty.kill()
        empty.wait()
    sizes = _command(data_dir, "check")
    print(
        f"{int(sizes['events']):,} events, {int(sizes['visits']):,} visits: {int(sizes['bytes']) / int(sizes['events']):.1f} bytes an event"
    )


async def _table(
    args: argparse.Namespace,
    port: int,
    empty_port: int,
    requests: list[bytes],
    empties: list[bytes],
    batches: list[bytes],
) -> None:
    for warm_port, what, connections in (
        (empty_port, empties, args.connections),
        (port, requests, args.connections),
        (port, batches, 2),
    ):
        await rate(warm_port, what, connections, 1)
    rounds = []
    for _ in range(args.rounds):
        # One after the other within a second or two, so that the machine's mood is the same for all three.
        empty = await rate(empty_port, empties, args.connections, args.seconds)
        single = await rate(port, requests, args.connections, args.seconds)
        batch = await rate(port, batches, 2, args.seconds) * BATCH
        rounds.append((empty, single, batch, single / empty, batch / empty))
    empty, single, batch, single_ratio, batch_ratio = map(statistics.median, zip(*rounds, strict=True))
    print(f"medians of {args.rounds} rounds of {args.seconds} s, {args.connections} connections, one core\n")
    print("| endpoint                          | events/s | of the empty endpoint |")
    print("| --------------------------------- | -------: | --------------------: |")
    print(f"| empty Starlette endpoint          | {empty:8,.0f} | {1:21.2f} |")
    print(f"| single pageviews, each on disk    | {single:8,.0f} | {single_ratio:21.2f} |")
    print(f"| batches of {BATCH:,}, each on disk    | {batch:8,.0f} | {batch_ratio:21.2f} |")


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--connections", type=int, default=128)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_measure(args, Path(folder)))


if __name__ == "__main__":
    _main()
