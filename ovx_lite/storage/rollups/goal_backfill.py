"""How often goals were met: on the days before they were added, and this week; and what else is to be counted."""

import sqlite3

import msgspec

from ovx_lite.domain.calendar import local_day, monday
from ovx_lite.domain.goal_patterns import Goals
from ovx_lite.domain.models import Goal, Kind, Page, Site
from ovx_lite.storage import registry
from ovx_lite.storage.read import events
from ovx_lite.storage.read.events import ids_of_day
from ovx_lite.storage.registry_version import announce
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.rollups.rebuild import EVENTS, Count, put, recount
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks import goals

WEEK = 7
"""Days, today being one, that are counted at once when a goal is added; those before follow."""


def is_behind(conn: sqlite3.Connection) -> bool:
    """Whether there are days to count anew, or goals' days to count."""
    query = "SELECT EXISTS (SELECT 1 FROM dirty_days) OR EXISTS (SELECT 1 FROM goals WHERE counted_from_day > 0)"
    return bool(conn.execute(query).fetchone()[0])


def catch_up(conn: sqlite3.Connection, most: int = 1) -> int:
    """Count anew some of the days that are to be, and of the goals' days, the latest first. Returns how many."""
    done = 0
    while done < most and (_recount_stale(conn) or _count_goal(conn)):
        done += 1
    return done


def _recount_stale(conn: sqlite3.Connection) -> bool:
    with transaction(conn):
        query = "SELECT slug, day FROM dirty_days JOIN sites ON sites.id = site_id ORDER BY day DESC LIMIT 1"
        row = conn.execute(query).fetchone()
        if row is not None:
            recount(conn, registry.find_site(conn, row[0]), row[1])
    return row is not None


def _count_goal(conn: sqlite3.Connection) -> bool:
    """Count one more day of a goal that was added after it. Returns whether there was one."""
    with transaction(conn):
        query = """
            SELECT goals.public_id, slug FROM goals JOIN sites ON sites.id = site_id WHERE counted_from_day > 0 LIMIT 1
        """
        row = conn.execute(query).fetchone()
        if row is None:
            return False
        goal, site = goals.find_goal(conn, row[0]), registry.find_site(conn, row[1])
        first = next(iter(events.days(conn, site)), goal.since)
        if first >= goal.since:
            conn.execute("UPDATE goals SET counted_from_day = 0 WHERE public_id = ?", (goal.id,))
            announce(conn)
        else:
            _count_back(conn, goal, site, goal.since - 1)
    return True


def _count_back(conn: sqlite3.Connection, goal: Goal, site: Site, since: int) -> None:
    """Count a goal on the days from `since` to before it is counted. Inside a transaction."""
    for day in range(since, goal.since):
        met = _met(conn, goal, site, day)
        if met is not None:
            put(conn, site.number, day, {(Dimension.GOAL, goal.number): met})
            weekly.add_up(conn, site.number, monday(day))
    conn.execute("UPDATE goals SET counted_from_day = ? WHERE public_id = ?", (since, goal.id))
    announce(conn)


def _met(conn: sqlite3.Connection, goal: Goal, site: Site, day: int) -> tuple[int, int, int, int] | None:
    """How a goal was met on a day: by so many visitors, in so many visits, pageviews and events; None if it was not."""
    count, ready = Count(), Goals([msgspec.structs.replace(goal, since=0)])
    span = (site.number, *ids_of_day(day, site.timezone))
    for visit, visitor, alone, _, _, *words in conn.execute(EVENTS, span):
        kind, page = Kind(*words[:6]), Page(*words[6:])
        if not kind.excluded and not kind.is_engagement and ready.of(kind.type, kind.name, page.path):
            count.pageviews += kind.type == "pageview"
            count.events += 1
            if visit is not None:
                count.add_visit(visit, visitor, alone)
    return count.counts if count.events else None


def add_goal(conn: sqlite3.Connection, goal: Goal, site: Site, now: int) -> None:
    """Add a goal of a site at `now` (Unix ms), unless it was added before, and count what met it this week.

    Raises `Refused` if the site has another of that name.
    """
    tomorrow = local_day(now, site.timezone) + 1
    with transaction(conn):
        # What is told of days ahead (up to a day) is counted as it comes, from here on; what was told before, now.
        last = next(reversed(events.days(conn, site)), tomorrow)
        added = goals.add_goal(conn, msgspec.structs.replace(goal, since=max(tomorrow, last + 1)))
        if added is not None:
            _count_back(conn, added, site, tomorrow - WEEK)


def remove_goal(conn: sqlite3.Connection, id: str) -> None:
    """Remove a goal, and what was counted of it. Raises `Refused` (`not_found`) if there is none."""
    with transaction(conn):
        goal = goals.find_goal(conn, id)
        weekly.forget_value(conn, goal.site, Dimension.GOAL, goal.number)
        conn.execute("DELETE FROM goals WHERE public_id = ?", (id,))
        announce(conn)


def met_this_week(conn: sqlite3.Connection, site: Site, now: int) -> dict[str, int]:
    """How often each goal of a site was met in the 7 days up to today, by its id; without those that were not."""
    today = local_day(now, site.timezone)
    query = """
        SELECT public_id, sum(events) FROM rollups JOIN goals ON goals.id = value_id
        WHERE rollups.site_id = ? AND period_days = 1 AND start_day > ? AND start_day <= ? AND dimension = ?
        GROUP BY public_id
    """
    return dict(conn.execute(query, (site.number, today - WEEK, today, Dimension.GOAL)))
