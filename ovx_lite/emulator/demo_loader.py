"""Loads generated traffic into a store, as if it had been sent day by day."""

import sqlite3
from collections.abc import Callable

from ovx_lite.domain.calendar import DAY_MS, local_day
from ovx_lite.domain.models import Site
from ovx_lite.emulator import demo_traffic
from ovx_lite.emulator.demo_traffic import Shape
from ovx_lite.services import factories
from ovx_lite.storage import upkeep
from ovx_lite.storage.projection import visits
from ovx_lite.storage.projection.bulk_writer import BulkWriter
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks import goals

_BATCH_SIZE = 2000
_GOALS = {"Sign-up": ("signup", ""), "Purchase": ("purchase", ""), "Reads": ("", "/articles/**")}
"""Event name and path pattern of each goal."""


def load_traffic(
    conn: sqlite3.Connection,
    site: Site,
    seed: int,
    days: int,
    shape: Shape,
    now_ms: int,
    on_day_loaded: Callable[[int], None] = lambda day: None,
) -> None:
    """Add three goals to a site, and traffic for a number of days up to now. The same seed gives the same traffic.

    Goals with these names that exist already stay as they are.
    """
    goal_names = {goal.name for goal in goals.goals_of(conn, site.id)}
    for name, (event, path) in _GOALS.items():
        if name not in goal_names:
            goal = factories.goal(site, name, event, path, now_ms)
            upkeep.add_goal(conn, goal, site, now_ms - days * DAY_MS)
    today = local_day(now_ms, site.timezone)
    for day in range(today - days + 1, today + 1):
        _load_day(conn, site, seed, day, shape, now_ms)
        on_day_loaded(day)
    while upkeep.is_behind(conn):
        upkeep.catch_up(conn)
    while upkeep.finalize_next_day(conn, site, now_ms):
        pass


def _load_day(conn: sqlite3.Connection, site: Site, seed: int, day: int, shape: Shape, now_ms: int) -> None:
    writer = BulkWriter(conn, day % 1000 * 2000)
    events = [event for event in demo_traffic.generate_day(site, seed, day, shape) if event.timestamp_ms <= now_ms]
    for first in range(0, len(events), _BATCH_SIZE):
        with transaction(conn):
            writer.begin()
            writer.add(site.id, events[first : first + _BATCH_SIZE])
    with transaction(conn):
        visits.close_open_visits(conn, site.id)
