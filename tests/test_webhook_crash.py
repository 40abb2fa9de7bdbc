"""What is on its way to webhooks survives `kill -9`: nothing is lost, and hardly anything comes twice."""

import json
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException

import pytest

from tests.conftest import Server, Start, Store
from tests.support.crash_receiver import Receiver
from tests.support.crash_receiver import receiver as receiver
from tests.support.load import ROUNDS

WEBHOOKS = 5  # of each site, as many as it may have
SITES, EVENTS = (2, 60) if ROUNDS <= 3 else (6, 600)  # 300 deliveries, or 3,000; each webhook may send 100 an hour
LONGEST = 60 + EVENTS * WEBHOOKS / 20  # seconds to wait for all


@dataclass
class Load:
    """Events that meet their site's goal, each sent until it is acknowledged, by a key of its own once stored."""

    keys: dict[str, str]
    waiting: list[int]
    acknowledged: int = 0

    def send(self, server: Server, most: int) -> None:
        """Send so many events, one after the other, or until the server is gone."""
        for _ in range(min(most, len(self.waiting))):
            site = site_of(self.waiting[0])
            body = {"site_id": site, "url": f"https://example.com/goal/{self.waiting[0]}"}
            again = {"Idempotency-Key": f"event-{self.waiting[0]}"}
            try:
                answer = server.send("/api/v1/events/pageview", body, self.keys[site], again)
            except (OSError, HTTPException):
                return
            assert answer.status == 201, answer.body
            del self.waiting[0]
            self.acknowledged += 1

    @contextmanager
    def sending(self, server: Server, most: int) -> Iterator[None]:
        """Send so many events, meanwhile."""
        thread = threading.Thread(target=self.send, args=(server, most))
        thread.start()
        try:
            yield
        finally:
            thread.join(60)


def site_of(event: int) -> str:
    return f"site{event % SITES}"


def set_up(store: Store, receiver: Receiver) -> dict[str, str]:
    """Add sites with a goal and webhooks; returns a key of each."""
    keys = {}
    for number in range(SITES):
        site = f"site{number}"
        store.site(site)
        keys[site] = store.key(site)
        store.call("goal", "add", site, "reached", "--path", "/goal/*")
        for hook in range(WEBHOOKS):
            url = f"http://127.0.0.1:{receiver.server_port}/{site}/{hook}"
            store.call("webhook", "add", site, url, "--on", "goal.completed")
    return keys


def kill(server: Server, receiver: Receiver, load: Load, chance: random.Random, most: int) -> None:
    """Send so many events, and kill the server at any moment while they are delivered."""
    before = receiver.count
    least = before + chance.randrange(1, most * WEBHOOKS * 3 // 4)
    with load.sending(server, most):
        wait(lambda: receiver.count >= least)
        time.sleep(chance.uniform(0, 0.005))
        server.stop(signal.SIGKILL)
    wait(lambda: receiver.open == 0)  # the last of what it sent has come
    receiver.life += 1


def wait(done: Callable[[], bool], seconds: float = LONGEST) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.002)


def listed(store: Store) -> list[dict[str, str]]:
    """The log of all sites."""
    return [found for number in range(SITES) for found in store.call("delivery", "list", f"site{number}")]


def test_deliveries_survive_kill_9_and_hardly_any_comes_twice(
    store: Store, start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVX_WEBHOOK_ALLOW_NET", "127.0.0.0/8")
    chance = random.Random(ROUNDS)
    load = Load(set_up(store, receiver), list(range(EVENTS)))
    for _ in range(ROUNDS):
        server = start(store, "--webhook-allow-net", "127.0.0.0/8")
        kill(server, receiver, load, chance, EVENTS // ROUNDS)
    server = start(store, "--webhook-allow-net", "127.0.0.0/8")
    load.send(server, len(load.waiting))
    assert load.acknowledged == EVENTS
    wait(lambda: receiver.count >= EVENTS * WEBHOOKS)
    wait(lambda: all(found["status"] != "pending" for found in listed(store)))
    assert server.stop() == 0

    each_came_to_each(receiver)
    repeats = repeated(receiver)
    deliveries = {found["id"]: found for found in listed(store)}
    assert Counter(found["status"] for found in deliveries.values()) == {"delivered": EVENTS * WEBHOOKS}
    assert {came.id for all in receiver.came.values() for came in all} == set(deliveries)
    interrupted = in_log(store, deliveries, repeats)
    assert 0 < interrupted <= ROUNDS * WEBHOOKS * SITES
    assert store.run("check").status == 0


def each_came_to_each(receiver: Receiver) -> None:
    """Every event came to every webhook of its site under one id, with the same bytes each time."""
    assert len(receiver.came) == SITES * WEBHOOKS
    for path, all in receiver.came.items():
        bodies = defaultdict(set)
        for came in all:
            bodies[came.id].add(came.body)
        assert {len(same) for same in bodies.values()} == {1}
        reached = Counter(json.loads(body)["data"]["url"] for same in bodies.values() for body in same)
        site = path.split("/")[1]
        assert reached == Counter(f"/goal/{event}" for event in range(EVENTS) if site_of(event) == site)


def repeated(receiver: Receiver) -> Counter[str]:
    """How often each delivery came again; each time for a kill, of which each repeats no more than one to a webhook."""
    repeats: Counter[str] = Counter()
    for path, all in receiver.came.items():
        lives = defaultdict(list)
        for came in all:
            lives[came.id].append(came.life)
        for id, seen in lives.items():
            assert len(set(seen)) == len(seen), f"{id} came twice to {path} with no kill in between"
            repeats[id] += len(seen) - 1
        cut_off = Counter(life for seen in lives.values() for life in sorted(seen)[:-1])
        assert set(cut_off.values()) <= {1}, f"a kill repeated more than one to {path}: {cut_off}"
    return repeats


def in_log(store: Store, deliveries: dict[str, dict[str, str]], repeats: Counter[str]) -> int:
    """What was cut off is in the log, before the try that was answered. Returns how many tries were."""
    interrupted = 0
    for id in deliveries:
        tries = store.call("delivery", "show", id)["attempts"]
        assert [found["error"] for found in tries] == ["interrupted"] * (len(tries) - 1) + [""]
        assert tries[-1]["status"] == 200
        assert len(tries) - 1 >= repeats[id]
        interrupted += len(tries) - 1
    return interrupted
