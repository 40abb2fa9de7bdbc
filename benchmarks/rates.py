"""How many events a second each dialect stores: on disk, as a ratio of an empty endpoint on the same core."""

import asyncio
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from benchmarks.load import Look, apex, looks, openanalytics, overcentric, ovyxa, post, rate
from benchmarks.server import SITE, empty, new_site, on_core, serving
from benchmarks.table import Row

BATCH = 1000
FLOORS = {"Ovyxa": 0.25, "Ovyxa, 1,000 at once": 1.2}
"""What no change may go below, of the empty endpoint: about half of what is usual, as machines have their moods."""


class Traffic(NamedTuple):
    """What is sent, over how many connections, and how many events each request has."""

    label: str
    requests: list[bytes]
    connections: int
    events: int = 1


def rows(folder: Path, rounds: int, seconds: float, connections: int) -> Iterator[Row]:
    """The rates, and what the server took for them. Raises SystemExit at the end for less than the `FLOORS`."""
    traffics = _traffics(new_site(folder), connections)
    with empty() as nothing, serving(folder) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        time.sleep(2)
        idle = server.memory
        on_core(1)()
        found = []
        for number in range(rounds + 1):
            # One after the other within seconds, so that the machine's mood is the same for all of them; and each time
            # in another order, for what one leaves to be done for the disk slows down the next.
            span = seconds if number else 1  # the first round warms up
            rates = [0.0] * len(traffics)
            for at in random.Random(number).sample(range(len(traffics)), len(traffics)):
                traffic = traffics[at]
                sent = rate(server.port if at else nothing, traffic.requests, traffic.connections, span)
                rates[at] = runner.run(sent) * traffic.events
            found.append(rates)
        loaded = server.memory
    slow: list[str] = []
    for at, traffic in enumerate(traffics):
        ratio = statistics.median(rates[at] / rates[0] for rates in found[1:])
        much = statistics.median(rates[at] for rates in found[1:])
        yield Row(traffic.label, f"{much:,.0f} {'events' if at else 'requests'}/s", ratio)
        if ratio < FLOORS.get(traffic.label, 0):
            slow.append(f"{traffic.label}: {ratio:.2f} of the empty endpoint, and not {FLOORS[traffic.label]}")
    yield Row("memory: idle, after all that", f"{idle:.0f}, {loaded:.0f} MiB")
    if slow:
        raise SystemExit("\n".join(slow))


def _traffics(key: str, connections: int) -> list[Traffic]:
    """What is measured; the first is the measure of the others."""
    seen = looks(20_000, random.Random(1))
    projects = f"/v1/projects/{SITE}/events"
    named = [openanalytics(look, SITE) for look in seen]
    return [
        Traffic("an empty Starlette endpoint", [post("/", ovyxa(look, SITE), key) for look in seen], connections),
        Traffic("Ovyxa", [post("/api/v1/events/pageview", ovyxa(look, SITE), key) for look in seen], connections),
        Traffic("Overcentric", [post("/api/v1/event", overcentric(look, SITE)) for look in seen], connections),
        Traffic("Apex", [post("/api/events", apex(look, SITE), "", look.user_agent) for look in seen], connections),
        Traffic("OpenAnalytics", [post(projects, body, key) for body in named], connections),
        Traffic("Ovyxa, 1,000 at once", [post("/api/v1/events/batch", body, key) for body in batches(seen)], 2, BATCH),
        Traffic(
            "OpenAnalytics, 1,000 at once",
            [post(f"{projects}/batch", named[first : first + BATCH], key) for first in range(0, len(named), BATCH)],
            2,
            BATCH,
        ),
    ]


def batches(seen: list[Look]) -> list[dict[str, Any]]:
    """Ovyxa's batches of such looks."""
    items = [{"type": "pageview"} | ovyxa(look, SITE) for look in seen]
    return [{"site_id": SITE, "events": items[first : first + BATCH]} for first in range(0, len(items), BATCH)]
