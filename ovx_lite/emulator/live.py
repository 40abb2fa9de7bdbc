"""`/live`: shows requests in a browser as they arrive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.emulator import credentials
from ovx_lite.emulator.emulator import Emulator
from ovx_lite.emulator.routes import emulator_of
from ovx_lite.web.common.context import RouteTable, UiContext, context
from ovx_lite.web.common.server_sent_events import HEARTBEAT_S, KEEP_ALIVE, EventStream
from ovx_lite.web.common.templating import render

MAX_ENTRIES = 500
"""The number of entries that the page shows."""


async def show_live(request: Request) -> Response:
    """`GET /live`: the page."""
    return render(request, "live.html", max_entries=MAX_ENTRIES, key=credentials.KEYS[0])


async def stream(request: Request) -> Response:
    """`GET /live/stream`: the latest entries of the journal, and then each new one, as Server-Sent Events."""
    header = request.headers.get("last-event-id", "0")
    last_number = int(header) if header.isdecimal() and len(header) < 16 else 0
    emulator = emulator_of(request)
    return EventStream(nullcontext, lambda _: _entries(context(request), emulator, last_number))


async def _entries(ui: UiContext, emulator: Emulator, last_number: int) -> AsyncIterator[bytes]:
    journal = emulator.journal
    resets, changed = journal.resets, journal.changed
    yield b"retry: 1000\n\n"
    while not ui.notifier.closed:
        if journal.resets != resets:
            resets = journal.resets
            yield b"event: reset\ndata: {}\n\n"
        for entry in reversed(list(islice(journal.entries({}, after=last_number), MAX_ENTRIES))):
            last_number = entry.number
            yield b"id: %d\ndata: %s\n\n" % (entry.number, entry.json)
        for entry in journal.changes(changed):
            yield b"event: amend\ndata: %s\n\n" % entry.json
        changed = journal.changed
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await journal.wait_for_change()
        except TimeoutError:
            yield KEEP_ALIVE


ROUTES: RouteTable = [("GET", "/live", show_live), ("GET", "/live/stream", stream)]
