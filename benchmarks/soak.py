"""A steady load: response times, and whether memory and open files remain constant.

Each connection sends at fixed times. A response time counts from there, even if the previous response was late.
"""

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import uvloop

from benchmarks.latency import CONNECTIONS, LOAD_FRACTION, max_rate
from benchmarks.load import Pageview, endless_pageviews, ovyxa, percentile_ms, post, send_paced
from benchmarks.server import SITE, ServerProcess, new_site, on_core, serving
from benchmarks.table import Row

WARM_UP_MINUTES = 5
"""The minutes after which memory should remain constant."""


class Minute(NamedTuple):
    """The response times, memory and open files of one minute."""

    latencies_s: list[float]
    memory_mib: float
    open_files: int

    def percentile_ms(self, fraction: float) -> float:
        """Return the time in milliseconds within which this fraction of the responses arrived."""
        return percentile_ms(self.latencies_s, fraction)


def rows(folder: Path, minutes: int) -> Iterator[Row]:
    """Measure response times, memory and open files for this many minutes."""
    key = new_site(folder)
    with serving(folder) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        on_core(1)()
        rate_per_s = LOAD_FRACTION * runner.run(max_rate(server, key))
        samples = runner.run(_measure_minutes(server, key, rate_per_s, minutes))
    median_ms, p99_ms = (
        statistics.median(sample.percentile_ms(fraction) for sample in samples) for fraction in (0.5, 0.99)
    )
    label = f"{rate_per_s:,.0f} single events a second, 70 % of the most"
    yield Row(
        f"{label}: half, 99 % are answered within (median of {minutes} minutes)", f"{median_ms:.1f}, {p99_ms:.0f} ms"
    )
    if minutes > WARM_UP_MINUTES:
        after_warm_up, at_end = samples[WARM_UP_MINUTES - 1], samples[-1]
        event_count = sum(len(sample.latencies_s) for sample in samples)
        yield Row(
            f"memory after {WARM_UP_MINUTES} and after {minutes} such minutes, {event_count:,} events; open files",
            f"{after_warm_up.memory_mib:.0f}, {at_end.memory_mib:.0f} MiB; "
            f"{after_warm_up.open_files}, {at_end.open_files}",
        )


async def _measure_minutes(server: ServerProcess, key: str, rate_per_s: float, minutes: int) -> list[Minute]:
    requests = (_request(pageview, key) for pageview in endless_pageviews(random.Random(2)))
    latencies_s: list[float] = []
    load_task = asyncio.create_task(
        send_paced(server.port, requests, CONNECTIONS, rate_per_s, 60 * minutes + 1, latencies_s)
    )
    samples: list[Minute] = []
    started_at_s = time.monotonic()
    while len(samples) < minutes:
        await asyncio.sleep(started_at_s + 60 * (len(samples) + 1) - time.monotonic())
        minute = Minute(latencies_s.copy(), server.memory_mib, server.open_files)
        latencies_s.clear()
        samples.append(minute)
        rate_per_s, p99_ms = len(minute.latencies_s) / 60, minute.percentile_ms(0.99)
        line = f"minute {len(samples)}: {rate_per_s:,.0f}/s, 99 % within {p99_ms:.0f} ms, "
        print(f"{line}{minute.memory_mib:.1f} MiB, {minute.open_files} files", file=sys.stderr, flush=True)
    await load_task
    return samples


def _request(pageview: Pageview, key: str) -> bytes:
    return post("/api/v1/events/pageview", ovyxa(pageview, SITE), key)
