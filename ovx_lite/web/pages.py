"""The pages for people."""

from pathlib import Path

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ovx_lite import __version__


def folder(name: str) -> Path:
    """Where `static/` or `templates/` is: in the installed package, or at the top of the source tree."""
    package = Path(__file__).parents[1]
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(folder("templates")), autoescape=True, undefined=jinja2.StrictUndefined
)


async def home(request: Request) -> Response:
    """`/`: that it runs, and how the first event gets in."""
    base_url = request.app.state.base_url or str(request.base_url).rstrip("/")
    page = _templates.get_template("home.html").render(base_url=base_url, version=__version__)
    return HTMLResponse(page)
