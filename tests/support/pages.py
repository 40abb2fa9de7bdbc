"""The content of a page, as readers and browsers see it, and a session of an administrator."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

import pytest
from selectolax.lexbor import LexborHTMLParser, LexborNode

from tests.conftest import Response, Server, Start, Store
from tests.support.browserless import WebClient, redirect_path, set_password

_VOID = {"br", "hr", "img", "input", "link", "meta"}
_site_numbers = count(1)

Fields = dict[str, list[str]]


@dataclass(frozen=True)
class Node:
    """An element of a page, as browsers parse it."""

    element: LexborNode

    @property
    def name(self) -> str:
        return self.element.tag or ""

    @property
    def attrs(self) -> dict[str, str]:
        """The attributes; `""` for those without a value."""
        return {name: value or "" for name, value in self.element.attributes.items()}

    @property
    def raw_text(self) -> str:
        """The text."""
        return self.element.text()

    @property
    def text(self) -> str:
        """The text, with single spaces."""
        return " ".join(self.raw_text.split())

    @property
    def classes(self) -> list[str]:
        return self.attrs.get("class", "").split()

    @property
    def children(self) -> list["Node"]:
        """The child elements."""
        return [Node(child) for child in self.element.iter()]

    def find_all(self, name: str = "", css_class: str = "", **attrs: str) -> list["Node"]:
        """Return this element and those in it that have the name, the class and the attributes."""
        conditions = "".join(f"[{attr}={_quote(value)}]" for attr, value in attrs.items())
        selector = (name or "*") + (f".{css_class}" if css_class else "") + conditions
        return [Node(element) for element in self.element.css(selector)]

    def find_one(self, name: str = "", css_class: str = "", **attrs: str) -> "Node":
        """Return the only element with the name, the class and the attributes."""
        (node,) = self.find_all(name, css_class, **attrs)
        return node


def _quote(text: str) -> str:
    """Return a CSS string."""
    return '"' + re.sub(r'["\\\n]', lambda match: f"\\{ord(match[0]):x} ", text) + '"'


def parse_page(response: Response) -> Node:
    """Return a page as a tree. Check that every element is closed."""
    assert response.headers["content-type"] == "text/html; charset=utf-8", response.body
    source = response.body.decode()
    parser = LexborHTMLParser(source)
    assert parser.root is not None
    assert parser.html is not None
    # A browser's parser repairs every page. So what it has parsed is compared with what was sent.
    assert _tags(source) == _tags(parser.html), "tags are missing, or end something else"
    return Node(parser.root)


_TAG = re.compile(r"""<(/?[a-z][a-z0-9-]*)((?:"[^"]*"|'[^']*'|[^'">])*)>""", re.IGNORECASE)
_RAW = re.compile(r"<!--.*?-->|(<(script|style)\b[^>]*>).*?(</\2>)", re.DOTALL)


def _tags(html: str) -> list[str]:
    """Return the names of all tags in order, end tags with `/`. `<path/>` counts as `<path></path>`."""
    tags: list[str] = []
    for name, rest in _TAG.findall(_RAW.sub(r"\1\3", html)):
        tags += [name] if not rest.endswith("/") or name in _VOID else [name, f"/{name}"]
    return tags


def form_fields(response: Response, action: str) -> Fields:
    """Return what a browser would send of the form with this action if nothing was typed."""
    fields: Fields = {}
    for node in parse_page(response).find_one("form", method="post", action=action).find_all():
        if node.name == "select":
            options = node.find_all("option")
            chosen = [option for option in options if "selected" in option.attrs] or options[:1]
            fields.setdefault(node.attrs["name"], []).extend(
                chosen_option.attrs.get("value", chosen_option.text) for chosen_option in chosen
            )
        elif node.name == "input" and (node.attrs["type"] not in ("radio", "checkbox") if "type" in node.attrs else 1):
            fields.setdefault(node.attrs["name"], []).append(node.attrs.get("value", ""))
        elif node.name == "input" and "checked" in node.attrs:
            fields.setdefault(node.attrs["name"], []).append(node.attrs["value"])
    return fields


def field_errors(response: Response) -> dict[str, str]:
    """Return the error messages of a page by the ID of their field; `""` for those without a field."""
    page = parse_page(response)
    errors = {
        node.attrs["id"].removesuffix("-error"): node.text for node in page.find_all("p", "error") if "id" in node.attrs
    }
    described_by = [node.attrs["aria-describedby"].split() for node in page.find_all() if "aria-invalid" in node.attrs]
    assert sorted(f"{id}-error" for id in errors) == sorted(ids[0] for ids in described_by), "each is tied to its field"
    alerts = [("", alert.text) for alert in page.find_all(role="alert")]
    return errors | dict(alerts)


def flash_text(response: Response) -> str:
    """Return the status message of a page; `""` if there is none."""
    return " ".join(
        node.find_one("p").text
        for node in parse_page(response).find_one("main").find_all("div", "good")
        if node.find_all("p")
    )


def page_secrets(response: Response) -> list[str]:
    """Return the secrets that a page shows."""
    return [node.find_one("code").text for node in parse_page(response).find_all("div", "secret")]


def table_rows(response: Response) -> list[list[str]]:
    """Return the text of each cell of a page's table, without its head."""
    rows = [row for table in parse_page(response).find_all("table") for row in table.find_one("tbody").find_all("tr")]
    return [[cell.text for cell in row.children] for row in rows]


def split_command(command: str) -> list[str]:
    """Split a command as a shell does, also if it continues on the next line."""
    return shlex.split(command.replace("\\\n", ""))


@dataclass
class AdminSession:
    """A server, and a user who has logged in."""

    store: Store
    server: Server
    client: WebClient

    def add_site(self, **form: str) -> tuple[str, str]:
        """Add a site with a new ID in the web pages. Return the path of its settings, and its key."""
        response = self.client.post("/new-site", {"id": f"site-{next(_site_numbers)}", "timezone": "UTC", **form})
        (key,) = page_secrets(self.client.follow(response))
        return redirect_path(response).removesuffix("/start"), key

    def pageview(self, settings_path: str, key: str, url: str = "https://example.com/", **fields: object) -> Response:
        return self.server.pageview(key, site_id=settings_path.split("/")[2], url=url, **fields)

    def event(self, settings_path: str, key: str, name: str, **fields: object) -> Response:
        return self.server.custom(key, site_id=settings_path.split("/")[2], event_name=name, **fields)

    def submit(self, path: str, form: Mapping[str, str | list[str]] | None = None) -> Response:
        """Send a valid form, and return the page that it redirects to."""
        response = self.client.post(path, form)
        assert response.status == 303, (response.status, response.body)
        page = self.client.follow(response)
        assert page.status == 200, page.body
        return page


def open_admin_session(
    store: Store, start: Start, *options: str, constants: Mapping[str, object] | None = None
) -> AdminSession:
    """Start a server with a password, and log in."""
    set_password(store)
    session = AdminSession(store, server := start(store, *options, constants=constants), WebClient(server))
    session.client.log_in()
    return session


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory, start: Start) -> AdminSession:
    """A session that the tests of a file share. Webhooks may call loopback addresses."""
    store = Store(tmp_path_factory.mktemp("office") / "data")
    return open_admin_session(store, start, "--webhook-allow-net", "127.0.0.0/8")
