"""Where a request begins and ends: limits on its head, trailers and chunks; offers to upgrade are ignored."""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ovx_lite.domain.errors import ApiError

MAX_HEAD_BYTES = 64 * 1024
"""The largest size of the request line and headers. The trailers after a chunked body count too."""

MAX_HEADERS = 128
"""How many headers a request may have."""

MAX_CHUNKS = 16_384
"""How many chunks a body may have, plus one for every `_BODY_BYTES_PER_CHUNK`. Parsing a chunk takes about 1 µs."""

_BODY_BYTES_PER_CHUNK = 64


class FramingProtocol(HttpToolsProtocol):
    """The parsing half of uvicorn's protocol.

    No byte of a body may be read as a request. Java's client and `curl --http2` offer to upgrade the connection with
    every request. After such a head, httptools stops, reports the request as complete, and takes what follows for a
    new request. So a new parser parses the head again, without the offer.

    Trailers are dropped. They are not headers: an app trusts some headers because a proxy sets them.
    """

    in_head = True  # also between requests
    unfinished = False  # whether a request has begun and is not complete
    stalled_bytes = 0  # bytes that arrived since the last complete head or message, or the last part of a body
    read_bytes = 0  # size of the latest read
    _trailer_bytes = 0  # size of the trailers so far, with the head; 0 before the first trailer
    _chunk_count = 0  # chunks of the current body
    _body_bytes = 0  # bytes of the current body

    def new_parser(self) -> httptools.HttpRequestParser:
        """Return a parser that calls this object's methods."""
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return parser

    def parse(self, data: bytes) -> None:
        """Parse data that arrived. Raises `ApiError` if it is not HTTP, or too large."""
        self.read_bytes = len(data)
        self.stalled_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            self._reparse_without_upgrade(data[stop.args[0] :])
        except httptools.HttpParserError as exc:
            if isinstance(exc.__context__, ApiError):  # raised by one of our callbacks
                raise exc.__context__ from None
            raise ApiError("invalid_request", "This is not a valid HTTP request.") from None
        if self.stalled_bytes > MAX_HEAD_BYTES:
            raise _too_large()

    def _reparse_without_upgrade(self, remaining: bytes) -> None:
        """Parse the current head again without its offer to upgrade, then the data after it."""
        head = self._head_without_upgrade()
        self.parser = self.new_parser()
        self.stalled_bytes = 0
        self.parse(head + remaining)

    def _head_without_upgrade(self) -> bytes:
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_begin(self) -> None:
        """Begin a request. Its ASGI scope is built when it is needed: a direct request needs none."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.unfinished = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header as uvicorn does. Of a trailer, only count the bytes."""
        if self.in_head:
            if len(self.headers) == MAX_HEADERS:
                raise _too_large()
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))
            return
        if not self._trailer_bytes:
            self._trailer_bytes = self._head_bytes()
        self._trailer_bytes += len(name) + len(value) + 4
        if self._trailer_bytes > MAX_HEAD_BYTES:
            raise _too_large()

    def on_headers_complete(self) -> None:
        """Check a complete head. If it offers an upgrade, do nothing more: it is parsed again."""
        if (
            self.read_bytes > MAX_HEAD_BYTES or self.stalled_bytes > MAX_HEAD_BYTES
        ) and self._head_bytes() > MAX_HEAD_BYTES:
            raise _too_large()
        if not self.parser.should_upgrade():
            self.on_head()
            self.in_head = False
            self.stalled_bytes = self._trailer_bytes = self._chunk_count = self._body_bytes = 0
        elif self.parser.get_method() == b"CONNECT":
            raise ApiError("invalid_request", "CONNECT is not supported: this server is not a proxy.")

    def on_head(self) -> None:
        """Begin a request whose head is complete. Subclasses override this."""
        super().on_headers_complete()

    def on_chunk_complete(self) -> None:
        """Count a chunk of the body. Raises `ApiError` if there are too many small chunks."""
        self._chunk_count += 1
        if (
            self._chunk_count > MAX_CHUNKS
            and self._chunk_count > MAX_CHUNKS + self._body_bytes // _BODY_BYTES_PER_CHUNK
        ):
            raise ApiError("invalid_request", "The body has too many small chunks: send larger ones.")

    def on_body(self, body: bytes) -> None:
        """Count a part of the body, and pass it on."""
        self.stalled_bytes = 0
        self._body_bytes += len(body)
        self.on_body_part(body)

    def on_body_part(self, body: bytes) -> None:
        """Handle a part of the body. Subclasses override this."""
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the current request. Ignored after a head that is parsed again, which has no end yet."""
        if not self.in_head:
            self.in_head = True
            self.stalled_bytes = 0
            self.on_request_complete()
            self.unfinished = False
            self.scope = None  # type: ignore[assignment]

    def on_request_complete(self) -> None:
        """Handle a complete request. Subclasses override this."""
        super().on_message_complete()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)


def _too_large() -> ApiError:
    return ApiError(
        "payload_too_large",
        f"The request line, headers and trailers are too large: send at most {MAX_HEAD_BYTES // 1024} KiB and "
        f"{MAX_HEADERS} headers, and a shorter path if it is long.",
    )
