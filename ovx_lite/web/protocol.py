"""HTTP as uvicorn speaks it, with errors in our words, without offers that it would stumble over, and a short way."""

import asyncio
import re
import urllib.parse
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ovx_lite.errors import Refused
from ovx_lite.web import request_ids
from ovx_lite.web.answers import error_body
from ovx_lite.web.exchange import Exchange
from ovx_lite.web.hang_up import HALF_CLOSED

LARGEST_HEAD = 64 * 1024
"""Bytes of a request's line and headers."""

PATIENCE = 30.0
"""Seconds that a connection may say nothing whole, at least; at most twice as many."""

_UPGRADE = re.compile(rb"(?<=\n)upgrade(?=:)", re.IGNORECASE)


class Protocol(HttpToolsProtocol):
    """uvicorn's own, but for some things.

    What is not even HTTP is answered in the contract's JSON, too. An offer to upgrade to another protocol, which
    Java's client and `curl --http2` make with each request, is passed over: uvicorn's parser would drop the body. And
    a request that comes in one piece, as nearly all do, is an `Exchange`. Heads have limits of size and time.
    """

    _pieces: list[bytes] | None = None  # of the body, while all of a request may come in one piece
    _in_head = True
    _head = 0  # bytes that came while no head was whole
    _heads = _heads_before = 0
    _watch: asyncio.TimerHandle | None = None
    _active: Any = None  # the request that is answered, of several that were sent at once

    def connection_made(self, transport: Any) -> None:
        """Begin to listen, though not for ever."""
        super().connection_made(transport)
        self._watch = self.loop.call_later(PATIENCE, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._watch is not None:
            self._watch.cancel()
        if self._active is not None and not self._active.response_complete:
            self._active.disconnected = True  # uvicorn tells the latest of several that were sent at once
            self._active.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    def _look(self) -> None:
        """Close the connection if no head came since the last look, and nobody waits for an answer."""
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self._heads == self._heads_before:
            self.transport.close()
        else:
            self._heads_before = self._heads
            self._watch = self.loop.call_later(PATIENCE, self._look)

    def data_received(self, data: bytes) -> None:
        """Take what came, with another name for the header `Upgrade`."""
        if b"pgrade:" in data or b"PGRADE:" in data:
            data = _UPGRADE.sub(b"x-grade", data)  # as long as it was; and in no JSON does a line begin like this
        if self._in_head:
            self._head += len(data)
            if self._head > LARGEST_HEAD and self._is_too_large(data):
                if self.transport.is_closing():
                    return
                message = (
                    f"A request's head may have {LARGEST_HEAD // 1024} KiB: send shorter headers, or a shorter path."
                )
                self._refuse("431 Request Header Fields Too Large", Refused("payload_too_large", message))
                return
        super().data_received(data)
        if self._pieces is not None:
            self._go_the_long_way()

    def _is_too_large(self, data: bytes) -> bool:
        """Whether a head that goes on with this has too many bytes, as far as one can see, with those before it."""
        end = data.find(b"\r\n\r\n")
        return self._head - len(data) + (len(data) if end < 0 else end) > LARGEST_HEAD

    def on_headers_complete(self) -> None:
        """See whether the whole request is here; unless others are before it, or it waits for a word from us."""
        self._in_head, self._head = False, 0
        self._heads += 1
        if self.expect_100_continue or not (self.cycle is None or self.cycle.response_complete):
            super().on_headers_complete()
        else:
            self._pieces = []

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self._pieces is None:
            super().on_body(body)
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Begin to answer, if the request is here as a whole."""
        self._in_head = True
        if self._pieces is None:
            super().on_message_complete()
            return
        body, self._pieces = b"".join(self._pieces), None
        scope: Any = self.scope
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version = self.parser.get_http_version()
        scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        defaults = self.server_state.default_headers
        self.cycle = Exchange(  # type: ignore[assignment]
            scope, body, self.transport, self.flow, defaults, keep_alive, self.on_response_complete
        )
        self._start_asgi_task(self.cycle, self.app)

    def _go_the_long_way(self) -> None:
        """Have uvicorn take what comes in pieces."""
        pieces, self._pieces = self._pieces, None
        try:
            if httptools.parse_url(self.url).path is None:  # as of `http://host`
                raise httptools.HttpParserInvalidURLError(self.url)
            super().on_headers_complete()
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if pieces:
            super().on_body(b"".join(pieces))

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer a caller who says no more, and then end, too."""
        if self.cycle is None or self.cycle.more_body or self.cycle.response_complete:
            return None
        self.cycle.keep_alive = False
        if self._active is not None:
            self._active.scope[HALF_CLOSED] = True  # see `hang_up`
            self._active.message_event.set()
        return True  # the transport stays open for the answer

    def send_400_response(self, msg: str) -> None:
        """Say that a request cannot be understood, and close the connection."""
        self._refuse("400 Bad Request", Refused("invalid_request", msg))

    def _refuse(self, status: str, refused: Refused) -> None:
        self._pieces = None
        body = error_body(refused)
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        head += f"X-Request-Id: {request_ids.new().decode()}\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()
