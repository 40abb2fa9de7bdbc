"""A real receiver of webhooks on loopback, and a clock that tests set."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

import trustme

TIMEOUT_S = 10  # after which waiting tests fail

Reply = bytes | Callable[[socket.socket], None]


@dataclass(frozen=True)
class ReceivedRequest:
    """A received request: headers with names in lower case, number of the connection, and server name (SNI)."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    connection_number: int
    server_name: str | None


def http_response(code: int, body: bytes = b"", **headers: str) -> bytes:
    """Return a response; `retry_after="1"` becomes the header Retry-After."""
    lines = [f"HTTP/1.1 {code} Reason", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def server_context(authority: trustme.CA, *names: str, **options: object) -> ssl.SSLContext:
    """Return a TLS context with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)  # type: ignore[arg-type]
    return context


class Receiver:
    """Listens on loopback, stores requests, and sends `reply`: bytes, or a function of the connection.

    Responses are delayed while `may_reply` is cleared.
    """

    def __init__(self, reply: Reply = b"", context: ssl.SSLContext | None = None) -> None:
        self.reply = reply or http_response(200)
        self.requests: list[ReceivedRequest] = []
        self.may_reply = threading.Event()
        self.may_reply.set()
        self.closed = threading.Event()
        self.connections = 0
        self.server_names: list[str | None] = []
        self.held_requests, self.max_held_requests = 0, 0
        self._context = context
        if context is not None:
            context.sni_callback = lambda _socket, name, _context: self.server_names.append(name)
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> "Receiver":
        self._start_thread(self._accept)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closed.set()
        self.may_reply.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(TIMEOUT_S)
        self._listener.close()
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def webhook_ids(self) -> list[str]:
        """Return the `webhook-id` of all requests."""
        return [request.headers["webhook-id"] for request in list(self.requests)]

    def _start_thread(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self.closed.is_set():
                sock, _ = self._listener.accept()
                self._sockets.append(sock)
                self.connections += 1
                self._start_thread(self._serve, sock, self.connections)

    def _serve(self, sock: socket.socket, connection_number: int) -> None:
        with suppress(OSError), sock:
            if sock.recv(1, socket.MSG_PEEK) == b"\x16" and self._context is None:  # TLS to a plain port
                sock.sendall(http_response(400))
            elif self._context is None:
                self._read(sock, connection_number)
            else:
                with self._context.wrap_socket(sock, server_side=True) as tls_sock:
                    self._read(tls_sock, connection_number)

    def _read(self, sock: socket.socket, connection_number: int) -> None:
        with sock.makefile("rb") as file:
            while line := file.readline():
                headers = dict[str, str]()
                while (header := file.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = file.read(int(headers.get("content-length", "0")))
                server_name = self.server_names[-1] if self.server_names else None
                with self._lock:
                    self.held_requests += 1
                    self.max_held_requests = max(self.max_held_requests, self.held_requests)
                    self.requests.append(
                        ReceivedRequest(line.decode().split(" ")[1], headers, body, connection_number, server_name)
                    )
                self.may_reply.wait(TIMEOUT_S)
                with self._lock:
                    self.held_requests -= 1
                if isinstance(self.reply, bytes):
                    sock.sendall(self.reply)
                else:
                    self.reply(sock)
                    return


class SettableClock:
    """A clock that tests set: sleepers wake when it reaches their time."""

    def __init__(self, now_ms: int) -> None:
        self.current_ms = now_ms
        self.zero_sleeps = 0  # sleeps of zero seconds
        self.on_set: Callable[[], None] = lambda: None  # called because a sleep may be about to begin
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        return self.current_ms

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            self.zero_sleeps += 1
            return await asyncio.sleep(0)
        wakeup: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.current_ms + round(seconds * 1000), wakeup))
        return await wakeup

    def set(self, ms: int) -> None:
        self.current_ms = ms
        for wake_at_ms, wakeup in self._sleepers:
            if wake_at_ms <= ms and not wakeup.done():
                wakeup.set_result(None)
        self._sleepers = [(wake_at_ms, wakeup) for wake_at_ms, wakeup in self._sleepers if not wakeup.done()]
        self.on_set()


async def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition is met."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s, "the condition was not met in time"
        await asyncio.sleep(0.005)
