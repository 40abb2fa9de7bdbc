"""How it goes under a steady load: how long an answer takes, and whether memory and open files stay as they are.

Each connection has its times to send at; an answer's time counts from there, also where the one before it was late.
"""

import asyncio
import math
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import uvloop

from benchmarks.load import Look, looks, ovyxa, paced, post, rate, visiting
from benchmarks.server import SITE, Running, new_site, on_core, serving
from benchmarks.table import Row

OF_THE_MOST = 0.7
CONNECTIONS = 64
SETTLED = 5
"""After so many minutes, memory is to stay as it is."""


class Minute(NamedTuple):
    """What a minute of it was like: seconds that answers took, MiB, open files."""

    late: list[float]
    memory: float
    files: int

    def within(self, part: float) -> float:
        """The time within which such a part of the answers came, in milliseconds."""
        return sorted(self.late)[math.ceil(part * len(self.late)) - 1] * 1000


def rows(folder: Path, minutes: int) -> Iterator[Row]:
    """The table's rows: time of answers, memory, open files, over so many minutes."""
    key = new_site(folder)
    with serving(folder) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        on_core(1)()
        most = runner.run(_most(server, key))
        gone = runner.run(_minutes(server, key, most * OF_THE_MOST, minutes))
    half, most_of_all = (statistics.median(one.within(part) for one in gone) for part in (0.5, 0.99))
    load = f"{most * OF_THE_MOST:,.0f} single events a second, 70 % of the most"
    yield Row(
        f"{load}: half, 99 % are answered within (median of {minutes} minutes)", f"{half:.1f}, {most_of_all:.0f} ms"
    )
    if minutes > SETTLED:
        early, last = gone[SETTLED - 1], gone[-1]
        sent = sum(len(one.late) for one in gone)
        yield Row(
            f"memory after {SETTLED} and after {minutes} such minutes, {sent:,} events; open files",
            f"{early.memory:.0f}, {last.memory:.0f} MiB; {early.files}, {last.files}",
        )


async def _most(server: Running, key: str) -> float:
    """How many it answers in a second when it gets no rest."""
    requests = [_request(look, key) for look in looks(20_000, random.Random(1))]
    await rate(server.port, requests, 2 * CONNECTIONS, 2)
    return await rate(server.port, requests, 2 * CONNECTIONS, 8)


async def _minutes(server: Running, key: str, per_second: float, minutes: int) -> list[Minute]:
    requests = (_request(look, key) for look in visiting(random.Random(2)))
    late: list[float] = []
    load = asyncio.create_task(paced(server.port, requests, CONNECTIONS, per_second, 60 * minutes + 1, late))
    gone: list[Minute] = []
    begin = time.monotonic()
    while len(gone) < minutes:
        await asyncio.sleep(begin + 60 * (len(gone) + 1) - time.monotonic())
        minute = Minute(late.copy(), server.memory, server.files)
        late.clear()
        gone.append(minute)
        told = f"minute {len(gone)}: {len(minute.late) / 60:,.0f}/s, 99 % within {minute.within(0.99):.0f} ms, "
        print(f"{told}{minute.memory:.1f} MiB, {minute.files} files", file=sys.stderr, flush=True)
    await load
    return gone


def _request(look: Look, key: str) -> bytes:
    return post("/api/v1/events/pageview", ovyxa(look, SITE), key)
