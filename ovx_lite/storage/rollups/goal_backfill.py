"""Goals in the rollups: adding and removing them, and counting them on days before they were added.

`catch_up` does the remaining work one day at a time. It also rebuilds the days that are marked as dirty.
"""

import sqlite3

import msgspec

from ovx_lite.domain.calendar import local_day, monday
from ovx_lite.domain.goal_patterns import GoalMatcher
from ovx_lite.domain.models import EventType, Goal, PageUrl, Site
from ovx_lite.storage import registry
from ovx_lite.storage.read import events
from ovx_lite.storage.read.events import ids_of_day
from ovx_lite.storage.registry_version import announce
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.rollups.rebuild import EVENTS, DistinctCounts, insert_rollups, rebuild_day
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks import goals

BACKFILL_DAYS = 7
"""How many days, including today, are counted when a goal is added: the page Goals shows them. `catch_up` counts the
earlier ones."""


def is_behind(conn: sqlite3.Connection) -> bool:
    """Return whether `catch_up` has anything to do."""
    query = "SELECT EXISTS (SELECT 1 FROM dirty_days) OR EXISTS (SELECT 1 FROM goals WHERE counted_from_day > 0)"
    return bool(conn.execute(query).fetchone()[0])


def catch_up(conn: sqlite3.Connection, limit: int = 1) -> int:
    """Rebuild up to `limit` dirty days or earlier days of goals, latest first. Return how many there were."""
    done = 0
    while done < limit and (_rebuild_dirty_day(conn) or _backfill_goal_day(conn)):
        done += 1
    return done


def _rebuild_dirty_day(conn: sqlite3.Connection) -> bool:
    with transaction(conn):
        query = "SELECT slug, day FROM dirty_days JOIN sites ON sites.id = site_id ORDER BY day DESC LIMIT 1"
        row = conn.execute(query).fetchone()
        if row is not None:
            rebuild_day(conn, registry.find_site(conn, row[0]), row[1])
    return row is not None


def _backfill_goal_day(conn: sqlite3.Connection) -> bool:
    """Count a goal on one more day before it was added. Return whether any goal had such a day left."""
    with transaction(conn):
        query = """
            SELECT goals.public_id, slug FROM goals JOIN sites ON sites.id = site_id WHERE counted_from_day > 0 LIMIT 1
        """
        row = conn.execute(query).fetchone()
        if row is None:
            return False
        goal, site = goals.find_goal(conn, row[0]), registry.find_site(conn, row[1])
        first_day = next(iter(events.days(conn, site)), goal.counted_from_day)
        if first_day >= goal.counted_from_day:
            conn.execute("UPDATE goals SET counted_from_day = 0 WHERE public_id = ?", (goal.public_id,))
            announce(conn)
        else:
            _backfill_goal(conn, goal, site, goal.counted_from_day - 1)
    return True


def _backfill_goal(conn: sqlite3.Connection, goal: Goal, site: Site, first_day: int) -> None:
    """Count a goal from `first_day` to the day before those that have it already. Call it inside a transaction."""
    for day in range(first_day, goal.counted_from_day):
        counts = _count_goal_day(conn, goal, site, day)
        if counts is not None:
            insert_rollups(conn, site.id, day, {(Dimension.GOAL, goal.id): counts})
            weekly.sum_week(conn, site.id, monday(day))
    conn.execute("UPDATE goals SET counted_from_day = ? WHERE public_id = ?", (first_day, goal.public_id))
    announce(conn)


def _count_goal_day(conn: sqlite3.Connection, goal: Goal, site: Site, day: int) -> tuple[int, int, int, int] | None:
    """Return a goal's visitors, visits, pageviews and events of a day, or None if it was not reached."""
    distinct_counts, goal_matcher = DistinctCounts(), GoalMatcher([msgspec.structs.replace(goal, counted_from_day=0)])
    day_params = (site.id, *ids_of_day(day, site.timezone))
    for visit_id, visitor_id, is_only_visit, _, _, *values in conn.execute(EVENTS, day_params):
        event_type, page = EventType(*values[:6]), PageUrl(*values[6:])
        if (
            not event_type.excluded
            and not event_type.is_engagement
            and goal_matcher.match(event_type.type, event_type.name, page.path)
        ):
            distinct_counts.pageviews += event_type.type == "pageview"
            distinct_counts.events += 1
            if visit_id is not None:
                distinct_counts.add_visit(visit_id, visitor_id, is_only_visit)
    return distinct_counts.counts if distinct_counts.events else None


def add_goal(conn: sqlite3.Connection, goal: Goal, site: Site, now_ms: int) -> None:
    """Add a goal to a site at `now_ms`, unless it exists, and count it on the last `BACKFILL_DAYS` days.

    Raises `ApiError` if the site has another goal of that name.
    """
    tomorrow = local_day(now_ms, site.timezone) + 1
    with transaction(conn):
        # An event may be up to a day in the future. If one is stored already, the goal is counted on its day now. From
        # the day after that on, events are counted as they arrive.
        last_day = next(reversed(events.days(conn, site)), tomorrow)
        added = goals.add_goal(conn, msgspec.structs.replace(goal, counted_from_day=max(tomorrow, last_day + 1)))
        if added is not None:
            _backfill_goal(conn, added, site, tomorrow - BACKFILL_DAYS)


def remove_goal(conn: sqlite3.Connection, public_id: str) -> None:
    """Remove a goal and its counts. Raises `ApiError` (`not_found`) if there is no such goal."""
    with transaction(conn):
        goal = goals.find_goal(conn, public_id)
        weekly.delete_value(conn, goal.site_id, Dimension.GOAL, goal.id)
        conn.execute("DELETE FROM goals WHERE public_id = ?", (public_id,))
        announce(conn)
