"""Deliveries over time: the retry schedule, disabling, concurrency, restarts, and the log."""

import asyncio
import json
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from ovx_lite.app import App
from ovx_lite.domain import config
from ovx_lite.domain.calendar import DAY_MS, HOUR_MS, MINUTE_MS
from ovx_lite.domain.models import COUNTER_BITS
from ovx_lite.services import scheduler
from ovx_lite.storage.sqlite import open_store
from ovx_lite.storage.webhooks import delivery_log, outbox, subscriptions
from ovx_lite.webhooks.message import AttemptResult
from tests.conftest import Start, Store
from tests.support.deliveries import WebhookHarness, close
from tests.support.receiver import Receiver, http_response, wait_until
from tests.support.store import NOW


async def wait_briefly() -> None:
    """Wait long enough for an unwanted effect to happen."""
    await asyncio.sleep(0.15)


@pytest.fixture
def harness(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookHarness]:
    monkeypatch.setenv("OVX_WEBHOOK_ALLOW_NET", "127.0.0.0/8")
    with closing(open_store(store.path)) as conn:
        yield WebhookHarness(store, conn)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_retries_follow_the_schedule_to_the_millisecond(harness: WebhookHarness, receiver: Receiver) -> None:
    id, receiver.reply, times_ms = harness.add_webhook(receiver.url), http_response(500), [NOW]

    async def run(app: App) -> None:
        harness.clock.on_set = lambda: None  # nothing else wakes the sender
        assert await harness.meet_goal(app) == 201
        for attempts, minutes in enumerate((1, 5, 30), 1):
            await harness.wait_for_attempts(attempts)
            await wait_briefly()
            harness.clock.set(times_ms[-1] + minutes * MINUTE_MS - 1)
            await wait_briefly()
            assert len(receiver.requests) == attempts
            times_ms.append(harness.clock.current_ms + 1)
            harness.clock.set(times_ms[-1])
        await harness.wait_for_attempts(4)
        assert harness.statuses() == "failed"
        harness.clock.set(harness.clock.current_ms + DAY_MS)
        await wait_briefly()

    harness.run_app(run)
    assert [request.headers["webhook-timestamp"] for request in receiver.requests] == [
        str(time_ms // 1000) for time_ms in times_ms
    ]
    assert len({(request.body, request.headers["webhook-id"]) for request in receiver.requests}) == 1
    (delivery,) = harness.deliveries(id)
    assert (delivery.public_id, delivery.body, delivery.attempts) == (
        receiver.webhook_ids()[0],
        receiver.requests[0].body,
        4,
    )
    attempts = delivery_log.attempts(harness.conn, delivery.id)
    assert [(attempt.started_at_ms, attempt.status) for attempt in attempts] == [(time_ms, 500) for time_ms in times_ms]


@pytest.mark.parametrize(("minutes", "waits"), [(0, 1), (0.5, 1), (1.5, 1.5), (10, 10), (60, 60), (61, 60), (9999, 60)])
@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
def test_a_longer_retry_after_is_respected(
    harness: WebhookHarness, receiver: Receiver, minutes: float, waits: float, as_date: bool
) -> None:
    harness.add_webhook(receiver.url)
    http_date = format_datetime(datetime.fromtimestamp((NOW + minutes * MINUTE_MS) / 1000, UTC), usegmt=True)
    receiver.reply = http_response(503, retry_after=http_date if as_date else f"{minutes * 60:.0f}")

    async def run(app: App) -> None:
        await harness.meet_goal(app)
        await harness.wait_for_attempts(1)
        assert harness.deliveries()[0].next_attempt_at_ms == NOW + waits * MINUTE_MS
        receiver.reply = http_response(200)
        harness.clock.set(harness.deliveries()[0].next_attempt_at_ms)
        await harness.wait_for_attempts(2)

    harness.run_app(run)
    assert harness.statuses() == "delivered"


def test_a_410_disables_the_webhook_and_skips_waiting_deliveries(harness: WebhookHarness, receiver: Receiver) -> None:
    id, receiver.reply = harness.add_webhook(receiver.url), http_response(410)
    receiver.may_reply.clear()

    async def run(app: App) -> None:
        for _ in range(3):
            await harness.meet_goal(app)
        receiver.may_reply.set()
        await wait_until(lambda: harness.statuses() == "failed skipped skipped")
        assert harness.webhook_state(id) == (False, "its receiver answered 410 Gone")
        harness.clock.set(NOW + 500)  # by then, the server has noticed
        await wait_briefly()
        await harness.meet_goal(app)
        await wait_briefly()
        assert (len(receiver.requests), len(harness.deliveries())) == (1, 3)
        subscriptions.enable(harness.conn, id)
        receiver.reply = http_response(200)
        delivery_log.redeliver(harness.conn, harness.deliveries()[1].public_id, harness.clock.current_ms)
        harness.clock.set(NOW + 1000)
        await wait_until(lambda: harness.statuses() == "failed delivered skipped")

    harness.run_app(run)


@pytest.mark.parametrize(
    ("days", "success", "enabled"),
    [
        ((0, 1, 2, 3, 5), None, False),
        ((0, 1, 2, 6), None, True),
        ((0, 1, 2, 3, 4), None, True),
        ((0, 1, 2, 3, 4, 5), 2, True),
        ((0, 1, 2, 3, 4, 5, 6, 9), 2, False),
    ],
)
def test_a_webhook_is_disabled_after_5_days_and_5_messages_without_success(
    harness: WebhookHarness, receiver: Receiver, days: Sequence[int], success: int | None, enabled: bool
) -> None:
    id = harness.add_webhook(receiver.url)

    async def run(app: App) -> None:
        for day in days:
            harness.clock.set(NOW + day * DAY_MS)
            assert harness.webhook_state(id)[0]
            receiver.reply = http_response(200 if day == success else 500)
            if day == success:
                await harness.meet_goal(app)
                await harness.wait_for_attempts(1)
            else:
                await harness.exhaust_retries(app)

    harness.run_app(run)
    assert harness.webhook_state(id) == (enabled, "" if enabled else "no delivery succeeded for 5 days")


def test_a_slow_receiver_delays_only_itself(harness: WebhookHarness, receiver: Receiver) -> None:
    receiver.may_reply.clear()
    with Receiver() as quick:
        harness.add_webhook(receiver.url)
        id = harness.add_webhook(quick.url)

        async def run(app: App) -> None:
            for _ in range(5):
                await harness.meet_goal(app)
            await wait_until(lambda: harness.statuses(id) == " ".join(["delivered"] * 5))
            await wait_briefly()
            assert (len(quick.requests), len(receiver.requests)) == (5, 1)
            receiver.may_reply.set()
            await wait_until(lambda: {delivery.status for delivery in harness.deliveries()} == {"delivered"})

        harness.run_app(run)
        assert quick.webhook_ids() == [delivery.public_id for delivery in harness.deliveries(id)]
    assert (receiver.max_held_requests, quick.max_held_requests, len(receiver.requests)) == (1, 1, 5)


def test_at_most_16_deliveries_are_sent_at_once(harness: WebhookHarness, receiver: Receiver) -> None:
    sites = ["my-site", "a", "b", "c"]
    for site in sites * 5:
        harness.add_webhook(receiver.url, site)
    receiver.may_reply.clear()

    async def run(app: App) -> None:
        for site in sites:
            await harness.meet_goal(app, site)
        await wait_until(lambda: len(receiver.requests) >= 16)
        sleeps_before = harness.clock.zero_sleeps
        await wait_briefly()
        assert harness.clock.zero_sleeps - sleeps_before < 5, "the sender polls for deliveries that it cannot send yet"
        receiver.may_reply.set()
        await wait_until(lambda: len(receiver.requests) == 20)

    try:
        harness.run_app(run)
    finally:
        receiver.may_reply.set()
    assert (receiver.max_held_requests, len(set(receiver.webhook_ids()))) == (16, 20)


def test_due_deliveries_survive_a_restart(harness: WebhookHarness, receiver: Receiver) -> None:
    harness.add_webhook(receiver.url)
    receiver.reply = http_response(500)

    async def fail(app: App) -> None:
        await harness.meet_goal(app)
        await harness.wait_for_attempts(1)

    async def wait(app: App) -> None:
        await wait_briefly()
        assert len(receiver.requests) == 1
        harness.clock.set(NOW + MINUTE_MS)
        await harness.wait_for_attempts(2)

    async def late(app: App) -> None:
        await harness.wait_for_attempts(3)

    harness.run_app(fail)
    harness.clock.set(NOW + MINUTE_MS - 1)
    harness.run_app(wait)
    harness.clock.set(NOW + DAY_MS)  # long after the attempt was due
    harness.run_app(late)
    assert len(set(receiver.webhook_ids())) == 1


def test_an_attempt_interrupted_by_a_crash_is_repeated(
    harness: WebhookHarness, receiver: Receiver, start: Start
) -> None:
    harness.add_webhook(receiver.url)
    receiver.may_reply.clear()
    server = start(harness.store)
    assert server.custom(harness.keys["my-site"]).status == 201
    asyncio.run(wait_until(lambda: receiver.requests))
    server.stop(signal.SIGKILL)
    receiver.may_reply.set()
    server = start(harness.store)
    asyncio.run(wait_until(lambda: harness.statuses() == "delivered"))
    assert server.stop() == 0
    assert len({(request.body, request.headers["webhook-id"]) for request in receiver.requests}) == 1
    attempts = delivery_log.attempts(harness.conn, harness.deliveries()[0].id)
    assert [(attempt.error, attempt.status) for attempt in attempts] == [("interrupted", None), ("", 200)]


def test_a_disabled_webhook_receives_nothing_after_a_crash(
    harness: WebhookHarness, receiver: Receiver, start: Start
) -> None:
    id = harness.add_webhook(receiver.url)
    receiver.may_reply.clear()
    server = start(harness.store)
    assert server.custom(harness.keys["my-site"]).status == 201
    asyncio.run(wait_until(lambda: receiver.requests))
    subscriptions.disable(harness.conn, id)
    server.stop(signal.SIGKILL)
    receiver.may_reply.set()
    server = start(harness.store)
    asyncio.run(wait_until(lambda: harness.statuses() != "pending"))
    assert (harness.statuses(), len(receiver.requests)) == ("skipped", 1)


def test_a_stop_waits_for_deliveries_in_flight(harness: WebhookHarness, receiver: Receiver) -> None:
    harness.add_webhook(receiver.url)
    receiver.may_reply.clear()

    async def run() -> None:
        app = await App.open(harness.store.path, config.read(harness.store.path, {}), harness.clock)
        app.start()
        await harness.meet_goal(app)
        await harness.meet_goal(app)
        await wait_until(lambda: receiver.requests)
        closing = asyncio.create_task(close(app))
        await wait_briefly()
        assert not closing.done()
        receiver.may_reply.set()
        await closing

    asyncio.run(run())
    assert (harness.statuses(), len(receiver.requests)) == ("delivered pending", 1)


def insert_deliveries(conn: sqlite3.Connection, webhook_id: int, ages_ms: Sequence[int], status: str) -> None:
    """Insert deliveries with these ages into the log."""
    rows = [((NOW - age_ms << COUNTER_BITS) + webhook_id, webhook_id, status) for age_ms in ages_ms]
    query = "INSERT INTO deliveries VALUES (?, ?, 'goal.completed', '{}', ?, 1, 0, NULL, NULL)".replace(
        "'{}'", "x'7b7d'"
    )
    conn.executemany(query, rows)
    outbox.log_attempt(conn, rows[0][0], AttemptResult(200, ""))


@pytest.mark.parametrize("status", ["delivered", "failed", "throttled", "skipped"])
@pytest.mark.parametrize("pending", [0, 7])
def test_the_log_retains_1000_deliveries_per_webhook_for_30_days(
    harness: WebhookHarness, status: str, pending: int
) -> None:
    ids = [harness.add_webhook(f"http://127.0.0.1/{name}") for name in "abc"]
    insert_deliveries(harness.conn, 1, range(10_000, 11_005), status)
    insert_deliveries(harness.conn, 1, [*range(1, 1 + pending), 40 * DAY_MS], "pending")
    insert_deliveries(harness.conn, 2, [30 * DAY_MS + 1, 30 * DAY_MS, 1], status)
    while scheduler.delete_old_deliveries(harness.conn, NOW):
        pass
    ages_by_webhook = {
        id: [(NOW - delivery.created_at_ms, delivery.status) for delivery in harness.deliveries(id)] for id in ids
    }
    assert [age_ms for age_ms, row_status in ages_by_webhook[ids[0]] if row_status == status] == list(
        range(10_999, 9_999, -1)
    )
    assert sum(row_status == "pending" for _, row_status in ages_by_webhook[ids[0]]) == pending + 1
    assert (ages_by_webhook[ids[1]], ages_by_webhook[ids[2]]) == ([(30 * DAY_MS, status), (1, status)], [])
    assert harness.conn.execute("SELECT count(*) FROM attempts").fetchone()[0] == 2


def test_any_delivery_can_be_sent_again(harness: WebhookHarness, receiver: Receiver) -> None:
    harness.add_webhook(receiver.url)

    async def run(app: App) -> None:
        receiver.reply = http_response(500)
        await harness.exhaust_retries(app)
        receiver.reply = http_response(200)
        harness.clock.set(NOW + 2 * HOUR_MS)
        for _ in range(101):
            await harness.meet_goal(app)
        await wait_until(lambda: harness.statuses() == " ".join(["failed", *["delivered"] * 100, "throttled"]))
        failed, delivered, throttled = (harness.deliveries()[number] for number in (0, 1, -1))
        receiver.requests.clear()
        for delivery in (delivered, failed, throttled):
            delivery_log.redeliver(harness.conn, delivery.public_id, harness.clock.current_ms)
            harness.clock.set(harness.clock.current_ms + 500)
            await wait_until(lambda: "pending" not in harness.statuses() and receiver.requests)
        resent = [(request.headers["webhook-id"], request.body) for request in receiver.requests]
        assert resent == [(delivery.public_id, delivery.body) for delivery in (delivered, failed, throttled)]
        receiver.reply = http_response(500)
        delivery_log.redeliver(harness.conn, failed.public_id, harness.clock.current_ms)
        harness.clock.set(harness.clock.current_ms + 500)
        await wait_until(
            lambda: (
                harness.deliveries()[0].attempts == 1
                and harness.deliveries()[0].status == "pending"
                and len(receiver.requests) == 4
            )
        )
        await wait_until(lambda: harness.deliveries()[0].next_attempt_at_ms == harness.clock.current_ms + MINUTE_MS)

    harness.run_app(run)


def test_events_that_were_not_stored_trigger_no_delivery(harness: WebhookHarness, receiver: Receiver) -> None:
    harness.add_webhook(receiver.url)

    async def run(app: App) -> None:
        harness.conn.execute(
            "CREATE TRIGGER no AFTER INSERT ON deliveries WHEN CAST(NEW.body AS TEXT) LIKE '%/bad%'"
            " BEGIN SELECT raise(ABORT, 'no'); END"
        )
        good, bad, fine = await asyncio.gather(*(harness.meet_goal(app, path=path) for path in ("good", "bad", "fine")))
        assert (good, bad, fine) == (201, 500, 201)
        await wait_until(lambda: harness.statuses() == "delivered delivered")
        await wait_briefly()

    harness.run_app(run)
    harness.conn.execute("DROP TRIGGER no")
    assert [json.loads(request.body)["data"]["url"] for request in receiver.requests] == ["/good", "/fine"]
    assert len(harness.store.events()) == 2
