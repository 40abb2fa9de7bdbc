"""Public links to dashboards."""

from tests.conftest import Response
from tests.support.pages import admin as admin
from tests.support.pages import parse_page


def link(response: Response) -> str:
    """Return the path of the public link on the settings page."""
    url = next(code.text for code in parse_page(response).find_all("code") if "/share/" in code.text)
    return "/" + url.split("/", 3)[3]
