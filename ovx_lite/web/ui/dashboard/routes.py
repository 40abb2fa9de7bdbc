"""The dashboard of a site, its details, its CSV files, and who is there now: for those who look after it."""

import asyncio
import csv
import io
import sqlite3

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ovx_lite.domain import validators
from ovx_lite.domain.calendar import day_of
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Site
from ovx_lite.storage import accounts, annotations
from ovx_lite.storage.priority import PUBLIC, Asker
from ovx_lite.storage.write import alerts
from ovx_lite.web.common.context import Desk, Doors, Notice, desk, go_to, run_query, signed_in, site_of
from ovx_lite.web.common.forms import Form, form_of
from ovx_lite.web.common.live_visitors import Right
from ovx_lite.web.common.templating import page
from ovx_lite.web.ui.dashboard import data, overview, state, tables
from ovx_lite.web.ui.dashboard.data import Board
from ovx_lite.web.ui.dashboard.presenters import Place, Shown
from ovx_lite.web.ui.dashboard.state import NOUNS, View

_WORTH_KEEPING, _LONGEST_KEPT, _MOST_KEPT = 20, 1000, 50  # milliseconds that it took, that it is kept; pages


async def dashboard(request: Request) -> Response:
    """`GET /sites/ID`: the dashboard."""
    return await board_page(request, await site_of(request), await _place(request))


async def _place(request: Request) -> Place:
    site = await site_of(request)
    return Place(f"{desk(request).root}/sites/{site.id}", False, desk(request).url(request))


async def board_page(
    request: Request, site: Site, place: Place, form: Form | None = None, status: int = 200
) -> Response:
    """A dashboard of a site, at a place.

    One that took long is good for nine times as long, at most a second: so reading dashboards in a loop, as everybody
    can where they are public, takes no more than a tenth of the time away from events.
    """
    our, view = desk(request), view_of(request)
    session = getattr(request.state, "session", None)
    plain = form is None and request.method == "GET" and not our.notices.has(session, request.url.path)
    if plain and (known := _kept(our, place, view)) is not None:
        return HTMLResponse(known)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    shown = await look(request, site, place)
    if plain and (known := _kept(our, place, view)) is not None:  # as others have asked for the same at the same time
        return HTMLResponse(known)
    told = overview.context(shown)
    if form is not None:
        told["annotation_wrong"] = form.wrong
        told["annotation"] = {name: form[name] for name in ("day", "text")}
    answer = page(request, "dashboard.html", status, **told)
    took = int(1000 * (loop.time() - begin))
    if plain and took >= _WORTH_KEEPING:
        while len(our.kept) >= _MOST_KEPT:
            del our.kept[next(iter(our.kept))]
        our.kept[place, view] = (our.house.clock.now() + min(9 * took, _LONGEST_KEPT), bytes(answer.body))
    return answer


def _kept(our: Desk, place: Place, view: View) -> bytes | None:
    """The page of a dashboard that was made a moment ago; None if there is none, or it is not good any more."""
    until, known = our.kept.get((place, view), (0, b""))
    return known if until - _LONGEST_KEPT <= our.house.clock.now() < until else None


async def look(request: Request, site: Site, place: Place) -> Shown:
    """What a dashboard shows of a site, as the URL asks. Raises `Refused`."""
    view = view_of(request)
    board, now, active = await run_query(request, asker(request, site, place), _board, site, view)
    return Shown(site, view, board, place, now, active)


def _board(conn: sqlite3.Connection, now: int, site: Site, view: View) -> tuple[Board, int, int]:
    """What a dashboard shows; as of when; and how many visitors are active."""
    return data.board(conn, site.id, view, now), now, alerts.active(conn, now, site.number)


def asker(request: Request, site: Site, place: Place) -> Asker:
    """Who asks for what a dashboard shows."""
    return Asker(PUBLIC, site.id) if place.shared else signed_in(request)


def view_of(request: Request) -> View:
    """The view that a URL asks for. Raises `Refused`."""
    return state.read(request.query_params.multi_items())


async def top(request: Request) -> Response:
    """`GET …/top/DIMENSION`: all that stands in a dimension."""
    return await top_page(request, await site_of(request), await _place(request))


async def top_page(request: Request, site: Site, place: Place) -> Response:
    """A page of all that stands in a dimension, at a place. Raises `Refused`."""
    dimension = _dimension(request.path_params["dimension"])
    view = view_of(request)
    told = request.query_params.get("page", "1")
    number = int(told) if told.isdecimal() and len(told) < 6 else 1
    found = await run_query(request, asker(request, site, place), tables.table, site, view, dimension, max(number, 1))
    return page(request, "top.html", **tables.context(site, view, dimension, found, place))


def _dimension(word: str) -> str:
    found = next((name for name in (f"event:{word}", f"visit:{word}") if name in NOUNS), None)
    if found is None:
        raise Refused("not_found", "There is no such dimension: go back to the dashboard.")
    return found


async def download(request: Request) -> Response:
    """`GET …/csv/PANEL`: a panel as CSV."""
    return await csv_file(request, await site_of(request), await _place(request))


async def csv_file(request: Request, site: Site, place: Place) -> Response:
    """A panel as CSV (RFC 4180), at a place. Raises `Refused`."""
    panel, view = request.path_params["panel"], view_of(request)
    if place.shared and panel in ("people", "excluded"):
        raise Refused("not_found", "There is no such panel: go back to the dashboard.")
    head, rows = await run_query(request, asker(request, site, place), tables.file, site, view, panel)
    text = io.StringIO()
    table: list[list[object]] = [[*head], *rows]
    csv.writer(text).writerows([tables.neutralised(cell) for cell in row] for row in table)
    name = f"{site.id}-{panel}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


async def live(request: Request) -> Response:
    """`GET …/live`: Server-Sent Events: how many visitors are active now, whenever that changes."""
    place, session, site = desk(request), request.state.session, await site_of(request)

    async def may() -> bool:
        return await place.read(accounts.has_session, session, place.house.clock.now())

    return place.live.stream(site.number, Right(session, "", may))


async def annotate(request: Request) -> Response:
    """`POST …/annotations`: a note beside a day."""
    site, form = await site_of(request), await form_of(request)
    day = form.judge("day", _day, 0)
    text = form.judge("text", lambda typed: validators.words(typed, "text"), "")
    if not form.wrong:
        try:
            await desk(request).house.database.write(annotations.add, site.number, day, text)
            return _back(request, site, Notice("The note is there."))
        except Refused as refused:
            form.blame(refused)
    return await board_page(request, site, await _place(request), form, 400)


def _day(typed: str) -> int:
    try:
        day = day_of(typed)
    except ValueError:
        day = -1
    if not 0 <= day <= day_of("2109-01-01"):
        raise Refused("invalid_request", "Give a day, like 2026-03-15.", "day")
    return day


async def remove(request: Request) -> Response:
    """`POST …/annotations/ID/remove`: removes a note."""
    site = await site_of(request)
    gone = await desk(request).house.database.write(annotations.remove, site.number, request.path_params["note"])
    return _back(request, site, Notice("The note is removed." if gone else "The note was removed before."))


def _back(request: Request, site: Site, notice: Notice) -> Response:
    """To the dashboard, as it was looked at, and anew."""
    desk(request).kept.clear()
    path, query = f"/sites/{site.id}", request.headers.get("referer", "").partition("?")[2].partition("#")[0]
    return go_to(request, f"{path}?{query}" if query and query.isascii() and query.isprintable() else path, notice)


_SITE = "/sites/{site}"
SIGNED_IN: Doors = [
    ("GET", _SITE, dashboard),
    ("GET", f"{_SITE}/top/{{dimension}}", top),
    ("GET", f"{_SITE}/csv/{{panel}}", download),
    ("GET", f"{_SITE}/live", live),
    ("POST", f"{_SITE}/annotations", annotate),
    ("POST", f"{_SITE}/annotations/{{note}}/remove", remove),
]
