"""`python -m benchmarks.pages`: the response times of the user interface with a large store.

The store has 100 sites, 1,000 keys, 100,000 deliveries in the log and 100,000 persons. One of the sites has a tenth of
the keys, 5,000 deliveries, all persons and 200,000 events of this week. The times are those of a client on the same
machine over one connection, and so include a little more than the server's work.
"""

import http.client
import json
import os
import random
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

from ovx_lite.auth import passwords
from ovx_lite.domain.calendar import DAY_MS
from ovx_lite.domain.models import COUNTER_BITS, Site
from ovx_lite.services import factories
from ovx_lite.storage import accounts, registry
from ovx_lite.storage.rollups import goal_backfill
from ovx_lite.storage.sqlite import open_store, transaction
from ovx_lite.storage.webhooks import subscriptions

PASSWORD = "correct horse battery"
SITES, KEYS, DELIVERIES, PERSONS, EVENTS = 100, 1_000, 100_000, 100_000, 200_000
REPEATS = 31
_WEEK_MS = 7 * DAY_MS
STATUSES = ("delivered", "failed", "skipped", "throttled")


def _fill_store(folder: Path, now_ms: int) -> str:
    """Fill a store, and return the id of a delivery of the large site."""
    with closing(open_store(folder)) as conn:
        accounts.set_password(conn, passwords.hash_password(PASSWORD, secrets.token_bytes(16)))
        sites = [
            registry.add_site(conn, factories.site(f"site-{index}", "Europe/Paris", now_ms)) for index in range(SITES)
        ]
        for index in range(KEYS):
            site = sites[0] if index < KEYS // 10 else sites[index % SITES]
            registry.add_api_key(conn, factories.key(site, f"key {index}", "pro", None, now_ms + index)[0])
        webhook_ids = [webhook_id for site in sites for webhook_id in _add_webhooks(conn, site, now_ms)]
        for index in range(20):
            goal = factories.goal(sites[0], f"goal {index}", "", f"/page-{index}/**", now_ms + index)
            goal_backfill.add_goal(conn, goal, sites[0], now_ms)
        with transaction(conn):
            newest_id = _add_deliveries(conn, webhook_ids, now_ms)
            _add_persons(conn, sites[0], now_ms)
            _add_events(conn, sites[0], now_ms)
    return f"msg_{newest_id:016x}"


def _add_webhooks(conn: sqlite3.Connection, site: Site, now_ms: int) -> list[int]:
    webhooks = [
        factories.webhook(site, f"https://example.com/{n}", ("goal.completed",), None, "json", now_ms) for n in range(5)
    ]
    return [subscriptions.add_webhook(conn, webhook).id for webhook in webhooks]


def _add_deliveries(conn: sqlite3.Connection, webhook_ids: list[int], now_ms: int) -> int:
    body = json.dumps({"event": "goal.completed", "site_id": "site-0", "data": {"url": "/" + "x" * 100}}).encode()
    large_site_count = DELIVERIES // 20
    rows = []
    for index in range(DELIVERIES):
        webhook_id = (
            webhook_ids[index % 5] if index < large_site_count else webhook_ids[5 + index % (len(webhook_ids) - 5)]
        )
        delivery_id = (now_ms - index * 1000 << COUNTER_BITS) + index % 7
        rows.append((delivery_id, webhook_id, "goal.completed", body, STATUSES[index % 4], 1, now_ms))
    conn.executemany(
        "INSERT INTO deliveries (id, webhook_id, event_name, body, status, attempts, next_attempt_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    attempts = [(delivery_id, now_ms, 12, 200, "", "", '{"webhook-id": "msg"}', "ok") for delivery_id, *_ in rows]
    conn.executemany(
        "INSERT INTO attempts"
        " (delivery_id, started_at, duration_ms, http_status, error_code, hint, request_headers, response_body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        attempts,
    )
    return int(rows[0][0])


def _add_persons(conn: sqlite3.Connection, site: Site, now_ms: int) -> None:
    rows = [
        (index, site.id, f"user-{index}", json.dumps({"name": f"N {index}", "email": f"{index}@x.org"}), now_ms)
        for index in range(PERSONS)
    ]
    conn.executemany("INSERT INTO persons (id, site_id, external_id, traits, created_at) VALUES (?, ?, ?, ?, ?)", rows)


def _add_events(conn: sqlite3.Connection, site: Site, now_ms: int) -> None:
    conn.execute("INSERT INTO event_types VALUES (1, 'ovyxa', 'pageview', 'pageview', '', '', '')")
    conn.execute("INSERT INTO traffic_sources VALUES (1, '', 'direct', 'direct', '', '', '', '', '')")
    conn.execute("INSERT INTO clients VALUES (1, 'Chrome', 'Windows', 'desktop', 'FR')")
    pages = [(index, "https", "example.com", f"/page-{index}/x") for index in range(1, 2001)]
    conn.executemany("INSERT INTO pages VALUES (?, ?, ?, ?)", pages)
    rng = random.Random(1)
    rows = [
        (site.id, (now_ms - index * (_WEEK_MS // EVENTS) << COUNTER_BITS) + index % 5, rng.randint(1, 2000))
        for index in range(EVENTS)
    ]
    conn.executemany(
        "INSERT INTO events (site_id, visit_id, id_offset, event_type_id, page_id, traffic_source_id, client_id)"
        " VALUES (?, ?, 0, 1, ?, 1, 1)",
        rows,
    )


def _paths(delivery: str) -> list[str]:
    settings = "/sites/site-0/settings"
    return [
        *("/", "/new-site", "/account", f"{settings}/start", f"{settings}/general", f"{settings}/keys"),
        *(f"{settings}/goals", "/sites/site-1/settings/goals", f"{settings}/webhooks", f"{settings}/deliveries"),
        *(f"{settings}/deliveries?status=failed", f"{settings}/deliveries?event=realtime.spike"),
        *(f"{settings}/deliveries/{delivery}", f"{settings}/people", f"{settings}/people?q=user-77", "/login"),
    ]


def _measure(port: int, delivery: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        form = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        connection.request("POST", "/login", urlencode({"password": PASSWORD}), form)
        response = connection.getresponse()
        response.read()
        cookie = {"Cookie": response.headers["Set-Cookie"].split(";")[0]}
        print("| page | KiB | median ms | second slowest of 31 |")
        print("| --- | ---: | ---: | ---: |")
        for path in _paths(delivery):
            durations_ms = []
            for _ in range(REPEATS + 1):
                started_at_s = time.perf_counter()
                connection.request("GET", path, headers=cookie if path != "/login" else {})
                response = connection.getresponse()
                size_bytes = len(response.read())
                durations_ms.append((time.perf_counter() - started_at_s) * 1000)
                assert response.status == 200, f"{path}: {response.status}"
            durations_ms = sorted(durations_ms[1:])  # the first one loads the template
            label = path.replace(delivery, "ID")
            median_ms = statistics.median(durations_ms)
            print(f"| `{label}` | {size_bytes / 1024:.0f} | {median_ms:.1f} | {durations_ms[-2]:.1f} |")


def main() -> None:
    """Fill a store, start a server on it, and request each page."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir, ready = Path(folder) / "data", Path(folder) / "ready.json"
        delivery = _fill_store(data_dir, time.time_ns() // 1_000_000)
        command = [sys.executable, "-m", "ovx_lite", "serve", "--port", "0", "--ready-file", str(ready)]
        with subprocess.Popen(command, env={**os.environ, "OVX_DATA_DIR": str(data_dir)}) as server:
            while not ready.exists():
                time.sleep(0.02)
            _measure(int(json.loads(ready.read_text())["url"].rpartition(":")[2]), delivery)
            server.terminate()


if __name__ == "__main__":
    main()
