"""How many visitors a site has, for its own pages: as a picture, and as JSON."""

import sqlite3

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.domain.models import Site
from ovx_lite.storage.priority import PUBLIC, Asker
from ovx_lite.storage.read import event_queries
from ovx_lite.web.common.context import Doors, run_query
from ovx_lite.web.ui.dashboard import data
from ovx_lite.web.ui.dashboard.presenters import short
from ovx_lite.web.ui.dashboard.routes import view_of
from ovx_lite.web.ui.dashboard.state import View
from ovx_lite.web.ui.sharing import nothing_here, shared

_FOR_ALL = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "max-age=300",
}


async def as_json(request: Request) -> Response:
    """`GET /share/TOKEN/badge.json`: the visitors of 30 days, or of what the URL asks; also as shields.io takes it."""
    visitors, period = await _visitors(request)
    told = {"schemaVersion": 1, "label": "visitors", "message": short(visitors), "visitors": visitors, "period": period}
    return Response(msgspec.json.encode(told), media_type="application/json", headers=_FOR_ALL)


async def as_svg(request: Request) -> Response:
    """`GET /share/TOKEN/badge.svg`: the same as a picture."""
    visitors, _ = await _visitors(request)
    number = short(visitors)
    width = 14 + 7 * len(number)
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{60 + width}" height="20" role="img" '
        f'aria-label="visitors: {number}"><rect width="{60 + width}" height="20" rx="4" fill="#586174"/>'
        f'<path d="M60 0h{width - 4}a4 4 0 0 1 4 4v12a4 4 0 0 1-4 4H60z" fill="#3451b2"/>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="30" y="14">visitors</text><text x="{60 + width / 2:g}" y="14">{number}</text></g></svg>'
    )
    return Response(text, media_type="image/svg+xml", headers=_FOR_ALL)


async def _visitors(request: Request) -> tuple[int, str]:
    """How many visitors there were, as a dashboard of that URL says, and of when. Raises `Refused`.

    Where there is a password, there is no badge: whoever shows one shows it to all.
    """
    share, site = await shared(request)
    if share.password:
        raise nothing_here()
    view = view_of(request)
    visitors = await run_query(request, Asker(PUBLIC, site.id), _count, site, view)
    return visitors, f"{view.first}/{view.last}" if view.first else view.period


def _count(conn: sqlite3.Connection, now: int, site: Site, view: View) -> int:
    period = view.stretch(now, site.timezone, data.oldest(conn, site))
    return event_queries.groups(conn, site, period, (), view.filters, {"visitors"})[()].visitors


_SHARE = "/share/{token}"
OPEN: Doors = [("GET", f"{_SHARE}/badge.svg", as_svg), ("GET", f"{_SHARE}/badge.json", as_json)]
