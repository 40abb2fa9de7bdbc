"""A limit on the memory that incomplete and waiting requests of all connections hold together."""

import asyncio
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl

MAX_BUFFERED_BYTES = 64 * 1024 * 1024
"""Bytes that all connections together may hold for requests that are incomplete or wait for an earlier one."""


class Connection(Protocol):
    """A connection that `BufferLimit` can evict."""

    def evict(self) -> None:
        """Reject the incomplete and waiting requests, release their bytes, and close the connection."""


class BufferLimit:
    """Counts the bytes that each connection holds. Above `max_bytes`, it evicts those that have held bytes longest.

    The counts are in the order in which connections began to hold bytes. `update` adds, changes and removes them.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._total_bytes = 0
        self._held_bytes: dict[Connection, int] = {}

    def update(self, connection: Connection, held_bytes: int) -> None:
        """Record how many bytes a connection holds now; 0 removes it."""
        self._total_bytes += held_bytes - self._held_bytes.get(connection, 0)
        if held_bytes:
            self._held_bytes[connection] = held_bytes
        else:
            self._held_bytes.pop(connection, None)
        while self._total_bytes > self._max_bytes:
            oldest = next(iter(self._held_bytes))
            self._total_bytes -= self._held_bytes.pop(oldest)
            oldest.evict()


class HoldableFlow(FlowControl):
    """uvicorn's flow control, with two differences.

    Reading does not resume while `held` is set. The event for `drain` is created when it is needed, because most
    connections never wait for their client to read.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.held = self.read_paused = self.write_paused = False
        self._writable: asyncio.Event | None = None

    async def drain(self) -> None:
        """Return when the client has read enough, or has disconnected."""
        if self.write_paused:
            self._writable = self._writable or asyncio.Event()
            await self._writable.wait()

    def resume_reading(self) -> None:
        """Resume reading, unless data that was read already still waits to be parsed."""
        if not self.held:
            super().resume_reading()

    def pause_writing(self) -> None:
        """Have `drain` wait, because the client does not read."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """End the waiting of `drain`."""
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None
