"""The events per second of bursts: each starts with an empty journal, and is projected afterwards."""

import asyncio
import random
import statistics
from collections.abc import Iterator
from pathlib import Path

import uvloop

from benchmarks.rates import WARM_UP_S, Sample, Workload, build_requests, make_workloads, measure
from benchmarks.server import ServerProcess, empty_server, new_site, on_core, serving
from benchmarks.table import Row

BASELINE_S = 2.0
"""How long the empty endpoint is measured before and after each burst."""


def rows(folder: Path, rounds: int, duration_s: float, connections: int) -> Iterator[Row]:
    """Measure a burst of each workload in each round, on a new store and server."""
    labels = [workload.label for workload in make_workloads("", connections) if not workload.is_empty_endpoint]
    ratios: dict[str, list[float]] = {label: [] for label in labels}
    bursts: dict[str, list[Sample]] = {label: [] for label in labels}
    with empty_server() as empty, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        on_core(1)()
        for round_number in range(rounds):
            for label in random.Random(round_number).sample(labels, len(labels)):
                data_dir = folder / f"{label} {round_number}"
                workloads = {workload.label: workload for workload in make_workloads(new_site(data_dir), connections)}
                workload = workloads[label]
                baseline = workloads[workload.baseline]
                with serving(data_dir) as server:
                    before = _measure_baseline(runner, empty, baseline)
                    burst = _measure_burst(runner, server, workload, duration_s)
                    after = _measure_baseline(runner, empty, baseline)
                bursts[label].append(burst)
                ratios[label].append(2 * burst.burst_rate_per_s / (before.rate_per_s + after.rate_per_s))
    for label in labels:
        rate_per_s = statistics.median(burst.burst_rate_per_s for burst in bursts[label])
        cpu_us = statistics.median(burst.cpu_us for burst in bursts[label])
        projection_s = max(burst.projection_s for burst in bursts[label])
        value = f"{rate_per_s:,.0f} events/s, {cpu_us:.1f} µs of CPU each, projected after {projection_s:.1f} s"
        yield Row(f"{label}: burst of {duration_s:.0f} s", value, statistics.median(ratios[label]))


def _measure_baseline(runner: asyncio.Runner, empty: ServerProcess, baseline: Workload) -> Sample:
    return measure(runner, empty, baseline, build_requests(baseline, "", BASELINE_S, None), BASELINE_S)


def _measure_burst(runner: asyncio.Runner, server: ServerProcess, workload: Workload, duration_s: float) -> Sample:
    warm_up = measure(runner, server, workload, build_requests(workload, "warm-up", WARM_UP_S, None), WARM_UP_S)
    return measure(runner, server, workload, build_requests(workload, "burst", duration_s, warm_up), duration_s)
