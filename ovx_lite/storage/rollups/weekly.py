"""The rollups of weeks, which are sums of days, and deleting rollups."""

import sqlite3

from ovx_lite.domain.calendar import monday
from ovx_lite.storage.rollups.dimensions import Dimension


def finalized_before_day(conn: sqlite3.Connection, site_id: int) -> int:
    """Return the first day of a site that is not finalized, or 0 if none is (see `rollups.finalize`)."""
    row = conn.execute("SELECT before_day FROM finalized WHERE site_id = ?", (site_id,)).fetchone()
    return 0 if row is None else int(row[0])


def delete_day(conn: sqlite3.Connection, site_id: int, day: int) -> None:
    """Delete the counts of a site's day, and subtract them from its week. Call it inside a transaction."""
    for table in ("daily_totals", "daily_revenue", "dirty_days"):
        conn.execute(f"DELETE FROM {table} WHERE site_id = ? AND day = ?", (site_id, day))
    conn.execute("DELETE FROM rollups WHERE site_id = ? AND period_days = 1 AND start_day = ?", (site_id, day))
    sum_week(conn, site_id, monday(day))


def sum_week(conn: sqlite3.Connection, site_id: int, week: int) -> None:
    """Set the counts of a week, given by its Monday, to the sum of its days, if it is over.

    Call it inside a transaction.
    """
    if week + 7 > finalized_before_day(conn, site_id):
        return
    conn.execute("DELETE FROM rollups WHERE site_id = ? AND period_days = 7 AND start_day = ?", (site_id, week))
    conn.execute(
        "INSERT INTO rollups SELECT site_id, 7, ?, dimension, value_id, sum(visitors), sum(visits), sum(pageviews),"
        " sum(events) FROM rollups WHERE site_id = ? AND period_days = 1 AND start_day >= ? AND start_day < ?"
        " AND dimension <> ? GROUP BY dimension, value_id",
        (week, site_id, week, week + 7, Dimension.PERSON),
    )


def delete_value(conn: sqlite3.Connection, site_id: int, dimension: Dimension, value: int) -> None:
    """Delete the counts of a goal or person on all days. Call it inside a transaction."""
    for period_days, start_day in ((1, "day"), (7, "day - (day + 3) % 7")):
        conn.execute(
            "DELETE FROM rollups WHERE site_id = ? AND period_days = ?"
            f" AND start_day IN (SELECT {start_day} FROM daily_totals WHERE site_id = ?)"
            " AND dimension = ? AND value_id = ?",
            (site_id, period_days, site_id, dimension, value),
        )


def delete_all(conn: sqlite3.Connection, site_id: int) -> None:
    """Delete all counts of a site. Call it inside a transaction."""
    for table in ("daily_totals", "daily_revenue", "dirty_days", "rollups", "finalized"):
        conn.execute(f"DELETE FROM {table} WHERE site_id = ?", (site_id,))
