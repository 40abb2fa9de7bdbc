"""`/live`: what arrives, as it arrives, in a browser."""

import asyncio
from collections.abc import AsyncIterator
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ovx_lite.emulator import credentials
from ovx_lite.emulator.emulator import Emulator
from ovx_lite.emulator.routes import emulator_of
from ovx_lite.web.common.context import Desk, Doors, desk
from ovx_lite.web.common.templating import page

KEPT = 500
"""So many the page shows."""

_BREATH = 15  # seconds between two signs of life


async def live(request: Request) -> Response:
    """`GET /live`: the page."""
    return page(request, "live.html", kept=KEPT, key=credentials.KEYS[0])


async def stream(request: Request) -> Response:
    """`GET /live/stream`: Server-Sent Events: each entry of the journal, from the 500th before now on."""
    told = request.headers.get("last-event-id", "0")
    last = int(told) if told.isdecimal() and len(told) < 16 else 0
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _entries(desk(request), emulator_of(request), last), headers=headers, media_type="text/event-stream"
    )


async def _entries(place: Desk, emulator: Emulator, last: int) -> AsyncIterator[bytes]:
    journal = emulator.journal
    resets, changed = journal.resets, journal.changed
    yield b"retry: 1000\n\n"
    while not place.news.closed:
        if journal.resets != resets:
            resets = journal.resets
            yield b"event: reset\ndata: {}\n\n"
        for entry in reversed(list(islice(journal.entries({}, after=last), KEPT))):
            last = entry.number
            yield b"id: %d\ndata: %s\n\n" % (entry.number, entry.json)
        for entry in journal.changes(changed):
            yield b"event: amend\ndata: %s\n\n" % entry.json
        changed = journal.changed
        try:
            async with asyncio.timeout(_BREATH):
                await journal.more()
        except TimeoutError:
            yield b": nothing new\n\n"


OPEN: Doors = [("GET", "/live", live), ("GET", "/live/stream", stream)]
