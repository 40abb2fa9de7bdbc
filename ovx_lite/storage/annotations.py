"""Notes that people add to days of a site. The dashboard's chart shows them."""

import sqlite3
from hashlib import blake2b
from typing import NamedTuple

from ovx_lite.domain.errors import ApiError
from ovx_lite.storage.sqlite import transaction

MAX_ANNOTATIONS = 1000
"""Notes of one site."""


class Annotation(NamedTuple):
    """A note on a day of a site. `day` counts days since 1970-01-01."""

    id: str
    day: int
    text: str


def add(conn: sqlite3.Connection, site_id: int, day: int, text: str) -> None:
    """Add a note to a day of a site.

    Does nothing if the day has a note with this text. Raises `ApiError` if the site has the maximum number of notes.
    """
    # The ID is a hash of the content, so a form that is sent twice adds one note.
    annotation_id = "note_" + blake2b(f"{site_id}\n{day}\n{text}".encode(), digest_size=6).hexdigest()
    with transaction(conn):
        (count,) = conn.execute("SELECT count(*) FROM annotations WHERE site_id = ?", (site_id,)).fetchone()
        if count >= MAX_ANNOTATIONS:
            message = f"This site has {MAX_ANNOTATIONS:,} notes, the maximum: remove some first."
            raise ApiError("invalid_request", message, "text")
        conn.execute(
            "INSERT INTO annotations (public_id, site_id, day, text) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (annotation_id, site_id, day, text),
        )


def of_days(conn: sqlite3.Connection, site_id: int, first_day: int, last_day: int) -> list[Annotation]:
    """Return a site's notes on the days from `first_day` to `last_day` (both included), oldest first."""
    query = """
        SELECT public_id, day, text FROM annotations WHERE site_id = ? AND day >= ? AND day <= ? ORDER BY day, public_id
    """
    return [Annotation(*row) for row in conn.execute(query, (site_id, first_day, last_day))]


def remove(conn: sqlite3.Connection, site_id: int, annotation_id: str) -> bool:
    """Remove a note. Return whether the site had it."""
    with transaction(conn):
        return (
            conn.execute(
                "DELETE FROM annotations WHERE site_id = ? AND public_id = ?", (site_id, annotation_id)
            ).rowcount
            > 0
        )
