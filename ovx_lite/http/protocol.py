"""HTTP as uvicorn speaks it, with errors in our words, a bound on what waits, and a short way."""

import asyncio
import urllib.parse
from typing import Any

import httptools

from ovx_lite.domain.errors import Refused, unavailable
from ovx_lite.http.fast_cycle import Exchange, refusal
from ovx_lite.http.framing import FramingProtocol
from ovx_lite.http.hang_up import HALF_CLOSED
from ovx_lite.http.request_buffer import MAX_BUFFERED_BYTES, BufferLimit, HoldableFlow

MAX_WAITING = 16
"""Requests that may wait on a connection while an earlier one is answered (pipelining)."""

PATIENCE = 30.0
"""Seconds that a connection may say nothing whole, at least; at most twice as many."""

_END_OF_HEAD = b"\r\n\r\n"  # the parser takes no other, so a read has at most as many heads as it has of these
_HEADER_BYTES = 160  # what a header takes beside its text: two bytes objects, a tuple, a place in a list
_READ_BYTES = 64  # what a piece of a body takes beside its bytes
_buffer_limit = BufferLimit(MAX_BUFFERED_BYTES)


class Protocol(FramingProtocol):
    """uvicorn's own, but for some things.

    What is not even HTTP is answered in the contract's JSON, too. A request that comes in one piece, as nearly all do,
    is an `Exchange`. Heads have a limit of time.

    While requests wait for an earlier one, nothing more is parsed: what came is kept in `_unread`, and reading pauses.
    That, and what was parsed of requests that wait or are incomplete, counts towards `_buffer_limit`.
    """

    flow: HoldableFlow
    _pieces: list[bytes] | None = None  # of the body, while all of a request may come in one piece
    _unread = b""
    _parsed_bytes = 0  # of requests that wait or are incomplete
    _held_bytes = 0  # as the limit knows them
    _refused = False
    _farewell = b""  # the last answer, for when those before it are given
    _heads = _heads_before = 0
    _watch: asyncio.TimerHandle | None = None
    _active: Any = None  # the request that is answered, of several that were sent at once

    def connection_made(self, transport: Any) -> None:
        """Begin to listen, though not for ever."""
        super().connection_made(transport)
        self.flow = HoldableFlow(transport)
        self._watch = self.loop.call_later(PATIENCE, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._watch is not None:
            self._watch.cancel()
        if self._active is not None and not self._active.response_complete:
            self._active.disconnected = True  # uvicorn tells the latest of several that were sent at once
            self._active.message_event.set()
        self._refused, self._unread = True, b""
        self.pipeline.clear()
        self._count()
        super().connection_lost(exc)
        # Requests know their connection: if it knew them any longer, they would be reference cycles, with their bodies.
        self.cycle = self._active = self.scope = None  # type: ignore[assignment]

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
        """Parse what came, if no request waits."""
        self._unset_keepalive_if_required()
        if self._refused:
            return
        if self.pipeline or data.count(_END_OF_HEAD) > MAX_WAITING:
            self._unread += data
            self._take_unread()
        else:
            self._take(data)
        if self.scope is not None or self.pipeline or self._held_bytes:
            self._count()

    def _take_unread(self) -> None:
        """Parse until requests wait, 16 at most. The rest stays, and reading pauses, until none waits any longer."""
        data, begin = self._unread, 0
        while begin < len(data) and not self.pipeline and not self._refused:
            end = begin
            for _ in range(MAX_WAITING):
                found = data.find(_END_OF_HEAD, end)
                end = len(data) if found < 0 else found + len(_END_OF_HEAD)
            self._take(data[begin:end])
            begin = end
        if self._refused:
            return
        self._unread = data[begin:]
        self.flow.held = bool(self._unread)
        if self.flow.held:
            self.flow.pause_reading()
        else:
            self.flow.resume_reading()

    def _take(self, data: bytes) -> None:
        if self.scope is None and not self.pipeline:
            self._parsed_bytes = 0
        self._parsed_bytes += len(data) + _READ_BYTES
        try:
            self.parse(data)
            if self._pieces is not None:
                self._go_the_long_way()
        except Refused as refused:
            self._refuse(refused)

    def on_head(self) -> None:
        """See whether the whole request is here; unless others are before it, or it waits for a word from us."""
        self._heads += 1
        if self.expect_100_continue or not (self.cycle is None or self.cycle.response_complete):
            super().on_head()
            if self.pipeline:
                self._parsed_bytes += _HEADER_BYTES * len(self.headers)
        else:
            self._pieces = []

    def on_body_piece(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self._pieces is None:
            super().on_body_piece(body)
        else:
            self._pieces.append(body)

    def on_request_complete(self) -> None:
        """Begin to answer, if the request is here as a whole."""
        if self._pieces is None:
            super().on_request_complete()
            if not self.pipeline:
                self._parsed_bytes = self.read_bytes
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
        """Have uvicorn take what comes in pieces. Raises `Refused` for a target without a path, as of `http://host`."""
        pieces, self._pieces = self._pieces, None
        try:
            target = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            target = None
        if target is None or target.path is None:
            raise Refused("invalid_request", "Invalid HTTP request received.")
        super().on_head()
        if pieces:
            super().on_body_piece(b"".join(pieces))

    def on_response_complete(self) -> None:
        """Drop what nobody has read of the body, and go on with what waits."""
        self._active.body = b""
        super().on_response_complete()
        if not (self._held_bytes or self._farewell) or self.transport.is_closing():
            return
        if self._farewell and self._active.response_complete:
            self.transport.write(self._farewell)
            self.transport.close()
        else:
            if not self.pipeline:
                self._take_unread()
            self._count()

    def _count(self) -> None:
        """Tell the limit what this connection holds for requests that wait or are incomplete."""
        held_bytes = len(self._unread)
        if self._waits():
            held_bytes += self._parsed_bytes + _HEADER_BYTES * len(self.headers)
        if held_bytes != self._held_bytes:
            self._held_bytes = held_bytes
            _buffer_limit.update(self, held_bytes)

    def _waits(self) -> bool:
        if self._refused or not (self.pipeline or self.unfinished):
            return False
        return bool(self.pipeline) or self.in_head or not self.cycle.response_complete  # or else the body is dropped

    def evict(self) -> None:
        """Refuse what waits or is incomplete: all connections together hold too much, and this one the longest."""
        self._held_bytes = 0
        self._refuse(unavailable("The server holds too many unfinished requests"))

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
        self._refuse(Refused("invalid_request", msg))

    def _refuse(self, refused: Refused) -> None:
        """Answer the request that is read with an error, once those before it are answered, and close."""
        reading_body = not self.in_head and self._pieces is None and self.cycle is not None and self.cycle.more_body
        broken = self.cycle if reading_body else None
        self._refused, self._unread, self._pieces, self.flow.held = True, b"", None, True
        self.flow.pause_reading()
        self._count()
        if broken is not None:
            broken.disconnected = True
            broken.message_event.set()
            if self.pipeline:  # it is the latest that waits
                self.pipeline.popleft()
        if self.transport.is_closing():
            return
        if self._active not in (None, broken) and not self._active.response_complete:
            self._farewell = refusal(refused)
            return
        if broken is None or not broken.response_started:
            self.transport.write(refusal(refused))
        self.transport.close()
