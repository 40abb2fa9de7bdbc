"""A copy of the store each day, while the server runs."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from ovx_lite.store.db import copy, open_store

KEPT = 7
"""Copies that are kept; older ones give way."""


def back_up(data_dir: Path, folder: Path, now: int) -> bool:
    """Copy the store to `folder` unless it has a copy of today (UTC). Returns whether one was made.

    `now` is Unix milliseconds. It takes as long as reading and writing all of the file does.
    """
    today = folder / f"ovx-lite-{datetime.fromtimestamp(now / 1000, UTC):%Y-%m-%d}.sqlite3"
    if today.exists():
        return False
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(open_store(data_dir, create=False)) as conn:
        copy(conn, today)
    for old in sorted(folder.glob("ovx-lite-????-??-??.sqlite3"))[:-KEPT]:
        old.unlink()
    return True
