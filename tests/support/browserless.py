"""Somebody at the pages, without a browser: what they are sent, what they send, and the cookies that they keep."""

import socket
from collections.abc import Mapping
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urlsplit

from tests.conftest import Answer, Server, Start, Store

PASSWORD = "correct horse battery"

Tag = tuple[str, dict[str, str]]
"""An element's name and attributes."""


class Person:
    """Somebody at a server's pages. They follow no redirect by themselves, and send what a browser's window sends.

    Give a header the value `""` to leave it out: `origin=""`. A name's `_` stands for `-`.
    """

    def __init__(self, server: Server, root: str = "") -> None:
        self.server = server
        self.root = root
        self.cookies: dict[str, str] = {}

    def get(self, path: str, **headers: str) -> Answer:
        """Ask for a page, at a path below the root."""
        return self._send("GET", path, None, headers)

    def post(self, path: str, form: Mapping[str, str | list[str]] | bytes | None = None, **headers: str) -> Answer:
        """Send a form, or any other bytes; where that leads to is not followed."""
        sent = {"content_type": "application/x-www-form-urlencoded", "origin": self.server.url, **headers}
        body = form if isinstance(form, bytes) else urlencode(form or {}, doseq=True).encode()
        return self._send("POST", path, body, sent)

    def follow(self, answer: Answer) -> Answer:
        """Go where a redirect leads."""
        assert answer.status in (302, 303), (answer.status, answer.body)
        return self._send("GET", answer.headers["location"], None, {}, "")

    def log_in(self, password: str = PASSWORD) -> Answer:
        """Log in, and be in."""
        answer = self.post("/login", {"password": password})
        assert (answer.status, answer.headers["location"]) == (303, self.root + "/"), answer.body
        return answer

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], root: str | None = None
    ) -> Answer:
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        told = {
            name.replace("_", "-"): value for name, value in {"accept": "text/html", "cookie": kept, **headers}.items()
        }
        url = (self.root if root is None else root) + path
        answer = self.server.send(url, body, headers={k: v for k, v in told.items() if v}, method=method)
        for name, morsel in SimpleCookie(answer.headers.get("set-cookie", "")).items():
            self.cookies[name] = morsel.value
            if "1970" in morsel["expires"]:
                del self.cookies[name]
        return answer


def set_password(store: Store, password: str = PASSWORD) -> None:
    """Choose the password of a store's pages, at the command line."""
    store.call("password", "set", stdin=password + "\n")


def start_at(start: Start, store: Store, base_url: str, *options: str) -> Server:
    """Start a server that the world knows by this URL, and we by its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    server = start(store, "--base-url", base_url, "--port", port, *options)
    return Server(server.process, f"http://127.0.0.1:{port}", server.log)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tag] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def tags(answer: Answer, name: str = "") -> list[Tag]:
    """The elements of a page; or those of a name."""
    parser = _Tags()
    parser.feed(answer.body.decode())
    return [found for found in parser.found if name in ("", found[0])]


def path_of(answer: Answer) -> str:
    """The path that a redirect leads to."""
    return urlsplit(answer.headers["location"]).path
