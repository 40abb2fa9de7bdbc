"""HTML pages: the template environment, and the values that every page gets."""

import gc
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ovx_lite import __version__
from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.errors import ApiError
from ovx_lite.web.common.context import context

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup


def find_folder(name: str) -> Path:
    """Return the path of `static` or `templates`: in the installed package, or at the top of the source tree."""
    package = Path(__file__).parents[2]
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


def render(request: Request, template: str, /, status: int = 200, **values: Any) -> Response:
    """Return a page from a template, with `values` and those that every page may show."""
    ui = context(request)
    session = getattr(request.state, "session", None)
    html = (
        template_environment()
        .get_template(template)
        .render(
            {
                "root": ui.root,
                "base_url": ui.public_url(request),
                "here": request.url.path,
                "signed_in": session is not None,
                "messages": ui.flash_messages.pop(session, request.url.path)
                if request.method == "GET" and status == 200
                else [],
                "disk": ui.services.disk,
                "version": __version__,
                **values,
            }
        )
    )
    # Jinja's macros and their contexts are reference cycles, which hold everything that was typed into a form.
    gc.collect(0)
    return HTMLResponse(html, status)


def error_page(request: Request, error: ApiError) -> Response:
    """Return the page for an error that is not shown in a form."""
    return render(request, "error.html", error.status, error=error)


def wants_html(request: Request) -> bool:
    """Return whether the client accepts HTML, as a browser does when it opens a page."""
    return "text/html" in request.headers.get("accept", "")


@cache
def template_environment() -> "jinja2.Environment":
    """Return the Jinja environment, which is created when the first page is rendered."""
    import jinja2  # imported late, so that the server starts faster

    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(find_folder("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"json": _json, "time": _time, "day": _day, "sentence": _sentence}
    return env


def _json(value: object) -> str:
    """Return a value as JSON text."""
    return msgspec.json.encode(value).decode()


def _sentence(text: str) -> str:
    """Return a text with a capital first letter and a full stop, unless it ends with punctuation already."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) or not text else '.'}"


def _time(time_ms: int, timezone: str, date_format: str = "%b %Y, %H:%M:%S") -> "Markup":
    """Return a `<time>` element with a time (Unix ms) in a time zone; its tooltip shows the time in UTC."""
    from markupsafe import Markup

    local = datetime.fromtimestamp(time_ms / 1000, ZoneInfo(timezone))
    label = f"{local.day} {local.strftime(date_format)}"
    utc_time = datetime.fromtimestamp(time_ms / 1000, UTC)
    return Markup(f'<time datetime="{format_utc(time_ms)}" title="{utc_time:%Y-%m-%d %H:%M:%S} UTC">{label}</time>')  # noqa: S704 - digits


def _day(time_ms: int, timezone: str) -> "Markup":
    """Return a `<time>` element with the day of a time (Unix ms) in a time zone; its tooltip shows the time in UTC."""
    return _time(time_ms, timezone, "%b %Y")
