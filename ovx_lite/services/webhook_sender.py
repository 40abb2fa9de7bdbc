"""The sender: claims what is due, sends it, writes down what came of it.

It sleeps until the earliest delivery falls due, and is woken when a commit puts another on its way. While one lot is
being written down, the next gathers, as in `ingest`; no HTTP call is made inside a transaction.
"""

import asyncio
import logging
import secrets
import sqlite3

from ovx_lite.domain.clock import Clock
from ovx_lite.storage.connections import Database
from ovx_lite.storage.webhooks import outbox
from ovx_lite.storage.webhooks.outbox import ClaimedDelivery, ClaimLimits
from ovx_lite.webhooks.client import WebhookClient
from ovx_lite.webhooks.message import AttemptResult, build_headers

MAX_CONCURRENT_SENDS = 16
"""Sends in flight (contract 7). To one webhook there is one at a time, so that a crash repeats no more than one."""

_MAX_SLEEP_S = 60
_log = logging.getLogger("ovx_lite")


class WebhookSender:
    """Delivers what is in the outbox."""

    def __init__(self, database: Database, client: WebhookClient, clock: Clock) -> None:
        self._database = database
        self._client = client
        self._clock = clock
        self._in_flight: dict[asyncio.Task[None], int] = {}
        self._outcomes: list[tuple[ClaimedDelivery, AttemptResult]] = []
        self._slow_webhooks: set[int] = set()  # webhooks that gave no answer in time: they get half of the room at most
        self._wake_event = asyncio.Event()
        self._idle_event = asyncio.Event()
        self.next_attempt_at_ms: int | None = None  # when (Unix ms) the next falls due, as far as one looked
        self._closing = False
        self._run_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send what falls due, until `close`."""
        self._run_task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Look at what is due again."""
        self._wake_event.set()

    async def wait_idle(self) -> None:
        """Return when nothing is in flight, and all that is due was tried. Once `start` was called."""
        self._idle_event.clear()
        self.wake()
        await self._idle_event.wait()

    async def close(self) -> None:
        """Begin nothing more; return when what is in flight has ended, and is written down."""
        self._closing = True
        self._wake_event.set()
        if self._run_task is not None:
            await self._run_task
        await self._client.close()

    async def send_test(self, public_id: str) -> str:
        """Send a sample to a webhook, once. Returns the delivery's id; raises `ApiError` if there is no such webhook."""
        token, now_ms = secrets.randbits(62), self._clock.now_ms()
        delivery = await self._database.write(outbox.insert_sample, public_id, token, now_ms)
        outcome = await attempt(self._client, delivery, now_ms)
        await self._database.write(outbox.finish_sample, delivery, outcome, self._clock.now_ms())
        return delivery.public_id

    async def _run(self) -> None:
        is_freed = False
        while not self._closing or self._in_flight or self._outcomes:
            self._wake_event.clear()
            try:
                if not is_freed:
                    await self._database.write(outbox.release_interrupted, self._clock.now_ms())
                    is_freed = True
                next_attempt_at_ms = self.next_attempt_at_ms = await self._claim_batch()
                is_busy = self._in_flight or self._outcomes or self._wake_event.is_set()
                if not is_busy and (next_attempt_at_ms is None or next_attempt_at_ms > self._clock.now_ms()):
                    self._idle_event.set()
            except Exception as exc:
                log_traceback = not isinstance(
                    exc, sqlite3.OperationalError
                )  # of a full disk, say, the sentence says all
                _log.error(
                    "could not look at the deliveries, trying again in a second: %s", exc, exc_info=log_traceback
                )
                next_attempt_at_ms = self._clock.now_ms() + 1000
                if self._closing:
                    return
            is_done = self._closing and not self._in_flight and not self._outcomes
            if not self._wake_event.is_set() and not is_done:
                await self._wait_for_work(next_attempt_at_ms)

    async def _claim_batch(self) -> int | None:
        """Write down what came of tries, and begin with what is due. Returns when the next falls due (Unix ms)."""
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
            _log.warning("the webhook %s is DISABLED: see ovx-lite webhook list, and its deliveries", public_id)
        for delivery in batch.claimed:
            task = asyncio.create_task(self._send(delivery))
            self._in_flight[task] = delivery.webhook_id
            task.add_done_callback(self._on_sent)
        return batch.next_attempt_at_ms

    async def _send(self, delivery: ClaimedDelivery) -> None:
        try:
            outcome = await attempt(self._client, delivery, self._clock.now_ms())
        except Exception:  # a fault of ours: it is tried again as if it were the receiver's
            _log.exception("the delivery %s could not be sent", delivery.public_id)
            outcome = AttemptResult(
                None, "internal", "ovx-lite failed: see its log", started_at_ms=self._clock.now_ms()
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
        """Wait for news, or until `due`; and look once a minute, should somebody set the clock."""
        delay_s = _MAX_SLEEP_S if due_at_ms is None else max(due_at_ms - self._clock.now_ms(), 0) / 1000
        waiters: list[asyncio.Task[object]] = [
            asyncio.create_task(self._wake_event.wait()),
            asyncio.create_task(self._clock.sleep(min(delay_s, _MAX_SLEEP_S))),
        ]
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        for task in waiters:
            task.cancel()


async def send_test(conn: sqlite3.Connection, public_id: str, client: WebhookClient, clock: Clock) -> str:
    """Send a sample to a webhook, once, over a connection of our own. Returns the delivery's id.

    It is ours from the beginning, so that no server sends it, too. Raises `ApiError` if there is no such webhook.
    """
    delivery = outbox.insert_sample(conn, public_id, secrets.randbits(62), clock.now_ms())
    try:
        outcome = await attempt(client, delivery, clock.now_ms())
    finally:
        await client.close()
    outbox.finish_sample(conn, delivery, outcome, clock.now_ms())
    return delivery.public_id


async def attempt(client: WebhookClient, delivery: ClaimedDelivery, now_ms: int) -> AttemptResult:
    """Make one try of a delivery."""
    signed_headers = build_headers(delivery.public_id, delivery.event, delivery.body, delivery.secrets, now_ms)
    return await client.post(delivery.url, delivery.body, signed_headers)
