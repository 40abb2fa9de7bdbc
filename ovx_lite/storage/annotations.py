"""What a site's owners wrote beside its days."""

import sqlite3
from hashlib import blake2b
from typing import NamedTuple

from ovx_lite.domain.errors import ApiError
from ovx_lite.storage.sqlite import transaction

MAX_ANNOTATIONS = 1000
"""So many a site may have."""


class Annotation(NamedTuple):
    """A note on a day (days since 1970-01-01) of a site."""

    id: str
    day: int
    text: str


def add(conn: sqlite3.Connection, site_id: int, day: int, text: str) -> None:
    """Write a note beside a day of a site, unless it is there. Raises `ApiError` if the site has too many."""
    # A form that is sent again makes no second note.
    annotation_id = "note_" + blake2b(f"{site_id}\n{day}\n{text}".encode(), digest_size=6).hexdigest()
    with transaction(conn):
        (count,) = conn.execute("SELECT count(*) FROM annotations WHERE site_id = ?", (site_id,)).fetchone()
        if count >= MAX_ANNOTATIONS:
            raise ApiError(
                "invalid_request", f"There are {MAX_ANNOTATIONS:,} notes already: remove some first.", "text"
            )
        conn.execute(
            "INSERT INTO annotations (public_id, site_id, day, text) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (annotation_id, site_id, day, text),
        )


def of_days(conn: sqlite3.Connection, site_id: int, first_day: int, last_day: int) -> list[Annotation]:
    """A site's notes on the days from `first` to `last`, oldest first."""
    query = """
        SELECT public_id, day, text FROM annotations WHERE site_id = ? AND day >= ? AND day <= ? ORDER BY day, public_id
    """
    return [Annotation(*row) for row in conn.execute(query, (site_id, first_day, last_day))]


def remove(conn: sqlite3.Connection, site_id: int, annotation_id: str) -> bool:
    """Remove a note. Returns whether there was one."""
    with transaction(conn):
        return (
            conn.execute(
                "DELETE FROM annotations WHERE site_id = ? AND public_id = ?", (site_id, annotation_id)
            ).rowcount
            > 0
        )
