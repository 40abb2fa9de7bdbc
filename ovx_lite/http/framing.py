"""Where a request begins and ends, with bounds on its head and trailers, and without offers to upgrade."""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ovx_lite.domain.errors import ApiError

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of a request's line and headers, with the trailers after a chunked body."""

MAX_HEADERS = 128
"""Headers of a request."""

MAX_CHUNKS = 16_384
"""Chunks that a body may have, besides one for each `_CHUNK_BYTES` of it. Parsing a chunk takes about a microsecond."""

_BODY_BYTES_PER_CHUNK = 64


class FramingProtocol(HttpToolsProtocol):
    """uvicorn's protocol as far as it parses.

    No byte of a body may be read as a request. After a head with an offer to upgrade, as Java's client and
    `curl --http2` send with each request, httptools stops, says that the request is complete, and takes what follows
    for a new one. So such a head is parsed once more, by a new parser, without the offer.

    Trailers are not headers: an app may trust some headers, as a proxy sets them. They are dropped.
    """

    in_head = True  # or between requests
    stalled_bytes = 0  # that came since a head or a message was complete, or a part of a body was there
    read_bytes = 0  # of the latest read
    _trailer_bytes = 0  # with the head
    _chunk_count = 0  # of the body
    _body_bytes = 0

    @property
    def unfinished(self) -> bool:
        """Whether a request has begun and is not complete."""
        return self.scope is not None

    def parse(self, data: bytes) -> None:
        """Parse what came. Raises `ApiError` if it is not HTTP, or too large."""
        self.read_bytes = len(data)
        self.stalled_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            self._reparse_without_upgrade(data[stop.args[0] :])
        except httptools.HttpParserError as exc:
            if isinstance(exc.__context__, ApiError):  # a callback's
                raise exc.__context__ from None
            raise ApiError("invalid_request", "Invalid HTTP request received.") from None
        if self.stalled_bytes > MAX_HEAD_BYTES:
            raise _too_large()

    def _reparse_without_upgrade(self, remaining: bytes) -> None:
        """Parse a head once more, and then what is behind it."""
        head = self._head_without_upgrade()
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.stalled_bytes = 0
        self.parse(head + remaining)

    def _head_without_upgrade(self) -> bytes:
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header as uvicorn does; or a trailer, of which only the size counts."""
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
        """Check the head, and go on, unless it is to be parsed once more."""
        if (
            self.read_bytes > MAX_HEAD_BYTES or self.stalled_bytes > MAX_HEAD_BYTES
        ) and self._head_bytes() > MAX_HEAD_BYTES:
            raise _too_large()
        if not self.parser.should_upgrade():
            self.on_head()
            self.in_head = False
            self.stalled_bytes = self._trailer_bytes = self._chunk_count = self._body_bytes = 0
        elif self.parser.get_method() == b"CONNECT":
            raise ApiError("invalid_request", "CONNECT is not possible: this server is not a proxy.")

    def on_head(self) -> None:
        """Begin with a request of which the head is there."""
        super().on_headers_complete()

    def on_chunk_complete(self) -> None:
        """Count a chunk of the body. Raises `ApiError` if there are too many small ones."""
        self._chunk_count += 1
        if (
            self._chunk_count > MAX_CHUNKS
            and self._chunk_count > MAX_CHUNKS + self._body_bytes // _BODY_BYTES_PER_CHUNK
        ):
            raise ApiError("invalid_request", "The body has too many small chunks: send larger ones.")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self.stalled_bytes = 0
        self._body_bytes += len(body)
        self.on_body_part(body)

    def on_body_part(self, body: bytes) -> None:
        """Go on with a piece of the body."""
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request; there is none after a head that is to be parsed once more."""
        if not self.in_head:
            self.in_head = True
            self.stalled_bytes = 0
            self.on_request_complete()
            self.scope = None  # type: ignore[assignment]

    def on_request_complete(self) -> None:
        """Go on with a request that is here as a whole."""
        super().on_message_complete()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)


def _too_large() -> ApiError:
    return ApiError(
        "payload_too_large",
        f"A request's head, with its trailers, may have {MAX_HEAD_BYTES // 1024} KiB and {MAX_HEADERS} headers: "
        "send fewer or shorter headers, or a shorter path.",
    )
