"""Requests that an application answers with plain function calls, without ASGI, a task or a future."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Protocol

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ovx_lite.http.request_buffer import HoldableFlow


class DirectConnection(Protocol):
    """What an exchange needs of its connection."""

    transport: asyncio.Transport
    flow: HoldableFlow

    def client_host(self, headers: list[tuple[bytes, bytes]]) -> str:
        """Return the IP address of the client; behind a trusted proxy, the one that it reports; `""` if unknown."""
        ...

    def default_lines(self) -> bytes:
        """Return the headers that go on every response, such as `date`."""
        ...

    def run_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a task."""
        ...

    def on_response_complete(self) -> None:
        """Go on with the next request. Called when a response has been sent."""
        ...


class DirectExchange(msgspec.Struct, eq=False):
    """A request that has arrived completely, and its response.

    The application calls `respond` once, at once or later. The other public names are those that uvicorn's protocol
    expects of a cycle.
    """

    connection: DirectConnection
    method: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    keep_alive: bool
    disconnected: bool = False
    response_complete: bool = False
    more_body: ClassVar = False

    def respond(self, status: int, header_lines: bytes, body: bytes, close: bool = False) -> None:
        """Send the response, and with `close` end the connection. Does nothing if the client has disconnected."""
        if self.disconnected:
            return
        connection = self.connection
        if connection.flow.write_paused:
            connection.run_task(self._respond_when_writable(status, header_lines, body, close))
            return
        if close:
            self.keep_alive = False
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        if self.method == "HEAD":
            body = b""
        connection.transport.write(b"".join((STATUS_LINE[status], connection.default_lines(), header_lines, end, body)))
        self.response_complete = True
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()

    async def _respond_when_writable(self, status: int, header_lines: bytes, body: bytes, close: bool) -> None:
        """Respond once the client has read enough of the earlier responses."""
        await self.connection.flow.drain()
        self.respond(status, header_lines, body, close)

    @property
    def message_event(self) -> "DirectExchange":
        """Return the object whose `set` uvicorn's protocol calls when the client disconnects."""
        return self

    def set(self) -> None:
        """Do nothing: a direct request does not wait for a disconnect."""


DirectHandler = Callable[[DirectExchange], Coroutine[Any, Any, None] | None]
"""Answers a request. A coroutine that it returns has to be awaited: then the request needed something else first."""


class DirectApp(Protocol):
    """An application that answers some requests directly."""

    def direct_handler(self, target: bytes) -> DirectHandler | None:
        """Return what answers requests to a target; `None` if they have to go through ASGI."""
        ...
