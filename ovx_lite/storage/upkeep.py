"""`EventUpkeep` over SQLite, as a module of functions: what their subjects' modules do."""

import sqlite3

from ovx_lite.storage.integrity import problems
from ovx_lite.storage.read import events, persons
from ovx_lite.storage.read.events import delete_day as forget_day
from ovx_lite.storage.read.persons import erase as erase_person
from ovx_lite.storage.rollups.finalize import finalize_next_day, sites_to_finalize
from ovx_lite.storage.rollups.goal_backfill import add_goal, catch_up, is_behind, remove_goal
from ovx_lite.storage.rollups.rebuild import mark_all_dirty

__all__ = [
    "add_goal",
    "catch_up",
    "erase_person",
    "finalize_next_day",
    "forget_day",
    "forget_site",
    "is_behind",
    "mark_all_dirty",
    "problems",
    "remove_goal",
    "sites_to_finalize",
]


def forget_site(conn: sqlite3.Connection, site_id: int) -> int:
    """Delete a site's events, visits, persons and counts. Return the number of events. Call it in a transaction."""
    persons.delete_all(conn, site_id)
    return events.delete_all(conn, site_id)
