"""The store for the event loop: one writer, one reader, and the queue of read queries."""

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
from ovx_lite.storage.lock_wait import SERVER_LOCK_TIMEOUT_S
from ovx_lite.storage.priority import Requester
from ovx_lite.storage.query_queue import QueryQueue
from ovx_lite.storage.sqlite import LOCK_FILE, STORE_FILE, open_reader, open_store

P = ParamSpec("P")
T = TypeVar("T")


_QUERY_CACHE_MIB = 42  # of each of the connections that run read queries


class Database:
    """The store for the server's event loop: one connection that writes and one that reads, each in its own thread.

    Functions are sent to them, take the `sqlite3.Connection` first, and run whole in one go. A reader never waits
    for the writer (WAL). Read queries that may take long go through a queue, and have connections of their own.
    """

    def __init__(
        self, path: Path, lock_conn: sqlite3.Connection, writer: aiosqlite.Connection, reader: aiosqlite.Connection
    ) -> None:
        self._path = path
        self._identity_at_open = _file_identity(path)
        self._lock_conn = lock_conn
        self._writer = writer
        self._reader = reader
        self.queries = QueryQueue(lambda: open_reader(path.parent, _QUERY_CACHE_MIB, SERVER_LOCK_TIMEOUT_S))

    @classmethod
    async def open(cls, data_dir: Path) -> "Database":
        """Open the store; raises `ApiError` as `open_store` does, and if another server has it."""
        open_store(data_dir).close()  # a refusal is best met while there are no threads yet
        lock_conn = acquire_lock(data_dir)
        writer = await aiosqlite.Connection(lambda: open_store(data_dir, lock_timeout_s=SERVER_LOCK_TIMEOUT_S), 64)
        reader = await aiosqlite.Connection(lambda: open_reader(data_dir, lock_timeout_s=SERVER_LOCK_TIMEOUT_S), 64)
        return cls(data_dir / STORE_FILE, lock_conn, writer, reader)

    async def write(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `do(conn, …)` in the writer's thread. `do` makes its own transactions.

        Raises `sqlite3.OperationalError` if the file is no longer where it was: what is written to it would be lost.
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
            raise sqlite3.OperationalError(f"{self._path} was removed or replaced while the server runs: restart it")
        return function(conn, *args, **kwargs)

    async def read(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `do(conn, …)` in the reader's thread."""
        return await _run(self._reader, function, *args, **kwargs)

    async def query(
        self, requester: Requester, key: Hashable, run: Callable[[sqlite3.Connection], T]
    ) -> asyncio.Future[T]:
        """Queue `run(conn)`, which may take long, and return a future of its result.

        Cancel the future if whoever asks hangs up. Queries with equal keys have equal results for the same data, and
        are run once. Raises `ApiError` (`unavailable`) if the queue is full; so does the future, if it takes too long.
        """
        return self.queries.submit(requester, key, await self.read(_data_version), run)

    async def close(self) -> None:
        """Finish what was sent, and close. The last connection to close leaves one file, without a WAL beside it."""
        await self.queries.close()
        await self._reader.close()
        await self._writer.close()
        self._lock_conn.close()


def _data_version(conn: sqlite3.Connection) -> int:
    """Return a number that is another one once any other connection, of whatever process, has written."""
    return int(conn.execute("PRAGMA data_version").fetchone()[0])


def _file_identity(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)


def acquire_lock(data_dir: Path) -> sqlite3.Connection:
    """What only one server can have of a data dir, and loses when it ends, however it ends. Raises `ApiError`."""
    file = data_dir / LOCK_FILE
    try:
        file_modes.make_file(file)
    except OSError as exc:
        raise _lock_error(file, exc) from None
    conn = sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        conn.execute("BEGIN EXCLUSIVE")
        if not os.access(file, os.W_OK):  # then it would keep nobody out
            raise sqlite3.OperationalError("the file may only be read")
    except sqlite3.OperationalError as wrong:
        conn.close()
        if wrong.args == ("database is locked",):
            message = f"Another server has the store in {data_dir}: stop it, or choose another --data-dir."
        else:
            raise _lock_error(file, wrong) from None
        raise ApiError("unavailable", message) from None
    return conn


def _lock_error(file: Path, exc: Exception) -> ApiError:
    message = f"{file} cannot be locked ({exc}): see that it is yours, and that its disk has room."
    return ApiError("unavailable", message)


async def _run(
    thread_conn: aiosqlite.Connection,
    function: Callable[Concatenate[sqlite3.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    # aiosqlite has no public call for "run this function in your thread"; this line is why its version is pinned.
    execute: Callable[..., Awaitable[None]] = thread_conn._execute
    box: list[Any] = [partial(function, thread_conn._conn, *args, **kwargs)]
    await execute(_run_boxed, box)
    result, exc = box.pop()
    if exc is None:
        return cast(T, result)
    try:
        raise exc
    finally:
        del exc  # its traceback has this frame


def _run_boxed(box: list[Any]) -> None:
    """Make the call that is in a box, and put there its result, or else the exception that it raised.

    The thread remembers its latest call and result until the next one, so these are to be empty. And the future of an
    exception that aiosqlite would raise is in a frame of that exception's traceback: a reference cycle.
    """
    try:
        box.append((box.pop()(), None))
    except Exception as exc:
        box.append((None, exc))
