"""`GET /healthz`: true to the store's state."""

import sqlite3

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite import __version__
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import unavailable
from ovx_lite.services.group_commit import Ingest
from ovx_lite.storage import health, retention
from ovx_lite.storage.connections import Database

_FRESH = 1000  # milliseconds for which a look is good, so that nobody can make the disk busy by asking
_SHY = 10_000  # milliseconds for which it is bad after events were refused: a small write may still go then


class Health:
    """Answers whether events can be taken: 200, or the contract's 503."""

    def __init__(self, database: Database, ingest: Ingest, clock: Clock) -> None:
        self._database = database
        self._ingest = ingest
        self._clock = clock
        self._well_at = -_FRESH
        self._detail: str | None = None

    async def answer(self, request: Request) -> Response:
        """Write a little to the store, unless that went well a moment ago. `detail` says if retention is on hold."""
        now = self._clock.now()
        failed_at = self._ingest.failed_at
        if self._ingest.disk.is_low:
            raise self._ingest.disk.refusal
        if failed_at is not None and 0 <= now - failed_at < _SHY:
            raise unavailable("The store could not be written a moment ago")
        if not 0 <= now - self._well_at < _FRESH:
            try:
                await self._database.write(health.touch, now)
                hold = await self._database.read(retention.find_hold, now)
            except sqlite3.Error:
                raise unavailable("The store cannot be written") from None
            self._well_at, self._detail = now, hold.message if hold else None
        body = {"status": "ok", "version": __version__} | ({"detail": self._detail} if self._detail else {})
        return Response(msgspec.json.encode(body), media_type="application/json")
