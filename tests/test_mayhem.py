"""Kills at any moment of a busy life: what was acknowledged is there once, and all that is counted is counted right.

`OVX_KILLS=1000 python -m pytest tests/test_mayhem.py` for a long night; `OVX_SEED` for another one.
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
from ovx_lite.storage.shared_links import Share
from ovx_lite.storage.sqlite import FILE, open_store, steps
from tests.conftest import Start, Store
from tests.support.crash_receiver import Receiver, receiver
from tests.support.old_stores import COPY, OLDEST, version
from tests.support.processes import Process, program

__all__ = ["receiver"]

KILLS = int(os.environ.get("OVX_KILLS", "8"))
SEED = int(os.environ.get("OVX_SEED", "1"))
CLIENTS = 6
GOALS = 600  # in all: the log of deliveries keeps 1,000 of a webhook
# Commands that run beside the server, and are killed with it.
BESIDE = (
    ["check", "--rebuild"],
    ["check"],
    ["backup", "BACKUP", "--overwrite"],
    ["key", "add", "my-site"],
    ["goal", "add", "my-site", "NAME", "--event", "never"],
    ["site", "change", "my-site", "--hourly-limit", "1000000"],
    ["person", "erase", "my-site", "u1"],
    ["prune"],
)


class Life:
    """What clients sent, and what they were told of it, over all the servers' lives."""

    def __init__(self, key: str, share: str) -> None:
        self.key = key
        self.share = share
        self.sent: dict[str, tuple[str, dict[str, Any], list[str]]] = {}  # by Idempotency-Key: path, body, names
        self.answers: dict[str, bytes] = {}  # by Idempotency-Key
        self.goals = 0
        self.trouble: list[str] = []

    def send(self, connection: http.client.HTTPConnection, repeat: str) -> None:
        """Send what goes by this key; for the first time, or once more."""
        path, body, _ = self.sent[repeat]
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": repeat}
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        told = answer.read()
        first = self.answers.setdefault(repeat, told)
        if answer.status not in (201, 202):
            self.trouble.append(f"{repeat}: {answer.status} {told!r}")
        elif told != first:
            self.trouble.append(f"{repeat}: {told!r}, where the first answer was {first!r}")

    def new(self, repeat: str, chance: random.Random) -> None:
        """Think of a request."""
        kind = chance.random()
        seen = {"ip_address": f"203.0.113.{chance.randrange(250)}", "user_agent": "Mozilla/5.0 Firefox/120.0"}
        page = {"url": f"https://example.com/{repeat}"}
        if kind < 0.1 and self.goals < GOALS:
            self.goals += 1
            event = {"site_id": "my-site", "event_name": "met", **page}  # of no visit, so that each meets the goal
            self.sent[repeat] = ("/api/v1/events/custom", event, [f"/{repeat}"])
        elif kind < 0.3:
            urls = [f"https://example.com/{repeat}/{number}" for number in range(chance.randrange(2, 60))]
            events = [{"type": "pageview", "url": url} | seen for url in urls]
            names = [f"/{repeat}/{number}" for number in range(len(urls))]
            self.sent[repeat] = ("/api/v1/events/batch", {"site_id": "my-site", "events": events}, names)
        elif kind < 0.5:
            event = {"event_type": "conversion", "event_name": "sale", "user_id": f"u{chance.randrange(50)}", **page}
            event |= {"revenue": "9.99", "currency": "EUR"}
            self.sent[repeat] = ("/v1/projects/my-site/events", event, [f"/{repeat}"])
        else:
            self.sent[repeat] = ("/api/v1/events/pageview", {"site_id": "my-site", **page, **seen}, [f"/{repeat}"])

    def run(self, port: int, name: str) -> None:
        """Send one thing after the other, new and old, and look at the numbers, until the server is gone."""
        chance = random.Random(f"{SEED} {name}")
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            for number in range(1_000_000):
                kind = chance.random()
                try:
                    if kind < 0.03:
                        connection.request("GET", self.share)
                        if connection.getresponse().read()[:9] != b"<!doctype":
                            self.trouble.append("the dashboard was none")
                    elif kind < 0.15 and self.answers:
                        self.send(connection, chance.choice(list(self.answers)))
                    else:
                        repeat = f"{name}-{number}"
                        self.new(repeat, chance)
                        self.send(connection, repeat)
                except (OSError, http.client.HTTPException):
                    return


def beside(store: Store, chance: random.Random, number: int, folder: Path) -> "subprocess.Popen[bytes]":
    """Run a command beside the server."""
    words = {"BACKUP": str(folder / "backup.sqlite3"), "NAME": f"goal {number}"}
    command = [words.get(word, word) for word in chance.choice(BESIDE)]
    environment = os.environ | {"OVX_DATA_DIR": str(store.path)}
    nothing = subprocess.DEVNULL
    return Process(program(*command), stdout=nothing, stderr=nothing, env=environment)


def test_a_busy_life_with_many_deaths(
    store: Store, start: Start, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVX_WEBHOOK_ALLOW_NET", "127.0.0.0/8")
    chance = random.Random(SEED)
    store.site()
    store.call("goal", "add", "my-site", "Met", "--event", "met")
    store.call("webhook", "add", "my-site", f"http://127.0.0.1:{receiver.server_port}/", "--on", "goal.completed")
    with closing(open_store(store.path)) as conn:
        shared_links.put(conn, Share(registry.find_site(conn, "my-site").number, "token", "", int(time.time() * 1000)))
    life = Life(store.key(), "/share/token")
    for number in range(KILLS):
        server = start(store)
        others = beside(store, chance, number, tmp_path)
        clients = [
            threading.Thread(target=life.run, args=(server.port, f"{number}-{client}")) for client in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        time.sleep(chance.uniform(0.02, 0.9))
        server.stop(signal.SIGKILL)
        others.kill()
        others.wait()
        for client in clients:
            client.join(60)
        assert life.trouble == []
        assert whole(store.path) == [], f"after kill {number}"
    server = start(store)
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        for repeat in life.sent.keys() - life.answers.keys():
            life.send(connection, repeat)
    assert server.stop() == 0
    assert life.trouble == []
    assert whole(store.path) == []
    paths = Counter(event["path"] for event in store.events())
    assert paths == Counter(name for _, _, names in life.sent.values() for name in names), "lost, or doubled"
    told = Counter(f"/{repeat}" for repeat, (_, body, _) in life.sent.items() if body.get("event_name") == "met")
    with closing(open_store(store.path)) as conn:
        bodies = conn.execute("SELECT body FROM deliveries").fetchall()
    assert Counter(json.loads(body)["data"]["url"] for (body,) in bodies) == told
    assert told
    if (tmp_path / "backup.sqlite3").exists():
        (tmp_path / "restored").mkdir()
        (tmp_path / "backup.sqlite3").rename(tmp_path / "restored" / FILE)
        assert whole(tmp_path / "restored") == []


def whole(data_dir: Path) -> list[str]:
    """What is wrong with a store."""
    with closing(open_store(data_dir)) as conn:
        return integrity.problems(conn)


EVENTS = 2_000 if KILLS <= 8 else 20_000


def test_an_upgrade_with_many_deaths(store: Store, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    template = tmp_path / "old.sqlite3"
    old_events(template)
    store.path.mkdir()
    began = time.monotonic()
    shutil.copy(template, store.path / FILE)
    assert store.spawn("site", "list").status == 0
    longest = time.monotonic() - began
    for number in range(max(KILLS // 4, 2)):
        shutil.rmtree(store.path)
        store.path.mkdir()
        shutil.copy(template, store.path / FILE)
        command = program("site", "list", "--data-dir", str(store.path))
        process = Process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.4, 1) * longest)
        process.kill()
        process.wait()
        reached = version(store.path / FILE)
        assert min(steps()) <= reached <= max(steps())
        assert store.run("site", "list").status == 0, f"after kill {number} at schema {reached}"
        assert store.run("check", "--rebuild").status == 0
        with store.opened() as conn:
            assert conn.execute("SELECT count(*) FROM events").fetchone() == (EVENTS,)
        assert version(store.path / COPY) < max(steps())
        with closing(sqlite3.connect(store.path / COPY)) as conn:
            assert conn.execute("SELECT count(*) FROM events").fetchone() == (EVENTS,)


def old_events(file: Path) -> None:
    """A store of the oldest schema, with so many visits of one event each."""
    with closing(sqlite3.connect(file, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
        conn.executescript(OLDEST)
        conn.execute("BEGIN")
        latest, stored = conn.execute("SELECT max(visit), count(*) FROM events").fetchone()
        ids = [latest + (number << 36) for number in range(1, EVENTS - stored + 1)]
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
