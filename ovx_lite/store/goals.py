"""Goals as they are set up, and how often each was met on which day.

Days are counted in the transaction that stores the events; those before a goal was added are counted when it is.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping

from ovx_lite.days import day_begins, local_day
from ovx_lite.errors import Refused
from ovx_lite.goals import Goals
from ovx_lite.model import COUNTER_BITS, Event, Goal, Site
from ovx_lite.store.db import insert, transaction
from ovx_lite.store.registry import announce

WEEK = 7
"""Days, today being one, that are counted anew when a goal is added."""

_GOAL = "id, site, name, event, path, created"
_KINDS_AND_PAGES = """
SELECT type, name, path, times
FROM (SELECT kind, page, count(*) AS times FROM events WHERE site = ? AND id >= ? AND id < ? GROUP BY kind, page)
JOIN kinds ON kinds.id = kind JOIN pages ON pages.id = page
WHERE excluded = ''
"""


def add_goal(conn: sqlite3.Connection, goal: Goal, site: Site, now: int) -> None:
    """Add a goal of a site at `now` (Unix ms), unless it was added before.

    Raises `Refused` if the site has another of that name.
    """
    with transaction(conn):
        if conn.execute("SELECT 1 FROM goals WHERE id = ?", (goal.id,)).fetchone():
            return
        if any(other.name == goal.name for other in goals_of(conn, goal.site)):
            raise Refused("invalid_request", f"There is a goal {goal.name} already: choose another name.", "name")
        row = (goal.id, goal.site, goal.name, goal.event, goal.path, goal.created)
        conn.execute(f"INSERT INTO goals ({_GOAL}) VALUES (?, ?, ?, ?, ?, ?)", row)
        count(conn, _met_before(conn, goal, site, now))
        announce(conn)


def goals_of(conn: sqlite3.Connection, site: int) -> list[Goal]:
    """A site's goals, oldest first."""
    rows = conn.execute(f"SELECT {_GOAL} FROM goals WHERE site = ? ORDER BY created, id", (site,))
    return [Goal(*row) for row in rows]


def remove_goal(conn: sqlite3.Connection, id: str) -> None:
    """Remove a goal. Raises `Refused` (`not_found`) if there is none."""
    with transaction(conn):
        if conn.execute("DELETE FROM goals WHERE id = ?", (id,)).rowcount == 0:
            raise Refused("not_found", f"There is no goal {id}: see ovx-lite goal list SITE for the ids.")
        announce(conn)


def days_of(met: Iterable[tuple[Goal, Event]], timezone: str) -> Counter[tuple[str, int]]:
    """How often goals, by their ids, were met on the days of a site's time zone."""
    return Counter((goal.id, local_day(event.ts, timezone)) for goal, event in met)


def count(conn: sqlite3.Connection, met: Mapping[tuple[str, int], int]) -> None:
    """Count how often goals were met, as `days_of` has it. Inside the transaction that stores the events."""
    rows = [(*goal_and_day, times) for goal_and_day, times in met.items()]
    more = "ON CONFLICT (goal, day) DO UPDATE SET times = times + excluded.times"
    insert(conn, "INSERT INTO goal_days (goal, day, times)", rows, more)


def _met_before(conn: sqlite3.Connection, goal: Goal, site: Site, now: int) -> Counter[tuple[str, int]]:
    """How often events of this week, stored before a goal was added, met it."""
    goals, today, met = Goals([goal]), local_day(now, site.timezone), Counter[tuple[str, int]]()
    for day in range(today - WEEK + 1, today + 1):
        begin, end = day_begins(day, site.timezone), day_begins(day + 1, site.timezone)
        rows = conn.execute(_KINDS_AND_PAGES, (site.number, begin << COUNTER_BITS, end << COUNTER_BITS))
        for type, name, path, times in rows:
            if goals.of(type, name, path):
                met[goal.id, day] += times
    return met


def met_this_week(conn: sqlite3.Connection, site: Site, now: int) -> dict[str, int]:
    """How often each goal of a site was met in the 7 days up to today, by its id; without those that were not."""
    query = """
        SELECT goal, sum(times) FROM goal_days JOIN goals ON goals.id = goal
        WHERE site = ? AND day > ? AND day <= ? GROUP BY goal
    """
    today = local_day(now, site.timezone)
    return dict(conn.execute(query, (site.number, today - WEEK, today)))
