"""The pages for people."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ovx_lite import __version__

if TYPE_CHECKING:
    from jinja2 import Template


def folder(name: str) -> Path:
    """Where `static/` or `templates/` is: in the installed package, or at the top of the source tree."""
    package = Path(__file__).parents[1]
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


@cache
def _template(name: str) -> "Template":
    import jinja2  # not at the start: events come first

    loader = jinja2.FileSystemLoader(folder("templates"))
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(name)


async def home(request: Request) -> Response:
    """`/`: that it runs, and how the first event gets in."""
    base_url = request.app.state.base_url or str(request.base_url).rstrip("/")
    page = _template("home.html").render(base_url=base_url, version=__version__)
    return HTMLResponse(page)
