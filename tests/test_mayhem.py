"""Kill a busy server at random moments: each acknowledged event is stored exactly once, and all counts are right.

`OVX_KILLS=1000 python -m pytest tests/test_mayhem.py` runs for a night; `OVX_SEED` selects other random cases.
"""

import http.client
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ovx_lite.storage import integrity, registry, shared_links
from ovx_lite.storage.shared_links import SharedLink
from ovx_lite.storage.sqlite import STORE_FILE, open_store, steps
from tests.conftest import Start, Store
from tests.support.crash_receiver import Receiver, receiver
from tests.support.metrics import wait_until_projected
from tests.support.old_stores import BACKUP_NAME, OLDEST, schema_version
from tests.support.processes import Process, program

__all__ = ["receiver"]

KILLS = int(os.environ.get("OVX_KILLS", "8"))
SEED = int(os.environ.get("OVX_SEED", "1"))
CLIENTS = 6
MAX_GOAL_EVENTS = 600  # in total: the delivery log holds 1,000 deliveries of a webhook
# Commands that run beside the server and are killed with it.
CONCURRENT_COMMANDS = (
    ["check", "--rebuild"],
    ["check"],
    ["backup", "BACKUP", "--overwrite"],
    ["key", "add", "my-site"],
    ["goal", "add", "my-site", "NAME", "--event", "never"],
    ["site", "change", "my-site", "--hourly-limit", "1000000"],
    ["person", "erase", "my-site", "u1"],
    ["prune"],
)


class Workload:
    """The requests that clients sent to all the servers, and the responses that they received."""

    def __init__(self, key: str, share_path: str) -> None:
        self.key = key
        self.share_path = share_path
        self.requests: dict[str, tuple[str, dict[str, Any], list[str]]] = {}  # by Idempotency-Key: path, body, names
        self.responses: dict[str, bytes] = {}  # by Idempotency-Key
        self.goal_event_count = 0
        self.problems: list[str] = []

    def send(self, connection: http.client.HTTPConnection, idempotency_key: str) -> None:
        """Send the request of this Idempotency-Key, for the first time or again."""
        path, body, _ = self.requests[idempotency_key]
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": idempotency_key}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        response_body = response.read()
        first_body = self.responses.setdefault(idempotency_key, response_body)
        if response.status not in (201, 202):
            self.problems.append(f"{idempotency_key}: {response.status} {response_body!r}")
        elif response_body != first_body:
            self.problems.append(f"{idempotency_key}: {response_body!r}, but the first response was {first_body!r}")

    def add_request(self, idempotency_key: str, rng: random.Random) -> None:
        """Make up a request at random."""
        roll = rng.random()
        visitor = {"ip_address": f"203.0.113.{rng.randrange(250)}", "user_agent": "Mozilla/5.0 Firefox/120.0"}
        page = {"url": f"https://example.com/{idempotency_key}"}
        if roll < 0.1 and self.goal_event_count < MAX_GOAL_EVENTS:
            self.goal_event_count += 1
            event = {
                "site_id": "my-site",
                "event_name": "met",
                **page,
            }  # without a visit, so that each one meets the goal
            self.requests[idempotency_key] = ("/api/v1/events/custom", event, [f"/{idempotency_key}"])
        elif roll < 0.3:
            urls = [f"https://example.com/{idempotency_key}/{number}" for number in range(rng.randrange(2, 60))]
            events = [{"type": "pageview", "url": url} | visitor for url in urls]
            names = [f"/{idempotency_key}/{number}" for number in range(len(urls))]
            self.requests[idempotency_key] = ("/api/v1/events/batch", {"site_id": "my-site", "events": events}, names)
        elif roll < 0.5:
            event = {"event_type": "conversion", "event_name": "sale", "user_id": f"u{rng.randrange(50)}", **page}
            event |= {"revenue": "9.99", "currency": "EUR"}
            self.requests[idempotency_key] = ("/v1/projects/my-site/events", event, [f"/{idempotency_key}"])
        else:
            self.requests[idempotency_key] = (
                "/api/v1/events/pageview",
                {"site_id": "my-site", **page, **visitor},
                [f"/{idempotency_key}"],
            )

    def run(self, port: int, client_name: str) -> None:
        """Send new and repeated requests and load the dashboard, until the server is gone."""
        rng = random.Random(f"{SEED} {client_name}")
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            for number in range(1_000_000):
                roll = rng.random()
                try:
                    if roll < 0.03:
                        connection.request("GET", self.share_path)
                        if connection.getresponse().read()[:9] != b"<!doctype":
                            self.problems.append("the dashboard is not an HTML page")
                    elif roll < 0.15 and self.responses:
                        self.send(connection, rng.choice(list(self.responses)))
                    else:
                        idempotency_key = f"{client_name}-{number}"
                        self.add_request(idempotency_key, rng)
                        self.send(connection, idempotency_key)
                except (OSError, http.client.HTTPException):
                    return


def start_concurrent_command(
    store: Store, rng: random.Random, number: int, directory: Path
) -> "subprocess.Popen[bytes]":
    """Start a random command beside the server."""
    placeholders = {"BACKUP": str(directory / "backup.sqlite3"), "NAME": f"goal {number}"}
    command = [placeholders.get(part, part) for part in rng.choice(CONCURRENT_COMMANDS)]
    environment = os.environ | {"OVX_DATA_DIR": str(store.path)}
    nothing = subprocess.DEVNULL
    return Process(program(*command), stdout=nothing, stderr=nothing, env=environment)


def test_no_data_is_lost_or_doubled_when_a_busy_server_is_killed(
    store: Store, start: Start, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVX_WEBHOOK_ALLOW_NET", "127.0.0.0/8")
    rng = random.Random(SEED)
    store.site()
    store.call("goal", "add", "my-site", "Met", "--event", "met")
    store.call("webhook", "add", "my-site", f"http://127.0.0.1:{receiver.server_port}/", "--on", "goal.completed")
    with closing(open_store(store.path)) as conn:
        shared_links.save(
            conn, SharedLink(registry.find_site(conn, "my-site").id, "token", "", int(time.time() * 1000))
        )
    workload = Workload(store.key(), "/share/token")
    for number in range(KILLS):
        server = start(store)
        command = start_concurrent_command(store, rng, number, tmp_path)
        clients = [
            threading.Thread(target=workload.run, args=(server.port, f"{number}-{client}")) for client in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        time.sleep(rng.uniform(0.02, 0.9))
        server.stop(signal.SIGKILL)
        command.kill()
        command.wait()
        for client in clients:
            client.join(60)
        assert workload.problems == []
        assert integrity_problems(store.path) == [], f"after kill {number}"
    server = start(store)
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        for idempotency_key in workload.requests.keys() - workload.responses.keys():
            workload.send(connection, idempotency_key)
    wait_until_projected(server)
    assert server.stop() == 0
    assert workload.problems == []
    assert integrity_problems(store.path) == []
    paths = Counter(event["path"] for event in store.events())
    assert paths == Counter(name for _, _, names in workload.requests.values() for name in names), (
        "events were lost or stored twice"
    )
    expected_paths = Counter(
        f"/{idempotency_key}"
        for idempotency_key, (_, body, _) in workload.requests.items()
        if body.get("event_name") == "met"
    )
    with closing(open_store(store.path)) as conn:
        bodies = conn.execute("SELECT body FROM deliveries").fetchall()
    assert Counter(json.loads(body)["data"]["url"] for (body,) in bodies) == expected_paths
    assert expected_paths
    if (tmp_path / "backup.sqlite3").exists():
        (tmp_path / "restored").mkdir()
        (tmp_path / "backup.sqlite3").rename(tmp_path / "restored" / STORE_FILE)
        assert integrity_problems(tmp_path / "restored") == []


def integrity_problems(data_dir: Path) -> list[str]:
    """Open a store and return its integrity problems."""
    with closing(open_store(data_dir)) as conn:
        return integrity.problems(conn)


EVENT_COUNT = 2_000 if KILLS <= 8 else 20_000


def test_an_upgrade_that_is_killed_can_be_repeated_without_loss(store: Store, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    template = tmp_path / "old.sqlite3"
    create_old_store(template)
    store.path.mkdir()
    started_at_s = time.monotonic()
    shutil.copy(template, store.path / STORE_FILE)
    assert store.spawn("site", "list").exit_status == 0
    upgrade_duration_s = time.monotonic() - started_at_s
    for number in range(max(KILLS // 4, 2)):
        shutil.rmtree(store.path)
        store.path.mkdir()
        shutil.copy(template, store.path / STORE_FILE)
        command = program("site", "list", "--data-dir", str(store.path))
        process = Process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.4, 1) * upgrade_duration_s)
        process.kill()
        process.wait()
        version_reached = schema_version(store.path / STORE_FILE)
        assert min(steps()) <= version_reached <= max(steps())
        assert store.run("site", "list").exit_status == 0, f"after kill {number} at schema {version_reached}"
        assert store.run("check", "--rebuild").exit_status == 0
        with store.connect() as conn:
            assert conn.execute("SELECT count(*) FROM events").fetchone() == (EVENT_COUNT,)
        assert schema_version(store.path / BACKUP_NAME) < max(steps())
        with closing(sqlite3.connect(store.path / BACKUP_NAME)) as conn:
            assert conn.execute("SELECT count(*) FROM events").fetchone() == (EVENT_COUNT,)


def create_old_store(file: Path) -> None:
    """Create a store of the oldest schema with `EVENT_COUNT` events, most of them in visits of one event."""
    with closing(sqlite3.connect(file, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
        conn.executescript(OLDEST)
        conn.execute("BEGIN")
        latest, stored = conn.execute("SELECT max(visit), count(*) FROM events").fetchone()
        ids = [latest + (number << 36) for number in range(1, EVENT_COUNT - stored + 1)]
        query = "SELECT id FROM kinds WHERE api = 'ovyxa' AND type = 'pageview' AND excluded = ''"
        (kind,) = conn.execute(query).fetchone()
        (page,) = conn.execute("SELECT id FROM pages WHERE path = '/'").fetchone()
        conn.executemany(
            "INSERT INTO events VALUES (1, ?, 0, ?, ?, 2, 3, NULL, NULL, NULL, NULL)",
            [(id, kind, page) for id in ids],
        )
        conn.executemany(
            "INSERT INTO visits VALUES (1, ?, 2, 3, ?, ?, -1, ?, 0, 1, 0, 0, 1, 1)",
            [(id, page, page, number) for number, id in enumerate(ids)],
        )
        conn.execute("COMMIT")
