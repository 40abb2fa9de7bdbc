"""Sends webhook deliveries: claims those that are due, sends them, and records the results.

It sleeps until the earliest delivery is due, and wakes when a commit queues another one. While one batch of results is
being recorded, the next one gathers, as in `group_commit`. No HTTP request is made inside a transaction.
"""

import asyncio
import logging
import secrets
import sqlite3

from ovx_lite.domain.calendar import SECOND_MS
from ovx_lite.domain.clock import Clock
from ovx_lite.storage.connections import Database
from ovx_lite.storage.webhooks import outbox
from ovx_lite.storage.webhooks.outbox import ClaimedDelivery, ClaimLimits
from ovx_lite.webhooks.client import WebhookClient
from ovx_lite.webhooks.message import AttemptResult, build_headers

MAX_CONCURRENT_SENDS = 16
"""How many deliveries are sent at once, at most one to each webhook, so that a crash repeats at most one of them."""

_MAX_SLEEP_S = 60  # in case somebody sets the clock
_log = logging.getLogger("ovx_lite")


class WebhookSender:
    """Delivers what is in the outbox.

    `next_attempt_at_ms` is when (Unix ms) the next delivery is due, as of the last look; `None` if none is.
    """

    def __init__(self, database: Database, client: WebhookClient, clock: Clock) -> None:
        self._database = database
        self._client = client
        self._clock = clock
        self._in_flight: dict[asyncio.Task[None], int] = {}  # the ID of the webhook, by task
        self._outcomes: list[tuple[ClaimedDelivery, AttemptResult]] = []  # results to record
        self._slow_webhooks: set[int] = set()  # webhooks whose last attempt timed out: they get at most half the slots
        self._wake_event = asyncio.Event()
        self._idle_event = asyncio.Event()
        self.next_attempt_at_ms: int | None = None
        self._closing = False
        self._run_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start sending deliveries as they fall due, until `close`."""
        self._run_task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Look for due deliveries now."""
        self._wake_event.set()

    async def wait_idle(self) -> None:
        """Return when nothing is in flight and every due delivery was attempted. Call `start` first."""
        self._idle_event.clear()
        self.wake()
        await self._idle_event.wait()

    async def close(self) -> None:
        """Start no more attempts, and return when those in flight have ended and are recorded."""
        self._closing = True
        self._wake_event.set()
        if self._run_task is not None:
            await self._run_task
        await self._client.close()

    async def send_test(self, public_id: str) -> str:
        """Send a sample to a webhook, once. Returns the delivery's public ID.

        Raises `ApiError` if there is no such webhook.
        """
        token, now_ms = secrets.randbits(62), self._clock.now_ms()
        delivery = await self._database.write(outbox.insert_sample, public_id, token, now_ms)
        outcome = await attempt(self._client, delivery, now_ms)
        await self._database.write(outbox.finish_sample, delivery, outcome, self._clock.now_ms())
        return delivery.public_id

    async def _run(self) -> None:
        is_released = False  # deliveries that a crash has left claimed
        while not self._closing or self._in_flight or self._outcomes:
            self._wake_event.clear()
            try:
                if not is_released:
                    await self._database.write(outbox.release_interrupted, self._clock.now_ms())
                    is_released = True
                next_attempt_at_ms = self.next_attempt_at_ms = await self._claim_batch()
                is_busy = self._in_flight or self._outcomes or self._wake_event.is_set()
                if not is_busy and (next_attempt_at_ms is None or next_attempt_at_ms > self._clock.now_ms()):
                    self._idle_event.set()
            except Exception as exc:
                has_unknown_cause = not isinstance(exc, sqlite3.OperationalError)  # a full disk needs no traceback
                _log.error("could not read the outbox, trying again in one second: %s", exc, exc_info=has_unknown_cause)
                next_attempt_at_ms = self._clock.now_ms() + SECOND_MS
                if self._closing:
                    return
            is_done = self._closing and not self._in_flight and not self._outcomes
            if not self._wake_event.is_set() and not is_done:
                await self._wait_for_work(next_attempt_at_ms)

    async def _claim_batch(self) -> int | None:
        """Record the results of attempts, and start those that are due. Returns when the next one is due (Unix ms)."""
        outcomes, self._outcomes = self._outcomes, []
        busy_webhooks = set(self._in_flight.values())
        max_claims = 0 if self._closing else MAX_CONCURRENT_SENDS - len(self._in_flight)
        max_slow_claims = MAX_CONCURRENT_SENDS // 2 - len(busy_webhooks & self._slow_webhooks)
        now_ms = self._clock.now_ms()
        try:
            limits = ClaimLimits(busy_webhooks, self._slow_webhooks, max_claims, max_slow_claims)
            batch = await self._database.write(outbox.claim_batch, outcomes, limits, secrets.randbits(62), now_ms)
        except BaseException:
            self._outcomes = outcomes + self._outcomes
            raise
        for public_id in batch.disabled_webhooks:
            _log.warning("the webhook %s is DISABLED: run ovx-lite webhook list, and see its deliveries", public_id)
        for delivery in batch.claimed:
            task = asyncio.create_task(self._send(delivery))
            self._in_flight[task] = delivery.webhook_id
            task.add_done_callback(self._on_sent)
        return batch.next_attempt_at_ms

    async def _send(self, delivery: ClaimedDelivery) -> None:
        try:
            outcome = await attempt(self._client, delivery, self._clock.now_ms())
        except Exception:  # an internal error: it is retried like an error of the receiver
            _log.exception("the delivery %s could not be sent", delivery.public_id)
            outcome = AttemptResult(
                None, "internal", "ovx-lite failed to send it: see the server's log", started_at_ms=self._clock.now_ms()
            )
        if outcome.error == "timeout":
            self._slow_webhooks.add(delivery.webhook_id)
        else:
            self._slow_webhooks.discard(delivery.webhook_id)
        self._outcomes.append((delivery, outcome))

    def _on_sent(self, task: asyncio.Task[None]) -> None:
        del self._in_flight[task]
        self._wake_event.set()

    async def _wait_for_work(self, due_at_ms: int | None) -> None:
        """Wait until somebody calls `wake`, until `due_at_ms`, or for `_MAX_SLEEP_S`."""
        delay_s = _MAX_SLEEP_S if due_at_ms is None else max(due_at_ms - self._clock.now_ms(), 0) / SECOND_MS
        waiters: list[asyncio.Task[object]] = [
            asyncio.create_task(self._wake_event.wait()),
            asyncio.create_task(self._clock.sleep(min(delay_s, _MAX_SLEEP_S))),
        ]
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        for task in waiters:
            task.cancel()


async def send_test(conn: sqlite3.Connection, public_id: str, client: WebhookClient, clock: Clock) -> str:
    """Send a sample to a webhook, once, without a running server. Returns the delivery's public ID.

    The delivery is inserted as claimed, so that no running server sends it too. Raises `ApiError` if there is no such
    webhook. Closes the client.
    """
    delivery = outbox.insert_sample(conn, public_id, secrets.randbits(62), clock.now_ms())
    try:
        outcome = await attempt(client, delivery, clock.now_ms())
    finally:
        await client.close()
    outbox.finish_sample(conn, delivery, outcome, clock.now_ms())
    return delivery.public_id


async def attempt(client: WebhookClient, delivery: ClaimedDelivery, now_ms: int) -> AttemptResult:
    """Sign and send a delivery once, and return the result."""
    signed_headers = build_headers(delivery.public_id, delivery.event, delivery.body, delivery.secrets, now_ms)
    return await client.post(delivery.url, delivery.body, signed_headers)
