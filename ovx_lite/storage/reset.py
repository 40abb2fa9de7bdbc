"""Back to the start, for the stand-in: whatever was told is gone; sites and keys stay."""

import sqlite3
from collections.abc import Collection
from typing import NamedTuple

import msgspec

from ovx_lite.storage.registry_version import announce
from ovx_lite.storage.sqlite import transaction

_TABLES_TO_CLEAR = (
    *("events", "visits", "open_visits", "days", "takings", "rollups", "settled", "stale", "persons", "ties", "salts"),
    *("answers", "usage", "months", "marks", "attempts", "deliveries", "annotations"),
)


class Baseline(NamedTuple):
    """The ids of the goals and webhooks that were there at the start."""

    goals: frozenset[str]
    webhooks: frozenset[str]


def read_baseline(conn: sqlite3.Connection) -> Baseline:
    """What is there now."""
    goals, webhooks = (conn.execute(f"SELECT id FROM {table}") for table in ("goals", "webhooks"))
    return Baseline(frozenset(public_id for (public_id,) in goals), frozenset(public_id for (public_id,) in webhooks))


def reset(conn: sqlite3.Connection, baseline: Baseline) -> None:
    """Delete what was told since the start, and the goals and webhooks that were added."""
    with transaction(conn):
        for table in _TABLES_TO_CLEAR:
            if conn.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():
                conn.execute(f"DELETE FROM {table}")
        if _delete_except(conn, "goals", baseline.goals) + _delete_except(conn, "webhooks", baseline.webhooks):
            announce(conn)


def _delete_except(conn: sqlite3.Connection, table: str, public_ids: Collection[str]) -> int:
    ids_json = msgspec.json.encode(list(public_ids)).decode()
    return conn.execute(f"DELETE FROM {table} WHERE id NOT IN (SELECT value FROM json_each(?))", (ids_json,)).rowcount
