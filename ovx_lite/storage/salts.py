"""Each site's secret of the day, under which visitors are hashed. It lives until the site's midnight.

With it ends what finds a visitor's visits again: under another salt, nobody is that visitor.
"""

import sqlite3

from ovx_lite.domain.errors import no_such_site
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.write import sessionizer


def today(conn: sqlite3.Connection, site: int, day: int, fresh: bytes) -> bytes:
    """The site's salt of its local `day`: `fresh` from now on, if there is none yet.

    Raises `Refused` (`invalid_site_id`) if the site was removed.
    """
    with transaction(conn):
        forget(conn, site, day)
        try:
            conn.execute(
                "INSERT INTO salts (site_id, day, salt) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (site, day, fresh)
            )
        except sqlite3.IntegrityError:
            raise no_such_site() from None
        salt: bytes = conn.execute("SELECT salt FROM salts WHERE site_id = ?", (site,)).fetchone()[0]
    return salt


def forget(conn: sqlite3.Connection, site: int, today: int) -> int:
    """Delete the site's salt if it is not of its local day `today`. Returns how many. Inside a transaction."""
    forgotten = conn.execute("DELETE FROM salts WHERE site_id = ? AND day <> ?", (site, today)).rowcount
    if forgotten:
        sessionizer.close(conn, site)
    return forgotten
