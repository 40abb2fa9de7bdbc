"""A network backend for outgoing requests that limits the number of provisional responses (1xx).

The HTTP library skips provisional responses until a final one arrives, however many there are, so a receiver could keep
it busy forever.
"""

import re
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

MAX_PROVISIONAL = 8
"""Provisional responses (1xx) before the final one. Our requests ask for none, so an honest receiver sends none."""

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_PROVISIONAL = re.compile(rb"HTTP/1\.\d 1\d\d")


def build_transport(tls: ssl.SSLContext, limits: httpx2.Limits) -> httpx2.AsyncHTTPTransport:
    """Return a transport that limits provisional responses and ignores the proxies of the environment."""
    http_transport = httpx2.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits)
    # The library has no public way to set the backend.
    http_transport._pool._network_backend = _LimitedBackend(http_transport._pool._network_backend)
    return http_transport


class _LimitedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections that count provisional responses."""

    def __init__(self, backend: httpcore2.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to an address."""
        stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _LimitedStream(stream)


class _LimitedStream(httpcore2.AsyncNetworkStream):
    """A connection. `_head` holds the bytes of a response's head, or None after the final head is complete."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._head: bytearray | None = None
        self._provisional = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read the available bytes. Raises `httpcore2.RemoteProtocolError` after too many provisional responses."""
        data = await self._stream.read(max_bytes, timeout)
        if self._head is not None:
            self._count_provisional(data)
        return data

    def _count_provisional(self, data: bytes) -> None:
        head = self._head
        assert head is not None, "responses are counted only until the final head is complete"
        search_start = max(len(head) - 2, 0)  # the earlier bytes contain no end of a head
        head += data
        while end := _END_OF_HEAD.search(head, search_start):
            if not _PROVISIONAL.match(head):
                self._head = None
                return
            self._provisional += 1
            if self._provisional > MAX_PROVISIONAL:
                raise httpcore2.RemoteProtocolError(f"more than {MAX_PROVISIONAL} provisional responses (1xx)")
            del head[: end.end()]
            search_start = 0

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send a part of a request. The count starts again for its response."""
        self._head, self._provisional = bytearray(), 0
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Start TLS on the connection."""
        return _LimitedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """Return information about the underlying connection, such as its socket."""
        return self._stream.get_extra_info(info)
