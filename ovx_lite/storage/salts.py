"""Each site's salt of the day, with which visitors are hashed. It is deleted at the site's midnight.

The site's open visits are deleted with it, because visitors have other hashes under the next salt.
"""

import sqlite3
from collections.abc import Iterable

from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.errors import no_such_site
from ovx_lite.domain.models import Site
from ovx_lite.storage.projection import visits
from ovx_lite.storage.sqlite import transaction


def find(conn: sqlite3.Connection, site_id: int, day: int) -> bytes | None:
    """Return the site's salt of its local `day`; `None` if there is none yet."""
    row = conn.execute("SELECT salt FROM salts WHERE site_id = ? AND day = ?", (site_id, day)).fetchone()
    return None if row is None else bytes(row[0])


def of_day(conn: sqlite3.Connection, site_id: int, day: int, new_salt: bytes) -> bytes:
    """Return the site's salt of its local `day`. If there is none yet, save `new_salt` and return that.

    Deletes the salt of any other day, so call it when the journal is empty: see `delete_expired`. Raises `ApiError`
    (`invalid_site_id`) if the site was removed.
    """
    with transaction(conn):
        delete_expired(conn, site_id, day)
        try:
            conn.execute(
                "INSERT INTO salts (site_id, day, salt) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (site_id, day, new_salt),
            )
        except sqlite3.IntegrityError:
            raise no_such_site() from None
        salt: bytes = conn.execute("SELECT salt FROM salts WHERE site_id = ?", (site_id,)).fetchone()[0]
    return salt


def have_expired(conn: sqlite3.Connection, sites: Iterable[Site], now_ms: int) -> bool:
    """Return whether any of the sites has a salt of another day than its current one."""
    salt_days = dict(conn.execute("SELECT site_id, day FROM salts"))
    return any(site.id in salt_days and salt_days[site.id] != local_day(now_ms, site.timezone) for site in sites)


def delete_expired(conn: sqlite3.Connection, site_id: int, today: int) -> int:
    """Delete the site's salt and its open visits, unless the salt is of `today`, a day in the site's time zone.

    Return how many salts were deleted: 0 or 1. Call this inside a transaction, when the journal is empty: an event
    that is projected later would begin a new visit.
    """
    deleted = conn.execute("DELETE FROM salts WHERE site_id = ? AND day <> ?", (site_id, today)).rowcount
    if deleted:
        visits.close_open_visits(conn, site_id)
    return deleted
