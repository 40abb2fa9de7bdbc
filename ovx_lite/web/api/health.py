"""`GET /healthz`: whether the server can store events."""

import sqlite3

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite import __version__
from ovx_lite.domain.calendar import SECOND_MS
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import unavailable
from ovx_lite.services.group_commit import GroupCommitWriter
from ovx_lite.storage import health, retention
from ovx_lite.storage.connections import Database

# A good result is cached, so that nobody can keep the disk busy with this endpoint.
_HEALTHY_TTL_MS = SECOND_MS
# After events could not be stored, the small write of this check may still succeed. So it stays unhealthy for a while.
_UNHEALTHY_TTL_MS = 10 * SECOND_MS


class Health:
    """Answers 200 if events can be stored, else 503 with the error JSON."""

    def __init__(self, database: Database, writer: GroupCommitWriter, clock: Clock) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock
        self._healthy_at_ms = -_HEALTHY_TTL_MS
        self._detail: str | None = None

    async def handle(self, request: Request) -> Response:
        """Write to the store, unless that succeeded within the last second.

        `detail` says if retention is on hold, or if accepted events cannot be counted.

        Raises `ApiError` (`unavailable`).
        """
        now_ms = self._clock.now_ms()
        failed_at_ms = self._writer.failed_at_ms
        if self._writer.disk.is_low:
            raise self._writer.disk.low_space_error
        if failed_at_ms is not None and 0 <= now_ms - failed_at_ms < _UNHEALTHY_TTL_MS:
            raise unavailable("Events could not be stored a moment ago")
        if not 0 <= now_ms - self._healthy_at_ms < _HEALTHY_TTL_MS:
            try:
                await self._database.write(health.touch, now_ms)
                hold = await self._database.read(retention.find_hold, now_ms)
            except sqlite3.Error:
                raise unavailable("The store cannot be written") from None
            self._healthy_at_ms, self._detail = now_ms, hold.message if hold else None
        projector = self._writer.projector
        if projector.is_full:
            raise unavailable("Too many events wait to be counted")
        details = [self._detail] if self._detail else []
        if projector.failed_at_s is not None:
            details.append(f"{projector.waiting_events:,} accepted events could not be counted yet: see the log.")
        body = {"status": "ok", "version": __version__} | ({"detail": " ".join(details)} if details else {})
        return Response(msgspec.json.encode(body), media_type="application/json")
