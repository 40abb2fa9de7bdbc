"""Sites that receive events of visitors by each API."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ovx_lite.domain.calendar import MINUTE_MS
from ovx_lite.storage.sqlite import open_store
from tests.conftest import CHROME, Server, Start, Store
from tests.support.store import NOW

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
_numbers = count()


class Place:
    """A site of a running server. The name of each event is its minute after `NOW`."""

    def __init__(self, store: Store, server: Server, *options: str) -> None:
        self.store, self.server, self.slug = store, server, f"site-{next(_numbers)}"
        self.headers: dict[str, str] = {}
        store.site(self.slug, "--domain", "example.com", "--hourly-limit", "100000", *options)
        self.key = store.key(self.slug)

    def overcentric(
        self, minute: int, device: str, person: str = "", session: str = "s", **identity_fields: str
    ) -> None:
        common_fields = {"project_id": self.slug, "device_id": device, "session_id": session, "context": "product"}
        body: dict[str, Any] = {"event": common_fields | {"name": f"{minute}", "timestamp": NOW + minute * MINUTE_MS}}
        if person:
            body["identity"] = {"unique_identifier": person, "project_id": self.slug} | identity_fields
        assert self.server.send("/api/v1/event", body, headers=self.headers).status == 200

    def openanalytics(self, minute: int, person: str, type: str = "event", **properties: Any) -> None:
        body: dict[str, Any] = {
            "event_type": type,
            "event_name": f"{minute}",
            "user_id": person,
            "properties": properties,
        }
        body["timestamp"] = NOW + minute * MINUTE_MS
        assert self.server.send(f"/v1/projects/{self.slug}/events", body, self.key).status == 202

    def apex(self, minute: int, device: str = "", person: str = "", session: str = "") -> None:
        timestamp = datetime.fromtimestamp((NOW + minute * MINUTE_MS) / 1000, UTC).isoformat()
        event = {"type": f"{minute}", "url": "/", "timestamp": timestamp}
        identifiers = {"projectKey": self.slug, "visitorId": device, "userId": person, "sessionId": session}
        given_identifiers = {name: value for name, value in identifiers.items() if value}
        body = given_identifiers | (event if device else {"events": [event]})
        assert self.server.send("/api/events", body, headers=self.headers).json == {"received": 1}

    def values_by_event(self, column: str) -> dict[str, str | None]:
        return {event["name"]: event[column] for event in self.store.events(self.slug)}

    def run_person_command(self, command: str, *args: str) -> Any:
        result = self.store.run("person", command, self.slug, *args, "--json")
        assert result.exit_status == 0, result.stderr
        return result.json

    def is_consistent(self) -> bool:
        return bool(self.store.run("check", "--json").json["ok"])


def file_bytes(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.iterdir() if file.is_file())


def browser_headers(address: str = "203.0.113.9", agent: str = CHROME) -> dict[str, str]:
    return {"X-Forwarded-For": address, "User-Agent": agent}


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, start: Start) -> tuple[Store, Server]:
    """Start a server that trusts the X-Forwarded-For of every caller."""
    store = Store(tmp_path_factory.mktemp("proxied") / "data")
    return store, start(store, "--trusted-proxies", "127.0.0.0/8")


@pytest.fixture
def site(proxied: tuple[Store, Server]) -> Place:
    return Place(*proxied, "--timezone", "Europe/Paris")


@pytest.fixture(scope="module")
def conn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path_factory.mktemp("store"))) as connection:
        yield connection
