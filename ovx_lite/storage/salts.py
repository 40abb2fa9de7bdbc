"""Each site's secret of the day, under which visitors are hashed. It lives until the site's midnight.

With it ends what finds a visitor's visits again: under another salt, nobody is that visitor.
"""

import sqlite3

from ovx_lite.domain.errors import no_such_site
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.write import sessionizer


def of_day(conn: sqlite3.Connection, site_id: int, day: int, new_salt: bytes) -> bytes:
    """The site's salt of its local `day`: `fresh` from now on, if there is none yet.

    Raises `ApiError` (`invalid_site_id`) if the site was removed.
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


def delete_expired(conn: sqlite3.Connection, site_id: int, today: int) -> int:
    """Delete the site's salt if it is not of its local day `today`. Returns how many. Inside a transaction."""
    deleted = conn.execute("DELETE FROM salts WHERE site_id = ? AND day <> ?", (site_id, today)).rowcount
    if deleted:
        sessionizer.close_open_visits(conn, site_id)
    return deleted
