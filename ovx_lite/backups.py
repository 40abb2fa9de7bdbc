"""Copies of the store: one each day, while the server runs, and back again."""

import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from ovx_lite.errors import Refused
from ovx_lite.store import check
from ovx_lite.store.database import lock
from ovx_lite.store.db import FILE, copy, empty_log, open_store

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


def restore(data_dir: Path, file: Path) -> Path | None:
    """Put a copy in the place of the store, upgraded if it is older. Returns where what was there before is now.

    What was there stays beside it, if there was anything. Raises `Refused`, with nothing changed, if the copy is not
    whole, or a server has the store.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = data_dir / "restoring"
    with closing(lock(data_dir)):
        shutil.rmtree(beside, ignore_errors=True)
        try:
            beside.mkdir(mode=0o700)
            shutil.copyfile(file, beside / FILE)
            with closing(open_store(beside, create=False)) as conn:
                problems = check.problems(conn)
                empty_log(conn, patience=1)
            if problems:
                raise Refused("invalid_request", f"{file} is not whole ({problems[0]}): take another copy.")
            before = _set_aside(data_dir)
            (beside / FILE).replace(data_dir / FILE)
        except OSError as wrong:
            raise Refused("unavailable", f"{file} cannot be put into {data_dir} ({wrong}).") from None
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return before


def _set_aside(data_dir: Path) -> Path | None:
    """Move the store that is there out of the way, whole or damaged, with the log that has its latest transactions."""
    before = data_dir / "ovx-lite-before-restore.sqlite3"
    there = (data_dir / FILE).exists()
    for ending in ("", "-wal"):
        before.with_name(before.name + ending).unlink(missing_ok=True)
        if (data_dir / f"{FILE}{ending}").exists():  # a log without its store would be taken for the copy's
            (data_dir / f"{FILE}{ending}").replace(before.with_name(before.name + ending))
    (data_dir / f"{FILE}-shm").unlink(missing_ok=True)
    return before if there else None
