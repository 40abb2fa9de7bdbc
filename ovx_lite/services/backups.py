"""Backups: a copy of the store each day while the server runs, and restoring one."""

import os
import re
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

_STORE_REMEDIES = re.compile(  # what errors of `storage` suggest, but what does not help with a copy
    r"drop what was added, or (put back|restore) a backup|(move it away, or )?choose another --data-dir"
)
_SQLITE_MAGIC = b"SQLite format 3\0"  # the first bytes of every SQLite database
MAX_BACKUPS = 7
"""How many copies to keep; older ones are deleted."""


def back_up(data_dir: Path, folder: Path, now_ms: int) -> bool:
    """Copy the store to `folder`, unless a copy of today (UTC) is there. Returns whether it made one.

    It reads and writes the whole file, so it may take long: run it in a thread.
    """
    todays_backup = folder / f"ovx-lite-{datetime.fromtimestamp(now_ms / 1000, UTC):%Y-%m-%d}.sqlite3"
    if todays_backup.exists():
        return False
    file_modes.make_folder(folder)
    for unfinished in folder.glob(f"ovx-lite-????-??-??.sqlite3{UNFINISHED_SUFFIX}*"):
        unfinished.unlink()
    with closing(open_store(data_dir, create=False)) as conn:
        copy(conn, todays_backup)
    # Today's copy stays, even if the clock is wrong and it looks like the oldest.
    other_backups = sorted(path for path in folder.glob("ovx-lite-????-??-??.sqlite3") if path != todays_backup)
    for old_backup in other_backups[: 1 - MAX_BACKUPS]:
        old_backup.unlink()
    return True


def restore(data_dir: Path, file: Path) -> Path | None:
    """Replace the store with a copy, and upgrade it if it is older. Returns where the previous store is now, or `None`.

    A write-ahead log beside the copy (`FILE-wal`) belongs to it. The previous store is kept in the data directory.
    Raises `ApiError`, with nothing changed, if the copy is damaged or a server has the store open.
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
            # If the store was moved away and not replaced, the folder stays: it shows that the restore was interrupted.
            if (data_dir / STORE_FILE).exists() or not had_store:
                shutil.rmtree(staging_dir, ignore_errors=True)
    return previous_store


def _check_file(data_dir: Path, file: Path) -> None:
    """Raise `ApiError` if a file is not a database or does not fit on the disk. Called before anything is copied."""
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
            f"{file} has {size_bytes:,} bytes, but the disk of {data_dir} has only {free_bytes:,} bytes free: "
            "free up space.",
        )


def _check_integrity(staging_dir: Path, file: Path) -> None:
    """Upgrade the copied store, check it, and move its write-ahead log into it.

    Raises `ApiError`. Its message names `file`, which the copy was made from, and its remedy is another copy.
    """
    try:
        with closing(open_store(staging_dir, create=False)) as conn:
            problems = integrity.problems(conn)
            truncate_wal(conn, timeout_s=1)
    except ApiError as exc:
        message = exc.message.replace(str(staging_dir / STORE_FILE), str(file))

        message = _STORE_REMEDIES.sub("take another copy", message)
        is_empty = not (staging_dir / STORE_FILE).stat().st_size
        raise ApiError("invalid_request", f"{file} is empty: take another copy." if is_empty else message) from None
    if problems:
        raise ApiError("invalid_request", f"{file} is damaged ({problems[0]}): take another copy.")


def _set_aside(data_dir: Path) -> Path | None:
    """Rename the current store, whole or damaged, with the log that has its latest transactions. Returns its new path.

    Returns `None` if there is no store. It never replaces a store that was set aside earlier.
    """
    names = chain(["before-restore"], (f"before-restore-{index}" for index in count(2)))
    candidates = (data_dir / f"ovx-lite-{name}.sqlite3" for name in names)
    previous_store = next(
        path for path in candidates if not path.exists() and not path.with_name(path.name + "-wal").exists()
    )
    had_store = (data_dir / STORE_FILE).exists()
    for suffix in ("", "-wal", "-journal"):
        if (data_dir / f"{STORE_FILE}{suffix}").exists():  # a log left behind would be applied to the restored copy
            (data_dir / f"{STORE_FILE}{suffix}").replace(previous_store.with_name(previous_store.name + suffix))
    (data_dir / f"{STORE_FILE}-shm").unlink(missing_ok=True)
    return previous_store if had_store else None


def _fsync(path: Path) -> None:
    """Wait until the content of a file, or the entries of a folder, are on disk."""
    file_descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file_descriptor)
    finally:
        os.close(file_descriptor)


def _chown_to_owner(data_dir: Path) -> None:
    """If root has restored the store, give its files to the owner of the data directory, as whom the server runs."""
    if os.name == "posix" and os.geteuid() == 0:
        owner = data_dir.stat()
        for name in (STORE_FILE, LOCK_FILE):
            os.chown(data_dir / name, owner.st_uid, owner.st_gid)
