"""Fills a store with a year of made-up traffic, as if it had come day by day."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from ovx_lite import demo, new
from ovx_lite.days import local_day
from ovx_lite.demo import Shape
from ovx_lite.model import Site
from ovx_lite.store import goal_counts, log, registry, settling, visits
from ovx_lite.store.db import open_store, transaction

SITE = "bench"
_TOGETHER = 2000


def fill(folder: Path, now: int, days: int, shape: Shape, told: Callable[[int], None] = lambda day: None) -> Site:
    """Fill a new store with so many days up to `now` (Unix ms), of a site with three goals. Returns the site.

    `told` is called after each day.
    """
    conn = open_store(folder)
    try:
        site = registry.add_site(conn, new.site(SITE, "Europe/Paris", now))
        wanted = {"Sign-up": ("signup", ""), "Purchase": ("purchase", ""), "Reads": ("", "/articles/**")}
        for name, (event, path) in wanted.items():
            goal_counts.add_goal(conn, new.goal(site, name, event, path, now), site, now - days * 86_400_000)
        today = local_day(now, site.timezone)
        for day in range(today - days + 1, today + 1):
            _add_day(conn, site, day, shape, now)
            told(day)
        while goal_counts.is_behind(conn):
            goal_counts.catch_up(conn)
        while settling.settle(conn, site, now):
            pass
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        conn.close()
    return site


def _add_day(conn: sqlite3.Connection, site: Site, day: int, shape: Shape, now: int) -> None:
    books = log.open_log(conn, day % 1000 * 2000)
    sent = [event for event in demo.day_of_traffic(site, 7, day, shape) if event.ts <= now]
    conn.execute("PRAGMA synchronous = OFF")  # it is thrown away in the end
    for begin in range(0, len(sent), _TOGETHER):
        with transaction(conn):
            books.begin()
            books.add(site.number, sent[begin : begin + _TOGETHER])
            books.flush()
    with transaction(conn):
        visits.close(conn, site.number)
