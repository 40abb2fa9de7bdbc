"""Badges with the number of a site's visitors, as SVG and as JSON, for use on other pages."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.domain.models import Site
from ovx_lite.storage.engine import EventReader
from ovx_lite.storage.priority import PUBLIC, Requester
from ovx_lite.web.common.context import RouteTable, run_query
from ovx_lite.web.ui.dashboard import data
from ovx_lite.web.ui.dashboard.formatting import format_compact
from ovx_lite.web.ui.dashboard.routes import state_of
from ovx_lite.web.ui.dashboard.state import DashboardState
from ovx_lite.web.ui.sharing import find_share, link_not_found

_PUBLIC_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "max-age=300",
}


async def badge_json(request: Request) -> Response:
    """`GET /share/TOKEN/badge.json`: the visitors of 30 days or of the URL's period, in the format of shields.io."""
    visitors, period_text = await _count_visitors(request)
    body = {
        "schemaVersion": 1,
        "label": "visitors",
        "message": format_compact(visitors),
        "visitors": visitors,
        "period": period_text,
    }
    return Response(msgspec.json.encode(body), media_type="application/json", headers=_PUBLIC_HEADERS)


async def badge_svg(request: Request) -> Response:
    """`GET /share/TOKEN/badge.svg`: the same number as an image."""
    visitors, _ = await _count_visitors(request)
    count_text = format_compact(visitors)
    count_width_px = 14 + 7 * len(count_text)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{60 + count_width_px}" height="20" role="img" '
        f'aria-label="visitors: {count_text}"><rect width="{60 + count_width_px}" height="20" rx="4" fill="#586174"/>'
        f'<path d="M60 0h{count_width_px - 4}a4 4 0 0 1 4 4v12a4 4 0 0 1-4 4H60z" fill="#3451b2"/>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="30" y="14">visitors</text><text x="{60 + count_width_px / 2:g}" y="14">{count_text}</text></g></svg>'
    )
    return Response(svg, media_type="image/svg+xml", headers=_PUBLIC_HEADERS)


async def _count_visitors(request: Request) -> tuple[int, str]:
    """Return the number of visitors for the URL's parameters, and their period. Raises `ApiError`.

    A link with a password has no badge, because a badge is visible to everyone.
    """
    share, site = await find_share(request)
    if share.password_hash:
        raise link_not_found()
    state = state_of(request)
    visitors = await run_query(request, Requester(PUBLIC, site.slug), _query_visitors, site, state)
    return visitors, f"{state.first}/{state.last}" if state.first else state.period


def _query_visitors(reader: EventReader, now_ms: int, site: Site, state: DashboardState) -> int:
    date_range = state.date_range(now_ms, site.timezone, data.find_oldest_day(reader, site))
    return data.count_visitors(reader, site, date_range, state.filters)


_SHARE_PATH = "/share/{token}"
PUBLIC_ROUTES: RouteTable = [
    ("GET", f"{_SHARE_PATH}/badge.svg", badge_svg),
    ("GET", f"{_SHARE_PATH}/badge.json", badge_json),
]
