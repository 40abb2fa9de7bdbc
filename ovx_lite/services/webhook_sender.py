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
from ovx_lite.storage.webhooks.outbox import Claimed, Room
from ovx_lite.webhooks.client import Outgoing
from ovx_lite.webhooks.message import Outcome, headers

AT_ONCE = 16
"""Sends in flight (contract 7). To one webhook there is one at a time, so that a crash repeats no more than one."""

_LONGEST_SLEEP = 60
_log = logging.getLogger("ovx_lite")


class Sender:
    """Delivers what is in the outbox."""

    def __init__(self, database: Database, outgoing: Outgoing, clock: Clock) -> None:
        self._database = database
        self._outgoing = outgoing
        self._clock = clock
        self._sending: dict[asyncio.Task[None], int] = {}
        self._outcomes: list[tuple[Claimed, Outcome]] = []
        self._slow: set[int] = set()  # webhooks that gave no answer in time: they get half of the room at most
        self._news = asyncio.Event()
        self._quiet = asyncio.Event()
        self.due: int | None = None  # when (Unix ms) the next falls due, as far as one looked
        self._closing = False
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send what falls due, until `close`."""
        self._running = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Look at what is due again."""
        self._news.set()

    async def settled(self) -> None:
        """Return when nothing is in flight, and all that is due was tried. Once `start` was called."""
        self._quiet.clear()
        self.wake()
        await self._quiet.wait()

    async def close(self) -> None:
        """Begin nothing more; return when what is in flight has ended, and is written down."""
        self._closing = True
        self._news.set()
        if self._running is not None:
            await self._running
        await self._outgoing.close()

    async def try_out(self, webhook_id: str) -> str:
        """Send a sample to a webhook, once. Returns the delivery's id; raises `Refused` if there is no such webhook."""
        token, now = secrets.randbits(62), self._clock.now()
        claimed = await self._database.write(outbox.put_sample, webhook_id, token, now)
        outcome = await post(self._outgoing, claimed, now)
        await self._database.write(outbox.end_sample, claimed, outcome, self._clock.now())
        return claimed.id

    async def _run(self) -> None:
        freed = False
        while not self._closing or self._sending or self._outcomes:
            self._news.clear()
            try:
                if not freed:
                    await self._database.write(outbox.free_interrupted, self._clock.now())
                    freed = True
                due = self.due = await self._turn()
                busy = self._sending or self._outcomes or self._news.is_set()
                if not busy and (due is None or due > self._clock.now()):
                    self._quiet.set()
            except Exception as wrong:
                told = not isinstance(wrong, sqlite3.OperationalError)  # of a full disk, say, the sentence says all
                _log.error("could not look at the deliveries, trying again in a second: %s", wrong, exc_info=told)
                due = self._clock.now() + 1000
                if self._closing:
                    return
            ended = self._closing and not self._sending and not self._outcomes
            if not self._news.is_set() and not ended:
                await self._wait(due)

    async def _turn(self) -> int | None:
        """Write down what came of tries, and begin with what is due. Returns when the next falls due (Unix ms)."""
        outcomes, self._outcomes = self._outcomes, []
        busy = set(self._sending.values())
        most = 0 if self._closing else AT_ONCE - len(self._sending)
        most_slow = AT_ONCE // 2 - len(busy & self._slow)
        now = self._clock.now()
        try:
            room = Room(busy, self._slow, most, most_slow)
            turn = await self._database.write(outbox.take_turn, outcomes, room, secrets.randbits(62), now)
        except BaseException:
            self._outcomes = outcomes + self._outcomes
            raise
        for id in turn.given_up:
            _log.warning("the webhook %s is DISABLED: see ovx-lite webhook list, and its deliveries", id)
        for claimed in turn.claimed:
            task = asyncio.create_task(self._send(claimed))
            self._sending[task] = claimed.webhook
            task.add_done_callback(self._sent)
        return turn.due

    async def _send(self, claimed: Claimed) -> None:
        try:
            outcome = await post(self._outgoing, claimed, self._clock.now())
        except Exception:  # a fault of ours: it is tried again as if it were the receiver's
            _log.exception("the delivery %s could not be sent", claimed.id)
            outcome = Outcome(None, "internal", "ovx-lite failed: see its log", began=self._clock.now())
        if outcome.error == "timeout":
            self._slow.add(claimed.webhook)
        else:
            self._slow.discard(claimed.webhook)
        self._outcomes.append((claimed, outcome))

    def _sent(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._news.set()

    async def _wait(self, due: int | None) -> None:
        """Wait for news, or until `due`; and look once a minute, should somebody set the clock."""
        left = _LONGEST_SLEEP if due is None else max(due - self._clock.now(), 0) / 1000
        waiting: list[asyncio.Task[object]] = [
            asyncio.create_task(self._news.wait()),
            asyncio.create_task(self._clock.sleep(min(left, _LONGEST_SLEEP))),
        ]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


async def try_out(conn: sqlite3.Connection, webhook_id: str, outgoing: Outgoing, clock: Clock) -> str:
    """Send a sample to a webhook, once, over a connection of our own. Returns the delivery's id.

    It is ours from the beginning, so that no server sends it, too. Raises `Refused` if there is no such webhook.
    """
    claimed = outbox.put_sample(conn, webhook_id, secrets.randbits(62), clock.now())
    try:
        outcome = await post(outgoing, claimed, clock.now())
    finally:
        await outgoing.close()
    outbox.end_sample(conn, claimed, outcome, clock.now())
    return claimed.id


async def post(outgoing: Outgoing, claimed: Claimed, now: int) -> Outcome:
    """Make one try of a delivery."""
    signed = headers(claimed.id, claimed.event, claimed.body, claimed.secrets, now)
    return await outgoing.post(claimed.url, claimed.body, signed)
