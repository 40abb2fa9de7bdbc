"""How a site's first event gets in: snippets to copy, and a line that tells when it has arrived."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ovx_lite.domain.models import Site
from ovx_lite.storage import accounts, registry, site_activity
from ovx_lite.web.common.context import Desk, Doors, desk, site_of
from ovx_lite.web.common.templating import page

_BREATH = 15  # seconds after which a word is sent into silence, so that nobody in between hangs up


async def start(request: Request) -> Response:
    """`GET …/start`: the snippets, and whether an event has arrived."""
    site = await site_of(request)
    latest = await desk(request).read(site_activity.latest, site.number)
    keys = await desk(request).read(registry.keys_of, site)
    return page(
        request,
        "start.html",
        site=site,
        latest=latest,
        has_key=any(key.revoked is None for key in keys),
        example=f"https://{site.domain or 'example.com'}/",
    )


async def first_event(request: Request) -> Response:
    """`GET …/first-event`: Server-Sent Events, that is one: the first event, once it is there."""
    site = await site_of(request)
    # nginx would keep what comes until there is more of it, but for this header.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _first_event(desk(request), site, request.state.session), headers=headers, media_type="text/event-stream"
    )


async def _first_event(place: Desk, site: Site, session: bytes) -> AsyncIterator[bytes]:
    with place.news.listen(site.number) as heard:
        while True:
            heard.clear()  # before it is looked: what comes from here on is heard
            if place.news.closed or site.number not in place.house.sites.registry.numbers:
                return
            if not await place.read(accounts.has_session, session, place.house.clock.now()):
                return
            if (latest := await place.read(site_activity.latest, site.number)) is not None:
                break
            try:
                async with asyncio.timeout(_BREATH):
                    await heard.wait()
            except TimeoutError:
                yield b": nothing yet\n\n"
    yield b"data: " + msgspec.json.encode(latest._asdict()) + b"\n\n"


_SETTINGS = "/sites/{site}/settings"
SIGNED_IN: Doors = [("GET", f"{_SETTINGS}/start", start), ("GET", f"{_SETTINGS}/first-event", first_event)]
