"""A real receiver of webhooks on loopback, and a clock that is moved by hand."""

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

PATIENCE = 10  # seconds after which a test is told that what it waits for did not come

Answer = bytes | Callable[[socket.socket], None]


@dataclass(frozen=True)
class Got:
    """A request that came: headers with names in lower case; over which connection, and for which name (SNI)."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    name: str | None


def status(code: int, body: bytes = b"", **headers: str) -> bytes:
    """An answer; `retry_after="1"` is the header Retry-After."""
    lines = [f"HTTP/1.1 {code} Word", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def tls(authority: trustme.CA, *names: str, **more: object) -> ssl.SSLContext:
    """What a receiver of these names shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **more).configure_cert(context)  # type: ignore[arg-type]
    return context


class Receiver:
    """Listens on loopback, keeps what comes, and answers as it is told: bytes, or a function of the connection.

    While `open` is cleared, answers are held back.
    """

    def __init__(self, answer: Answer = b"", context: ssl.SSLContext | None = None) -> None:
        self.answer = answer or status(200)
        self.got: list[Got] = []
        self.open = threading.Event()
        self.open.set()
        self.ended = threading.Event()
        self.connections = 0
        self.names: list[str | None] = []
        self.now_held, self.most_held = 0, 0
        self._context = context
        if context is not None:
            context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listening.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> "Receiver":
        self._begin(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, wrong: BaseException | None, at: TracebackType | None) -> None:
        self.ended.set()
        self.open.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        self._listening.close()
        for connected in self._sockets:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)

    def ids(self) -> list[str]:
        """The `webhook-id` of all that came."""
        return [got.headers["webhook-id"] for got in list(self.got)]

    def _begin(self, do: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=do, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self.ended.is_set():
                connected, _ = self._listening.accept()
                self._sockets.append(connected)
                self.connections += 1
                self._begin(self._serve, connected, self.connections)

    def _serve(self, connected: socket.socket, number: int) -> None:
        with suppress(OSError), connected:
            if connected.recv(1, socket.MSG_PEEK) == b"\x16" and self._context is None:  # TLS to a plain port
                connected.sendall(status(400))
            elif self._context is None:
                self._read(connected, number)
            else:
                with self._context.wrap_socket(connected, server_side=True) as wrapped:
                    self._read(wrapped, number)

    def _read(self, connected: socket.socket, number: int) -> None:
        with connected.makefile("rb") as file:
            while line := file.readline():
                headers = dict[str, str]()
                while (header := file.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = file.read(int(headers.get("content-length", "0")))
                name_ = self.names[-1] if self.names else None
                with self._lock:
                    self.now_held += 1
                    self.most_held = max(self.most_held, self.now_held)
                    self.got.append(Got(line.decode().split(" ")[1], headers, body, number, name_))
                self.open.wait(PATIENCE)
                with self._lock:
                    self.now_held -= 1
                if isinstance(self.answer, bytes):
                    connected.sendall(self.answer)
                else:
                    self.answer(connected)
                    return


class Moved:
    """A clock that is moved by hand: whoever sleeps wakes when it was moved that far."""

    def __init__(self, now: int) -> None:
        self.ms = now
        self.naps = 0  # sleeps that were none
        self.moved: Callable[[], None] = lambda: None  # told, since a sleep may be about to begin when it is moved
        self._sleeping: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            self.naps += 1
            return await asyncio.sleep(0)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleeping.append((self.ms + round(seconds * 1000), woken))
        return await woken

    def set(self, ms: int) -> None:
        self.ms = ms
        for until, woken in self._sleeping:
            if until <= ms and not woken.done():
                woken.set_result(None)
        self._sleeping = [(until, woken) for until, woken in self._sleeping if not woken.done()]
        self.moved()


async def until(true: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "what was waited for did not come"
        await asyncio.sleep(0.005)
