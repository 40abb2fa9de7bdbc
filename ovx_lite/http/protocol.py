"""uvicorn's HTTP/1.1 protocol with JSON errors, limits on waiting requests, and a fast path for complete requests."""

import asyncio
import logging
import urllib.parse
from collections import deque
from collections.abc import Coroutine
from functools import lru_cache
from typing import Any
from weakref import WeakSet

import httptools
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware, _TrustedHosts
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from ovx_lite.domain.errors import ApiError, unavailable
from ovx_lite.http.direct import DirectApp, DirectExchange, DirectHandler
from ovx_lite.http.fast_cycle import FastCycle, encode_error_response
from ovx_lite.http.framing import FramingProtocol
from ovx_lite.http.hang_up import HALF_CLOSED
from ovx_lite.http.request_buffer import MAX_BUFFERED_BYTES, BufferLimit, HoldableFlow
from ovx_lite.http.responses import encode_headers

MAX_PIPELINED = 16
"""How many requests may wait on a connection while an earlier one is answered (pipelining)."""

HEAD_TIMEOUT_S = 30.0
"""A connection on which no complete head arrives is closed after this time, or at most a second later."""

_END_OF_HEAD = b"\r\n\r\n"  # the parser accepts no other, so a read has at most as many heads as occurrences of this
_HEADER_OVERHEAD_BYTES = 160  # memory that a header takes besides its text: two bytes objects, a tuple, a list item
_READ_OVERHEAD_BYTES = 64  # memory that a part of a body takes besides its bytes
_buffer_limit = BufferLimit(MAX_BUFFERED_BYTES)


class HttpProtocol(FramingProtocol):
    """uvicorn's protocol, with these differences.

    Input that is not valid HTTP gets a JSON error too. A request that arrives in one read, as nearly all do, is
    answered directly if the application can, or else by `FastCycle`. Connections have no timers of their own. What few
    of them need, such as addresses, is not looked up when a connection begins.

    While requests wait for an earlier one, nothing more is parsed: further data is kept in `_unread`, and reading
    pauses. That data, and what was parsed of waiting or incomplete requests, counts towards `_buffer_limit`.
    """

    # What uvicorn's methods expect, with the values of the server's configuration.
    logger = logging.getLogger("uvicorn.error")
    access_logger = logging.getLogger("uvicorn.access")
    access_log = False
    ws_protocol_class = limit_concurrency = timeout_keep_alive_task = None
    root_path = ""

    transport: asyncio.Transport
    flow: HoldableFlow
    cycle: Any = None  # of the latest request
    scope: Any = None
    _active_cycle: Any = None  # the one that is being answered, if requests were pipelined
    _body_parts: list[bytes] | None = None  # the body so far, while the whole request may still arrive in one read
    _unread = b""
    _is_parsing = False
    _parsed_bytes = 0  # of requests that wait or are incomplete
    _held_bytes = 0  # as reported to the limit
    _rejected = False
    _final_response = b""  # an error response that is sent last, after the responses of earlier requests
    _peer_host: str | None = None  # the IP address at the other end, once it is looked up
    _quiet_since_s = 0.0  # when the connection began, or the latest response was sent
    _is_kept_alive = False  # whether nothing has arrived since the latest response

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self.config = config
        self.app: Any = config.loaded_app
        self.app_state = app_state
        self.loop = _loop or asyncio.get_running_loop()
        self.server_state = server_state
        self.connections = server_state.connections
        self.tasks = server_state.tasks
        self.pipeline = deque()
        # Read by each request: an attribute of the object is found faster than a default in its class.
        self._rejected = self._is_parsing = self._is_kept_alive = False
        self._held_bytes = 0
        self.parser = self.new_parser()
        # With trusted proxies, uvicorn wraps the application.
        proxy = self.app if isinstance(self.app, ProxyHeadersMiddleware) else None
        app = self.app if proxy is None else proxy.app
        self._trusted_hosts = None if proxy is None else proxy.trusted_hosts
        self._direct_app: DirectApp | None = app if hasattr(app, "direct_handler") else None

    def connection_made(self, transport: Any) -> None:
        """Begin a connection."""
        self.connections.add(self)
        self.transport = transport
        self.flow = HoldableFlow(transport)
        self._quiet_since_s = self.loop.time()
        if len(self.connections) == 1 and self.server_state not in _swept:
            _swept.add(self.server_state)
            _close_quiet_connections(self.loop, self.server_state)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the active request that its client has disconnected, and release all that the connection holds."""
        self.connections.discard(self)
        for cycle in (self._active_cycle, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
            if cycle is not None:
                cycle.message_event.set()
        self._rejected, self._unread = True, b""
        self.pipeline.clear()
        self._report_held_bytes()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        # Cycles refer to their connection. If it still referred to them, their bodies would stay in reference cycles.
        self.cycle = self._active_cycle = self.scope = self.parser = None  # type: ignore[assignment]

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._active_cycle = cycle
        super()._start_asgi_task(cycle, app)

    def check_timeout(self, now_s: float) -> None:
        """Close the connection if it was quiet for too long and no response is due."""
        limit_s = self.config.timeout_keep_alive if self._is_kept_alive else HEAD_TIMEOUT_S
        if now_s - self._quiet_since_s > limit_s and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse data that arrived, or keep it while requests wait."""
        self._is_kept_alive = False
        if self._rejected:
            return
        if self.pipeline or data.count(_END_OF_HEAD) > MAX_PIPELINED:
            self._unread += data
            self._parse_unread()
        else:
            self._parse_data(data)
        if self.unfinished or self.pipeline or self._held_bytes:
            self._report_held_bytes()

    def _parse_unread(self) -> None:
        """Parse until requests wait, at most `MAX_PIPELINED` at a time. The rest stays, and reading pauses."""
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
        if not (self.unfinished or self.pipeline):
            self._parsed_bytes = 0
        self._parsed_bytes += len(data) + _READ_OVERHEAD_BYTES
        self._is_parsing = True
        try:
            self.parse(data)
            if self._body_parts is not None:
                self._fall_back_to_uvicorn()
        except ApiError as exc:
            self._reject(exc)
        finally:
            self._is_parsing = False

    def on_head(self) -> None:
        """Begin a request. It may take the fast path unless it waits for an earlier one or for `100 Continue`."""
        if self.expect_100_continue or not (self.cycle is None or self.cycle.response_complete):
            self.scope = self._new_scope()
            super().on_head()
            if self.pipeline:
                self._parsed_bytes += _HEADER_OVERHEAD_BYTES * len(self.headers)
        else:
            self._body_parts = []

    def on_body_part(self, body: bytes) -> None:
        """Keep a part of the body for the fast path, or pass it to uvicorn's cycle."""
        if self._body_parts is None:
            super().on_body_part(body)
        else:
            self._body_parts.append(body)

    def on_request_complete(self) -> None:
        """Answer a request that arrived in one read, directly or by a fast cycle; leave others to uvicorn's cycle."""
        if self.transport.is_closing():  # an earlier response was the last one: nothing after it is a request
            self._body_parts = None
            return
        if self._body_parts is None:
            super().on_request_complete()
            if not self.pipeline:
                self._parsed_bytes = self.read_bytes
            return
        body, self._body_parts = b"".join(self._body_parts), None
        handler = self._direct_app.direct_handler(self.url) if self._direct_app is not None else None
        if handler is None:
            self._start_fast_cycle(body)
        else:
            self._answer_directly(handler, body)

    def _answer_directly(self, handler: DirectHandler, body: bytes) -> None:
        parser = self.parser
        keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        method = parser.get_method().decode("ascii")
        exchange: Any = DirectExchange(self, method, self.headers, body, keep_alive)
        self.cycle = self._active_cycle = exchange
        waiting = handler(exchange)
        if waiting is not None:
            self.run_task(waiting)

    def run_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a task. The server waits for it before it stops."""
        task = self.loop.create_task(coroutine)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def default_lines(self) -> bytes:
        """Return the headers that go on every response, such as `date`."""
        return _encode_default_headers(*self.server_state.default_headers)

    def client_host(self, headers: list[tuple[bytes, bytes]]) -> str:
        """Return the IP address of the client; behind a trusted proxy, the one that it reports; `""` if unknown."""
        if self._peer_host is None:
            peer = get_remote_addr(self.transport)
            self._peer_host = peer[0] if peer else ""
        host = self._peer_host
        return host if self._trusted_hosts is None else _forwarded_host(self._trusted_hosts, host, headers)

    def _new_scope(self) -> Any:
        return {
            "type": "http",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": get_local_addr(self.transport),
            "client": get_remote_addr(self.transport),
            "scheme": "https" if is_ssl(self.transport) else "http",
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
        }

    def _start_fast_cycle(self, body: bytes) -> None:
        scope: Any = self._new_scope()
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version = self.parser.get_http_version()
        scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        default_headers = self.server_state.default_headers
        self.cycle = FastCycle(
            scope, body, self.transport, self.flow, default_headers, keep_alive, self.on_response_complete
        )
        self._start_asgi_task(self.cycle, self.app)

    def _fall_back_to_uvicorn(self) -> None:
        """Hand a request that arrives in several reads to uvicorn's cycle.

        Raises `ApiError` for a request target without a path, such as `http://host`.
        """
        parts, self._body_parts = self._body_parts, None
        try:
            target = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            target = None
        if target is None or target.path is None:
            raise ApiError("invalid_request", "The request target is not valid: send a path, such as /healthz.")
        self.scope = self._new_scope()
        super().on_head()
        if parts:
            super().on_body_part(b"".join(parts))

    def on_response_complete(self) -> None:
        """Drop what the application has not read of the body, and go on with waiting requests."""
        self._active_cycle.body = b""
        if self.transport.is_closing():
            return
        self._quiet_since_s, self._is_kept_alive = self.loop.time(), True
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        # A direct response may be sent while its request, and perhaps further ones, are still being parsed.
        if self._is_parsing or not (self._held_bytes or self._final_response):
            return
        if self._final_response and self._active_cycle.response_complete:
            self.transport.write(self._final_response)
            self.transport.close()
        else:
            if not self.pipeline:
                self._parse_unread()
            self._report_held_bytes()

    def _report_held_bytes(self) -> None:
        """Report to the limit how many bytes this connection holds for waiting and incomplete requests."""
        held_bytes = len(self._unread)
        if self._has_waiting_request():
            held_bytes += self._parsed_bytes + _HEADER_OVERHEAD_BYTES * len(self.headers)
        if held_bytes != self._held_bytes:
            self._held_bytes = held_bytes
            _buffer_limit.update(self, held_bytes)

    def _has_waiting_request(self) -> bool:
        if self._rejected or not (self.pipeline or self.unfinished):
            return False
        # Once the response is complete, the rest of the body is dropped, so nothing is held for it.
        return bool(self.pipeline) or self.in_head or not self.cycle.response_complete

    def evict(self) -> None:
        """Reject the waiting and incomplete requests, because all connections together hold too many bytes."""
        self._held_bytes = 0
        self._reject(unavailable("The server holds too many unfinished requests"))

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Let a half-closed connection live until the current response is sent, then close it."""
        if self.cycle is None or self.cycle.more_body or self.cycle.response_complete:
            return None
        self.cycle.keep_alive = False
        if self._active_cycle is not None and not isinstance(self._active_cycle, DirectExchange):
            self._active_cycle.scope[HALF_CLOSED] = True  # see `hang_up`
            self._active_cycle.message_event.set()
        return True  # the transport stays open for the response

    def send_400_response(self, msg: str) -> None:
        """Reject a request that uvicorn finds invalid, and close the connection."""
        self._reject(ApiError("invalid_request", msg))

    def _reject(self, error: ApiError) -> None:
        """Answer the request that is being read with an error, after those before it are answered, and close."""
        reading_body = not self.in_head and self._body_parts is None and self.cycle is not None and self.cycle.more_body
        unfinished_cycle = self.cycle if reading_body else None
        self._rejected, self._unread, self._body_parts, self.flow.held = True, b"", None, True
        self.flow.pause_reading()
        self._report_held_bytes()
        if unfinished_cycle is not None:
            unfinished_cycle.disconnected = True
            unfinished_cycle.message_event.set()
            if self.pipeline:  # `pipeline` has the latest request on the left: the unfinished one
                self.pipeline.popleft()
        if self.transport.is_closing():
            return
        if self._active_cycle not in (None, unfinished_cycle) and not self._active_cycle.response_complete:
            self._final_response = encode_error_response(error)
            return
        if unfinished_cycle is None or not unfinished_cycle.response_started:
            self.transport.write(encode_error_response(error))
        self.transport.close()


_swept: WeakSet[ServerState] = WeakSet()  # servers for which `_close_quiet_connections` runs


def _close_quiet_connections(loop: asyncio.AbstractEventLoop, server_state: ServerState) -> None:
    """Once a second while there are connections, close those that were quiet for too long.

    A timer for each connection would take 2 µs, and one for each request 1.5 µs.
    """
    if not server_state.connections:
        _swept.discard(server_state)
        return
    loop.call_later(1, _close_quiet_connections, loop, server_state)
    now_s = loop.time()
    connections: Any = list(server_state.connections)
    for connection in connections:
        connection.check_timeout(now_s)


@lru_cache(maxsize=1)
def _encode_default_headers(*headers: tuple[bytes, bytes]) -> bytes:
    """Return headers, which change once a second, as lines."""
    return encode_headers(headers)


def _forwarded_host(trusted_hosts: _TrustedHosts, host: str, headers: list[tuple[bytes, bytes]]) -> str:
    """Return the address that a trusted proxy reports, as uvicorn's `ProxyHeadersMiddleware` finds it, else `host`."""
    forwarded = [value for name, value in headers if name == b"x-forwarded-for"]
    if not forwarded or host not in trusted_hosts:
        return host
    return trusted_hosts.get_trusted_client_address(b", ".join(forwarded).decode("latin1"))[0] or host
