"""The ASGI cycle (request and response) of a request that has arrived completely and is not answered directly.

uvicorn's own cycle supports bodies and responses in several parts. Nearly all requests and responses are small and
have one part. Without the support for parts, a cycle takes half the time (see `benchmarks/`). uvicorn's cycle still
handles requests that arrive in parts.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ovx_lite.domain.errors import ApiError, detached
from ovx_lite.http import request_id
from ovx_lite.http.hang_up import HALF_CLOSED
from ovx_lite.http.responses import INTERNAL_ERROR, error_body, error_headers

_log = logging.getLogger("ovx_lite")
_STATUSES_WITHOUT_BODY = (204, 304)


class FastCycle:
    """Implements ASGI's `receive` and `send`, and the attributes that uvicorn's protocol expects of a cycle."""

    more_body = False

    __slots__ = (
        "_body_received",
        "_chunked",
        "_default_headers",
        "_disconnect_future",
        "_head",
        "_response_started",
        "body",
        "disconnected",
        "flow",
        "keep_alive",
        "on_response",
        "response_complete",
        "scope",
        "transport",
    )

    def __init__(
        self,
        scope: Scope,
        body: bytes,
        transport: asyncio.Transport,
        flow: FlowControl,
        default_headers: Sequence[tuple[bytes, bytes]],
        keep_alive: bool,
        on_response: Callable[[], None],
    ) -> None:
        """`default_headers`, such as `date`, go on every response; `on_response` is called when it has been sent."""
        self.scope = scope
        self.transport = transport
        self.flow = flow
        self.keep_alive = keep_alive
        self.on_response = on_response
        self.disconnected = self.response_complete = False
        self.body = body
        self._default_headers = default_headers
        self._body_received = self._response_started = self._chunked = False
        self._head = b""
        self._disconnect_future: asyncio.Future[None] | None = None

    async def run_asgi(self, app: ASGIApp) -> None:
        """Have the application answer the request. An exception becomes a 500 response and a log entry."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as exc:
            _log.error("%s %s failed", self.scope["method"], self.scope["path"], exc_info=exc)
            detached(exc)
            if not self._response_started:
                await self._send_internal_error()
        if not self.response_complete and not self.disconnected:
            # `close` would wait until the client has read everything: one that does not read keeps the connection open.
            (self.transport.abort if self.flow.write_paused else self.transport.close)()

    async def _send_internal_error(self) -> None:
        body = error_body(INTERNAL_ERROR)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": INTERNAL_ERROR.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def receive(self) -> Message:
        """Return the whole body; when called again, wait until the client disconnects or half-closes the connection."""
        if not self._body_received:
            self._body_received = True
            body, self.body = self.body, b""  # a connection that stays open must not hold the body
            return {"type": "http.request", "body": body, "more_body": False}
        if not self.disconnected and not self.response_complete and HALF_CLOSED not in self.scope:
            self._disconnect_future = self._disconnect_future or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._disconnect_future)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send the head with the first part of the body, then any further parts."""
        if self.disconnected or self.response_complete:
            return
        if not self._response_started:
            self._head = self._encode_head(message["status"], message["headers"])
            self._response_started = True
            if self._chunked:  # a stream: its first message may come much later
                self.transport.write(self._head)
                self._head = b""
            return
        if self.flow.write_paused:
            await self.flow.drain()
        body, more_body = message.get("body", b""), message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            body = b""
        elif self._chunked:
            body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + (b"" if more_body else b"0\r\n\r\n")
        self.transport.write(self._head + body)
        self._head = b""
        if not more_body:
            self.response_complete = True
            self.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()

    def _encode_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        parts, has_length = [STATUS_LINE[status]], status in _STATUSES_WITHOUT_BODY
        for name, value in (*self._default_headers, *headers):
            if b"\n" in value or b"\r" in value:
                raise ValueError("a header's value contains a line break")
            if name == b"content-length":
                has_length = True
            elif name == b"connection" and value.lower() == b"close":
                self.keep_alive = False
                continue
            parts += (name, b": ", value, b"\r\n")
        if not has_length and self.scope["method"] != "HEAD":
            self._chunked = True
            parts.append(b"transfer-encoding: chunked\r\n")
        parts.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(parts)

    @property
    def message_event(self) -> "FastCycle":
        """Return the object whose `set` uvicorn's protocol calls when the client disconnects."""
        return self

    def set(self) -> None:
        """Wake `receive`, if it waits for the client to disconnect."""
        if self._disconnect_future is not None and not self._disconnect_future.done():
            self._disconnect_future.set_result(None)


def encode_error_response(error: ApiError) -> bytes:
    """Return the bytes of an error response that closes the connection, for input that never became an ASGI request."""
    status = STATUS_LINE[431 if error.code == "payload_too_large" else error.status]
    body = error_body(error)
    headers = [
        (b"content-type", b"application/json"),
        (b"connection", b"close"),
        (request_id.HEADER, request_id.new()),
        (b"content-length", b"%d" % len(body)),
        *error_headers(error),
    ]
    return b"".join([status, *(b"%s: %s\r\n" % header for header in headers), b"\r\n", body])
