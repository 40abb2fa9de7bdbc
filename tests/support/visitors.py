"""Who sends events, by each API."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ovx_lite.storage.sqlite import open_store
from tests.conftest import CHROME, Server, Start, Store
from tests.support.store import MINUTE, NOW

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
_numbers = count()


class Place:
    """A site of a running server, told of events; each is named for the minute (after `NOW`) at which it was."""

    def __init__(self, store: Store, server: Server, *options: str) -> None:
        self.store, self.server, self.id = store, server, f"site-{next(_numbers)}"
        self.headers: dict[str, str] = {}
        store.site(self.id, "--domain", "example.com", "--hourly-limit", "100000", *options)
        self.key = store.key(self.id)

    def overcentric(self, minute: int, device: str, person: str = "", session: str = "s", **told: str) -> None:
        named = {"project_id": self.id, "device_id": device, "session_id": session, "context": "product"}
        sent: dict[str, Any] = {"event": named | {"name": f"{minute}", "timestamp": NOW + minute * MINUTE}}
        if person:
            sent["identity"] = {"unique_identifier": person, "project_id": self.id} | told
        assert self.server.send("/api/v1/event", sent, headers=self.headers).status == 200

    def openanalytics(self, minute: int, person: str, type: str = "event", **properties: Any) -> None:
        sent: dict[str, Any] = {
            "event_type": type,
            "event_name": f"{minute}",
            "user_id": person,
            "properties": properties,
        }
        sent["timestamp"] = NOW + minute * MINUTE
        assert self.server.send(f"/v1/projects/{self.id}/events", sent, self.key).status == 202

    def apex(self, minute: int, device: str = "", person: str = "", session: str = "") -> None:
        at = datetime.fromtimestamp((NOW + minute * MINUTE) / 1000, UTC).isoformat()
        event = {"type": f"{minute}", "url": "/", "timestamp": at}
        words = {"projectKey": self.id, "visitorId": device, "userId": person, "sessionId": session}
        named = {name: value for name, value in words.items() if value}
        sent = named | (event if device else {"events": [event]})
        assert self.server.send("/api/events", sent, headers=self.headers).json == {"received": 1}

    def told(self, column: str) -> dict[str, str | None]:
        return {one["name"]: one[column] for one in self.store.events(self.id)}

    def person(self, command: str, *words: str) -> Any:
        ran = self.store.run("person", command, self.id, *words, "--json")
        assert ran.status == 0, ran.err
        return ran.json

    def whole(self) -> bool:
        return bool(self.store.run("check", "--json").json["ok"])


def raw(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


def browser(address: str = "203.0.113.9", agent: str = CHROME) -> dict[str, str]:
    return {"X-Forwarded-For": address, "User-Agent": agent}


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, start: Start) -> tuple[Store, Server]:
    """A server that believes everybody's X-Forwarded-For."""
    store = Store(tmp_path_factory.mktemp("proxied") / "data")
    return store, start(store, "--trusted-proxies", "127.0.0.0/8")


@pytest.fixture
def place(proxied: tuple[Store, Server]) -> Place:
    return Place(*proxied, "--timezone", "Europe/Paris")


@pytest.fixture(scope="module")
def conn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path_factory.mktemp("store"))) as opened:
        yield opened
