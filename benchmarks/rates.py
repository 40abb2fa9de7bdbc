"""The events per second that each dialect stores on disk, relative to an empty endpoint on the same core.

A rate includes the projection: the time of a round ends when the journal is empty. So does the CPU time per event.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from benchmarks.load import (
    Pageview,
    apex,
    make_pageviews,
    openanalytics,
    overcentric,
    ovyxa,
    post,
    send_kept_alive,
    send_with_new_connections,
    with_close,
)
from benchmarks.server import SITE, ServerProcess, empty_server, new_site, on_core, serving
from benchmarks.table import Row

BATCH_SIZE = 1000
WARM_UP_S = 1.0
MIN_PAGEVIEWS, PAGEVIEWS_MARGIN = 20_000, 1.2
MIN_RATIOS = {"Ovyxa": 0.2, "Ovyxa, 1,000 at once": 0.6}
"""The minimum rates, relative to the empty endpoint: below the lowest ones seen on busy machines (0.46 and 0.75)."""


class Workload(NamedTuple):
    """The requests to send for pageviews, the number of connections, and the number of events per request.

    `baseline` is the label of the empty endpoint to which it is compared; its own if it is one.
    """

    label: str
    build_requests: Callable[[list[Pageview]], list[bytes]]
    connections: int
    events_per_request: int = 1
    baseline: str = "an empty Starlette endpoint"
    new_connections: bool = False

    @property
    def is_empty_endpoint(self) -> bool:
        """Whether the empty endpoint answers it."""
        return self.label == self.baseline


class Sample(NamedTuple):
    """One round of a workload: the events, how long they took, and how long the projection took after the load."""

    events: int
    load_s: float
    projection_s: float
    cpu_time_s: float

    @property
    def rate_per_s(self) -> float:
        """The events per second, projection included."""
        return self.events / (self.load_s + self.projection_s)

    @property
    def burst_rate_per_s(self) -> float:
        """The events per second during the load."""
        return self.events / self.load_s

    @property
    def cpu_us(self) -> float:
        """The CPU time of the server for each event, in microseconds."""
        return 1e6 * self.cpu_time_s / self.events


def measure(
    runner: asyncio.Runner, server: ServerProcess, workload: Workload, requests: list[bytes], duration_s: float
) -> Sample:
    """Send these requests, over and over, for this long, and wait until the events are projected."""
    cpu_time_s = server.cpu_time_s
    if workload.new_connections:
        result = send_with_new_connections(server.port, requests, workload.connections, duration_s)
    else:
        result = runner.run(send_kept_alive(server.port, requests, workload.connections, duration_s))
    projection_s = server.wait_for_projection()
    return Sample(
        events=result.responses * workload.events_per_request,
        load_s=result.duration_s,
        projection_s=projection_s,
        cpu_time_s=server.cpu_time_s - cpu_time_s,
    )


def build_requests(workload: Workload, seed: str, duration_s: float, previous: Sample | None) -> list[bytes]:
    """Return as many requests as a round may send. Traffic that was not sent before makes new visits, as in reality."""
    expected_count = int(duration_s * previous.burst_rate_per_s * PAGEVIEWS_MARGIN) if previous else 0
    return workload.build_requests(make_pageviews(max(MIN_PAGEVIEWS, expected_count), random.Random(seed)))


def rows(folder: Path, rounds: int, duration_s: float, connections: int) -> Iterator[Row]:
    """Measure the rates and the memory. Raises SystemExit at the end if a rate is below `MIN_RATIOS`."""
    workloads = make_workloads(new_site(folder), connections)
    samples_by_label: dict[str, list[Sample]] = {workload.label: [] for workload in workloads}
    with (
        empty_server() as empty,
        serving(folder) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        time.sleep(2)
        idle_mib = server.memory_mib
        on_core(1)()
        for round_number in range(rounds + 1):
            # One after the other within seconds, so that the machine's speed is the same for all of them; and in
            # random order, because disk writes that one leaves behind slow down the next.
            round_duration_s = duration_s if round_number else WARM_UP_S
            for workload in random.Random(round_number).sample(workloads, len(workloads)):
                previous = samples_by_label[workload.label][-1] if round_number else None
                requests = build_requests(workload, f"{workload.label} {round_number}", round_duration_s, previous)
                sample = measure(
                    runner, empty if workload.is_empty_endpoint else server, workload, requests, round_duration_s
                )
                samples_by_label[workload.label].append(sample)
        loaded_mib = server.memory_mib
    slow: list[str] = []
    for workload in workloads:
        measured = samples_by_label[workload.label][1:]  # the first round warms up
        baseline = samples_by_label[workload.baseline][1:]
        rate_per_s = statistics.median(sample.rate_per_s for sample in measured)
        cpu_us, baseline_cpu_us = (
            statistics.median(sample.cpu_us for sample in samples) for samples in (measured, baseline)
        )
        ratio = statistics.median(
            sample.rate_per_s / empty_sample.rate_per_s for sample, empty_sample in zip(measured, baseline, strict=True)
        )
        unit = "requests" if workload.is_empty_endpoint else "events"
        # A ratio of CPU times varies less than one of rates where other programs use the core too.
        cpu = f"{cpu_us:.1f} µs of CPU each ({cpu_us / baseline_cpu_us:.2f} times)"
        yield Row(workload.label, f"{rate_per_s:,.0f} {unit}/s, {cpu}", ratio)
        if ratio < MIN_RATIOS.get(workload.label, 0):
            slow.append(f"{workload.label}: {ratio:.2f} of the empty endpoint, below {MIN_RATIOS[workload.label]}")
    projections_s = [sample.projection_s for measured in samples_by_label.values() for sample in measured]
    yield Row("journal empty after the load within, at most", f"{max(projections_s):.2f} s")
    yield Row("memory: idle, after this load", f"{idle_mib:.0f}, {loaded_mib:.0f} MiB")
    if slow:
        raise SystemExit("\n".join(slow))


def make_workloads(key: str, connections: int) -> list[Workload]:
    """Return the workloads to measure."""

    def empty_request(pageview: Pageview) -> bytes:
        return post("/", ovyxa(pageview, SITE), key)

    def ovyxa_request(pageview: Pageview) -> bytes:
        return post("/api/v1/events/pageview", ovyxa(pageview, SITE), key)

    def overcentric_request(pageview: Pageview) -> bytes:
        return post("/api/v1/event", overcentric(pageview, SITE))

    def apex_request(pageview: Pageview) -> bytes:
        return post("/api/events", apex(pageview, SITE), "", pageview.user_agent)

    def openanalytics_request(pageview: Pageview) -> bytes:
        return post(f"/v1/projects/{SITE}/events", openanalytics(pageview, SITE), key)

    def ovyxa_batches(pageviews: list[Pageview]) -> list[bytes]:
        return [post("/api/v1/events/batch", body, key) for body in make_batches(pageviews)]

    def openanalytics_batches(pageviews: list[Pageview]) -> list[bytes]:
        path = f"/v1/projects/{SITE}/events/batch"
        return [
            post(path, [openanalytics(pageview, SITE) for pageview in batch], key) for batch in _full_batches(pageviews)
        ]

    empty_each = "an empty Starlette endpoint, a connection each"
    return [
        Workload("an empty Starlette endpoint", _singles(empty_request), connections),
        Workload("Ovyxa", _singles(ovyxa_request), connections),
        Workload("Overcentric", _singles(overcentric_request), connections),
        Workload("Apex", _singles(apex_request), connections),
        Workload("OpenAnalytics", _singles(openanalytics_request), connections),
        Workload("Ovyxa, 1,000 at once", ovyxa_batches, 2, BATCH_SIZE),
        Workload("OpenAnalytics, 1,000 at once", openanalytics_batches, 2, BATCH_SIZE),
        Workload(empty_each, _singles(empty_request, close=True), connections, 1, empty_each, True),
        Workload("Ovyxa, a connection each", _singles(ovyxa_request, close=True), connections, 1, empty_each, True),
    ]


def _singles(
    build_request: Callable[[Pageview], bytes], close: bool = False
) -> Callable[[list[Pageview]], list[bytes]]:
    """Return a function that builds a request for each pageview."""

    def build(pageviews: list[Pageview]) -> list[bytes]:
        requests = [build_request(pageview) for pageview in pageviews]
        return [with_close(request) for request in requests] if close else requests

    return build


def make_batches(pageviews: list[Pageview]) -> list[dict[str, Any]]:
    """Return the bodies of Ovyxa's batches of pageviews."""
    return [
        {"site_id": SITE, "events": [{"type": "pageview"} | ovyxa(pageview, SITE) for pageview in batch]}
        for batch in _full_batches(pageviews)
    ]


def _full_batches(pageviews: list[Pageview]) -> Iterator[list[Pageview]]:
    """Yield batches of the same size; what is left over is dropped."""
    for end in range(BATCH_SIZE, len(pageviews) + 1, BATCH_SIZE):
        yield pageviews[end - BATCH_SIZE : end]
