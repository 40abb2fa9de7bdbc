"""Pending deliveries to webhooks survive `kill -9`: nothing is lost, and few deliveries are repeated."""

import json
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import pytest

from tests.conftest import Server, Start, Store
from tests.support.crash_receiver import Receiver
from tests.support.crash_receiver import receiver as receiver
from tests.support.load import ROUNDS

WEBHOOKS = 5  # per site, the maximum
SITES, EVENTS = (2, 60) if ROUNDS <= 3 else (6, 600)  # 300 or 3,000 deliveries; each webhook may send 100 an hour
TIMEOUT_S = 60 + EVENTS * WEBHOOKS / 20  # until all deliveries have arrived


@dataclass
class Load:
    """Events that meet the goal of their site. Each is sent with its Idempotency-Key until it is acknowledged."""

    keys: dict[str, str]
    waiting: list[int]
    acknowledged: int = 0

    def send(self, server: Server, max_events: int) -> None:
        """Send up to `max_events` events, one after the other, until the server is gone."""
        for _ in range(min(max_events, len(self.waiting))):
            site = site_of(self.waiting[0])
            body = {"site_id": site, "url": f"https://example.com/goal/{self.waiting[0]}"}
            headers = {"Idempotency-Key": f"event-{self.waiting[0]}"}
            try:
                response = server.send("/api/v1/events/pageview", body, self.keys[site], headers)
            except httpx2.TransportError:
                return
            assert response.status == 201, response.body
            del self.waiting[0]
            self.acknowledged += 1

    @contextmanager
    def sending(self, server: Server, max_events: int) -> Iterator[None]:
        """Send up to `max_events` events in the background."""
        thread = threading.Thread(target=self.send, args=(server, max_events))
        thread.start()
        try:
            yield
        finally:
            thread.join(60)


def site_of(event: int) -> str:
    return f"site{event % SITES}"


def set_up(store: Store, receiver: Receiver) -> dict[str, str]:
    """Add sites with a goal and webhooks. Returns an API key of each."""
    keys = {}
    for number in range(SITES):
        site = f"site{number}"
        store.site(site)
        keys[site] = store.key(site)
        store.call("goal", "add", site, "reached", "--path", "/goal/*")
        for webhook_number in range(WEBHOOKS):
            url = f"http://127.0.0.1:{receiver.server_port}/{site}/{webhook_number}"
            store.call("webhook", "add", site, url, "--on", "goal.completed")
    return keys


def kill_while_delivering(
    server: Server, receiver: Receiver, load: Load, chance: random.Random, event_count: int
) -> None:
    """Send events, and kill the server at a random moment while they are delivered."""
    count_before = receiver.delivery_count
    min_count = count_before + chance.randrange(1, event_count * WEBHOOKS * 3 // 4)
    with load.sending(server, event_count):
        wait_until(lambda: receiver.delivery_count >= min_count)
        time.sleep(chance.uniform(0, 0.005))
        server.stop(signal.SIGKILL)
    wait_until(lambda: receiver.open_connections == 0)  # all that the server has sent has arrived
    receiver.server_number += 1


def wait_until(condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
    """Wait until a condition is met."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "the condition was not met in time"
        time.sleep(0.002)


def list_deliveries(store: Store) -> list[dict[str, str]]:
    """Return the delivery logs of all sites."""
    return [delivery for number in range(SITES) for delivery in store.call("delivery", "list", f"site{number}")]


def test_deliveries_survive_kill_9_and_few_are_repeated(
    store: Store, start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVX_WEBHOOK_ALLOW_NET", "127.0.0.0/8")
    chance = random.Random(ROUNDS)
    load = Load(set_up(store, receiver), list(range(EVENTS)))
    for _ in range(ROUNDS):
        server = start(store, "--webhook-allow-net", "127.0.0.0/8")
        kill_while_delivering(server, receiver, load, chance, EVENTS // ROUNDS)
    server = start(store, "--webhook-allow-net", "127.0.0.0/8")
    load.send(server, len(load.waiting))
    assert load.acknowledged == EVENTS
    wait_until(lambda: receiver.delivery_count >= EVENTS * WEBHOOKS)
    wait_until(lambda: all(delivery["status"] != "pending" for delivery in list_deliveries(store)))
    assert server.stop() == 0

    assert_each_webhook_got_each_event(receiver)
    repeats = count_repeats(receiver)
    deliveries = {delivery["id"]: delivery for delivery in list_deliveries(store)}
    assert Counter(delivery["status"] for delivery in deliveries.values()) == {"delivered": EVENTS * WEBHOOKS}
    assert {request.delivery_id for received in receiver.deliveries_by_path.values() for request in received} == set(
        deliveries
    )
    interrupted_count = count_interrupted_attempts(store, deliveries, repeats)
    assert 0 < interrupted_count <= ROUNDS * WEBHOOKS * SITES
    assert store.run("check").exit_status == 0


def assert_each_webhook_got_each_event(receiver: Receiver) -> None:
    """Check that every webhook received every event of its site under one id, with the same bytes each time."""
    assert len(receiver.deliveries_by_path) == SITES * WEBHOOKS
    for path, deliveries in receiver.deliveries_by_path.items():
        bodies = defaultdict(set)
        for delivery in deliveries:
            bodies[delivery.delivery_id].add(delivery.body)
        assert {len(equal_bodies) for equal_bodies in bodies.values()} == {1}
        event_counts = Counter(
            json.loads(body)["data"]["url"] for equal_bodies in bodies.values() for body in equal_bodies
        )
        site = path.split("/")[1]
        assert event_counts == Counter(f"/goal/{event}" for event in range(EVENTS) if site_of(event) == site)


def count_repeats(receiver: Receiver) -> Counter[str]:
    """Count the repeats of each delivery; check that each kill repeats at most one delivery per webhook."""
    repeats: Counter[str] = Counter()
    for path, deliveries in receiver.deliveries_by_path.items():
        server_numbers_by_id = defaultdict(list)
        for delivery in deliveries:
            server_numbers_by_id[delivery.delivery_id].append(delivery.server_number)
        for id, server_numbers in server_numbers_by_id.items():
            assert len(set(server_numbers)) == len(server_numbers), (
                f"{id} was sent twice to {path} without a kill in between"
            )
            repeats[id] += len(server_numbers) - 1
        repeats_by_server = Counter(
            server_number
            for server_numbers in server_numbers_by_id.values()
            for server_number in sorted(server_numbers)[:-1]
        )
        assert set(repeats_by_server.values()) <= {1}, (
            f"a kill repeated more than one delivery to {path}: {repeats_by_server}"
        )
    return repeats


def count_interrupted_attempts(store: Store, deliveries: dict[str, dict[str, str]], repeats: Counter[str]) -> int:
    """Check that interrupted attempts are logged before the successful one, and count them."""
    interrupted = 0
    for id in deliveries:
        attempts = store.call("delivery", "show", id)["attempts"]
        assert [attempt["error"] for attempt in attempts] == ["interrupted"] * (len(attempts) - 1) + [""]
        assert attempts[-1]["status"] == 200
        assert len(attempts) - 1 >= repeats[id]
        interrupted += len(attempts) - 1
    return interrupted
