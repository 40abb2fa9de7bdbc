"""Whether the clock is plausible enough to delete events by their age.

A clock that jumps ahead makes every event old. So retention holds when the clock is more than a day away from the time
of its last run, in either direction, and deletes nothing until somebody confirms the clock or the clock comes back.
Later events are no evidence: under a wrong clock they get wrong times. A site without new events is no reason to hold.
"""

import sqlite3
from typing import NamedTuple

from ovx_lite.domain.calendar import format_utc, local_day
from ovx_lite.domain.models import Site
from ovx_lite.storage import registry
from ovx_lite.storage.read import events
from ovx_lite.storage.sqlite import transaction

MAX_DIFFERENCE_MS = 26 * 3600 * 1000
"""How far the clock may be from the last run: a day, and what a daily cron job may be late, as in summer time."""


class Hold(NamedTuple):
    """Retention deletes nothing: what the clock says, and when retention last ran (Unix ms)."""

    now_ms: int
    last_run_ms: int

    @property
    def message(self) -> str:
        """What is wrong and how to confirm the clock."""
        now_text, last_run_text = (f"{format_utc(ms)[:16].replace('T', ' ')} UTC" for ms in self)
        return (
            f"Retention is on hold and deletes nothing: the clock says {now_text}, but the last run was {last_run_text}. "
            "If the clock is right, run: ovx-lite prune --yes"
        )


def find_hold(conn: sqlite3.Connection, now_ms: int) -> Hold | None:
    """Return why events that are past their retention are kept; `None` if they are not, or if there are none."""
    last_run_ms = _last_run_ms(conn) or now_ms
    if abs(now_ms - last_run_ms) <= MAX_DIFFERENCE_MS:
        return None
    is_any_due = any(is_due(conn, site, now_ms) for site in registry.all_sites(conn))
    return Hold(now_ms, last_run_ms) if is_any_due else None


def begin_run(conn: sqlite3.Connection, now_ms: int) -> Hold | None:
    """Record a run of retention, unless the clock disagrees. Return the hold if there is one."""
    with transaction(conn):
        if abs(now_ms - (_last_run_ms(conn) or now_ms)) <= MAX_DIFFERENCE_MS:
            _save_last_run(conn, now_ms)
    return find_hold(conn, now_ms)


def confirm(conn: sqlite3.Connection, now_ms: int) -> None:
    """Record that the clock is right, so that retention goes on."""
    with transaction(conn):
        _save_last_run(conn, now_ms)


def is_due(conn: sqlite3.Connection, site: Site, now_ms: int) -> bool:
    """Whether a site has a day of events that is past its retention."""
    if site.retention_days is None:
        return False
    oldest_ms = events.oldest_event_ms(conn, site.id)
    if oldest_ms is None:
        return False
    return local_day(oldest_ms, site.timezone) < local_day(now_ms, site.timezone) - site.retention_days


def count_due(conn: sqlite3.Connection, now_ms: int) -> int:
    """Count the events of all sites that are past their retention."""
    return sum(
        events.count_before(conn, site, local_day(now_ms, site.timezone) - site.retention_days)
        for site in registry.all_sites(conn)
        if site.retention_days is not None and is_due(conn, site, now_ms)
    )


def _last_run_ms(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT value FROM meta WHERE name = 'retention_ran_at'").fetchone()[0])


def _save_last_run(conn: sqlite3.Connection, last_run_ms: int) -> None:
    conn.execute("UPDATE meta SET value = ? WHERE name = 'retention_ran_at'", (last_run_ms,))
