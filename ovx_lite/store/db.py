"""The file: opening it, its migrations, transactions, copies."""

import os
import random
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import TypeVar

from ovx_lite.errors import Refused

R = TypeVar("R")

FILE = "ovx-lite.sqlite3"
LOCK = "serving.lock"
"""What only one server can have."""

RESTORING = "restoring"
"""A folder in the data dir, while a copy is put back."""

_APPLICATION_ID = 0x6F76786C  # "ovxl", so that another program's file is not taken for ours
_ROWS_TOGETHER = (128, 16, 4, 1)
_PATIENCE = 30.0  # seconds to wait for another process's transaction


def steps() -> list[str]:
    """The schema as numbered steps: step n brings a file from version n - 1 to version n."""
    folder = files("ovx_lite.store").joinpath("schema")
    return [
        step.read_text("utf-8")
        for step in sorted(folder.iterdir(), key=lambda step: step.name)
        if step.name.endswith(".sql")
    ]


def open_store(data_dir: Path, create: bool = True) -> sqlite3.Connection:
    """Open the store in `data_dir` for reading and writing; create it, if that is wished, or bring it up to date first.

    Raises `Refused` with a sentence on what to do: no store, a folder that cannot be written, a file that is no
    database or another program's, a file from a newer version.
    """
    path = data_dir / FILE
    if not path.exists() and (data_dir / RESTORING).exists():
        raise Refused("unavailable", f"In {data_dir}, ovx-lite restore was cut off: run it again.")
    if not create and not (path.exists() and path.stat().st_size):
        raise Refused(
            "unavailable", f"There is no store in {data_dir}: add a site first, or give the right --data-dir."
        )
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        if not os.access(path, os.W_OK):
            raise PermissionError("the file may only be read")  # SQLite would open it, and say so at the first event
        conn = _connect(path)
        _check_ours(conn, path)
        _patiently(conn, "PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = FULL")
        conn.execute("PRAGMA foreign_keys = ON")
        conn.execute("PRAGMA secure_delete = ON")
        conn.execute("PRAGMA cache_size = -16000")
        migrate(conn, path, steps())
        conn.execute("PRAGMA busy_timeout = 0")  # from here on, waiting for another process is ours: see `_patiently`
        with transaction(conn):
            pass  # that the file cannot be written is better told now than at the first event
    except (OSError, sqlite3.Error) as wrong:
        raise _cannot_open(path, wrong) from None
    return conn


def open_reader(data_dir: Path, cache: int = 2) -> sqlite3.Connection:
    """Open the store for reading alone, with at most so many MiB of it in memory."""
    conn = _connect(data_dir / FILE)
    conn.execute("PRAGMA query_only = ON")
    conn.execute("PRAGMA temp_store = FILE")
    conn.execute(f"PRAGMA cache_size = {-1024 * cache}")
    return conn


def _connect(path: Path) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < (3, 37):
        raise Refused("unavailable", f"SQLite {sqlite3.sqlite_version} is too old: ovx-lite needs 3.37 or newer.")
    # Transactions are begun and ended in plain sight.
    return sqlite3.connect(
        path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=256
    )


def _cannot_open(path: Path, wrong: Exception) -> Refused:
    if isinstance(wrong, sqlite3.DatabaseError) and "not a database" in str(wrong):
        return Refused("unavailable", f"{path} is not a database: move it away, or choose another --data-dir.")
    if isinstance(wrong, sqlite3.DatabaseError) and not isinstance(wrong, sqlite3.OperationalError):
        return Refused("unavailable", f"{path} is damaged ({wrong}): put back a backup.")
    return Refused(
        "unavailable",
        f"The store {path} cannot be opened for writing ({wrong}): see that the folder exists, is yours and has room, "
        "or choose another --data-dir.",
    )


def _check_ours(conn: sqlite3.Connection, path: Path) -> None:
    # In this order: another process may be making the store right now, and tables and id come together.
    (tables,) = conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application,) = conn.execute("PRAGMA application_id").fetchone()
    if tables and (application != _APPLICATION_ID or not _version(conn)):
        raise Refused("unavailable", f"{path} is another program's database: choose another --data-dir.")


def migrate(conn: sqlite3.Connection, path: Path, steps: list[str]) -> None:
    """Bring the file up to the last of `steps`, each in a transaction of its own, after a backup beside the file."""
    version = _version(conn)
    if version > len(steps):
        raise Refused(
            "unavailable",
            f"{path} is a newer ovx-lite's (schema {version}, this one knows {len(steps)}): upgrade ovx-lite.",
        )
    if 0 < version < len(steps):
        _copy_before(conn, path, version, len(steps))
    for number in range(version + 1, len(steps) + 1):
        with transaction(conn):
            if _version(conn) >= number:
                continue  # another process was faster
            # `executescript` would commit before it begins, so statements are run one by one.
            for statement in _statements(steps[number - 1]):
                conn.execute(statement)
            conn.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            conn.execute(f"PRAGMA user_version = {number}")


def _copy_before(conn: sqlite3.Connection, path: Path, version: int, wanted: int) -> None:
    """Leave a copy of the file beside it, unless another process has upgraded it by now, and while none can."""
    guard = _connect(path)
    try:
        with transaction(guard):
            if _version(guard) == version:
                copy(conn, path.with_name(f"{path.stem}-before-schema-{wanted}{path.suffix}"))
    finally:
        guard.close()


def _version(conn: sqlite3.Connection) -> int:
    return int(conn.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for piece in re.split(r"(?<=;)", script):
        statement += piece
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


def do_not_sync(conn: sqlite3.Connection) -> None:
    """Do not wait for the disk at the end of a transaction: for a store that is thrown away."""
    conn.execute("PRAGMA synchronous = OFF")


@contextmanager
def transaction(conn: sqlite3.Connection) -> Iterator[None]:
    """All that is done inside happens at once and is on disk at the end, or does not happen at all."""
    _patiently(conn, "BEGIN IMMEDIATE")
    try:
        yield
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise


def _patiently(conn: sqlite3.Connection, statement: str) -> None:
    # A busy server leaves gaps of a fraction of a millisecond. SQLite's own wait sleeps up to 100 ms between
    # looks and can miss them all, so that a command would starve: look often.
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            conn.execute(statement)
            return
        except sqlite3.OperationalError as wrong:
            if wrong.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.0002, 0.002))


def empty_log(conn: sqlite3.Connection, patience: float = 0) -> bool:
    """Move what is in the write-ahead log into the file, and empty the log.

    Returns whether that could be done within so many seconds: not while somebody reads what was before it.
    """
    conn.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
    (busy, _, _) = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    conn.execute("PRAGMA busy_timeout = 0")
    return not busy


def insert(conn: sqlite3.Connection, into: str, rows: Sequence[tuple[object, ...]], on_conflict: str = "") -> None:
    """Insert rows: `into` is the statement up to `VALUES`, `on_conflict` what comes after. Inside a transaction.

    Many rows go into one statement, because each call into SQLite gives the interpreter's lock away, and under load
    it takes longer to get it back than to insert a row.
    """
    for size, some in in_pieces(rows, _ROWS_TOGETHER):
        row = f"({', '.join('?' * len(some[0]))})"
        conn.execute(f"{into} VALUES {', '.join([row] * size)} {on_conflict}", list(chain.from_iterable(some)))


def in_pieces(rows: Sequence[R], sizes: tuple[int, ...]) -> Iterator[tuple[int, Sequence[R]]]:
    """Cut rows into pieces of a few fixed sizes, the last of them 1, so that few statements are made, and kept."""
    begin = 0
    for size in sizes:
        while len(rows) - begin >= size:
            yield size, rows[begin : begin + size]
            begin += size


def copy(conn: sqlite3.Connection, target: Path) -> None:
    """Write a whole and compact copy of the store, as it is now, to `target`, without keeping anybody waiting.

    The copy appears under its name only once it is complete and on disk.
    """
    unfinished = target.with_name(target.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        unfinished.touch(mode=0o600)
        conn.execute("VACUUM INTO ?", (str(unfinished),))
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
