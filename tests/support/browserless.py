"""A user of the web pages, without a browser: the requests, the responses, and the cookies."""

import socket
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlencode, urlsplit
from urllib.request import Request

import httpx2
from selectolax.lexbor import LexborHTMLParser

from tests.conftest import Response, Server, Start, Store

PASSWORD = "correct horse battery"

Tag = tuple[str, dict[str, str]]
"""An element's name and attributes."""


class _CookiePolicy(DefaultCookiePolicy):
    """Sends all cookies. Behind a proxy, the server has another scheme and other paths than its cookies name."""

    def __init__(self) -> None:
        super().__init__(secure_protocols=("http", "https"))

    def path_return_ok(self, path: str, request: Request) -> bool:
        return True


class WebClient:
    """A user of a server's pages. It follows no redirect by itself, and sends the headers that a browser sends.

    A header with the value `""` is left out: `origin=""`. `_` in a name stands for `-`.
    """

    def __init__(self, server: Server, root: str = "") -> None:
        self.server = server
        self.root = root
        self.cookies = {}

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies, by name. Assign to this to replace them all."""
        return dict(self._cookies)

    @cookies.setter
    def cookies(self, cookies: Mapping[str, str]) -> None:
        self._cookies = httpx2.Cookies(CookieJar(_CookiePolicy()))
        for name, value in cookies.items():
            self._cookies.set(name, value, domain="127.0.0.1")

    def get(self, path: str, **headers: str) -> Response:
        """Get a page at a path below the root."""
        return self._send("GET", path, None, headers)

    def post(self, path: str, form: Mapping[str, str | list[str]] | bytes | None = None, **headers: str) -> Response:
        """Send a form, or other bytes. A redirect is not followed."""
        all_headers = {"content_type": "application/x-www-form-urlencoded", "origin": self.server.url, **headers}
        body = form if isinstance(form, bytes) else urlencode(form or {}, doseq=True).encode()
        return self._send("POST", path, body, all_headers)

    def follow(self, response: Response) -> Response:
        """Follow a redirect."""
        assert response.status in (302, 303), (response.status, response.body)
        return self._send("GET", response.headers["location"], None, {}, "")

    def log_in(self, password: str = PASSWORD) -> Response:
        """Log in, and check that it worked."""
        response = self.post("/login", {"password": password})
        assert (response.status, response.headers["location"]) == (303, self.root + "/"), response.body
        return response

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], root: str | None = None
    ) -> Response:
        all_headers = {
            name.replace("_", "-"): value for name, value in {"accept": "text/html", **headers}.items() if value
        }
        full_path = (self.root if root is None else root) + path
        return self.server.send(full_path, body, headers=all_headers, method=method, cookies=self._cookies)


def set_password(store: Store, password: str = PASSWORD) -> None:
    """Set the password of a store's pages with the command."""
    store.call("password", "set", stdin=password + "\n")


def start_behind(start: Start, store: Store, base_url: str, *options: str) -> Server:
    """Start a server with this public URL. Return it with the URL of its port."""
    with socket.create_server(("127.0.0.1", 0)) as free_socket:
        port = str(free_socket.getsockname()[1])
    server = start(store, "--base-url", base_url, "--port", port, *options)
    return Server(server.process, f"http://127.0.0.1:{port}", server.log_path)


def find_tags(response: Response, name: str = "") -> list[Tag]:
    """Return the elements of a page, all or those with a name."""
    nodes = LexborHTMLParser(response.body).css(name or "*")
    return [(node.tag or "", {key: value or "" for key, value in node.attributes.items()}) for node in nodes]


def redirect_path(response: Response) -> str:
    """Return the path of a redirect's target."""
    return urlsplit(response.headers["location"]).path
