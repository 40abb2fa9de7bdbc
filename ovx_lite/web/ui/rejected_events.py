"""Settings → Missing events: the latest requests that were refused, or whose events are in no count, and why."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.services.rejected import KEPT
from ovx_lite.web.common.context import Doors, desk, site_of
from ovx_lite.web.common.templating import page


async def missed(request: Request) -> Response:
    """`GET …/missing`: the requests, the latest first."""
    site = await site_of(request)
    requests = await asyncio.to_thread(desk(request).missing.of, site)
    return page(request, "missed.html", site=site, requests=requests, kept=KEPT)


SIGNED_IN: Doors = [("GET", "/sites/{site}/settings/missing", missed)]
