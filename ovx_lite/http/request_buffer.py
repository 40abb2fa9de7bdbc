"""A bound on the memory that unfinished and waiting requests hold, over all connections."""

from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl

MAX_BUFFERED_BYTES = 64 * 1024 * 1024
"""Bytes that all connections together may hold for requests that are incomplete, or that wait for their turn."""


class Connection(Protocol):
    """What the limit asks of a connection."""

    def evict(self) -> None:
        """Refuse the requests that are unfinished or wait, let go of their bytes, and close."""


class BufferLimit:
    """Counts what each connection holds. Above `max_bytes`, it evicts the connections that began to hold first.

    The counts are in the order in which connections began to hold something. `update` adds, changes and removes them.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._total_bytes = 0
        self._held_bytes: dict[Connection, int] = {}

    def update(self, connection: Connection, held_bytes: int) -> None:
        """Record what a connection holds now; 0 forgets it."""
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
    """uvicorn's own, but reading does not resume while it is `held`."""

    held = False

    def resume_reading(self) -> None:
        """Resume, if nothing that was read waits for its turn."""
        if not self.held:
            super().resume_reading()
