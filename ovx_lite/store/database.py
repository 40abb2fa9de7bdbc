"""The store for the event loop: one writer and one reader. The only module that knows of threads."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite

from ovx_lite.errors import Refused
from ovx_lite.store.db import FILE, LOCK, open_reader, open_store
from ovx_lite.store.lock_wait import SERVER_LOCK_TIMEOUT_S

P = ParamSpec("P")
T = TypeVar("T")


PATIENCE = 20.0
"""Seconds that a question to the numbers may take."""

_ANALYSTS = 2  # questions that are looked into at the same time


class Database:
    """The store for the server's event loop: one connection that writes and one that reads, each in its own thread.

    Functions are sent to them, take the `sqlite3.Connection` first, and run whole in one go. A reader never waits
    for the writer (WAL). What may take long has connections of its own, which are opened when it is first asked for.
    """

    def __init__(
        self, path: Path, lock: sqlite3.Connection, writer: aiosqlite.Connection, reader: aiosqlite.Connection
    ) -> None:
        self._path = path
        self._identity = _identity(path)
        self._lock = lock
        self._writer = writer
        self._reader = reader
        self._analysts: list[aiosqlite.Connection] = []
        self._free = asyncio.Semaphore(_ANALYSTS)

    @classmethod
    async def open(cls, data_dir: Path) -> "Database":
        """Open the store; raises `Refused` as `open_store` does, and if another server has it."""
        open_store(data_dir).close()  # a refusal is best met while there are no threads yet
        held = lock(data_dir)
        writer = await aiosqlite.Connection(lambda: open_store(data_dir, lock_timeout_s=SERVER_LOCK_TIMEOUT_S), 64)
        reader = await aiosqlite.Connection(lambda: open_reader(data_dir, lock_timeout_s=SERVER_LOCK_TIMEOUT_S), 64)
        return cls(data_dir / FILE, held, writer, reader)

    async def write(self, do: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `do(conn, …)` in the writer's thread. `do` makes its own transactions.

        Raises `sqlite3.OperationalError` if the file is no longer where it was: what is written to it would be lost.
        """
        return await _run(self._writer, self._checked, do, *args, **kwargs)

    def _checked(
        self,
        conn: sqlite3.Connection,
        do: Callable[Concatenate[sqlite3.Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        if _identity(self._path) != self._identity:
            raise sqlite3.OperationalError(f"{self._path} was removed or replaced while the server runs: restart it")
        return do(conn, *args, **kwargs)

    async def read(self, do: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `do(conn, …)` in the reader's thread."""
        return await _run(self._reader, do, *args, **kwargs)

    async def ask(self, do: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `do(conn, …)`, which may take long, in a thread for that.

        Raises `Refused` (`unavailable`) if it takes too long.
        """
        async with self._free:
            analyst = self._analysts.pop() if self._analysts else await self._new_analyst()
            try:
                return await _run(analyst, _in_time, do, *args, **kwargs)
            finally:
                self._analysts.append(analyst)

    async def _new_analyst(self) -> aiosqlite.Connection:
        return await aiosqlite.Connection(lambda: open_reader(self._path.parent, cache=64), 64)

    async def close(self) -> None:
        """Finish what was sent, and close. The last connection to close leaves one file, without a WAL beside it."""
        for _ in range(_ANALYSTS):
            await self._free.acquire()
        for analyst in self._analysts:
            await analyst.close()
        await self._reader.close()
        await self._writer.close()
        self._lock.close()


def _in_time(
    conn: sqlite3.Connection,
    do: Callable[Concatenate[sqlite3.Connection, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    until = time.monotonic() + PATIENCE
    conn.set_progress_handler(lambda: time.monotonic() > until, 200_000)
    conn.execute("BEGIN")  # all of it as of one moment
    try:
        return do(conn, *args, **kwargs)
    except sqlite3.OperationalError as wrong:
        if wrong.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        message = f"This takes more than {PATIENCE:g} seconds to count: ask for less time, or with fewer filters."
        raise Refused("unavailable", message, retry_after=1) from None
    finally:
        conn.set_progress_handler(None, 0)
        conn.execute("ROLLBACK")


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def lock(data_dir: Path) -> sqlite3.Connection:
    """What only one server can have of a data dir, and loses when it ends, however it ends. Raises `Refused`."""
    file = data_dir / LOCK
    held = sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        held.execute("BEGIN EXCLUSIVE")
        if not os.access(file, os.W_OK):  # then it would keep nobody out
            raise sqlite3.OperationalError("the file may only be read")
    except sqlite3.OperationalError as wrong:
        held.close()
        if wrong.args == ("database is locked",):
            message = f"Another server has the store in {data_dir}: stop it, or choose another --data-dir."
        else:
            message = f"{file} cannot be locked ({wrong}): see that it is yours, and that its disk has room."
        raise Refused("unavailable", message) from None
    return held


async def _run(
    thread: aiosqlite.Connection, do: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    # aiosqlite has no public call for "run this function in your thread"; this line is why its version is pinned.
    execute: Callable[..., Awaitable[T]] = thread._execute
    return await execute(do, thread._conn, *args, **kwargs)
