"""The store for the event loop: one writer thread, one reader thread, and the queue of read queries."""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import aiosqlite

from ovx_lite.domain.errors import ApiError
from ovx_lite.storage import file_modes
from ovx_lite.storage.engine import EventReader
from ovx_lite.storage.lock_wait import SERVER_LOCK_TIMEOUT_S
from ovx_lite.storage.priority import Requester
from ovx_lite.storage.query_queue import QueryQueue
from ovx_lite.storage.read.reader import SqliteReader
from ovx_lite.storage.sqlite import (
    LOCK_FILE,
    STORE_FILE,
    checkpoint,
    leave_checkpoints_to_others,
    open_checkpointer,
    open_reader,
    open_store,
)

P = ParamSpec("P")
T = TypeVar("T")

RESTART_LOG_PAGES = 4_000
"""A write-ahead log of this many pages (16 MiB) is started anew."""

_QUERY_CACHE_MIB = 42  # page cache of each connection of the query queue


class Database:
    """The store for the server's event loop: connections that write, read and checkpoint, each in its own thread.

    You send functions to these threads. A function gets the `sqlite3.Connection` as its first argument and runs to its
    end before the thread starts the next one. The reader never waits for the writer, because the store uses a
    write-ahead log; but pages and queries first let the projector write what they are to read. Read queries that may
    take long go through a queue and have their own connections.
    """

    def __init__(
        self,
        path: Path,
        lock_conn: sqlite3.Connection,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        checkpointer: aiosqlite.Connection,
    ) -> None:
        self._path = path
        self._identity_at_open = _file_identity(path)
        self._lock_conn = lock_conn
        self._writer = writer
        self._reader = reader
        self._checkpointer = checkpointer
        self.queries = QueryQueue(lambda: open_reader(path.parent, _QUERY_CACHE_MIB, SERVER_LOCK_TIMEOUT_S))

    @classmethod
    async def open(cls, data_dir: Path) -> "Database":
        """Open the store. Raises `ApiError` as `open_store` does, and if another server is using the store."""
        open_store(data_dir).close()  # first, so that errors are raised before there are threads to stop
        lock_conn = acquire_lock(data_dir)
        writer = await aiosqlite.Connection(lambda: open_store(data_dir, lock_timeout_s=SERVER_LOCK_TIMEOUT_S), 64)
        reader = await aiosqlite.Connection(lambda: open_reader(data_dir, lock_timeout_s=SERVER_LOCK_TIMEOUT_S), 64)
        checkpointer = await aiosqlite.Connection(lambda: open_checkpointer(data_dir), 64)
        await _run(writer, leave_checkpoints_to_others)
        return cls(data_dir / STORE_FILE, lock_conn, writer, reader, checkpointer)

    async def write(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(conn, …)` in the writer's thread and return its result.

        The function must open its own transactions. Raises `sqlite3.OperationalError` if the file was removed or
        replaced, because all writes would be lost.
        """
        return await _run(self._writer, self._run_if_same_file, function, *args, **kwargs)

    def _run_if_same_file(
        self,
        conn: sqlite3.Connection,
        function: Callable[Concatenate[sqlite3.Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        if _file_identity(self._path) != self._identity_at_open:
            message = f"{self._path} was removed or replaced while the server was running: restart the server"
            raise sqlite3.OperationalError(message)
        return function(conn, *args, **kwargs)

    async def read(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(conn, …)` in the reader's thread and return its result."""
        return await _run(self._reader, function, *args, **kwargs)

    async def checkpoint(self) -> None:
        """Move the content of the write-ahead log into the store's file.

        This takes long, and copies what was written until it began. Under load, the log would grow for ever. So a long
        log is finished in the writer's thread, where nothing is written meanwhile: only little is left to be moved.
        """
        log_pages = await _run(self._checkpointer, checkpoint)
        if log_pages > RESTART_LOG_PAGES:
            await self.write(checkpoint)

    async def read_events(
        self, function: Callable[Concatenate[EventReader, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function(reader, …)` in the reader's thread and return its result. It must not take long."""
        return await self.read(lambda conn: function(SqliteReader(conn), *args, **kwargs))

    async def query(self, requester: Requester, key: Hashable, run: Callable[[EventReader], T]) -> asyncio.Future[T]:
        """Queue `run(reader)`, which may take long, and return a future of its result.

        Cancel the future if the client disconnects. Queries with equal keys must have equal results for the same data,
        so they run once. Raises `ApiError` (`unavailable`) if the queue is full. The future raises it if the query
        waits or runs too long.
        """
        data_version = await self.read(_data_version)
        return self.queries.submit(requester, key, data_version, lambda conn: run(SqliteReader(conn)))

    async def close(self) -> None:
        """Finish all functions, then close. After the last connection closes, the store is one file without a WAL."""
        await self.queries.close()
        await self._reader.close()
        await self._checkpointer.close()
        await self._writer.close()
        self._lock_conn.close()


def _data_version(conn: sqlite3.Connection) -> int:
    """Return a number that changes when another connection, of any process, has written to the store."""
    return int(conn.execute("PRAGMA data_version").fetchone()[0])


def _file_identity(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


def acquire_lock(data_dir: Path) -> sqlite3.Connection:
    """Lock the data directory, so that only one server uses it. Close the returned connection to release the lock.

    The lock is also released when the process ends, even if it crashes. Raises `ApiError` (`unavailable`) if another
    server has the lock, or if the lock file cannot be written.
    """
    file = data_dir / LOCK_FILE
    try:
        file_modes.make_file(file)
    except OSError as exc:
        raise _lock_error(file, exc) from None
    conn = sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        conn.execute("BEGIN EXCLUSIVE")
        if not os.access(file, os.W_OK):  # the lock would not exclude other servers
            raise sqlite3.OperationalError("the file is read-only")
    except sqlite3.OperationalError as exc:
        conn.close()
        if exc.args != ("database is locked",):
            raise _lock_error(file, exc) from None
        message = f"Another server is using the store in {data_dir}: stop it, or choose another --data-dir."
        raise ApiError("unavailable", message) from None
    return conn


def _lock_error(file: Path, exc: Exception) -> ApiError:
    message = f"{file} cannot be locked ({exc}): check that you own it and that its disk has free space."
    return ApiError("unavailable", message)


async def _run(
    thread_conn: aiosqlite.Connection,
    function: Callable[Concatenate[sqlite3.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    # aiosqlite has no public method that runs any function in its thread. Its version is pinned because of this line.
    execute: Callable[..., Awaitable[None]] = thread_conn._execute
    box: list[Any] = [partial(function, thread_conn._conn, *args, **kwargs)]
    await execute(_run_boxed, box)
    result, exc = box.pop()
    if exc is None:
        return cast(T, result)
    try:
        raise exc
    finally:
        del exc  # its traceback refers to this frame: a reference cycle


def _run_boxed(box: list[Any]) -> None:
    """Take the function out of `box`, run it, and put a pair in its place: (result, None) or (None, exception).

    aiosqlite's thread keeps its latest call and result in memory until the next call, so neither may hold data. And if
    aiosqlite saw the exception, the traceback would refer to a future that refers to the exception: a reference cycle.
    """
    try:
        box.append((box.pop()(), None))
    except Exception as exc:
        box.append((None, exc))
