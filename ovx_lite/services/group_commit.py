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

import msgspec

from ovx_lite.auth.rate_limit import RateLimiter
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import ApiError, detached, unavailable
from ovx_lite.domain.models import Event, Reply, public_event_id
from ovx_lite.http.prometheus import Histogram
from ovx_lite.services.disk_space import DiskSpace
from ovx_lite.services.notifier import Notifier
from ovx_lite.storage import idempotency, rate_limits
from ovx_lite.storage.connections import Database
from ovx_lite.storage.idempotency import IdempotencyKey
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.write.unit_of_work import UnitOfWork
from ovx_lite.webhooks.triggers import Alert

MAX_QUEUED_EVENTS = 20_000
"""How many events may wait for the disk; further requests get 503."""

_log = logging.getLogger("ovx_lite")

P = ParamSpec("P")
T = TypeVar("T")
WakeSender = Callable[[], None]

# What SQLite and its Python binding raise for values that they cannot store.
_VALUE_ERRORS = (sqlite3.Error, ValueError, OverflowError)

WriteResult = Reply | Exception
OnResult = Callable[[WriteResult], None]


class WriteRequest(msgspec.Struct, frozen=True):
    """Events of one site that are stored together or not at all, and how to build the response from their IDs.

    `effects`, if it is not `None`, gets descriptions of what followed: goals that were reached, messages to webhooks.
    """

    site_id: int
    events: list[Event]
    build_response: Callable[[list[str]], Reply]
    idempotency_key: IdempotencyKey | None = None
    effects: list[str] | None = None


class GroupCommitWriter:
    """Stores requests in groups, and calls back with their responses when they are on disk.

    `stored_events` and `commit_durations` count since the start. `failed_at_ms` is when (Unix ms) the last group could
    not be stored, `None` if it could.
    """

    def __init__(
        self,
        database: Database,
        unit_of_work: UnitOfWork,
        rate_limiter: RateLimiter,
        clock: Clock,
        wake_sender: WakeSender,
        notifier: Notifier,
        disk: DiskSpace,
    ) -> None:
        """`wake_sender` is called when a commit has queued messages to webhooks."""
        self._database, self._unit_of_work = database, unit_of_work
        self._wake_sender, self._notifier = wake_sender, notifier
        self._rate_limiter, self._clock, self.disk = rate_limiter, clock, disk
        self._queue: list[tuple[WriteRequest, OnResult]] = []
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
        if self.queued_events and self.queued_events + len(request.events) > MAX_QUEUED_EVENTS:
            raise unavailable("The write queue is full")
        self._queue.append((request, on_result))
        self.queued_events += len(request.events)
        if self._write_task is None:
            self._write_task = asyncio.create_task(self._write_groups())

    async def _write_groups(self) -> None:
        """Write groups until the queue is empty."""
        try:
            while self._queue:
                group, self._queue = self._queue, []
                results = await self._write_group([request for request, _ in group])
                self._deliver(group, results)
                del group, results  # while the next group is written, nothing holds this one's bodies and exceptions
        finally:
            self._write_task = None

    def _deliver(self, group: Sequence[tuple[WriteRequest, OnResult]], results: Sequence[WriteResult]) -> None:
        """Call back with the results of a group."""
        for (request, on_result), result in zip(group, results, strict=True):
            event_count = len(request.events)
            self.queued_events -= event_count
            if isinstance(result, Reply):
                if not result.replayed:
                    self.stored_events += event_count
                self._notifier.publish(request.site_id)
            try:
                on_result(result)
            except Exception:
                _log.exception("a request got no response")  # the others of the group still do

    async def _write_group(self, group: Sequence[WriteRequest]) -> list[WriteResult]:
        counts, self._rate_limiter.unsaved = self._rate_limiter.unsaved, {}
        started_at_s = time.monotonic()
        try:
            results = await self._database.write(write_group, self._unit_of_work, group, counts, self._clock.now_ms())
            self.commit_durations.observe(time.monotonic() - started_at_s)
            self.failed_at_ms = None
            if self._unit_of_work.alerts.has_new_deliveries:
                self._unit_of_work.alerts.has_new_deliveries = False
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

        It drops what the unit of work has cached about the store, so that the next group reads it again.
        """

        def run(conn: sqlite3.Connection) -> T:
            try:
                return function(conn, *args, **kwargs)
            finally:
                self._unit_of_work.reset()

        return await self._database.write(run)

    async def enqueue_alert(self, site_id: int, alert: Alert) -> list[str]:
        """Queue an alert that no event has caused for a site's webhooks. Returns descriptions of what was queued."""

        def enqueue(conn: sqlite3.Connection, unit_of_work: UnitOfWork, now_ms: int) -> list[str]:
            with transaction(conn):
                unit_of_work.begin()
                effects = unit_of_work.alerts.enqueue(site_id, alert, now_ms)
                unit_of_work.flush()
                return effects

        effects = await self._database.write(enqueue, self._unit_of_work, self._clock.now_ms())
        self._wake_sender()
        return effects

    async def close(self) -> None:
        """Accept no more requests, and return when all accepted ones are on disk."""
        self._closed = True
        while self._write_task is not None:
            await asyncio.wait([self._write_task])
        await self.flush()


def write_group(
    conn: sqlite3.Connection,
    unit_of_work: UnitOfWork,
    group: Sequence[WriteRequest],
    counts: dict[tuple[str, int], int],
    now_ms: int,
) -> list[WriteResult]:
    """Store a group in one transaction. If a value cannot be stored, store each request alone, so that only one fails.

    `counts` are the rate-limit counts to save: by rate-limit key and second. Returns the result of each request. Raises
    `sqlite3.OperationalError` if the store cannot be written; then nothing was stored.
    """
    try:
        return _write_in_transaction(conn, unit_of_work, group, counts, now_ms)
    except sqlite3.OperationalError:
        raise
    except _VALUE_ERRORS:
        _log.exception("a group of %d requests could not be stored together; storing each alone", len(group))
    _write_in_transaction(conn, unit_of_work, [], counts, now_ms)
    results: list[WriteResult] = []
    for request in group:
        try:
            results += _write_in_transaction(conn, unit_of_work, [request], {}, now_ms)
        except sqlite3.OperationalError as exc:
            # The requests before this one are stored. This one and those after it are answered with 503.
            _log.error("the store cannot be written: %s", exc)
            return results + [unavailable("The store cannot be written now") for _ in group[len(results) :]]
        except _VALUE_ERRORS as exc:
            results.append(exc)
    try:
        return results
    finally:
        del results  # the tracebacks of its exceptions hold this frame


def _write_in_transaction(
    conn: sqlite3.Connection,
    unit_of_work: UnitOfWork,
    group: Sequence[WriteRequest],
    counts: dict[tuple[str, int], int],
    now_ms: int,
) -> list[WriteResult]:
    results: list[WriteResult] = []
    try:
        with transaction(conn):
            unit_of_work.begin()
            for request in group:
                try:
                    results.append(_write_request(conn, unit_of_work, request, now_ms))
                except ApiError as exc:
                    results.append(detached(exc))
            unit_of_work.flush()
            if counts:
                rate_limits.save(conn, counts)
    except BaseException:
        unit_of_work.reset()
        raise
    return results


def _write_request(conn: sqlite3.Connection, unit_of_work: UnitOfWork, request: WriteRequest, now_ms: int) -> Reply:
    idempotency_key = request.idempotency_key
    if idempotency_key is not None:
        earlier_reply = idempotency.find(conn, request.site_id, idempotency_key, now_ms)
        if earlier_reply is not None:
            return earlier_reply
    reply = request.build_response(
        [public_event_id(new_id) for new_id in unit_of_work.event_writer.add(request.site_id, request.events)]
    )
    if request.events:
        unit_of_work.alerts.evaluate(request.site_id, request.events, now_ms, request.effects)
    if idempotency_key is not None:
        idempotency.save(conn, request.site_id, idempotency_key, reply, now_ms)
    return reply
