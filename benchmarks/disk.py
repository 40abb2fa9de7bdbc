"""The bytes per event on disk, and the start time of the server."""

import http.client
import json
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.load import make_pageviews
from benchmarks.rates import make_batches
from benchmarks.server import new_site, run_command, serving
from benchmarks.table import Row


def rows(folder: Path, count: int) -> Iterator[Row]:
    """Send `count` events with timestamps one second apart, and measure the file."""
    key = new_site(folder)
    batch_bodies = make_batches(make_pageviews(count, random.Random(2)))
    first_ms = int(time.time() * 1000) - count * 1000
    for index, body in enumerate(body for batch in batch_bodies for body in batch["events"]):
        body["timestamp"] = first_ms + index * 1000
    with serving(folder) as server, closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        for batch in batch_bodies:
            connection.request("POST", "/api/v1/events/batch", json.dumps(batch), {"Authorization": f"Bearer {key}"})
            response = connection.getresponse()
            response.read()
            assert response.status == 201, response.status
    visits = int(run_command(folder, "check")["visits"])
    bytes_per_event = (folder / "ovx-lite.sqlite3").stat().st_size / count
    yield Row(f"disk, of {count:,} events in {visits:,} visits, all included", f"{bytes_per_event:.1f} bytes an event")
    start_times_s = []
    for _ in range(7):
        with serving(folder) as server:
            start_times_s.append(server.start_time_s)
    yield Row("ready, with these in the store", f"{statistics.median(start_times_s):.2f} s")
