"""When accepted events are projected: in short slices, in the writer's thread, between the commits of requests.

While requests keep arriving, accepting them comes first: events may wait in the journal for some seconds. Whoever reads
what is derived from events asks `catch_up` first, so no reader misses an acknowledged event.
"""

import asyncio
import logging
import sqlite3
import time
from collections import deque

from ovx_lite.http.prometheus import Histogram
from ovx_lite.storage.connections import Database
from ovx_lite.storage.engine import EventWriter
from ovx_lite.storage.ledger.journal_drain import drain_slice

IDLE_AFTER_S = 0.05
"""Without a commit for this time, the projector takes its turn."""

MAX_LAG_S = 8.0
"""How long an event waits while commits follow each other."""

MAX_WAITING_EVENTS = 40_000
"""How many events wait while commits follow each other. Projecting them takes about half a second."""

MAX_JOURNAL_EVENTS = 1_000_000
"""How many events the journal holds at most, if projecting them fails. Further requests get 503."""

_RETRY_AFTER_S, _READ_RETRY_AFTER_S = 1.0, 10.0
_log = logging.getLogger("ovx_lite")


class Projector:
    """Projects the events of the journal.

    `accepted_events` and `projected_events` count since the start, `accepted_events` including those that the journal
    had then. `failed_at_s` is when (monotonic) projecting failed, `None` if it succeeded the last time.
    """

    def __init__(self, database: Database, event_writer: EventWriter, journal_events: int) -> None:
        """`journal_events` is the number of events that the journal has now."""
        self.event_writer = event_writer
        self.accepted_events = journal_events
        self.projected_events = 0
        self.slice_durations = Histogram()
        self.failed_at_s: float | None = None
        self._database = database
        self._last_commit_at_s = 0.0
        self._arrivals: deque[tuple[float, int]] = deque()  # times, and `accepted_events` then
        self._slice_lock = asyncio.Lock()
        self._has_work = asyncio.Event()
        if journal_events:
            self._arrivals.append((time.monotonic(), journal_events))
            self._has_work.set()

    @property
    def waiting_events(self) -> int:
        """Return how many acknowledged events are not projected yet."""
        return max(self.accepted_events - self.projected_events, 0)

    @property
    def lag_s(self) -> float:
        """Return how long the oldest of the waiting events has been waiting, to 50 ms (see `run`)."""
        while self._arrivals and self._arrivals[0][1] <= self.projected_events:
            self._arrivals.popleft()
        return time.monotonic() - self._arrivals[0][0] if self._arrivals else 0.0

    @property
    def is_full(self) -> bool:
        """Return whether the journal has as many events as it may have."""
        return self.waiting_events >= MAX_JOURNAL_EVENTS

    def record_commit(self, event_count: int) -> None:
        """Count events that were committed to the journal."""
        self.accepted_events += event_count
        self._last_commit_at_s = time.monotonic()
        if not self._arrivals:
            self._arrivals.append((self._last_commit_at_s, self.accepted_events))
        self._has_work.set()

    async def catch_up(self) -> None:
        """Return when all events that are acknowledged now are projected.

        Raises `sqlite3.DatabaseError` if the store cannot be written (`sqlite3.OperationalError`) or is damaged.
        """
        target = self.accepted_events
        while self.projected_events < target:
            await self._project_slice()

    async def catch_up_to_read(self) -> None:
        """As `catch_up`. But if the store cannot be written, or is damaged, reading goes on without the waiting events.

        Then the log and `/healthz` say so. For some seconds, nobody waits for another attempt.
        """
        if self.failed_at_s is not None and time.monotonic() - self.failed_at_s < _READ_RETRY_AFTER_S:
            return
        try:
            await self.catch_up()
        except sqlite3.DatabaseError as exc:
            _log.error("events could not be projected: %s", exc)

    async def close(self) -> None:
        """Project the waiting events, so that whoever opens the store next need not. The journal keeps the others."""
        try:
            await self.catch_up()
        except sqlite3.DatabaseError as exc:
            _log.error("events could not be projected: %s", exc)

    async def run(self) -> None:
        """Project events when it is their turn, for ever."""
        while True:
            await self._has_work.wait()
            try:
                while self.waiting_events and self._is_due():
                    await self._project_slice()
            except sqlite3.DatabaseError as exc:  # a full disk or a damaged file, for example: needs no traceback
                _log.error("events could not be projected: %s", exc)
                await asyncio.sleep(_RETRY_AFTER_S)
            except Exception:
                _log.exception("events could not be projected")
                await asyncio.sleep(_RETRY_AFTER_S)
            if not self.waiting_events:
                self._has_work.clear()
                continue
            self._arrivals.append((time.monotonic(), self.accepted_events))
            await asyncio.sleep(IDLE_AFTER_S)

    def _is_due(self) -> bool:
        return (
            time.monotonic() - self._last_commit_at_s >= IDLE_AFTER_S
            or self.waiting_events > MAX_WAITING_EVENTS
            or self.lag_s > MAX_LAG_S
        )

    async def _project_slice(self) -> None:
        async with self._slice_lock:  # one at a time, so that a commit never waits for more than one
            accepted_events = self.accepted_events
            try:
                count, duration_s = await self._database.write(_timed_slice, self.event_writer)
            except BaseException:
                self.failed_at_s = time.monotonic()
                raise
            self.failed_at_s = None
            self.slice_durations.observe(duration_s)
            # A command may have projected events. So if the journal was empty, nothing waits that was accepted before.
            self.projected_events = (
                self.projected_events + count if count else max(self.projected_events, accepted_events)
            )


def _timed_slice(conn: sqlite3.Connection, event_writer: EventWriter) -> tuple[int, float]:
    """Project a slice. Return the number of events, and how long it took in seconds."""
    started_at_s = time.monotonic()
    count = drain_slice(conn, event_writer)
    return count, time.monotonic() - started_at_s
