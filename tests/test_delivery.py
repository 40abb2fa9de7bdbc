"""Deliveries over time: the schedule, giving up, who waits for whom, restarts, and the log."""

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
from ovx_lite.domain.models import COUNTER_BITS
from ovx_lite.services import scheduler
from ovx_lite.storage.sqlite import open_store
from ovx_lite.storage.webhooks import delivery_log, outbox, subscriptions
from ovx_lite.webhooks.message import Outcome
from tests.conftest import Start, Store
from tests.support.deliveries import Place, close
from tests.support.in_process import DAY, HOUR
from tests.support.receiver import Receiver, status, until
from tests.support.store import MINUTE, NOW


async def settle() -> None:
    """Give whatever should not happen the time to happen."""
    await asyncio.sleep(0.15)


@pytest.fixture
def place(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("OVX_WEBHOOK_ALLOW_NET", "127.0.0.0/8")
    with closing(open_store(store.path)) as conn:
        yield Place(store, conn)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_the_schedule_is_kept_to_the_millisecond(place: Place, receiver: Receiver) -> None:
    id, receiver.answer, times = place.webhook(receiver.url), status(500), [NOW]

    async def run(app: App) -> None:
        place.clock.moved = lambda: None  # nobody else wakes the sender
        assert await place.hit(app) == 201
        for tries, minutes in enumerate((1, 5, 30), 1):
            await place.written(tries)
            await settle()
            place.clock.set(times[-1] + minutes * MINUTE - 1)
            await settle()
            assert len(receiver.got) == tries
            times.append(place.clock.ms + 1)
            place.clock.set(times[-1])
        await place.written(4)
        assert place.statuses() == "failed"
        place.clock.set(place.clock.ms + DAY)
        await settle()

    place.during(run)
    assert [got.headers["webhook-timestamp"] for got in receiver.got] == [str(ms // 1000) for ms in times]
    assert len({(got.body, got.headers["webhook-id"]) for got in receiver.got}) == 1
    (logged,) = place.log(id)
    assert (logged.id, logged.body, logged.tries) == (receiver.ids()[0], receiver.got[0].body, 4)
    tries = delivery_log.attempts(place.conn, logged.number)
    assert [(attempt.began, attempt.status) for attempt in tries] == [(ms, 500) for ms in times]


@pytest.mark.parametrize(("minutes", "waits"), [(0, 1), (0.5, 1), (1.5, 1.5), (10, 10), (60, 60), (61, 60), (9999, 60)])
@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
def test_a_longer_retry_after_counts(
    place: Place, receiver: Receiver, minutes: float, waits: float, as_date: bool
) -> None:
    place.webhook(receiver.url)
    at = format_datetime(datetime.fromtimestamp((NOW + minutes * MINUTE) / 1000, UTC), usegmt=True)
    receiver.answer = status(503, retry_after=at if as_date else f"{minutes * 60:.0f}")

    async def run(app: App) -> None:
        await place.hit(app)
        await place.written(1)
        assert place.log()[0].due == NOW + waits * MINUTE
        receiver.answer = status(200)
        place.clock.set(place.log()[0].due)
        await place.written(2)

    place.during(run)
    assert place.statuses() == "delivered"


def test_410_ends_it_and_what_waits_is_skipped(place: Place, receiver: Receiver) -> None:
    id, receiver.answer = place.webhook(receiver.url), status(410)
    receiver.open.clear()

    async def run(app: App) -> None:
        for _ in range(3):
            await place.hit(app)
        receiver.open.set()
        await until(lambda: place.statuses() == "failed skipped skipped")
        assert place.found(id) == (False, "its receiver answered 410: it wants no more")
        place.clock.set(NOW + 500)  # by when the server has seen it
        await settle()
        await place.hit(app)
        await settle()
        assert (len(receiver.got), len(place.log())) == (1, 3)
        subscriptions.enable(place.conn, id)
        receiver.answer = status(200)
        delivery_log.send_again(place.conn, place.log()[1].id, place.clock.ms)
        place.clock.set(NOW + 1000)
        await until(lambda: place.statuses() == "failed delivered skipped")

    place.during(run)


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
def test_5_days_and_5_messages_without_a_success_are_enough(
    place: Place, receiver: Receiver, days: Sequence[int], success: int | None, enabled: bool
) -> None:
    id = place.webhook(receiver.url)

    async def run(app: App) -> None:
        for day in days:
            place.clock.set(NOW + day * DAY)
            assert place.found(id)[0]
            receiver.answer = status(200 if day == success else 500)
            if day == success:
                await place.hit(app)
                await place.written(1)
            else:
                await place.exhaust(app)

    place.during(run)
    assert place.found(id) == (enabled, "" if enabled else "nothing was delivered for 5 days")


def test_a_slow_receiver_delays_itself_alone(place: Place, receiver: Receiver) -> None:
    receiver.open.clear()
    with Receiver() as quick:
        place.webhook(receiver.url)
        id = place.webhook(quick.url)

        async def run(app: App) -> None:
            for _ in range(5):
                await place.hit(app)
            await until(lambda: place.statuses(id) == " ".join(["delivered"] * 5))
            await settle()
            assert (len(quick.got), len(receiver.got)) == (5, 1)
            receiver.open.set()
            await until(lambda: {one.status for one in place.log()} == {"delivered"})

        place.during(run)
        assert quick.ids() == [one.id for one in place.log(id)]
    assert (receiver.most_held, quick.most_held, len(receiver.got)) == (1, 1, 5)


def test_16_are_sent_at_once_in_all(place: Place, receiver: Receiver) -> None:
    sites = ["my-site", "a", "b", "c"]
    for site in sites * 5:
        place.webhook(receiver.url, site)
    receiver.open.clear()

    async def run(app: App) -> None:
        for site in sites:
            await place.hit(app, site)
        await until(lambda: len(receiver.got) >= 16)
        before = place.clock.naps
        await settle()
        assert place.clock.naps - before < 5, "it looks again and again at what it cannot send yet"
        receiver.open.set()
        await until(lambda: len(receiver.got) == 20)

    try:
        place.during(run)
    finally:
        receiver.open.set()
    assert (receiver.most_held, len(set(receiver.ids()))) == (16, 20)


def test_what_is_due_survives_a_restart(place: Place, receiver: Receiver) -> None:
    place.webhook(receiver.url)
    receiver.answer = status(500)

    async def fail(app: App) -> None:
        await place.hit(app)
        await place.written(1)

    async def wait(app: App) -> None:
        await settle()
        assert len(receiver.got) == 1
        place.clock.set(NOW + MINUTE)
        await place.written(2)

    async def late(app: App) -> None:
        await place.written(3)

    place.during(fail)
    place.clock.set(NOW + MINUTE - 1)
    place.during(wait)
    place.clock.set(NOW + DAY)  # long after
    place.during(late)
    assert len(set(receiver.ids())) == 1


def test_a_try_that_a_crash_interrupted_is_made_again(place: Place, receiver: Receiver, start: Start) -> None:
    place.webhook(receiver.url)
    receiver.open.clear()
    server = start(place.store)
    assert server.custom(place.keys["my-site"]).status == 201
    asyncio.run(until(lambda: receiver.got))
    server.stop(signal.SIGKILL)
    receiver.open.set()
    server = start(place.store)
    asyncio.run(until(lambda: place.statuses() == "delivered"))
    assert server.stop() == 0
    assert len({(got.body, got.headers["webhook-id"]) for got in receiver.got}) == 1
    tries = delivery_log.attempts(place.conn, place.log()[0].number)
    assert [(attempt.error, attempt.status) for attempt in tries] == [("interrupted", None), ("", 200)]


def test_a_disabled_webhook_is_sent_nothing_after_a_crash(place: Place, receiver: Receiver, start: Start) -> None:
    id = place.webhook(receiver.url)
    receiver.open.clear()
    server = start(place.store)
    assert server.custom(place.keys["my-site"]).status == 201
    asyncio.run(until(lambda: receiver.got))
    subscriptions.disable(place.conn, id)
    server.stop(signal.SIGKILL)
    receiver.open.set()
    server = start(place.store)
    asyncio.run(until(lambda: place.statuses() != "pending"))
    assert (place.statuses(), len(receiver.got)) == ("skipped", 1)


def test_a_stop_waits_for_what_is_being_sent(place: Place, receiver: Receiver) -> None:
    place.webhook(receiver.url)
    receiver.open.clear()

    async def run() -> None:
        app = await App.open(place.store.path, config.read(place.store.path, {}), place.clock)
        app.start()
        await place.hit(app)
        await place.hit(app)
        await until(lambda: receiver.got)
        closing = asyncio.create_task(close(app))
        await settle()
        assert not closing.done()
        receiver.open.set()
        await closing

    asyncio.run(run())
    assert (place.statuses(), len(receiver.got)) == ("delivered pending", 1)


def put(conn: sqlite3.Connection, webhook: int, ages: Sequence[int], status: str) -> None:
    """Put deliveries so many milliseconds old into the log."""
    rows = [((NOW - age << COUNTER_BITS) + webhook, webhook, status) for age in ages]
    query = "INSERT INTO deliveries VALUES (?, ?, 'goal.completed', '{}', ?, 1, 0, NULL, NULL)".replace(
        "'{}'", "x'7b7d'"
    )
    conn.executemany(query, rows)
    outbox.log(conn, rows[0][0], Outcome(200, ""))


@pytest.mark.parametrize("status", ["delivered", "failed", "throttled", "skipped"])
@pytest.mark.parametrize("pending", [0, 7])
def test_the_log_keeps_1000_of_a_webhook_and_30_days(place: Place, status: str, pending: int) -> None:
    ids = [place.webhook(f"http://127.0.0.1/{name}") for name in "abc"]
    put(place.conn, 1, range(10_000, 11_005), status)
    put(place.conn, 1, [*range(1, 1 + pending), 40 * DAY], "pending")
    put(place.conn, 2, [30 * DAY + 1, 30 * DAY, 1], status)
    while scheduler.delete_old_deliveries(place.conn, NOW):
        pass
    of = {id: [(NOW - one.created, one.status) for one in place.log(id)] for id in ids}
    assert [age for age, kept in of[ids[0]] if kept == status] == list(range(10_999, 9_999, -1))
    assert sum(kept == "pending" for _, kept in of[ids[0]]) == pending + 1
    assert (of[ids[1]], of[ids[2]]) == ([(30 * DAY, status), (1, status)], [])
    assert place.conn.execute("SELECT count(*) FROM attempts").fetchone()[0] == 2


def test_whatever_became_of_it_it_can_be_sent_again(place: Place, receiver: Receiver) -> None:
    place.webhook(receiver.url)

    async def run(app: App) -> None:
        receiver.answer = status(500)
        await place.exhaust(app)
        receiver.answer = status(200)
        place.clock.set(NOW + 2 * HOUR)
        for _ in range(101):
            await place.hit(app)
        await until(lambda: place.statuses() == " ".join(["failed", *["delivered"] * 100, "throttled"]))
        failed, delivered, throttled = (place.log()[number] for number in (0, 1, -1))
        receiver.got.clear()
        for one in (delivered, failed, throttled):
            delivery_log.send_again(place.conn, one.id, place.clock.ms)
            place.clock.set(place.clock.ms + 500)
            await until(lambda: "pending" not in place.statuses() and receiver.got)
        again = [(got.headers["webhook-id"], got.body) for got in receiver.got]
        assert again == [(one.id, one.body) for one in (delivered, failed, throttled)]
        receiver.answer = status(500)
        delivery_log.send_again(place.conn, failed.id, place.clock.ms)
        place.clock.set(place.clock.ms + 500)
        await until(lambda: place.log()[0].tries == 1 and place.log()[0].status == "pending" and len(receiver.got) == 4)
        await until(lambda: place.log()[0].due == place.clock.ms + MINUTE)

    place.during(run)


def test_nothing_is_sent_of_what_was_not_stored(place: Place, receiver: Receiver) -> None:
    place.webhook(receiver.url)

    async def run(app: App) -> None:
        place.conn.execute(
            "CREATE TRIGGER no AFTER INSERT ON deliveries WHEN CAST(NEW.body AS TEXT) LIKE '%/bad%'"
            " BEGIN SELECT raise(ABORT, 'no'); END"
        )
        good, bad, fine = await asyncio.gather(*(place.hit(app, path=path) for path in ("good", "bad", "fine")))
        assert (good, bad, fine) == (201, 500, 201)
        await until(lambda: place.statuses() == "delivered delivered")
        await settle()

    place.during(run)
    place.conn.execute("DROP TRIGGER no")
    assert [json.loads(got.body)["data"]["url"] for got in receiver.got] == ["/good", "/fine"]
    assert len(place.store.events()) == 2
