"""The goals of sites."""

import sqlite3

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Goal
from ovx_lite.storage.registry_version import announce

_GOAL_COLUMNS = "public_id, site_id, name, event_name, path_pattern, created_at, id, counted_from_day"


def add_goal(conn: sqlite3.Connection, goal: Goal) -> Goal | None:
    """Add a goal and return it with the `id` that the store assigns; `None` if the store has it already.

    Raises `ApiError` (`invalid_request`) if the site has another goal with this name. Call this inside a transaction.
    """
    if conn.execute("SELECT 1 FROM goals WHERE public_id = ?", (goal.public_id,)).fetchone():
        return None
    if any(other.name == goal.name for other in goals_of(conn, goal.site_id)):
        raise ApiError("invalid_request", f"The goal {goal.name} already exists: choose another name.", "name")
    row = (
        goal.public_id,
        goal.site_id,
        goal.name,
        goal.event_name,
        goal.path_pattern,
        goal.created_at_ms,
        goal.counted_from_day,
    )
    query = """
        INSERT INTO goals (public_id, site_id, name, event_name, path_pattern, created_at, counted_from_day)
        VALUES (?, ?, ?, ?, ?, ?, ?)
    """
    conn.execute(query, row)
    announce(conn)
    return find_goal(conn, goal.public_id)


def goals_of(conn: sqlite3.Connection, site_id: int) -> list[Goal]:
    """Return a site's goals, oldest first."""
    rows = conn.execute(
        f"SELECT {_GOAL_COLUMNS} FROM goals WHERE site_id = ? ORDER BY created_at, public_id", (site_id,)
    )
    return [Goal(*row) for row in rows]


def find_goal(conn: sqlite3.Connection, public_id: str) -> Goal:
    """Return the goal with this public ID. Raises `ApiError` (`not_found`) if there is none."""
    row = conn.execute(f"SELECT {_GOAL_COLUMNS} FROM goals WHERE public_id = ?", (public_id,)).fetchone()
    if row is None:
        raise ApiError("not_found", f"There is no goal {public_id}: ovx-lite goal list SITE shows the IDs.")
    return Goal(*row)
