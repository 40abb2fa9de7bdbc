"""Copies the store while other connections use it."""

import sqlite3
from contextlib import suppress
from pathlib import Path

from ovx_lite.domain.errors import ApiError
from ovx_lite.storage import file_modes

UNFINISHED_SUFFIX = ".unfinished"
"""The end of a copy's file name until the copy is complete."""


def copy(conn: sqlite3.Connection, target: Path) -> None:
    """Write a compact copy of the store's current state to `target`. Other readers and writers do not wait for it.

    The file `target` appears only when the copy is complete and on disk. If the copy cannot be written, for example
    because the disk is full, this raises `ApiError` (`unavailable`) and leaves no file behind.
    """
    unfinished = target.with_name(target.name + UNFINISHED_SUFFIX)
    try:
        _remove(unfinished)
        file_modes.make_file(unfinished, exist_ok=False)
        conn.execute("VACUUM INTO ?", (str(unfinished),))
        unfinished.replace(target)
    except (OSError, sqlite3.OperationalError) as exc:
        message = f"The copy {target} cannot be written ({exc}): free up space on its disk, or choose another path."
        raise ApiError("unavailable", message) from None
    except sqlite3.DatabaseError as exc:
        message = f"The store cannot be copied because it is damaged ({exc}): restore a backup."
        raise ApiError("unavailable", message) from None
    finally:
        _remove(unfinished)


def _remove(unfinished: Path) -> None:
    """Remove an incomplete copy and SQLite's journals of it."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(OSError):  # if a file stays, the next copy fails and reports it
            unfinished.with_name(unfinished.name + suffix).unlink()
