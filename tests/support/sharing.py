"""Links to dashboards."""

from tests.conftest import Answer
from tests.support.pages import office as office
from tests.support.pages import read


def link(answer: Answer) -> str:
    """The path of the link that the settings show."""
    found = next(code.text for code in read(answer).all("code") if "/share/" in code.text)
    return "/" + found.split("/", 3)[3]
