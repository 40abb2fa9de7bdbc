"""Group commit: the requests that arrived while the last group was being written are the next group.

A slow disk makes groups larger, not the queue longer. A request that arrives alone is a group of one and waits for
nobody. Each group is one transaction, and a response is sent once its group is on disk.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from ovx_lite.auth.rate_limit import RateLimiter
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import unavailable
from ovx_lite.domain.models import Reply
from ovx_lite.http.prometheus import Histogram
from ovx_lite.services.disk_space import DiskSpace
from ovx_lite.services.notifier import Notifier
from ovx_lite.services.projector import Projector
from ovx_lite.storage.connections import Database
from ovx_lite.storage.ledger.journal_drain import drain
from ovx_lite.storage.ledger.ledger import Ledger, LedgerEntry, WriteRequest, WriteResult, write_group
from ovx_lite.storage.sqlite import transaction
from ovx_lite.webhooks.triggers import Alert

MAX_QUEUED_EVENTS = 20_000
"""How many events may wait for the disk; further requests get 503."""

_log = logging.getLogger("ovx_lite")

P = ParamSpec("P")
T = TypeVar("T")
WakeSender = Callable[[], None]

OnResult = Callable[[WriteResult], None]


class GroupCommitWriter:
    """Stores requests in groups, and calls back with their responses when they are on disk.

    `stored_events` and `commit_durations` count since the start. `failed_at_ms` is when (Unix ms) the last group could
    not be stored, `None` if it could.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        projector: Projector,
        rate_limiter: RateLimiter,
        clock: Clock,
        wake_sender: WakeSender,
        notifier: Notifier,
        disk: DiskSpace,
    ) -> None:
        """`wake_sender` is called when a commit has queued messages to webhooks."""
        self._database, self._ledger, self.projector = database, ledger, projector
        self._wake_sender, self._notifier = wake_sender, notifier
        self._rate_limiter, self._clock, self.disk = rate_limiter, clock, disk
        self._queue: list[tuple[LedgerEntry, OnResult]] = []
        self.queued_events = 0
        self._write_task: asyncio.Task[None] | None = None
        self._closed = False
        self.stored_events = 0
        self.commit_durations = Histogram()
        self.failed_at_ms: int | None = None

    def submit(self, request: WriteRequest, on_result: OnResult) -> None:
        """Store a request's events, and call `on_result` with its response when they are on disk.

        `on_result` gets an exception if they could not be stored. It must not raise. Raises `ApiError` (`unavailable`)
        if nothing can be accepted now; then `on_result` is not called.
        """
        if self._closed:
            raise unavailable("The server is shutting down")
        if self.disk.is_low and request.events:
            raise self.disk.low_space_error
        if self.projector.is_full and request.events:
            raise unavailable("Too many events wait to be counted")
        if self.queued_events and self.queued_events + len(request.events) > MAX_QUEUED_EVENTS:
            raise unavailable("The write queue is full")
        self._queue.append((self._ledger.prepare(request), on_result))
        self.queued_events += len(request.events)
        if self._write_task is None:
            self._write_task = asyncio.create_task(self._write_groups())

    async def _write_groups(self) -> None:
        """Write groups until the queue is empty."""
        try:
            while self._queue:
                group, self._queue = self._queue, []
                results = await self._write_group([entry for entry, _ in group])
                self._deliver(group, results)
                del group, results  # while the next group is written, nothing holds this one's bodies and exceptions
        finally:
            self._write_task = None

    def _deliver(self, group: Sequence[tuple[LedgerEntry, OnResult]], results: Sequence[WriteResult]) -> None:
        """Count what was stored of a group, and call back with the results."""
        stored_events = 0
        for (entry, on_result), result in zip(group, results, strict=True):
            event_count = len(entry.request.events)
            self.queued_events -= event_count
            if isinstance(result, Reply):
                if not result.replayed:
                    stored_events += event_count
                self._notifier.publish(entry.request.site_id)
            try:
                on_result(result)
            except Exception:
                _log.exception("a request got no response")  # the others of the group still do
        if stored_events:
            self.stored_events += stored_events
            self.projector.record_commit(stored_events)

    async def _write_group(self, group: Sequence[LedgerEntry]) -> list[WriteResult]:
        counts, self._rate_limiter.unsaved = self._rate_limiter.unsaved, {}
        started_at_s = time.monotonic()
        try:
            results = await self._database.write(write_group, self._ledger, group, counts, self._clock.now_ms())
            self.commit_durations.observe(time.monotonic() - started_at_s)
            self.failed_at_ms = None
            if self._ledger.alerts.has_new_deliveries:
                self._ledger.alerts.has_new_deliveries = False
                self._wake_sender()
            return results
        except sqlite3.OperationalError as exc:
            self.failed_at_ms = self._clock.now_ms()
            # The disk is full, or the file is locked or not writable. That would fail each request, also alone.
            _log.error("the store cannot be written: %s", exc)
            self._rate_limiter.restore_unsaved(counts)
            return [unavailable("The store cannot be written now") for _ in group]
        except Exception as exc:
            self._rate_limiter.restore_unsaved(counts)
            return [exc] * len(group)  # an internal error: each request of the group logs it and answers 500

    async def flush(self) -> bool:
        """Save the rate-limit counts that no group has saved yet. Returns whether there were any."""
        if not self._rate_limiter.unsaved or self._write_task is not None:
            return False
        await self._write_group([])
        return True

    async def change(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return `function(conn, …)`, which changes stored events, run in the writer's thread.

        All events that are acknowledged by then are projected first. Then everything that is cached about the store is
        dropped, so that it is read again.
        """

        def run(conn: sqlite3.Connection) -> T:
            drain(conn, self.projector.event_writer)  # the few events that were accepted since `catch_up`
            try:
                return function(conn, *args, **kwargs)
            finally:
                self._ledger.reset()
                self.projector.event_writer.reset()

        await self.projector.catch_up()
        return await self._database.write(run)

    async def enqueue_alert(self, site_id: int, alert: Alert) -> list[str]:
        """Queue an alert that no event has caused for a site's webhooks. Returns descriptions of what was queued."""

        def enqueue(conn: sqlite3.Connection, ledger: Ledger, now_ms: int) -> list[str]:
            with transaction(conn):
                ledger.begin()
                effects = ledger.alerts.enqueue(site_id, alert, now_ms)
                ledger.flush()
                return effects

        effects = await self._database.write(enqueue, self._ledger, self._clock.now_ms())
        self._wake_sender()
        return effects

    async def close(self) -> None:
        """Accept no more requests, and return when all accepted ones are on disk."""
        self._closed = True
        while self._write_task is not None:
            await asyncio.wait([self._write_task])
        await self.flush()
