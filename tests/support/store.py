"""A store in this process: new sites, keys, events and write requests, and a clock that stands still."""

import asyncio
import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ovx_lite.auth import api_keys
from ovx_lite.domain.calendar import MINUTE_MS, local_day
from ovx_lite.domain.models import ApiKey, ClientInfo, Event, EventType, PageUrl, Reply, Site, TrafficSource
from ovx_lite.storage import registry
from ovx_lite.storage.ledger.idempotency import IdempotencyKey
from ovx_lite.storage.ledger.journal_drain import drain
from ovx_lite.storage.ledger.ledger import Ledger, WriteRequest, WriteResult, write_group
from ovx_lite.storage.projection.projection import Projection
from ovx_lite.storage.read import events

NOW = 1_763_719_200_000  # 2025-11-21 10:00 UTC
MINUTE = MINUTE_MS
MAX_TIME_MS = 2**42 - 1


class FrozenClock:
    """A clock that stands still until it is set."""

    def __init__(self, now_ms: int = NOW) -> None:
        self.current_ms = now_ms

    def now_ms(self) -> int:
        return self.current_ms

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)


def new_site(
    conn: sqlite3.Connection, slug: str = "my-site", timezone: str = "UTC", retention_days: int | None = None
) -> Site:
    site = Site(0, slug, slug, "example.com", timezone, f"pk_{slug}", "secret", None, retention_days, 0, b"names")
    return registry.add_site(conn, site)


def new_key(conn: sqlite3.Connection, site: Site, hourly_limit: int | None = None) -> str:
    public_id, secret, digest = api_keys.new_key()
    registry.add_api_key(conn, ApiKey(public_id, site.id, "", "enterprise", hourly_limit, digest, 0, None))
    return secret


def new_event(
    path: str = "/",
    timestamp_ms: int = NOW,
    visitor: int | None = 1,
    props: str | None = None,
    name: str = "",
    timezone: str = "UTC",
) -> Event:
    event_type = EventType("ovyxa", "event", name, "") if name else EventType("ovyxa", "pageview", "pageview", "")
    traffic_source = TrafficSource("google.com/", "google", "search", "", "", "", "", "")
    client_info = ClientInfo("Chrome", "Windows", "desktop", "FR")
    day = local_day(timestamp_ms, timezone)
    daily_visitor_id = None if visitor is None else visitor << 20 | day
    return Event(
        timestamp_ms,
        day,
        event_type,
        PageUrl("https", "example.com", path),
        traffic_source,
        client_info,
        visitor,
        daily_visitor_id,
        props=props,
    )


def request(site: Site, *new_events: Event, idempotency_key: IdempotencyKey | None = None) -> WriteRequest:
    return WriteRequest(site.id, list(new_events), lambda ids: Reply(201, json.dumps(ids).encode()), idempotency_key)


class Writer(NamedTuple):
    """What writes to a store over one connection, with its caches."""

    ledger: Ledger
    projection: Projection

    def reset(self) -> None:
        self.ledger.reset()
        self.projection.reset()


def open_writer(conn: sqlite3.Connection, counter: int) -> Writer:
    return Writer(Ledger(conn, counter), Projection(conn))


def store_group(
    conn: sqlite3.Connection,
    writer: Writer,
    group: Sequence[WriteRequest],
    counts: Mapping[tuple[str, int], int],
    now_ms: int,
) -> list[WriteResult]:
    """Write a group of requests, and project its events."""
    results = write_group(conn, writer.ledger, list(map(writer.ledger.prepare, group)), counts, now_ms)
    drain(conn, writer.projection)
    return results


def paths(conn: sqlite3.Connection, site: Site) -> list[str]:
    return [stored.path for stored in events.read(conn, site, 0, MAX_TIME_MS, True)]
