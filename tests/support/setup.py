"""The setup of a server: from the printed link to a password."""

import re
import sqlite3
import time
from contextlib import closing

from tests.conftest import Response, Server, Store
from tests.support.browserless import PASSWORD, WebClient, find_tags

OTHER_PASSWORD = "something else altogether"
FORM = {"password": PASSWORD, "domain": "example.com", "id": "my-site", "timezone": "Europe/Berlin"}
LINK_PATTERN = re.compile(r"Set up the server with this link, which works once: (\S+)")


def setup_path(server: Server) -> str:
    """Return the path of the setup link that a server has printed."""
    deadline_s = time.monotonic() + 20
    while (match := LINK_PATTERN.search(server.log_path.read_text())) is None:
        assert time.monotonic() < deadline_s, "no link was printed"
        time.sleep(0.01)
    assert match[1].startswith(server.url)
    return match[1].removeprefix(server.url)


def invited_client(server: Server) -> WebClient:
    """Return a client that has opened the setup link."""
    client = WebClient(server)
    response = client.get(setup_path(server))
    assert (response.status, response.headers["location"]) == (303, "/setup"), response.body
    return client


def stop_and_read_log(server: Server) -> str:
    """Stop a server, and return its log."""
    assert server.stop() == 0
    return server.log_path.read_text()


def assert_refused(response: Response) -> None:
    assert response.status == 403
    assert (find_tags(response, "form"), len(find_tags(response, "h1"))) == ([], 1)
    assert "link" in response.body.decode()


def password_hash(store: Store) -> str:
    with closing(sqlite3.connect(store.path / "ovx-lite.sqlite3")) as conn:
        return str(conn.execute("SELECT password_hash FROM admin").fetchone()[0])
