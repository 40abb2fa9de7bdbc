"""HTTP as uvicorn speaks it, with errors in our words, a bound on what waits, and a short way."""

import asyncio
import urllib.parse
from typing import Any

import httptools

from ovx_lite.domain.errors import ApiError, unavailable
from ovx_lite.http.fast_cycle import FastCycle, encode_error_response
from ovx_lite.http.framing import FramingProtocol
from ovx_lite.http.hang_up import HALF_CLOSED
from ovx_lite.http.request_buffer import MAX_BUFFERED_BYTES, BufferLimit, HoldableFlow

MAX_PIPELINED = 16
"""Requests that may wait on a connection while an earlier one is answered (pipelining)."""

HEAD_TIMEOUT_S = 30.0
"""Seconds that a connection may say nothing whole, at least; at most twice as many."""

_END_OF_HEAD = b"\r\n\r\n"  # the parser takes no other, so a read has at most as many heads as it has of these
_HEADER_OVERHEAD_BYTES = 160  # what a header takes beside its text: two bytes objects, a tuple, a place in a list
_READ_OVERHEAD_BYTES = 64  # what a piece of a body takes beside its bytes
_buffer_limit = BufferLimit(MAX_BUFFERED_BYTES)


class HttpProtocol(FramingProtocol):
    """uvicorn's own, but for some things.

    What is not even HTTP is answered in the contract's JSON, too. A request that comes in one piece, as nearly all do,
    is an `Exchange`. Heads have a limit of time.

    While requests wait for an earlier one, nothing more is parsed: what came is kept in `_unread`, and reading pauses.
    That, and what was parsed of requests that wait or are incomplete, counts towards `_buffer_limit`.
    """

    flow: HoldableFlow
    _body_parts: list[bytes] | None = None  # of the body, while all of a request may come in one piece
    _unread = b""
    _parsed_bytes = 0  # of requests that wait or are incomplete
    _held_bytes = 0  # as the limit knows them
    _rejected = False
    _final_response = b""  # the last answer, for when those before it are given
    _head_count = _last_head_count = 0
    _timeout_handle: asyncio.TimerHandle | None = None
    _active_cycle: Any = None  # the request that is answered, of several that were sent at once

    def connection_made(self, transport: Any) -> None:
        """Begin to listen, though not for ever."""
        super().connection_made(transport)
        self.flow = HoldableFlow(transport)
        self._timeout_handle = self.loop.call_later(HEAD_TIMEOUT_S, self._check_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        if self._active_cycle is not None and not self._active_cycle.response_complete:
            self._active_cycle.disconnected = True  # uvicorn tells the latest of several that were sent at once
            self._active_cycle.message_event.set()
        self._rejected, self._unread = True, b""
        self.pipeline.clear()
        self._report_held_bytes()
        super().connection_lost(exc)
        # Requests know their connection: if it knew them any longer, they would be reference cycles, with their bodies.
        self.cycle = self._active_cycle = self.scope = None  # type: ignore[assignment]

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._active_cycle = cycle
        super()._start_asgi_task(cycle, app)

    def _check_timeout(self) -> None:
        """Close the connection if no head came since the last look, and nobody waits for an answer."""
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self._head_count == self._last_head_count:
            self.transport.close()
        else:
            self._last_head_count = self._head_count
            self._timeout_handle = self.loop.call_later(HEAD_TIMEOUT_S, self._check_timeout)

    def data_received(self, data: bytes) -> None:
        """Parse what came, if no request waits."""
        self._unset_keepalive_if_required()
        if self._rejected:
            return
        if self.pipeline or data.count(_END_OF_HEAD) > MAX_PIPELINED:
            self._unread += data
            self._parse_unread()
        else:
            self._parse_data(data)
        if self.scope is not None or self.pipeline or self._held_bytes:
            self._report_held_bytes()

    def _parse_unread(self) -> None:
        """Parse until requests wait, 16 at most. The rest stays, and reading pauses, until none waits any longer."""
        data, start = self._unread, 0
        while start < len(data) and not self.pipeline and not self._rejected:
            end = start
            for _ in range(MAX_PIPELINED):
                index = data.find(_END_OF_HEAD, end)
                end = len(data) if index < 0 else index + len(_END_OF_HEAD)
            self._parse_data(data[start:end])
            start = end
        if self._rejected:
            return
        self._unread = data[start:]
        self.flow.held = bool(self._unread)
        if self.flow.held:
            self.flow.pause_reading()
        else:
            self.flow.resume_reading()

    def _parse_data(self, data: bytes) -> None:
        if self.scope is None and not self.pipeline:
            self._parsed_bytes = 0
        self._parsed_bytes += len(data) + _READ_OVERHEAD_BYTES
        try:
            self.parse(data)
            if self._body_parts is not None:
                self._fall_back_to_uvicorn()
        except ApiError as exc:
            self._reject(exc)

    def on_head(self) -> None:
        """See whether the whole request is here; unless others are before it, or it waits for a word from us."""
        self._head_count += 1
        if self.expect_100_continue or not (self.cycle is None or self.cycle.response_complete):
            super().on_head()
            if self.pipeline:
                self._parsed_bytes += _HEADER_OVERHEAD_BYTES * len(self.headers)
        else:
            self._body_parts = []

    def on_body_part(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self._body_parts is None:
            super().on_body_part(body)
        else:
            self._body_parts.append(body)

    def on_request_complete(self) -> None:
        """Begin to answer, if the request is here as a whole."""
        if self._body_parts is None:
            super().on_request_complete()
            if not self.pipeline:
                self._parsed_bytes = self.read_bytes
            return
        body, self._body_parts = b"".join(self._body_parts), None
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
        self.cycle = FastCycle(  # type: ignore[assignment]
            scope, body, self.transport, self.flow, defaults, keep_alive, self.on_response_complete
        )
        self._start_asgi_task(self.cycle, self.app)

    def _fall_back_to_uvicorn(self) -> None:
        """Have uvicorn take what comes in pieces. Raises `ApiError` for a target without a path, as of `http://host`."""
        parts, self._body_parts = self._body_parts, None
        try:
            target = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            target = None
        if target is None or target.path is None:
            raise ApiError("invalid_request", "Invalid HTTP request received.")
        super().on_head()
        if parts:
            super().on_body_part(b"".join(parts))

    def on_response_complete(self) -> None:
        """Drop what nobody has read of the body, and go on with what waits."""
        self._active_cycle.body = b""
        super().on_response_complete()
        if not (self._held_bytes or self._final_response) or self.transport.is_closing():
            return
        if self._final_response and self._active_cycle.response_complete:
            self.transport.write(self._final_response)
            self.transport.close()
        else:
            if not self.pipeline:
                self._parse_unread()
            self._report_held_bytes()

    def _report_held_bytes(self) -> None:
        """Tell the limit what this connection holds for requests that wait or are incomplete."""
        held_bytes = len(self._unread)
        if self._has_waiting_request():
            held_bytes += self._parsed_bytes + _HEADER_OVERHEAD_BYTES * len(self.headers)
        if held_bytes != self._held_bytes:
            self._held_bytes = held_bytes
            _buffer_limit.update(self, held_bytes)

    def _has_waiting_request(self) -> bool:
        if self._rejected or not (self.pipeline or self.unfinished):
            return False
        return bool(self.pipeline) or self.in_head or not self.cycle.response_complete  # or else the body is dropped

    def evict(self) -> None:
        """Refuse what waits or is incomplete: all connections together hold too much, and this one the longest."""
        self._held_bytes = 0
        self._reject(unavailable("The server holds too many unfinished requests"))

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer a caller who says no more, and then end, too."""
        if self.cycle is None or self.cycle.more_body or self.cycle.response_complete:
            return None
        self.cycle.keep_alive = False
        if self._active_cycle is not None:
            self._active_cycle.scope[HALF_CLOSED] = True  # see `hang_up`
            self._active_cycle.message_event.set()
        return True  # the transport stays open for the answer

    def send_400_response(self, msg: str) -> None:
        """Say that a request cannot be understood, and close the connection."""
        self._reject(ApiError("invalid_request", msg))

    def _reject(self, error: ApiError) -> None:
        """Answer the request that is read with an error, once those before it are answered, and close."""
        reading_body = not self.in_head and self._body_parts is None and self.cycle is not None and self.cycle.more_body
        unfinished_cycle = self.cycle if reading_body else None
        self._rejected, self._unread, self._body_parts, self.flow.held = True, b"", None, True
        self.flow.pause_reading()
        self._report_held_bytes()
        if unfinished_cycle is not None:
            unfinished_cycle.disconnected = True
            unfinished_cycle.message_event.set()
            if self.pipeline:  # it is the latest that waits
                self.pipeline.popleft()
        if self.transport.is_closing():
            return
        if self._active_cycle not in (None, unfinished_cycle) and not self._active_cycle.response_complete:
            self._final_response = encode_error_response(error)
            return
        if unfinished_cycle is None or not unfinished_cycle.response_started:
            self.transport.write(encode_error_response(error))
        self.transport.close()
