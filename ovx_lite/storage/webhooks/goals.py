"""Goals as they are set up."""

import sqlite3

from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Goal
from ovx_lite.storage.registry_version import announce

_GOAL = "public_id, site_id, name, event_name, path_pattern, created_at, id, counted_from_day"


def add_goal(conn: sqlite3.Connection, goal: Goal) -> Goal | None:
    """Add a goal of a site; its `number` is given by the store. Returns None if it was added before.

    Raises `Refused` if the site has another of that name. Inside a transaction.
    """
    if conn.execute("SELECT 1 FROM goals WHERE public_id = ?", (goal.id,)).fetchone():
        return None
    if any(other.name == goal.name for other in goals_of(conn, goal.site)):
        raise Refused("invalid_request", f"There is a goal {goal.name} already: choose another name.", "name")
    row = (goal.id, goal.site, goal.name, goal.event, goal.path, goal.created, goal.since)
    query = """
        INSERT INTO goals (public_id, site_id, name, event_name, path_pattern, created_at, counted_from_day)
        VALUES (?, ?, ?, ?, ?, ?, ?)
    """
    conn.execute(query, row)
    announce(conn)
    return find_goal(conn, goal.id)


def goals_of(conn: sqlite3.Connection, site: int) -> list[Goal]:
    """A site's goals, oldest first."""
    rows = conn.execute(f"SELECT {_GOAL} FROM goals WHERE site_id = ? ORDER BY created_at, public_id", (site,))
    return [Goal(*row) for row in rows]


def find_goal(conn: sqlite3.Connection, id: str) -> Goal:
    """The goal of that id; raises `Refused` (`not_found`) if there is none."""
    row = conn.execute(f"SELECT {_GOAL} FROM goals WHERE public_id = ?", (id,)).fetchone()
    if row is None:
        raise Refused("not_found", f"There is no goal {id}: see ovx-lite goal list SITE for the ids.")
    return Goal(*row)
