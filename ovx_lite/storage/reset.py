"""Resets a store to its initial state, for the emulator. It deletes the data and keeps sites and API keys."""

import sqlite3
from collections.abc import Collection
from typing import NamedTuple

import msgspec

from ovx_lite.storage.registry_version import announce
from ovx_lite.storage.sqlite import transaction

_TABLES_TO_CLEAR = (
    *("event_journal", "events", "event_revenue", "imported_lines", "visits", "open_visits"),
    *("persons", "identity_links", "salts"),
    *("daily_totals", "daily_revenue", "rollups", "finalized", "dirty_days"),
    *("idempotent_responses", "rate_limit_counters", "monthly_usage", "fired_alerts"),
    *("attempts", "deliveries", "annotations"),
)


class Baseline(NamedTuple):
    """The public IDs of the goals and webhooks that `reset` keeps."""

    goals: frozenset[str]
    webhooks: frozenset[str]


def read_baseline(conn: sqlite3.Connection) -> Baseline:
    """Return the goals and webhooks that the store has now."""
    goals, webhooks = (conn.execute(f"SELECT public_id FROM {table}") for table in ("goals", "webhooks"))
    return Baseline(frozenset(public_id for (public_id,) in goals), frozenset(public_id for (public_id,) in webhooks))


def reset(conn: sqlite3.Connection, baseline: Baseline) -> None:
    """Delete all data, and all goals and webhooks that are not in `baseline`."""
    with transaction(conn):
        for table in _TABLES_TO_CLEAR:
            if conn.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():
                conn.execute(f"DELETE FROM {table}")
        if _delete_except(conn, "goals", baseline.goals) + _delete_except(conn, "webhooks", baseline.webhooks):
            announce(conn)


def _delete_except(conn: sqlite3.Connection, table: str, public_ids: Collection[str]) -> int:
    ids_json = msgspec.json.encode(list(public_ids)).decode()
    query = f"DELETE FROM {table} WHERE public_id NOT IN (SELECT value FROM json_each(?))"
    return conn.execute(query, (ids_json,)).rowcount
