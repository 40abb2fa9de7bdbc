"""Settings → Missing events: the latest requests that were rejected or whose events are not counted, with reasons."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.services.rejected import MAX_REJECTED_PER_SITE
from ovx_lite.web.common.context import RouteTable, context, site_from_path
from ovx_lite.web.common.templating import render


async def list_rejected(request: Request) -> Response:
    """`GET …/missing`: the requests, newest first."""
    site = await site_from_path(request)
    requests = await asyncio.to_thread(context(request).rejected_events.for_site, site)
    return render(request, "rejected_events.html", site=site, requests=requests, max_requests=MAX_REJECTED_PER_SITE)


PROTECTED_ROUTES: RouteTable = [("GET", "/sites/{site}/settings/missing", list_rejected)]
