"""What stands on a page, as a reader and a browser find it; and an office with somebody who has logged in."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import count

import pytest

from tests.conftest import Answer, Server, Start, Store
from tests.support.browserless import Person, path_of, set_password

_VOID = {"br", "hr", "img", "input", "link", "meta"}
_numbers = count(1)

Fields = dict[str, list[str]]


@dataclass
class Node:
    """An element: its name, its attributes, and what is in it."""

    name: str
    attrs: dict[str, str] = field(default_factory=dict)
    inside: list["Node | str"] = field(default_factory=list)

    @property
    def raw(self) -> str:
        """All text in it."""
        return "".join(one if isinstance(one, str) else one.raw for one in self.inside)

    @property
    def text(self) -> str:
        """All text in it, with single spaces."""
        return " ".join(self.raw.split())

    @property
    def classes(self) -> list[str]:
        return self.attrs.get("class", "").split()

    def walk(self) -> Iterator["Node"]:
        """It, and all elements in it."""
        yield self
        for one in self.inside:
            if isinstance(one, Node):
                yield from one.walk()

    def all(self, name: str = "", kind: str = "", **attrs: str) -> list["Node"]:
        """The elements of a name, a class and attributes."""
        return [
            node
            for node in self.walk()
            if name in ("", node.name) and (not kind or kind in node.classes) and attrs.items() <= node.attrs.items()
        ]

    def one(self, name: str = "", kind: str = "", **attrs: str) -> "Node":
        """The only element of a name, a class and attributes."""
        (found,) = self.all(name, kind, **attrs)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.path = [Node("")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.path[-1].inside.append(node)
        if tag not in _VOID:
            self.path.append(node)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.path.pop().name == tag, f"</{tag}> ends something else"

    def handle_data(self, data: str) -> None:
        self.path[-1].inside.append(data)


def read(answer: Answer) -> Node:
    """A page as a tree; all that begins in it must end."""
    assert answer.headers["content-type"] == "text/html; charset=utf-8", answer.body
    reader = _Reader()
    reader.feed(answer.body.decode())
    reader.close()
    assert len(reader.path) == 1, f"<{reader.path[-1].name}> has no end"
    return reader.path[0]


def fields(answer: Answer, action: str) -> Fields:
    """What a browser would send of the page's form to an action, if nothing were typed."""
    found: Fields = {}
    for node in read(answer).one("form", method="post", action=action).walk():
        if node.name == "select":
            options = node.all("option")
            chosen = [option for option in options if "selected" in option.attrs] or options[:1]
            found.setdefault(node.attrs["name"], []).extend(o.attrs.get("value", o.text) for o in chosen)
        elif node.name == "input" and (node.attrs["type"] not in ("radio", "checkbox") if "type" in node.attrs else 1):
            found.setdefault(node.attrs["name"], []).append(node.attrs.get("value", ""))
        elif node.name == "input" and "checked" in node.attrs:
            found.setdefault(node.attrs["name"], []).append(node.attrs["value"])
    return found


def wrong(answer: Answer) -> dict[str, str]:
    """What a page says is wrong, by the id of the field that it is tied to; under `""` what is wrong with no field."""
    page = read(answer)
    told = {node.attrs["id"].removesuffix("-wrong"): node.text for node in page.all("p", "wrong") if "id" in node.attrs}
    tied = [node.attrs["aria-describedby"].split() for node in page.walk() if "aria-invalid" in node.attrs]
    assert sorted(f"{id}-wrong" for id in told) == sorted(ids[0] for ids in tied), "each is tied to its field"
    alerts = [("", alert.text) for alert in page.all(role="alert")]
    return told | dict(alerts)


def notice(answer: Answer) -> str:
    """What the page says first of all was done; `""` for nothing."""
    return " ".join(node.one("p").text for node in read(answer).one("main").all("div", "good") if node.all("p"))


def secrets(answer: Answer) -> list[str]:
    """The secrets that a page shows."""
    return [node.one("code").text for node in read(answer).all("div", "secret")]


def rows(answer: Answer) -> list[list[str]]:
    """The table of a page, without its head: the text of each cell."""
    lines = [row for table in read(answer).all("table") for row in table.one("tbody").all("tr")]
    return [[cell.text for cell in row.inside if isinstance(cell, Node)] for row in lines]


def words(command: str) -> list[str]:
    """The words of a command as a shell reads them, also where it goes on in the next line."""
    return shlex.split(command.replace("\\\n", ""))


@dataclass
class Office:
    """A server, and somebody who has logged in."""

    store: Store
    server: Server
    person: Person

    def site(self, **form: str) -> tuple[str, str]:
        """Add a site of a new id at the pages. Returns where its settings are, and its key."""
        made = self.person.post("/new-site", {"id": f"site-{next(_numbers)}", "timezone": "UTC", **form})
        (key,) = secrets(self.person.follow(made))
        return path_of(made).removesuffix("/start"), key

    def pageview(self, settings: str, key: str, url: str = "https://example.com/", **fields: object) -> Answer:
        return self.server.pageview(key, site_id=settings.split("/")[2], url=url, **fields)

    def event(self, settings: str, key: str, name: str, **fields: object) -> Answer:
        return self.server.custom(key, site_id=settings.split("/")[2], event_name=name, **fields)

    def done(self, path: str, form: Mapping[str, str | list[str]] | None = None) -> Answer:
        """Send a form that is to be taken, and see the page that it leads to."""
        answer = self.person.post(path, form)
        assert answer.status == 303, (answer.status, answer.body)
        page = self.person.follow(answer)
        assert page.status == 200, page.body
        return page


def open_office(store: Store, start: Start, *options: str) -> Office:
    """A server on a store, with a password, and somebody who has logged in."""
    set_password(store)
    office = Office(store, server := start(store, *options), Person(server))
    office.person.log_in()
    return office


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, start: Start) -> Office:
    """An office that the tests of a file share; webhooks may go to loopback."""
    store = Store(tmp_path_factory.mktemp("office") / "data")
    return open_office(store, start, "--webhook-allow-net", "127.0.0.0/8")
