"""How many bytes an event takes in the end, and how long the server takes to get ready."""

import http.client
import json
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.load import looks
from benchmarks.rates import batches
from benchmarks.server import command, new_site, serving
from benchmarks.table import Row


def rows(folder: Path, count: int) -> Iterator[Row]:
    """Tell so many events, one a second, and look at the file."""
    key = new_site(folder)
    told = batches(looks(count, random.Random(2)))
    begin = int(time.time() * 1000) - count * 1000
    for number, body in enumerate(body for batch in told for body in batch["events"]):
        body["timestamp"] = begin + number * 1000
    with serving(folder) as server, closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        for batch in told:
            connection.request("POST", "/api/v1/events/batch", json.dumps(batch), {"Authorization": f"Bearer {key}"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 201, answer.status
    visits = int(command(folder, "check")["visits"])
    taken = (folder / "ovx-lite.sqlite3").stat().st_size / count
    yield Row(f"disk, of {count:,} events in {visits:,} visits, all included", f"{taken:.1f} bytes an event")
    starts = []
    for _ in range(7):
        with serving(folder) as server:
            starts.append(server.start)
    yield Row("ready, with these in the store", f"{statistics.median(starts):.2f} s")
