"""Settings → Missing events: the latest requests that were refused, or whose events are in no count, and why."""

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.missing import KEPT
from ovx_lite.web.desk import Doors, desk, site_of
from ovx_lite.web.html import page


async def missed(request: Request) -> Response:
    """`GET …/missing`: the requests, the latest first."""
    site = await site_of(request)
    return page(request, "missed.html", site=site, requests=desk(request).missing.of(site), kept=KEPT)


SIGNED_IN: Doors = [("GET", "/sites/{site}/settings/missing", missed)]
