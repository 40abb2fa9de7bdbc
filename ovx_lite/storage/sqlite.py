"""The store's file: opening it, migrations, transactions and inserts."""

import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import TypeVar

from ovx_lite.domain.errors import ApiError
from ovx_lite.storage import file_modes, schema_objects
from ovx_lite.storage.cancellation import QueryConnection
from ovx_lite.storage.copies import copy
from ovx_lite.storage.lock_wait import COMMAND_LOCK_TIMEOUT_S, StoreConnection, execute_when_unlocked

R = TypeVar("R")
C = TypeVar("C", bound=sqlite3.Connection)

STORE_FILE = "ovx-lite.sqlite3"
LOCK_FILE = "serving.lock"
"""A file in the data directory. A server locks it, so that only one server uses the store."""

RESTORING_DIR = "restoring"
"""A folder in the data directory while a backup is restored."""

_APPLICATION_ID = 0x6F76786C  # "ovxl": tells our files from other programs' databases
_UPGRADES_UNRELEASED = "1d8d18f"  # the last commit that upgrades schemas 1 to 5; it upgrades them to schema 6
_HAS_REQUIRED_ROWS = """
SELECT (SELECT count(*) FROM meta WHERE name IN ('registry_version', 'write_checked_at')) = 2
    AND (SELECT count(*) FROM admin) = 1
"""
_MAX_LOG_PAGES = 32_000  # 128 MiB: far more than `Database.checkpoint` leaves
_SYNCHRONOUS_NORMAL = 1  # SQLite's number; 0 is OFF, 2 is FULL
_INSERT_BATCH_SIZES = (128, 16, 4, 1)


def steps() -> dict[int, str]:
    """Return the migrations in order, by schema version: step n brings a file from version n - 1 to version n.

    The first step creates the oldest schema that can be upgraded.
    """
    folder = files("ovx_lite.storage").joinpath("migrations")
    return {
        int(step.name.partition("_")[0]): step.read_text("utf-8")
        for step in sorted(folder.iterdir(), key=lambda step: step.name)
        if step.name.endswith(".sql")
    }


def schema() -> str:
    """Return the SQL that makes a new store, of the version of the last step."""
    return files("ovx_lite.storage").joinpath("schema.sql").read_text("utf-8")


def open_store(
    data_dir: Path, create: bool = True, lock_timeout_s: float = COMMAND_LOCK_TIMEOUT_S
) -> sqlite3.Connection:
    """Open the store in `data_dir` for reading and writing. Upgrade it if it is older; create it if `create` is true.

    `lock_timeout_s` is how long the connection's transactions wait for those of other processes.
    Raises `ApiError` (`unavailable`) with a message that says what to do: if there is no store, if the folder cannot be
    written, or if the file is damaged, another program's, or written by a newer version.
    """
    path = data_dir / STORE_FILE
    if not path.exists() and (data_dir / RESTORING_DIR).exists():
        raise ApiError("unavailable", f"ovx-lite restore into {data_dir} was interrupted: run it again.")
    if not create and not (path.exists() and path.stat().st_size):
        raise ApiError(
            "unavailable", f"There is no store in {data_dir}: add a site first, or give the right --data-dir."
        )
    try:
        file_modes.make_folder(data_dir)
        file_modes.make_file(path)
        for file in data_dir.glob("ovx-lite*.sqlite3*"):  # write-ahead logs and backups
            file_modes.restrict(file)
        if not os.access(path, os.W_OK):
            raise PermissionError("the file is read-only")  # SQLite would open it, and fail at the first event
        conn = _connect(path)
        _check_schema(conn, path, steps())
        execute_when_unlocked(conn, "PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = FULL")
        conn.execute("PRAGMA foreign_keys = ON")
        conn.execute("PRAGMA secure_delete = ON")
        conn.execute("PRAGMA cache_size = -16000")
        _create(conn)
        migrate(conn, path, steps())
        (has_required_rows,) = conn.execute(_HAS_REQUIRED_ROWS).fetchone()
        if not has_required_rows:
            raise sqlite3.DatabaseError("rows that every store has are missing")
        conn.execute("PRAGMA busy_timeout = 0")  # from here on, `lock_wait` waits for other processes
        with transaction(conn):
            pass  # if the file cannot be written, fail now and not at the first event
        conn.lock_timeout_s = lock_timeout_s
    except (OSError, sqlite3.Error, UnicodeDecodeError) as exc:  # UnicodeDecodeError: a message quotes the file
        raise _open_error(path, exc) from None
    return conn


def open_reader(
    data_dir: Path, cache_mib: int = 2, lock_timeout_s: float = COMMAND_LOCK_TIMEOUT_S
) -> sqlite3.Connection:
    """Open the store for reading only, with a page cache of at most `cache_mib` MiB."""
    conn = _connect_as(QueryConnection, data_dir / STORE_FILE, lock_timeout_s)
    conn.execute("PRAGMA query_only = ON")
    conn.execute("PRAGMA temp_store = FILE")
    conn.execute(f"PRAGMA cache_size = {-1024 * cache_mib}")
    return conn


def _connect(path: Path) -> StoreConnection:
    return _connect_as(StoreConnection, path, COMMAND_LOCK_TIMEOUT_S)


def _connect_as(factory: type[C], path: Path, timeout_s: float) -> C:
    if sqlite3.sqlite_version_info < (3, 37):
        raise ApiError("unavailable", f"SQLite {sqlite3.sqlite_version} is too old: ovx-lite needs 3.37 or newer.")
    # `isolation_level=None`: only our own code begins and ends transactions.
    conn = sqlite3.connect(
        path, timeout=timeout_s, isolation_level=None, check_same_thread=False, cached_statements=256, factory=factory
    )
    # Somebody else may have made the file, so its schema must not call functions that have side effects.
    conn.execute("PRAGMA trusted_schema = OFF")
    if sys.version_info >= (3, 12):
        conn.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    return conn


def _open_error(path: Path, exc: Exception) -> ApiError:
    if isinstance(exc, sqlite3.DatabaseError) and "not a database" in str(exc):
        return ApiError("unavailable", f"{path} is not a database: move it away, or choose another --data-dir.")
    if isinstance(exc, UnicodeDecodeError):
        return ApiError("unavailable", f"{path} is damaged (its schema cannot be read): restore a backup.")
    if isinstance(exc, sqlite3.DatabaseError) and not isinstance(exc, sqlite3.OperationalError):
        return ApiError("unavailable", f"{path} is damaged ({exc}): restore a backup.")
    return ApiError(
        "unavailable",
        f"The store {path} cannot be opened for writing ({exc}): check that the folder exists, that you own it "
        "and that its disk has free space, or choose another --data-dir.",
    )


def _check_schema(conn: sqlite3.Connection, path: Path, steps: Mapping[int, str]) -> None:
    """Raise `ApiError` unless the file is empty, or has exactly the schema of its version.

    Otherwise a trigger or a view that somebody added could change data with our permissions, even during an upgrade.
    """
    conn.execute("BEGIN")  # one snapshot: another process may be creating or upgrading the store
    try:
        (tables,) = conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application_id,) = conn.execute("PRAGMA application_id").fetchone()
        (encoding,) = conn.execute("PRAGMA encoding").fetchone()
        version = _version(conn)
        if not tables:
            return
        if application_id != _APPLICATION_ID or version < 1 or encoding != "UTF-8":
            raise ApiError("unavailable", f"{path} is another program's database: choose another --data-dir.")
        if version < min(steps):
            raise ApiError(
                "unavailable",
                f"{path} has schema {version}, which was never released: open it once with ovx-lite of commit "
                f"{_UPGRADES_UNRELEASED}, which upgrades it to schema {min(steps)}, and then with this one.",
            )
        # The schema of a newer version is unknown here; `migrate` rejects it.
        scripts = [script for number, script in steps.items() if number <= version]
        if version == max(steps):
            scripts = [schema()]  # many times faster than all steps
        differences = [] if version > max(steps) else schema_objects.differences(conn, scripts)
    finally:
        conn.execute("ROLLBACK")
    if differences:
        examples = "; ".join(differences[:3]) + ("; …" if len(differences) > 3 else "")
        message = f"{path} has another schema than ovx-lite's ({examples}): drop what was added, or restore a backup."
        raise ApiError("unavailable", message)


def _create(conn: sqlite3.Connection) -> None:
    """Make the tables of a new store, if the file is empty."""
    if _version(conn):
        return
    with transaction(conn):
        if _version(conn) == 0:  # or else another process was faster
            _run_script(conn, schema(), max(steps()))


def _run_script(conn: sqlite3.Connection, script: str, version: int) -> None:
    """Bring the file to a version of the schema. Inside a transaction."""
    # `executescript` would commit before it begins, so statements are run one by one.
    for statement in schema_objects.statements(script):
        conn.execute(statement)
    conn.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    conn.execute(f"PRAGMA user_version = {version}")


def migrate(conn: sqlite3.Connection, path: Path, steps: Mapping[int, str]) -> None:
    """Upgrade the file to the last of `steps`. Each step has its own transaction.

    An existing store is first copied beside the file. Raises `ApiError` (`unavailable`) if the file has a newer schema.
    """
    version, newest = _version(conn), max(steps)
    if version > newest:
        raise ApiError(
            "unavailable",
            f"{path} was written by a newer ovx-lite (schema {version}, this one supports {newest}): upgrade ovx-lite.",
        )
    if 0 < version < newest:
        _check_no_server(path)
        _back_up_before_upgrade(conn, path, version, newest)
    for step_number in [step_number for step_number in steps if step_number > version]:
        with transaction(conn):
            if _version(conn) < step_number:  # or else another process has done this step
                _run_script(conn, steps[step_number], step_number)


def _check_no_server(path: Path) -> None:
    """Raise `ApiError` (`unavailable`) if a server uses the store. It would not find the tables that it knows."""
    lock_file = path.with_name(LOCK_FILE)
    if not lock_file.exists():
        return
    with closing(sqlite3.connect(lock_file, timeout=0, isolation_level=None)) as conn:
        try:
            conn.execute("SELECT count(*) FROM sqlite_schema")  # the lock of a server excludes readers
        except sqlite3.OperationalError as exc:
            if exc.args != ("database is locked",):
                raise
            message = f"A server of an older ovx-lite is using {path}: stop it, so that the store can be upgraded."
            raise ApiError("unavailable", message) from None


def _back_up_before_upgrade(conn: sqlite3.Connection, path: Path, version: int, target_version: int) -> None:
    """Copy the file, unless another process has upgraded it. A write lock prevents upgrades during the copy."""
    lock_conn = _connect(path)
    try:
        with transaction(lock_conn):
            if _version(lock_conn) == version:
                copy(conn, path.with_name(f"{path.stem}-before-schema-{target_version}{path.suffix}"))
    finally:
        lock_conn.close()


def _version(conn: sqlite3.Connection) -> int:
    return int(conn.execute("PRAGMA user_version").fetchone()[0])


def do_not_sync(conn: sqlite3.Connection) -> None:
    """Do not wait for the disk at the end of a transaction. For stores that are deleted afterwards."""
    conn.execute("PRAGMA synchronous = OFF")


@contextmanager
def transaction(conn: sqlite3.Connection) -> Iterator[None]:
    """Run the block in a write transaction. At its end all changes are on disk; after an exception, none is kept."""
    execute_when_unlocked(conn, "BEGIN IMMEDIATE")
    try:
        yield
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise


@contextmanager
def no_wait_for_disk(conn: sqlite3.Connection) -> Iterator[None]:
    """Let the transactions in the block end without waiting for the disk.

    A power cut may undo them, the latest first, unless a transaction after them has waited.
    """
    (synchronous,) = conn.execute("PRAGMA synchronous").fetchone()
    conn.execute(f"PRAGMA synchronous = {min(synchronous, _SYNCHRONOUS_NORMAL)}")
    try:
        yield
    finally:
        conn.execute(f"PRAGMA synchronous = {synchronous}")


def open_checkpointer(data_dir: Path) -> sqlite3.Connection:
    """Open the store for `checkpoint` only."""
    return _connect(data_dir / STORE_FILE)


def leave_checkpoints_to_others(conn: sqlite3.Connection) -> None:
    """Do not move the write-ahead log into the file at the end of a transaction, unless nobody else does."""
    conn.execute(f"PRAGMA wal_autocheckpoint = {_MAX_LOG_PAGES}")


def checkpoint(conn: sqlite3.Connection) -> int:
    """Move the content of the write-ahead log into the file, as far as no reader needs it. Return the log's pages.

    Others may read and write meanwhile. When all of the log was moved, the next transaction starts it anew.
    """
    _, log_pages, _ = conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(log_pages)


def truncate_wal(conn: sqlite3.Connection, timeout_s: float = 0) -> bool:
    """Move the content of the write-ahead log into the file, and empty the log.

    Return whether that succeeded within `timeout_s`. It fails as long as another connection reads an older state.
    """
    conn.execute(f"PRAGMA busy_timeout = {int(timeout_s * 1000)}")
    (busy, _, _) = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    conn.execute("PRAGMA busy_timeout = 0")
    return not busy


def insert(conn: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]], on_conflict: str = "") -> None:
    """Insert rows. `statement` is the SQL before `VALUES`, `on_conflict` the SQL after the rows.

    Call this inside a transaction. One statement inserts many rows, because each call into SQLite releases the GIL, and
    under load it takes longer to get it back than to insert a row.
    """
    for row_count, batch in batches(rows, _INSERT_BATCH_SIZES):
        placeholders = f"({', '.join('?' * len(batch[0]))})"
        conn.execute(
            f"{statement} VALUES {', '.join([placeholders] * row_count)} {on_conflict}",
            list(chain.from_iterable(batch)),
        )


def batches(rows: Sequence[R], sizes: tuple[int, ...]) -> Iterator[tuple[int, Sequence[R]]]:
    """Split rows into batches of a few fixed sizes, so that the statement cache holds all statements.

    `sizes` must be in descending order and end with 1. Yields the size and the rows of each batch.
    """
    start = 0
    for size in sizes:
        while len(rows) - start >= size:
            yield size, rows[start : start + size]
            start += size
