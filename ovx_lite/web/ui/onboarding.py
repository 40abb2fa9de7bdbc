"""Settings → Get started: code to copy, and a status line that waits for the site's first event."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.storage import accounts, registry
from ovx_lite.web.common.context import RouteTable, context, site_from_path
from ovx_lite.web.common.server_sent_events import EventStream, Update, messages_on_change
from ovx_lite.web.common.templating import render


async def show_start(request: Request) -> Response:
    """`GET …/start`: the code to copy, and the latest event if there is one."""
    site = await site_from_path(request)
    latest_events = await context(request).read_events(lambda reader: reader.latest_events([site.id]))
    keys = await context(request).read(registry.api_keys_of, site)
    return render(
        request,
        "onboarding.html",
        site=site,
        latest_event=latest_events.get(site.id),
        has_key=any(key.revoked_at_ms is None for key in keys),
        example_url=f"https://{site.domain or 'example.com'}/",
    )


async def stream_first_event(request: Request) -> Response:
    """`GET …/first-event`: Server-Sent Events with one message, sent when the site has its first event."""
    ui, site = context(request), await site_from_path(request)
    session: bytes = request.state.session

    async def read() -> Update:
        if ui.notifier.closed or site.id not in ui.services.sites.registry.sites_by_id:
            return Update(b"", is_last=True)
        if not await ui.read(accounts.has_session, session, ui.services.clock.now_ms()):
            return Update(b"", is_last=True)
        latest_events = await ui.read_events(lambda reader: reader.latest_events([site.id]))
        if (latest_event := latest_events.get(site.id)) is None:
            return Update(b"")
        return Update(b"data: " + msgspec.json.encode(latest_event._asdict()) + b"\n\n", is_last=True)

    return EventStream(lambda: ui.notifier.subscribe(site.id), lambda changed: messages_on_change(changed, read))


_SETTINGS_PATH = "/sites/{site}/settings"
PROTECTED_ROUTES: RouteTable = [
    ("GET", f"{_SETTINGS_PATH}/start", show_start),
    ("GET", f"{_SETTINGS_PATH}/first-event", stream_first_event),
]
