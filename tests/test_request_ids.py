"""Each response and its log lines have the id of the request."""

import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ovx_lite.storage.sqlite import STORE_FILE
from tests.conftest import RunningSite, Start, Store


@pytest.mark.parametrize("path", ["/api/v1/events/custom", "/api/v1/event", "/login", "/nowhere", "/healthz"])
def test_each_response_has_its_own_id(running: RunningSite, path: str) -> None:
    responses = [running.server.send(path, {}, method=method) for method in ("GET", "POST", "GET")]
    assert len({response.headers["x-request-id"] for response in responses}) == 3


@pytest.mark.parametrize("path", ["/api/v1/events/custom", "/login"])
def test_a_caller_may_choose_a_valid_id(running: RunningSite, path: str) -> None:
    def returned_id(id: str) -> str:
        return running.server.send(path, {}, headers={"X-Request-Id": id}).headers["x-request-id"]

    assert returned_id("trace:5f/a.b-C_7=+@") == "trace:5f/a.b-C_7=+@"
    for invalid_id in ("", "two words", "x" * 65, "<b>", 'a"b', "\xe9", "a\tb"):
        assert returned_id(invalid_id) != invalid_id


def test_a_response_to_invalid_http_has_an_id(running: RunningSite) -> None:
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=10) as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert b"\r\nx-request-id: " in client.recv(1000).lower()


def test_log_lines_of_a_request_contain_its_id(store: Store, start: Start, tmp_path: Path) -> None:
    plain, as_json = start(store), start(Store(tmp_path / "other"), "--log-format", "json")
    for server, path in ((plain, store.path), (as_json, tmp_path / "other")):
        with closing(sqlite3.connect(path / STORE_FILE)) as conn:
            conn.execute("DROP TABLE shared_links")  # to cause an internal error
        response = server.send("/share/any", method="GET", headers={"X-Request-Id": "mine"})
        assert (response.status, response.headers["x-request-id"]) == (503, "mine")
    assert "no such table: shared_links (request mine)\n" in plain.log_path.read_text()
    lines = [json.loads(line) for line in as_json.log_path.read_text().splitlines()]
    assert [line["level"] for line in lines] == ["INFO", "INFO", "ERROR"], "the URL, the setup link, and the error"
    assert lines[2]["request"] == "mine"
