"""A store in this process: sites, keys, events and requests to fill it with, and a clock that stands still."""

import asyncio
import json
import sqlite3

from ovx_lite.auth import api_keys
from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.models import Client, Event, Key, Kind, Origin, Page, Reply, Site
from ovx_lite.services.group_commit import Request
from ovx_lite.storage import registry
from ovx_lite.storage.idempotency import Repeat
from ovx_lite.storage.read import events

NOW = 1_763_719_200_000  # 2025-11-21 10:00 UTC
MINUTE = 60_000
EVER = 2**42 - 1


class Still:
    """A clock that stands still until it is set."""

    def __init__(self, now: int = NOW) -> None:
        self.ms = now

    def now(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def new_site(conn: sqlite3.Connection, id: str = "my-site", timezone: str = "UTC", days: int | None = None) -> Site:
    new = Site(0, id, id, "example.com", timezone, f"pk_{id}", "secret", None, days, 0, b"names")
    return registry.add_site(conn, new)


def new_key(conn: sqlite3.Connection, site: Site, hourly_limit: int | None = None) -> str:
    id, secret, digest = api_keys.new_key()
    registry.add_key(conn, Key(id, site.number, "", "enterprise", hourly_limit, digest, 0, None))
    return secret


def event(
    path: str = "/",
    ts: int = NOW,
    visitor: int | None = 1,
    props: str | None = None,
    name: str = "",
    timezone: str = "UTC",
) -> Event:
    kind = Kind("ovyxa", "event", name, "") if name else Kind("ovyxa", "pageview", "pageview", "")
    origin = Origin("google.com/", "google", "search", "", "", "", "", "")
    client = Client("Chrome", "Windows", "desktop", "FR")
    day = local_day(ts, timezone)
    guest = None if visitor is None else visitor << 20 | day
    return Event(ts, day, kind, Page("https", "example.com", path), origin, client, visitor, guest, props=props)


def request(site: Site, *sent: Event, repeat: Repeat | None = None) -> Request:
    return Request(site.number, list(sent), lambda ids: Reply(201, json.dumps(ids).encode()), repeat)


def paths(conn: sqlite3.Connection, site: Site) -> list[str]:
    return [found.path for found in events.read(conn, site, 0, EVER, True)]
