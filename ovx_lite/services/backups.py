"""Copies of the store: one each day, while the server runs, and back again."""

import os
import shutil
from contextlib import closing
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from ovx_lite.domain.errors import Refused
from ovx_lite.storage import file_modes, integrity
from ovx_lite.storage.connections import lock
from ovx_lite.storage.copies import UNFINISHED, copy
from ovx_lite.storage.sqlite import FILE, LOCK, RESTORING, empty_log, open_store

_MAGIC = b"SQLite format 3\0"  # what a database begins with
KEPT = 7
"""Copies that are kept; older ones give way."""


def back_up(data_dir: Path, folder: Path, now: int) -> bool:
    """Copy the store to `folder` unless it has a copy of today (UTC). Returns whether one was made.

    `now` is Unix milliseconds. It takes as long as reading and writing all of the file does.
    """
    today = folder / f"ovx-lite-{datetime.fromtimestamp(now / 1000, UTC):%Y-%m-%d}.sqlite3"
    if today.exists():
        return False
    file_modes.make_folder(folder)
    for cut_off in folder.glob(f"ovx-lite-????-??-??.sqlite3{UNFINISHED}*"):
        cut_off.unlink()
    with closing(open_store(data_dir, create=False)) as conn:
        copy(conn, today)
    others = sorted(path for path in folder.glob("ovx-lite-????-??-??.sqlite3") if path != today)
    for old in others[: 1 - KEPT]:  # today's stays, also where a clock that is wrong has made it the oldest
        old.unlink()
    return True


def restore(data_dir: Path, file: Path) -> Path | None:
    """Put a copy in the place of the store, upgraded if it is older. Returns where what was there before is now.

    A log beside the copy (`FILE-wal`) belongs to it. What was there stays beside it, if there was anything. Raises
    `Refused`, with nothing changed, if the copy is not whole, or a server has the store.
    """
    file_modes.make_folder(data_dir)
    beside = data_dir / RESTORING
    there = (data_dir / FILE).exists() or beside.exists()
    _check_fits(data_dir, file)
    with closing(lock(data_dir)):
        shutil.rmtree(beside, ignore_errors=True)
        try:
            beside.mkdir(mode=0o700)
            for ending in ("", "-wal"):
                if file.with_name(file.name + ending).exists():
                    file_modes.make_file(beside / f"{FILE}{ending}")
                    shutil.copyfile(file.with_name(file.name + ending), beside / f"{FILE}{ending}")
            _see_that_it_is_whole(beside, file)
            _sync(beside / FILE)
            before = _set_aside(data_dir)
            (beside / FILE).replace(data_dir / FILE)
            if os.name == "posix":
                _sync(data_dir)
            _hand_over(data_dir)
        except OSError as wrong:
            raise Refused("unavailable", f"{file} cannot be put into {data_dir} ({wrong}).") from None
        finally:
            if (data_dir / FILE).exists() or not there:  # or else it says that this was cut off
                shutil.rmtree(beside, ignore_errors=True)
    return before


def _check_fits(data_dir: Path, file: Path) -> None:
    """Raise `Refused`, before anything is copied, if a file is not a database, or too large for the disk."""
    if not file.is_file():
        raise Refused("invalid_request", f"{file} is not a file: take another copy.")
    with file.open("rb") as opened:
        begins = opened.read(len(_MAGIC))
    if begins and begins != _MAGIC:
        raise Refused("invalid_request", f"{file} is not a database: take another copy.")
    log = file.with_name(f"{file.name}-wal")
    size = file.stat().st_size + (log.stat().st_size if log.is_file() else 0)
    free = shutil.disk_usage(data_dir).free
    if size > free:
        raise Refused("unavailable", f"{file} has {size:,} bytes, and the disk of {data_dir} only {free:,}: make room.")


def _see_that_it_is_whole(beside: Path, file: Path) -> None:
    """Upgrade a copy, and put its log into it. Raises `Refused`, in words about the `file` that it was made from."""
    try:
        with closing(open_store(beside, create=False)) as conn:
            problems = integrity.problems(conn)
            empty_log(conn, patience=1)
    except Refused as refused:
        told = (
            refused.message.replace(str(beside / FILE), str(file))
            .replace("move it away, or ", "")
            .replace("drop what was added, or put back a backup", "take another copy")
        )
        told = told.replace("choose another --data-dir", "take another copy")
        empty = not (beside / FILE).stat().st_size
        raise Refused("invalid_request", f"{file} is empty: take another copy." if empty else told) from None
    if problems:
        raise Refused("invalid_request", f"{file} is not whole ({problems[0]}): take another copy.")


def _set_aside(data_dir: Path) -> Path | None:
    """Move the store that is there out of the way, whole or damaged, with the log that has its latest transactions.

    What was moved there before stays.
    """
    names = chain(["before-restore"], (f"before-restore-{number}" for number in count(2)))
    free = (data_dir / f"ovx-lite-{name}.sqlite3" for name in names)
    before = next(path for path in free if not path.exists() and not path.with_name(path.name + "-wal").exists())
    there = (data_dir / FILE).exists()
    for ending in ("", "-wal", "-journal"):
        if (data_dir / f"{FILE}{ending}").exists():  # a log without its store would be taken for the copy's
            (data_dir / f"{FILE}{ending}").replace(before.with_name(before.name + ending))
    (data_dir / f"{FILE}-shm").unlink(missing_ok=True)
    return before if there else None


def _sync(path: Path) -> None:
    """See that a file, or what files a folder has, is on disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _hand_over(data_dir: Path) -> None:
    """Give what root has put there to whom the folder belongs, who is to serve it."""
    if os.name == "posix" and os.geteuid() == 0:
        owner = data_dir.stat()
        for name in (FILE, LOCK):
            os.chown(data_dir / name, owner.st_uid, owner.st_gid)
