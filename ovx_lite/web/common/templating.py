"""Pages for people: templates, and what all of them show."""

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
from ovx_lite.domain.calendar import utc
from ovx_lite.domain.errors import Refused
from ovx_lite.web.common.context import desk

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup


def folder(name: str) -> Path:
    """Where `static/` or `templates/` is: in the installed package, or at the top of the source tree."""
    package = Path(__file__).parents[2]
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


def page(request: Request, template: str, /, status: int = 200, **values: Any) -> Response:
    """A page made of a template. To what it is given come those values that every page may show."""
    place = desk(request)
    session = getattr(request.state, "session", None)
    shown = (
        environment()
        .get_template(template)
        .render(
            {
                "root": place.root,
                "base_url": place.url(request),
                "here": request.url.path,
                "signed_in": session is not None,
                "notices": place.notices.take(session, request.url.path)
                if request.method == "GET" and status == 200
                else [],
                "disk": place.house.disk,
                "version": __version__,
                **values,
            }
        )
    )
    # Jinja's macros and the contexts that they see are reference cycles, with all that was typed into a form.
    gc.collect(0)
    return HTMLResponse(shown, status)


def error_page(request: Request, refused: Refused) -> Response:
    """What a person sees of a refusal that is no form's."""
    return page(request, "error.html", refused.status, refused=refused)


def wants_html(request: Request) -> bool:
    """Whether it is a browser's window that asks, and not a program."""
    return "text/html" in request.headers.get("accept", "")


@cache
def environment() -> "jinja2.Environment":
    """What templates are made with."""
    import jinja2  # not at the start: events come first

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"json": _json, "time": _time, "day": _day, "sentence": _sentence}
    return made


def _json(value: object) -> str:
    """A value that is no string, as callers have sent it."""
    return msgspec.json.encode(value).decode()


def _sentence(words: str) -> str:
    """Words as the sentence that they are."""
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith(('.', '!', '?')) or not words else '.'}"


def _time(ts: int, timezone: str, form: str = "%b %Y, %H:%M:%S") -> "Markup":
    """A time (Unix ms) as a site's clocks show it; in UTC if one points at it."""
    from markupsafe import Markup

    local = datetime.fromtimestamp(ts / 1000, ZoneInfo(timezone))
    told = f"{local.day} {local.strftime(form)}"
    at = datetime.fromtimestamp(ts / 1000, UTC)
    return Markup(f'<time datetime="{utc(ts)}" title="{at:%Y-%m-%d %H:%M:%S} UTC">{told}</time>')  # noqa: S704 - digits


def _day(ts: int, timezone: str) -> "Markup":
    """The day of a time (Unix ms), as a site's calendar has it; the time in UTC if one points at it."""
    return _time(ts, timezone, "%b %Y")
