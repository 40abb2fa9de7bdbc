"""Server-Sent Events: the streaming response, and the loop that sends a message for each change."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Generic, NamedTuple, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

HEARTBEAT_S = 15
"""After this time without a message, a comment is sent, so that no proxy closes the connection."""

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment, which browsers ignore."""

SEND_TIMEOUT_S = 10
"""How long a message may wait until the client has read those before it."""

T = TypeVar("T")


class Update(NamedTuple):
    """What to send now: a message or comment, `b""` for nothing. After the last one, the stream ends."""

    message: bytes
    is_last: bool = False


class EventStream(StreamingResponse, Generic[T]):
    """A response that streams messages while a subscription is open. A client that does not read is disconnected."""

    def __init__(
        self, subscribe: Callable[[], AbstractContextManager[T]], messages: Callable[[T], AsyncIterator[bytes]]
    ) -> None:
        # nginx buffers a response unless this header forbids it.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__((), headers=headers, media_type="text/event-stream")
        self._subscribe = subscribe
        self._messages = messages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the last message, or until the client hangs up. Raises what `subscribe` raises."""
        with self._subscribe() as subscription:
            self.body_iterator = self._messages(subscription)
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send the messages as long as the client reads them."""

        async def send_with_timeout(message: Message) -> None:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await send(message)

        try:
            await super().stream_response(send_with_timeout)
        except TimeoutError:
            return  # the response stays incomplete, so the server closes the connection


async def messages_on_change(
    changed: asyncio.Event, read: Callable[[], Awaitable[Update]], heartbeat_s: float | None = HEARTBEAT_S
) -> AsyncIterator[bytes]:
    """Yield what `read` returns, at the start and whenever `changed` is set, until the last message.

    After `heartbeat_s` without a change it yields a comment and reads again; `None` turns that off.
    """
    while True:
        changed.clear()  # before reading, so that a change during it is not missed
        message, is_last = await read()
        if message:
            yield message
        if is_last:
            return
        try:
            async with asyncio.timeout(heartbeat_s):
                await changed.wait()
        except TimeoutError:
            yield KEEP_ALIVE
