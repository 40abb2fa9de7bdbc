"""Links to dashboards."""

from tests.conftest import Response
from tests.support.pages import admin as admin
from tests.support.pages import parse_page


def link(response: Response) -> str:
    """The path of the link that the settings show."""
    found = next(code.text for code in parse_page(response).find_all("code") if "/share/" in code.text)
    return "/" + found.split("/", 3)[3]
