"""Settings → Get started: code to copy, and a status line that waits for the site's first event."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ovx_lite.domain.models import Site
from ovx_lite.storage import accounts, registry, site_activity
from ovx_lite.web.common.context import RouteTable, UiContext, context, site_from_path
from ovx_lite.web.common.templating import render

_HEARTBEAT_S = 15  # a comment is sent this often, so that proxies do not close the idle connection


async def show_start(request: Request) -> Response:
    """`GET …/start`: the code to copy, and the latest event if there is one."""
    site = await site_from_path(request)
    latest_event = await context(request).read(site_activity.latest_event, site.id)
    keys = await context(request).read(registry.api_keys_of, site)
    return render(
        request,
        "onboarding.html",
        site=site,
        latest_event=latest_event,
        has_key=any(key.revoked_at_ms is None for key in keys),
        example_url=f"https://{site.domain or 'example.com'}/",
    )


async def stream_first_event(request: Request) -> Response:
    """`GET …/first-event`: Server-Sent Events with one message, sent when the site has its first event."""
    site = await site_from_path(request)
    # Without X-Accel-Buffering, nginx buffers the messages.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _first_event_messages(context(request), site, request.state.session),
        headers=headers,
        media_type="text/event-stream",
    )


async def _first_event_messages(ui: UiContext, site: Site, session: bytes) -> AsyncIterator[bytes]:
    with ui.notifier.subscribe(site.id) as notified:
        while True:
            notified.clear()  # before the query, so that no event between query and wait() is missed
            if ui.notifier.closed or site.id not in ui.services.sites.registry.sites_by_id:
                return
            if not await ui.read(accounts.has_session, session, ui.services.clock.now_ms()):
                return
            if (latest_event := await ui.read(site_activity.latest_event, site.id)) is not None:
                break
            try:
                async with asyncio.timeout(_HEARTBEAT_S):
                    await notified.wait()
            except TimeoutError:
                yield b": nothing yet\n\n"
    yield b"data: " + msgspec.json.encode(latest_event._asdict()) + b"\n\n"


_SETTINGS_PATH = "/sites/{site}/settings"
PROTECTED_ROUTES: RouteTable = [
    ("GET", f"{_SETTINGS_PATH}/start", show_start),
    ("GET", f"{_SETTINGS_PATH}/first-event", stream_first_event),
]
