"""What was counted, put together and forgotten."""

import sqlite3

from ovx_lite.domain.calendar import monday
from ovx_lite.storage.rollups.dimensions import Dimension


def finalized_before_day(conn: sqlite3.Connection, site_id: int) -> int:
    """The first of a site's days that are not over yet, as far as counting goes."""
    row = conn.execute("SELECT before_day FROM finalized WHERE site_id = ?", (site_id,)).fetchone()
    return 0 if row is None else int(row[0])


def delete_day(conn: sqlite3.Connection, site_id: int, day: int) -> None:
    """Forget what was counted of a site's day. Its week is the rest of its days then. Inside a transaction."""
    for table in ("daily_totals", "daily_revenue", "dirty_days"):
        conn.execute(f"DELETE FROM {table} WHERE site_id = ? AND day = ?", (site_id, day))
    conn.execute("DELETE FROM rollups WHERE site_id = ? AND period_days = 1 AND start_day = ?", (site_id, day))
    sum_week(conn, site_id, monday(day))


def sum_week(conn: sqlite3.Connection, site_id: int, week: int) -> None:
    """Make a week, by its Monday, the sum of its days, if it is over. Inside a transaction."""
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
    """Forget what was counted of a goal or person, on all days. Inside a transaction."""
    for period_days, start_day in ((1, "day"), (7, "day - (day + 3) % 7")):
        conn.execute(
            "DELETE FROM rollups WHERE site_id = ? AND period_days = ?"
            f" AND start_day IN (SELECT {start_day} FROM daily_totals WHERE site_id = ?)"
            " AND dimension = ? AND value_id = ?",
            (site_id, period_days, site_id, dimension, value),
        )


def delete_all(conn: sqlite3.Connection, site_id: int) -> None:
    """Forget all that was counted of a site. Inside a transaction."""
    for table in ("daily_totals", "daily_revenue", "dirty_days", "rollups", "finalized"):
        conn.execute(f"DELETE FROM {table} WHERE site_id = ?", (site_id,))
