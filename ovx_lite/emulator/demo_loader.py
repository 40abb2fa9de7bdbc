"""Fills a store with made-up traffic, as if it had come day by day."""

import sqlite3
from collections.abc import Callable

from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.models import Site
from ovx_lite.emulator import demo_traffic
from ovx_lite.emulator.demo_traffic import Shape
from ovx_lite.services import factories
from ovx_lite.storage.rollups import finalize, goal_backfill
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks import goals
from ovx_lite.storage.write import event_writer, sessionizer

_TOGETHER = 2000
_GOALS = {"Sign-up": ("signup", ""), "Purchase": ("purchase", ""), "Reads": ("", "/articles/**")}


def fill(
    conn: sqlite3.Connection,
    site: Site,
    seed: int,
    days: int,
    shape: Shape,
    now: int,
    told: Callable[[int], None] = lambda day: None,
) -> None:
    """Give a site three goals, and so many days of traffic up to `now` (Unix ms): the same for the same seed.

    Goals that it has, it keeps. `told` is called after each day.
    """
    known = {goal.name for goal in goals.goals_of(conn, site.id)}
    for name, (event, path) in _GOALS.items():
        if name in known:
            continue
        goal_backfill.add_goal(conn, factories.goal(site, name, event, path, now), site, now - days * 86_400_000)
    today = local_day(now, site.timezone)
    for day in range(today - days + 1, today + 1):
        _add_day(conn, site, seed, day, shape, now)
        told(day)
    while goal_backfill.is_behind(conn):
        goal_backfill.catch_up(conn)
    while finalize.finalize_next_day(conn, site, now):
        pass


def _add_day(conn: sqlite3.Connection, site: Site, seed: int, day: int, shape: Shape, now: int) -> None:
    books = event_writer.open_event_writer(conn, day % 1000 * 2000)
    sent = [event for event in demo_traffic.day_of_traffic(site, seed, day, shape) if event.timestamp_ms <= now]
    for begin in range(0, len(sent), _TOGETHER):
        with transaction(conn):
            books.begin()
            books.add(site.id, sent[begin : begin + _TOGETHER])
            books.flush()
    with transaction(conn):
        sessionizer.close_open_visits(conn, site.id)
