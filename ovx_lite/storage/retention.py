"""Decides whether the clock is plausible enough to delete events by their age.

If the clock jumps ahead, every event looks old. So retention goes on hold when the clock is more than a day before or
after the last run. On hold it deletes nothing until somebody confirms the clock, or the clock is plausible again. Newer
events do not prove that the clock is right, because a wrong clock gives them wrong times. A site without new events is
no reason for a hold.
"""

import sqlite3
from typing import NamedTuple

from ovx_lite.domain.calendar import HOUR_MS, format_utc, local_day
from ovx_lite.domain.models import Site
from ovx_lite.storage import registry
from ovx_lite.storage.read import events
from ovx_lite.storage.sqlite import transaction

MAX_DIFFERENCE_MS = 26 * HOUR_MS
"""How far the clock may be from the last run: a day, and two hours in case a daily cron job runs late (summer time)."""


class Hold(NamedTuple):
    """A hold: the time of the clock, and the time of the last run of retention (Unix ms)."""

    now_ms: int
    last_run_ms: int

    @property
    def message(self) -> str:
        """Explain the hold, and how to confirm the clock."""
        now_text, last_run_text = (f"{format_utc(ms)[:16].replace('T', ' ')} UTC" for ms in self)
        return (
            f"Retention is on hold and deletes nothing: the clock says {now_text}, "
            f"but the last run was on {last_run_text}. "
            "If the clock is right, run: ovx-lite prune --yes"
        )


def find_hold(conn: sqlite3.Connection, now_ms: int) -> Hold | None:
    """Return the hold; `None` if the clock is plausible, or if no event is past its retention."""
    last_run_ms = _last_run_ms(conn) or now_ms
    if abs(now_ms - last_run_ms) <= MAX_DIFFERENCE_MS:
        return None
    is_any_due = any(find_due_day(conn, site, now_ms) is not None for site in registry.all_sites(conn))
    return Hold(now_ms, last_run_ms) if is_any_due else None


def begin_run(conn: sqlite3.Connection, now_ms: int) -> Hold | None:
    """Record a run of retention if the clock is plausible. Otherwise return the hold, as `find_hold` does."""
    with transaction(conn):
        if abs(now_ms - (_last_run_ms(conn) or now_ms)) <= MAX_DIFFERENCE_MS:
            _save_last_run(conn, now_ms)
    return find_hold(conn, now_ms)


def confirm(conn: sqlite3.Connection, now_ms: int) -> None:
    """Confirm that the clock is right, so that retention deletes again."""
    with transaction(conn):
        _save_last_run(conn, now_ms)


def find_due_day(conn: sqlite3.Connection, site: Site, now_ms: int) -> int | None:
    """Return the oldest day of a site that has events, if it is past the site's retention; else None."""
    if site.retention_days is None:
        return None
    oldest_ms = events.oldest_event_ms(conn, site.id)
    if oldest_ms is None:
        return None
    oldest_day = local_day(oldest_ms, site.timezone)
    return oldest_day if oldest_day < local_day(now_ms, site.timezone) - site.retention_days else None


def count_due(conn: sqlite3.Connection, now_ms: int) -> int:
    """Count the events of all sites that are past their retention."""
    return sum(
        events.count_before(conn, site, local_day(now_ms, site.timezone) - site.retention_days)
        for site in registry.all_sites(conn)
        if site.retention_days is not None and find_due_day(conn, site, now_ms) is not None
    )


def _last_run_ms(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT value FROM meta WHERE name = 'retention_ran_at'").fetchone()[0])


def _save_last_run(conn: sqlite3.Connection, last_run_ms: int) -> None:
    conn.execute("UPDATE meta SET value = ? WHERE name = 'retention_ran_at'", (last_run_ms,))
