"""The first visit to a server: from the printed link to a password."""

import re
import sqlite3
import time
from contextlib import closing

from tests.conftest import Answer, Server, Store
from tests.support.browserless import PASSWORD, Person, tags

OTHER = "something else altogether"
FORM = {"password": PASSWORD, "domain": "example.com", "id": "my-site", "timezone": "Europe/Berlin"}
LINK = re.compile(r"Set up the server with this link, which works once: (\S+)")


def link(server: Server) -> str:
    """The path of the link that a server has printed."""
    deadline = time.monotonic() + 20
    while (found := LINK.search(server.log.read_text())) is None:
        assert time.monotonic() < deadline, "no link was printed"
        time.sleep(0.01)
    assert found[1].startswith(server.url)
    return found[1].removeprefix(server.url)


def invited(server: Server) -> Person:
    """Somebody who has opened the link."""
    person = Person(server)
    answer = person.get(link(server))
    assert (answer.status, answer.headers["location"]) == (303, "/setup"), answer.body
    return person


def told_in_the_end(server: Server) -> str:
    """All that a server has said, once it has ended."""
    assert server.stop() == 0
    return server.log.read_text()


def refused(answer: Answer) -> None:
    assert answer.status == 403
    assert (tags(answer, "form"), len(tags(answer, "h1"))) == ([], 1)
    assert "link" in answer.body.decode()


def hash_in(store: Store) -> str:
    with closing(sqlite3.connect(store.path / "ovx-lite.sqlite3")) as conn:
        return str(conn.execute("SELECT password FROM admin").fetchone()[0])
