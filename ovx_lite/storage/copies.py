"""Copies of the store, made while others use it."""

import sqlite3
from contextlib import suppress
from pathlib import Path

from ovx_lite.domain.errors import ApiError
from ovx_lite.storage import file_modes

UNFINISHED_SUFFIX = ".unfinished"
"""What the name of a copy ends with until it is complete."""


def copy(conn: sqlite3.Connection, target: Path) -> None:
    """Write a compact copy of the store, as it is now, to `target`, without keeping anybody waiting.

    The copy appears under its name only once it is complete and on disk. Raises `ApiError`, and leaves no file behind,
    if it cannot be written: because the disk is full, for example.
    """
    unfinished = target.with_name(target.name + UNFINISHED_SUFFIX)
    try:
        _remove(unfinished)
        file_modes.make_file(unfinished, exist_ok=False)
        conn.execute("VACUUM INTO ?", (str(unfinished),))
        unfinished.replace(target)
    except (OSError, sqlite3.OperationalError) as exc:
        message = f"The copy {target} cannot be written ({exc}): see that its disk has room, or choose another place."
        raise ApiError("unavailable", message) from None
    except sqlite3.DatabaseError as exc:
        message = f"The store cannot be copied, because it is damaged ({exc}): restore a backup."
        raise ApiError("unavailable", message) from None
    finally:
        _remove(unfinished)


def _remove(unfinished: Path) -> None:
    """Remove a copy that was not finished, and the journal that SQLite kept of it."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(OSError):  # what stands in the way of a new copy is reported when that is made
            unfinished.with_name(unfinished.name + suffix).unlink()
