"""The events per second that each dialect stores on disk, relative to an empty endpoint on the same core."""

import asyncio
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from benchmarks.load import Pageview, apex, make_pageviews, measure_rate, openanalytics, overcentric, ovyxa, post
from benchmarks.server import SITE, empty_server, new_site, on_core, serving
from benchmarks.table import Row

BATCH_SIZE = 1000
MIN_RATIOS = {"Ovyxa": 0.18, "Ovyxa, 1,000 at once": 0.9}
"""The minimum rates, relative to the empty endpoint: below the lowest ones seen on shared machines (0.22 and 1.1)."""


class Workload(NamedTuple):
    """The requests to send, the number of connections, and the number of events per request."""

    label: str
    requests: list[bytes]
    connections: int
    events_per_request: int = 1


def rows(folder: Path, rounds: int, duration_s: float, connections: int) -> Iterator[Row]:
    """Measure the rates and the memory. Raises SystemExit at the end if a rate is below `MIN_RATIOS`."""
    workloads = _workloads(new_site(folder), connections)
    with (
        empty_server() as empty_port,
        serving(folder) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        time.sleep(2)
        idle_mib = server.memory_mib
        on_core(1)()
        measured = []
        for round_number in range(rounds + 1):
            # One after the other within seconds, so that the machine's speed is the same for all of them; and in
            # random order, because disk writes that one leaves behind slow down the next.
            round_duration_s = duration_s if round_number else 1  # the first round warms up
            rates = [0.0] * len(workloads)
            for index in random.Random(round_number).sample(range(len(workloads)), len(workloads)):
                workload = workloads[index]
                measurement = measure_rate(
                    server.port if index else empty_port, workload.requests, workload.connections, round_duration_s
                )
                rates[index] = runner.run(measurement) * workload.events_per_request
            measured.append(rates)
        loaded_mib = server.memory_mib
    slow: list[str] = []
    for index, workload in enumerate(workloads):
        ratio = statistics.median(rates[index] / rates[0] for rates in measured[1:])
        rate_per_s = statistics.median(rates[index] for rates in measured[1:])
        yield Row(workload.label, f"{rate_per_s:,.0f} {'events' if index else 'requests'}/s", ratio)
        if ratio < MIN_RATIOS.get(workload.label, 0):
            slow.append(f"{workload.label}: {ratio:.2f} of the empty endpoint, below {MIN_RATIOS[workload.label]}")
    yield Row("memory: idle, after this load", f"{idle_mib:.0f}, {loaded_mib:.0f} MiB")
    if slow:
        raise SystemExit("\n".join(slow))


def _workloads(key: str, connections: int) -> list[Workload]:
    """Return the workloads to measure; the first one is the baseline of the others."""
    pageviews = make_pageviews(20_000, random.Random(1))
    projects_path = f"/v1/projects/{SITE}/events"
    openanalytics_bodies = [openanalytics(pageview, SITE) for pageview in pageviews]
    return [
        Workload(
            "an empty Starlette endpoint",
            [post("/", ovyxa(pageview, SITE), key) for pageview in pageviews],
            connections,
        ),
        Workload(
            "Ovyxa",
            [post("/api/v1/events/pageview", ovyxa(pageview, SITE), key) for pageview in pageviews],
            connections,
        ),
        Workload(
            "Overcentric", [post("/api/v1/event", overcentric(pageview, SITE)) for pageview in pageviews], connections
        ),
        Workload(
            "Apex",
            [post("/api/events", apex(pageview, SITE), "", pageview.user_agent) for pageview in pageviews],
            connections,
        ),
        Workload("OpenAnalytics", [post(projects_path, body, key) for body in openanalytics_bodies], connections),
        Workload(
            "Ovyxa, 1,000 at once",
            [post("/api/v1/events/batch", body, key) for body in make_batches(pageviews)],
            2,
            BATCH_SIZE,
        ),
        Workload(
            "OpenAnalytics, 1,000 at once",
            [
                post(f"{projects_path}/batch", openanalytics_bodies[start : start + BATCH_SIZE], key)
                for start in range(0, len(openanalytics_bodies), BATCH_SIZE)
            ],
            2,
            BATCH_SIZE,
        ),
    ]


def make_batches(pageviews: list[Pageview]) -> list[dict[str, Any]]:
    """Return the bodies of Ovyxa's batches of pageviews."""
    items = [{"type": "pageview"} | ovyxa(pageview, SITE) for pageview in pageviews]
    return [
        {"site_id": SITE, "events": items[start : start + BATCH_SIZE]} for start in range(0, len(items), BATCH_SIZE)
    ]
