"""`GET /healthz`: true to the store's state."""

import sqlite3

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite import __version__
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import unavailable
from ovx_lite.services.group_commit import GroupCommitWriter
from ovx_lite.storage import health, retention
from ovx_lite.storage.connections import Database

_HEALTHY_TTL_MS = 1000  # milliseconds for which a look is good, so that nobody can make the disk busy by asking
_UNHEALTHY_TTL_MS = (
    10_000  # milliseconds for which it is bad after events were refused: a small write may still go then
)


class Health:
    """Answers whether events can be taken: 200, or the contract's 503."""

    def __init__(self, database: Database, writer: GroupCommitWriter, clock: Clock) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock
        self._healthy_at_ms = -_HEALTHY_TTL_MS
        self._detail: str | None = None

    async def handle(self, request: Request) -> Response:
        """Write a little to the store, unless that went well a moment ago. `detail` says if retention is on hold."""
        now_ms = self._clock.now_ms()
        failed_at_ms = self._writer.failed_at_ms
        if self._writer.disk.is_low:
            raise self._writer.disk.low_space_error
        if failed_at_ms is not None and 0 <= now_ms - failed_at_ms < _UNHEALTHY_TTL_MS:
            raise unavailable("The store could not be written a moment ago")
        if not 0 <= now_ms - self._healthy_at_ms < _HEALTHY_TTL_MS:
            try:
                await self._database.write(health.touch, now_ms)
                hold = await self._database.read(retention.find_hold, now_ms)
            except sqlite3.Error:
                raise unavailable("The store cannot be written") from None
            self._healthy_at_ms, self._detail = now_ms, hold.message if hold else None
        body = {"status": "ok", "version": __version__} | ({"detail": self._detail} if self._detail else {})
        return Response(msgspec.json.encode(body), media_type="application/json")
