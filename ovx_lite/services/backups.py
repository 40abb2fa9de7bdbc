"""Copies of the store: one each day, while the server runs, and back again."""

import os
import shutil
from contextlib import closing
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from ovx_lite.domain.errors import ApiError
from ovx_lite.storage import file_modes, integrity
from ovx_lite.storage.connections import acquire_lock
from ovx_lite.storage.copies import UNFINISHED_SUFFIX, copy
from ovx_lite.storage.sqlite import LOCK_FILE, RESTORING_DIR, STORE_FILE, open_store, truncate_wal

_SQLITE_MAGIC = b"SQLite format 3\0"  # what a database begins with
MAX_BACKUPS = 7
"""Copies that are kept; older ones give way."""


def back_up(data_dir: Path, folder: Path, now_ms: int) -> bool:
    """Copy the store to `folder` unless it has a copy of today (UTC). Returns whether one was made.

    `now` is Unix milliseconds. It takes as long as reading and writing all of the file does.
    """
    todays_backup = folder / f"ovx-lite-{datetime.fromtimestamp(now_ms / 1000, UTC):%Y-%m-%d}.sqlite3"
    if todays_backup.exists():
        return False
    file_modes.make_folder(folder)
    for unfinished in folder.glob(f"ovx-lite-????-??-??.sqlite3{UNFINISHED_SUFFIX}*"):
        unfinished.unlink()
    with closing(open_store(data_dir, create=False)) as conn:
        copy(conn, todays_backup)
    other_backups = sorted(path for path in folder.glob("ovx-lite-????-??-??.sqlite3") if path != todays_backup)
    for old_backup in other_backups[
        : 1 - MAX_BACKUPS
    ]:  # today's stays, also where a clock that is wrong has made it the oldest
        old_backup.unlink()
    return True


def restore(data_dir: Path, file: Path) -> Path | None:
    """Put a copy in the place of the store, upgraded if it is older. Returns where what was there before is now.

    A log beside the copy (`FILE-wal`) belongs to it. What was there stays beside it, if there was anything. Raises
    `ApiError`, with nothing changed, if the copy is not whole, or a server has the store.
    """
    file_modes.make_folder(data_dir)
    staging_dir = data_dir / RESTORING_DIR
    had_store = (data_dir / STORE_FILE).exists() or staging_dir.exists()
    _check_file(data_dir, file)
    with closing(acquire_lock(data_dir)):
        shutil.rmtree(staging_dir, ignore_errors=True)
        try:
            staging_dir.mkdir(mode=0o700)
            for suffix in ("", "-wal"):
                if file.with_name(file.name + suffix).exists():
                    file_modes.make_file(staging_dir / f"{STORE_FILE}{suffix}")
                    shutil.copyfile(file.with_name(file.name + suffix), staging_dir / f"{STORE_FILE}{suffix}")
            _check_integrity(staging_dir, file)
            _fsync(staging_dir / STORE_FILE)
            previous_store = _set_aside(data_dir)
            (staging_dir / STORE_FILE).replace(data_dir / STORE_FILE)
            if os.name == "posix":
                _fsync(data_dir)
            _chown_to_owner(data_dir)
        except OSError as exc:
            raise ApiError("unavailable", f"{file} cannot be put into {data_dir} ({exc}).") from None
        finally:
            if (data_dir / STORE_FILE).exists() or not had_store:  # or else it says that this was cut off
                shutil.rmtree(staging_dir, ignore_errors=True)
    return previous_store


def _check_file(data_dir: Path, file: Path) -> None:
    """Raise `ApiError`, before anything is copied, if a file is not a database, or too large for the disk."""
    if not file.is_file():
        raise ApiError("invalid_request", f"{file} is not a file: take another copy.")
    with file.open("rb") as stream:
        header = stream.read(len(_SQLITE_MAGIC))
    if header and header != _SQLITE_MAGIC:
        raise ApiError("invalid_request", f"{file} is not a database: take another copy.")
    wal = file.with_name(f"{file.name}-wal")
    size_bytes = file.stat().st_size + (wal.stat().st_size if wal.is_file() else 0)
    free_bytes = shutil.disk_usage(data_dir).free
    if size_bytes > free_bytes:
        raise ApiError(
            "unavailable",
            f"{file} has {size_bytes:,} bytes, and the disk of {data_dir} only {free_bytes:,}: make room.",
        )


def _check_integrity(staging_dir: Path, file: Path) -> None:
    """Upgrade a copy, and put its log into it. Raises `ApiError`, in words about the `file` that it was made from."""
    try:
        with closing(open_store(staging_dir, create=False)) as conn:
            problems = integrity.problems(conn)
            truncate_wal(conn, timeout_s=1)
    except ApiError as exc:
        message = (
            exc.message.replace(str(staging_dir / STORE_FILE), str(file))
            .replace("move it away, or ", "")
            .replace("drop what was added, or restore a backup", "take another copy")
        )
        message = message.replace("choose another --data-dir", "take another copy")
        is_empty = not (staging_dir / STORE_FILE).stat().st_size
        raise ApiError("invalid_request", f"{file} is empty: take another copy." if is_empty else message) from None
    if problems:
        raise ApiError("invalid_request", f"{file} is not whole ({problems[0]}): take another copy.")


def _set_aside(data_dir: Path) -> Path | None:
    """Move the store that is there out of the way, whole or damaged, with the log that has its latest transactions.

    What was moved there before stays.
    """
    names = chain(["before-restore"], (f"before-restore-{index}" for index in count(2)))
    candidates = (data_dir / f"ovx-lite-{name}.sqlite3" for name in names)
    previous_store = next(
        path for path in candidates if not path.exists() and not path.with_name(path.name + "-wal").exists()
    )
    had_store = (data_dir / STORE_FILE).exists()
    for suffix in ("", "-wal", "-journal"):
        if (data_dir / f"{STORE_FILE}{suffix}").exists():  # a log without its store would be taken for the copy's
            (data_dir / f"{STORE_FILE}{suffix}").replace(previous_store.with_name(previous_store.name + suffix))
    (data_dir / f"{STORE_FILE}-shm").unlink(missing_ok=True)
    return previous_store if had_store else None


def _fsync(path: Path) -> None:
    """See that a file, or what files a folder has, is on disk."""
    file_descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file_descriptor)
    finally:
        os.close(file_descriptor)


def _chown_to_owner(data_dir: Path) -> None:
    """Give what root has put there to whom the folder belongs, who is to serve it."""
    if os.name == "posix" and os.geteuid() == 0:
        owner = data_dir.stat()
        for name in (STORE_FILE, LOCK_FILE):
            os.chown(data_dir / name, owner.st_uid, owner.st_gid)
