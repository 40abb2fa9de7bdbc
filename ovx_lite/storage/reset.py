"""Resets a store to its initial state, for the emulator: data is deleted; sites and keys stay."""

import sqlite3
from collections.abc import Collection
from typing import NamedTuple

import msgspec

from ovx_lite.storage.registry_version import announce
from ovx_lite.storage.sqlite import transaction

_TOLD = (
    *("events", "visits", "open_visits", "persons", "identity_links", "salts"),
    *("daily_totals", "daily_revenue", "rollups", "finalized", "dirty_days"),
    *("idempotent_responses", "rate_limit_counters", "monthly_usage", "fired_alerts"),
    *("attempts", "deliveries", "annotations"),
)


class Kept(NamedTuple):
    """The ids of the goals and webhooks that `reset` does not delete."""

    goals: frozenset[str]
    webhooks: frozenset[str]


def kept(conn: sqlite3.Connection) -> Kept:
    """Return the goals and webhooks of the store."""
    goals, webhooks = (conn.execute(f"SELECT public_id FROM {table}") for table in ("goals", "webhooks"))
    return Kept(frozenset(id for (id,) in goals), frozenset(id for (id,) in webhooks))


def reset(conn: sqlite3.Connection, start: Kept) -> None:
    """Delete all data, and the goals and webhooks that are not in `start`."""
    with transaction(conn):
        for table in _TOLD:
            if conn.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():
                conn.execute(f"DELETE FROM {table}")
        if _remove(conn, "goals", start.goals) + _remove(conn, "webhooks", start.webhooks):
            announce(conn)


def _remove(conn: sqlite3.Connection, table: str, but: Collection[str]) -> int:
    told = msgspec.json.encode(list(but)).decode()
    query = f"DELETE FROM {table} WHERE public_id NOT IN (SELECT value FROM json_each(?))"
    return conn.execute(query, (told,)).rowcount
