"""The response times at 70 % of the maximum rate: on a quiet server, and while somebody reloads a large dashboard."""

import asyncio
import datetime
import itertools
import random
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

import uvloop

from benchmarks.dashboard import NOW_MS
from benchmarks.load import (
    endless_pageviews,
    make_pageviews,
    ovyxa,
    percentile_ms,
    post,
    send_kept_alive,
    send_paced,
)
from benchmarks.server import SITE, ServerProcess, empty_server, new_key, new_site, on_core, run_command, serving
from benchmarks.table import Row
from benchmarks.traffic import fill
from ovx_lite.emulator.demo_traffic import LARGE
from ovx_lite.storage.sqlite import STORE_FILE

LOAD_FRACTION = 0.7
CONNECTIONS = 64
WARM_UP_S = 3.0
DASHBOARD_DAYS = range(365, 265, -1)
"""The days of the dashboard, one day less each time, because the server caches a dashboard for up to a second."""

PASSWORD = "correct horse battery"


def rows(folder: Path, stores: Path, duration_s: float) -> Iterator[Row]:
    """Measure for `duration_s` each. `stores` is the folder of the store 10M, which is created if it is missing."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        on_core(1)()
        key = new_site(folder / "quiet")
        with serving(folder / "quiet") as server:
            rate_per_s = LOAD_FRACTION * runner.run(max_rate(server, key))
            latencies_s = runner.run(_measure(server, "/api/v1/events/pageview", key, rate_per_s, duration_s))
        with empty_server() as empty:
            empty_latencies_s = runner.run(_measure(empty, "/", key, rate_per_s, duration_s))
        key = _copy_large_store(stores, folder / "large")
        with serving(folder / "large", env={"OVX_ADMIN_PASSWORD": PASSWORD}) as server:
            busy_latencies_s, reload_times_s = runner.run(_measure_with_dashboard(server, key, rate_per_s, duration_s))
    yield Row("response times at half, at 99 % and at most: of an empty endpoint", _format(empty_latencies_s))
    yield Row(f"of {rate_per_s:,.0f} single events/s, 70 % of the maximum", _format(latencies_s))
    reload_ms = 1000 * statistics.median(reload_times_s)
    yield Row(
        f"the same, while dashboards of a year with 10 million events are loaded in a loop ({reload_ms:,.0f} ms each)",
        _format(busy_latencies_s),
    )


async def max_rate(server: ServerProcess, key: str) -> float:
    """Return the requests per second that the server answers at full load."""
    pageviews = make_pageviews(50_000, random.Random(1))
    requests = [post("/api/v1/events/pageview", ovyxa(pageview, SITE), key) for pageview in pageviews]
    await send_kept_alive(server.port, requests, 2 * CONNECTIONS, 2)
    await asyncio.to_thread(server.wait_for_projection)
    result = await send_kept_alive(server.port, requests, 2 * CONNECTIONS, 8)
    projection_s = await asyncio.to_thread(server.wait_for_projection)
    return result.responses / (result.duration_s + projection_s)


async def _measure(server: ServerProcess, path: str, key: str, rate_per_s: float, duration_s: float) -> list[float]:
    """Send single events at this rate, and return the response times."""
    pageviews = endless_pageviews(random.Random(2))
    requests = (post(path, ovyxa(pageview, SITE), key) for pageview in pageviews)
    latencies_s: list[float] = []
    await send_paced(server.port, requests, CONNECTIONS, rate_per_s, WARM_UP_S, latencies_s)
    latencies_s.clear()
    await send_paced(server.port, requests, CONNECTIONS, rate_per_s, duration_s, latencies_s)
    return latencies_s


async def _measure_with_dashboard(
    server: ServerProcess, key: str, rate_per_s: float, duration_s: float
) -> tuple[list[float], list[float]]:
    """Measure while a client reloads the dashboard. Returns the response times of the events and of the dashboard."""
    cookie = await _log_in(server.port)
    reload_times_s: list[float] = []
    reloading = asyncio.create_task(_reload(server.port, cookie, reload_times_s))
    latencies_s = await _measure(server, "/api/v1/events/pageview", key, rate_per_s, duration_s)
    reloading.cancel()
    with suppress(asyncio.CancelledError):
        await reloading
    return latencies_s, reload_times_s


async def _reload(port: int, cookie: str, reload_times_s: list[float]) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    for days in itertools.cycle(DASHBOARD_DAYS):
        started_at_s = time.monotonic()
        path = f"/sites/{SITE}?from={today - datetime.timedelta(days)}&to={today}"
        response = await _fetch(port, f"GET {path} HTTP/1.1", f"Cookie: {cookie}")
        if not response.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{response[:200]!r}")
        reload_times_s.append(time.monotonic() - started_at_s)


async def _log_in(port: int) -> str:
    """Return the cookie of a session."""
    body = urlencode({"password": PASSWORD})
    headers = ("Content-Type: application/x-www-form-urlencoded", "Sec-Fetch-Site: same-origin")
    response = await _fetch(port, "POST /login HTTP/1.1", *headers, f"Content-Length: {len(body)}", body=body)
    _, found, cookie = response.decode().partition("\r\nset-cookie: ")
    if not found:
        raise RuntimeError(f"{response[:200]!r}")
    return cookie.split(";", 1)[0]


async def _fetch(port: int, request_line: str, *headers: str, body: str = "") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = (request_line, "Host: localhost", "Connection: close", *headers, "", body)
    writer.write("\r\n".join(lines).encode())
    response = await reader.read()
    writer.close()
    return response


def _copy_large_store(stores: Path, folder: Path) -> str:
    """Copy the store, because the server writes to it, and return an API key."""
    if not (stores / "10M" / STORE_FILE).exists():
        fill(stores / "10M", NOW_MS, 365, LARGE)
    folder.mkdir(parents=True)
    shutil.copy(stores / "10M" / STORE_FILE, folder)
    run_command(folder, "site", "change", SITE, "--hourly-limit", "1000000000")
    return new_key(folder)


def _format(latencies_s: list[float]) -> str:
    p50_ms, p99_ms, max_ms = (percentile_ms(latencies_s, fraction) for fraction in (0.5, 0.99, 1))
    return f"{p50_ms:.1f}, {p99_ms:.1f}, {max_ms:.0f} ms"
