"""Requests that an application answers with plain function calls, without ASGI, a task or a future."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from ovx_lite.http.fast_cycle import encode_head
from ovx_lite.http.request_buffer import HoldableFlow


class DirectExchange:
    """A request that has arrived completely, and its response.

    The application calls `respond` once, at once or later. The other public names are those that uvicorn's protocol
    expects of a cycle.
    """

    more_body = False

    __slots__ = ("_connection", "body", "disconnected", "headers", "keep_alive", "method", "response_complete")

    def __init__(
        self,
        connection: "DirectConnection",
        method: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        keep_alive: bool,
    ) -> None:
        self._connection = connection
        self.method = method
        self.headers = headers
        self.body = body
        self.keep_alive = keep_alive
        self.disconnected = self.response_complete = False

    def client_host(self) -> str:
        """Return the IP address of the client; behind a trusted proxy, the one that it reports; `""` if unknown."""
        return self._connection.client_host(self.headers)

    def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Send the response. Does nothing if the client has disconnected."""
        connection = self._connection
        if self.disconnected:
            return
        if connection.flow.write_paused:
            connection.run_task(self._respond_when_writable(status, headers, body))
            return
        head, self.keep_alive = encode_head(status, (*connection.default_headers(), *headers), self.keep_alive)
        connection.transport.write(head if self.method == "HEAD" else head + body)
        self.response_complete = True
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()

    async def _respond_when_writable(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Respond once the client has read enough of the earlier responses."""
        await self._connection.flow.drain()
        self.respond(status, headers, body)

    @property
    def message_event(self) -> "DirectExchange":
        """Return the object whose `set` uvicorn's protocol calls when the client disconnects."""
        return self

    def set(self) -> None:
        """Do nothing: a direct request does not wait for a disconnect."""


class DirectConnection(Protocol):
    """What an exchange needs of its connection."""

    transport: asyncio.Transport
    flow: HoldableFlow

    def client_host(self, headers: list[tuple[bytes, bytes]]) -> str:
        """Return the IP address of the client."""
        ...

    def default_headers(self) -> Iterable[tuple[bytes, bytes]]:
        """Return the headers that go on every response, such as `date`."""
        ...

    def run_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a task."""
        ...

    def on_response_complete(self) -> None:
        """Go on with the next request. Called when a response has been sent."""
        ...


DirectHandler = Callable[[DirectExchange], Coroutine[Any, Any, None] | None]
"""Answers a request. A coroutine that it returns has to be awaited: then the request needed something else first."""


class DirectApp(Protocol):
    """An application that answers some requests directly."""

    def direct_handler(self, target: bytes) -> DirectHandler | None:
        """Return what answers requests to a target; `None` if they have to go through ASGI."""
        ...
