"""`python -m benchmarks.pages`: how long the pages for people take, with much to show.

A store of 100 sites, 1,000 keys, 100,000 deliveries in the log and 100,000 persons; one of the sites has a tenth of
the keys, 5,000 deliveries, all persons and 200,000 events of this week. The times are those that a client on the same
machine sees, over one connection: a little more than the server's own.
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
from ovx_lite.domain.models import COUNTER_BITS, Site
from ovx_lite.services import factories
from ovx_lite.storage import accounts, registry
from ovx_lite.storage.rollups import goal_backfill
from ovx_lite.storage.sqlite import open_store, transaction
from ovx_lite.storage.webhooks import subscriptions

PASSWORD = "correct horse battery"
SITES, KEYS, DELIVERIES, PERSONS, EVENTS = 100, 1_000, 100_000, 100_000, 200_000
TIMES = 31
_WEEK = 7 * 24 * 3600 * 1000
STATUSES = ("delivered", "failed", "skipped", "throttled")


def _furnish(folder: Path, now: int) -> str:
    """Fill a store; returns the id of a delivery of the large site."""
    with closing(open_store(folder)) as conn:
        accounts.set_password(conn, passwords.hashed(PASSWORD, secrets.token_bytes(16)))
        sites = [
            registry.add_site(conn, factories.site(f"site-{number}", "Europe/Paris", now)) for number in range(SITES)
        ]
        for number in range(KEYS):
            site = sites[0] if number < KEYS // 10 else sites[number % SITES]
            registry.add_key(conn, factories.key(site, f"key {number}", "pro", None, now + number)[0])
        hooks = [hook for site in sites for hook in _hooks(conn, site, now)]
        for number in range(20):
            goal = factories.goal(sites[0], f"goal {number}", "", f"/page-{number}/**", now + number)
            goal_backfill.add_goal(conn, goal, sites[0], now)
        with transaction(conn):
            first = _log(conn, hooks, now)
            _people(conn, sites[0], now)
            _events(conn, sites[0], now)
    return f"msg_{first:016x}"


def _hooks(conn: sqlite3.Connection, site: Site, now: int) -> list[int]:
    made = [
        factories.webhook(site, f"https://example.com/{n}", ("goal.completed",), None, "json", now) for n in range(5)
    ]
    return [subscriptions.add_webhook(conn, hook).number for hook in made]


def _log(conn: sqlite3.Connection, hooks: list[int], now: int) -> int:
    body = json.dumps({"event": "goal.completed", "site_id": "site-0", "data": {"url": "/" + "x" * 100}}).encode()
    of_large = DELIVERIES // 20
    rows = []
    for place in range(DELIVERIES):
        hook = hooks[place % 5] if place < of_large else hooks[5 + place % (len(hooks) - 5)]
        number = (now - place * 1000 << COUNTER_BITS) + place % 7
        rows.append((number, hook, "goal.completed", body, STATUSES[place % 4], 1, now))
    conn.executemany(
        "INSERT INTO deliveries (id, webhook_id, event_name, body, status, attempts, next_attempt_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    tries = [(number, now, 12, 200, "", "", '{"webhook-id": "msg"}', "ok") for number, *_ in rows]
    conn.executemany(
        "INSERT INTO attempts"
        " (delivery_id, started_at, duration_ms, http_status, error_code, hint, request_headers, response_body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        tries,
    )
    return int(rows[0][0])


def _people(conn: sqlite3.Connection, site: Site, now: int) -> None:
    rows = [
        (number, site.number, f"user-{number}", json.dumps({"name": f"N {number}", "email": f"{number}@x.org"}), now)
        for number in range(PERSONS)
    ]
    conn.executemany("INSERT INTO persons (id, site_id, external_id, traits, created_at) VALUES (?, ?, ?, ?, ?)", rows)


def _events(conn: sqlite3.Connection, site: Site, now: int) -> None:
    conn.execute("INSERT INTO event_types VALUES (1, 'ovyxa', 'pageview', 'pageview', '', '', '')")
    conn.execute("INSERT INTO traffic_sources VALUES (1, '', 'direct', 'direct', '', '', '', '', '')")
    conn.execute("INSERT INTO clients VALUES (1, 'Chrome', 'Windows', 'desktop', 'FR')")
    pages = [(number, "https", "example.com", f"/page-{number}/x") for number in range(1, 2001)]
    conn.executemany("INSERT INTO pages VALUES (?, ?, ?, ?)", pages)
    drawn = random.Random(1)
    rows = [
        (site.number, (now - place * (_WEEK // EVENTS) << COUNTER_BITS) + place % 5, drawn.randint(1, 2000))
        for place in range(EVENTS)
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
        answer = connection.getresponse()
        answer.read()
        cookie = {"Cookie": answer.headers["Set-Cookie"].split(";")[0]}
        print("| page | KiB | median ms | of 31, the slowest but one |")
        print("| --- | ---: | ---: | ---: |")
        for path in _paths(delivery):
            took = []
            for _ in range(TIMES + 1):
                begin = time.perf_counter()
                connection.request("GET", path, headers=cookie if path != "/login" else {})
                answer = connection.getresponse()
                size = len(answer.read())
                took.append((time.perf_counter() - begin) * 1000)
                assert answer.status == 200, f"{path}: {answer.status}"
            took = sorted(took[1:])  # the first one loads the template
            shown = path.replace(delivery, "ID")
            print(f"| `{shown}` | {size / 1024:.0f} | {statistics.median(took):.1f} | {took[-2]:.1f} |")


def main() -> None:
    """Fill a store, start a server on it, and ask for each page."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir, ready = Path(folder) / "data", Path(folder) / "ready.json"
        delivery = _furnish(data_dir, time.time_ns() // 1_000_000)
        command = [sys.executable, "-m", "ovx_lite", "serve", "--port", "0", "--ready-file", str(ready)]
        with subprocess.Popen(command, env={**os.environ, "OVX_DATA_DIR": str(data_dir)}) as server:
            while not ready.exists():
                time.sleep(0.02)
            _measure(int(json.loads(ready.read_text())["url"].rpartition(":")[2]), delivery)
            server.terminate()


if __name__ == "__main__":
    main()
