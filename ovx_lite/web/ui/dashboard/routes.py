"""The routes of a site's dashboard: the page itself, top lists, CSV files, live visitors and notes."""

import asyncio
import csv
import io
import sqlite3

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ovx_lite.domain import validators
from ovx_lite.domain.calendar import SECOND_MS, parse_day
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Goal, Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.storage import accounts, annotations
from ovx_lite.storage.annotations import Annotation
from ovx_lite.storage.engine import EventReader
from ovx_lite.storage.priority import PUBLIC, Requester
from ovx_lite.storage.webhooks.goals import goals_of
from ovx_lite.web.common.context import (
    FlashMessage,
    RouteTable,
    UiContext,
    context,
    redirect_to,
    run_query,
    session_requester,
    site_from_path,
)
from ovx_lite.web.common.forms import Form, read_form
from ovx_lite.web.common.live_visitors import ListenGrant
from ovx_lite.web.common.templating import render
from ovx_lite.web.ui.dashboard import data, overview, tables
from ovx_lite.web.ui.dashboard.data import DashboardData
from ovx_lite.web.ui.dashboard.presenters import DashboardLocation, DashboardView
from ovx_lite.web.ui.dashboard.state import DIMENSION_NOUNS, DashboardState, parse_state

# A dashboard is cached if it took at least this long, and at most for a second.
_MIN_CACHED_DURATION_MS, _MAX_CACHE_AGE_MS = 20, SECOND_MS


async def show_dashboard(request: Request) -> Response:
    """`GET /sites/ID`: the dashboard."""
    return await render_dashboard(request, await site_from_path(request), await _location(request))


async def _location(request: Request) -> DashboardLocation:
    site = await site_from_path(request)
    return DashboardLocation(f"{context(request).root}/sites/{site.slug}", False, context(request).public_url(request))


async def render_dashboard(
    request: Request, site: Site, location: DashboardLocation, form: Form | None = None, status: int = 200
) -> Response:
    """Render the dashboard of a site. `form` is a note that could not be added.

    A dashboard that took at least 20 ms is cached for nine times as long as it took, at most for a second. So anyone
    who loads public dashboards in a loop uses at most a tenth of the time.
    """
    ui, state = context(request), state_of(request)
    session = getattr(request.state, "session", None)
    is_cacheable = form is None and request.method == "GET" and not ui.flash_messages.has(session, request.url.path)
    if is_cacheable and (cached_page := _cached_page(ui, location, state)) is not None:
        return HTMLResponse(cached_page)
    loop = asyncio.get_running_loop()
    started_at_s = loop.time()
    dashboard = await load_view(request, site, location)
    # Another request for the same dashboard may have filled the cache meanwhile.
    if is_cacheable and (cached_page := _cached_page(ui, location, state)) is not None:
        return HTMLResponse(cached_page)
    values = overview.template_values(dashboard)
    if form is not None:
        values["annotation_errors"] = form.errors
        values["annotation"] = {name: form[name] for name in ("day", "text")}
    response = render(request, "dashboard.html", status, **values)
    duration_ms = int(1000 * (loop.time() - started_at_s))
    if is_cacheable and duration_ms >= _MIN_CACHED_DURATION_MS:
        ui.dashboard_cache[location, state] = (
            ui.services.clock.now_ms() + min(9 * duration_ms, _MAX_CACHE_AGE_MS),
            bytes(response.body),
        )
    return response


def _cached_page(ui: UiContext, location: DashboardLocation, state: DashboardState) -> bytes | None:
    """Return the cached page of a dashboard; None if there is none or it has expired."""
    expires_at_ms, body = ui.dashboard_cache.get((location, state), (0, b""))
    return body if expires_at_ms - _MAX_CACHE_AGE_MS <= ui.services.clock.now_ms() < expires_at_ms else None


async def load_view(request: Request, site: Site, location: DashboardLocation) -> DashboardView:
    """Load the dashboard that the URL describes. Raises `ApiError`."""
    state = state_of(request)
    dashboard_data, now_ms, active_visitors = await run_query(
        request, requester_of(request, site, location), _query_dashboard, site, state
    )
    goals, notes = await context(request).read(_read_marks, site.id, dashboard_data.date_range)
    return DashboardView(
        site=site,
        state=state,
        data=dashboard_data,
        location=location,
        now_ms=now_ms,
        active_visitors=active_visitors,
        goals=goals,
        annotations=notes,
    )


def _query_dashboard(
    reader: EventReader, now_ms: int, site: Site, state: DashboardState
) -> tuple[DashboardData, int, int]:
    """Return the data of a dashboard, the time of the query (Unix ms), and the number of active visitors."""
    return (
        data.load_dashboard(reader, site, state, now_ms),
        now_ms,
        reader.count_active_visitors(site.id, now_ms),
    )


def _read_marks(conn: sqlite3.Connection, site_id: int, date_range: DateRange) -> tuple[list[Goal], list[Annotation]]:
    """Return the goals of a site, and the annotations of a period."""
    return goals_of(conn, site_id), annotations.of_days(conn, site_id, date_range.first_day, date_range.last_day)


def requester_of(request: Request, site: Site, location: DashboardLocation) -> Requester:
    """Return the requester of a dashboard's queries: the site for a public link, else the session."""
    return Requester(PUBLIC, site.slug) if location.is_public else session_requester(request)


def state_of(request: Request) -> DashboardState:
    """Parse the state in the URL of a request. Raises `ApiError`."""
    return parse_state(request.query_params.multi_items())


async def show_top_list(request: Request) -> Response:
    """`GET …/top/DIMENSION`: all values of a dimension."""
    return await render_top_list(request, await site_from_path(request), await _location(request))


async def render_top_list(request: Request, site: Site, location: DashboardLocation) -> Response:
    """Render a page with the values of a dimension. Raises `ApiError`."""
    dimension = _find_dimension(request.path_params["dimension"])
    state = state_of(request)
    page_text = request.query_params.get("page", "1")
    page_number = int(page_text) if page_text.isdecimal() and len(page_text) < 6 else 1
    table = await run_query(
        request, requester_of(request, site, location), tables.load_table, site, state, dimension, max(page_number, 1)
    )
    return render(request, "top_list.html", **tables.template_values(site, state, dimension, table, location))


def _find_dimension(dimension_name: str) -> str:
    dimension = next(
        (name for name in (f"event:{dimension_name}", f"visit:{dimension_name}") if name in DIMENSION_NOUNS), None
    )
    if dimension is None:
        raise ApiError("not_found", "The dashboard has no list of this name.")
    return dimension


async def download_csv(request: Request) -> Response:
    """`GET …/csv/PANEL`: a panel as CSV."""
    return await render_csv(request, await site_from_path(request), await _location(request))


async def render_csv(request: Request, site: Site, location: DashboardLocation) -> Response:
    """Return a panel as CSV (RFC 4180). Raises `ApiError`."""
    panel, state = request.path_params["panel"], state_of(request)
    if location.is_public and panel in ("people", "excluded"):
        raise ApiError("not_found", "The dashboard has no panel of this name.")
    header, rows = await run_query(request, requester_of(request, site, location), tables.load_csv, site, state, panel)
    text = io.StringIO()
    table_rows: list[list[object]] = [[*header], *rows]
    csv.writer(text).writerows([tables.escape_formula(cell) for cell in row] for row in table_rows)
    file_name = f"{site.slug}-{panel}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{file_name}"', "Cache-Control": "no-store"}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


async def stream_live(request: Request) -> Response:
    """`GET …/live`: Server-Sent Events with the number of active visitors, one for each change."""
    ui, session, site = context(request), request.state.session, await site_from_path(request)

    async def is_allowed() -> bool:
        return await ui.read(accounts.has_session, session, ui.services.clock.now_ms())

    return ui.live_visitors.stream(site.id, ListenGrant(session, "", is_allowed))


async def add_annotation(request: Request) -> Response:
    """`POST …/annotations`: adds a note to a day."""
    site, form = await site_from_path(request), await read_form(request)
    day = form.validate("day", _parse_day, 0)
    text = form.validate("text", lambda text: validators.short_text(text, "text"), "")
    if not form.errors:
        try:
            await context(request).services.database.write(annotations.add, site.id, day, text)
            return _redirect_back(request, site, FlashMessage("The note was added."))
        except ApiError as exc:
            form.add_error(exc)
    return await render_dashboard(request, site, await _location(request), form, 400)


def _parse_day(text: str) -> int:
    try:
        day = parse_day(text)
    except ValueError:
        day = -1
    if not 0 <= day <= parse_day("2109-01-01"):
        raise ApiError("invalid_request", "Enter a date, for example 2026-03-15.", "day")
    return day


async def remove_annotation(request: Request) -> Response:
    """`POST …/annotations/ID/remove`: removes a note."""
    site = await site_from_path(request)
    was_removed = await context(request).services.database.write(
        annotations.remove, site.id, request.path_params["note"]
    )
    return _redirect_back(
        request, site, FlashMessage("The note was removed." if was_removed else "The note had already been removed.")
    )


def _redirect_back(request: Request, site: Site, message: FlashMessage) -> Response:
    """Redirect to the dashboard that the form was on, and clear the cache, so that the change shows."""
    context(request).dashboard_cache.clear()
    path, query = f"/sites/{site.slug}", request.headers.get("referer", "").partition("?")[2].partition("#")[0]
    return redirect_to(
        request, f"{path}?{query}" if query and query.isascii() and query.isprintable() else path, message
    )


_SITE_PATH = "/sites/{site}"
PROTECTED_ROUTES: RouteTable = [
    ("GET", _SITE_PATH, show_dashboard),
    ("GET", f"{_SITE_PATH}/top/{{dimension}}", show_top_list),
    ("GET", f"{_SITE_PATH}/csv/{{panel}}", download_csv),
    ("GET", f"{_SITE_PATH}/live", stream_live),
    ("POST", f"{_SITE_PATH}/annotations", add_annotation),
    ("POST", f"{_SITE_PATH}/annotations/{{note}}/remove", remove_annotation),
]
