"""HTTP as uvicorn speaks it, with errors in our words, without offers that it would stumble over, and a short way."""

import re
import urllib.parse
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ovx_lite.errors import Refused
from ovx_lite.web.answers import error_body
from ovx_lite.web.exchange import Exchange

_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class Protocol(HttpToolsProtocol):
    """uvicorn's own, but for three things.

    What is not even HTTP is answered in the contract's JSON, too. An offer to upgrade to another protocol, which
    Java's client and `curl --http2` make with each request, is passed over: uvicorn's parser would drop the body. And
    a request that comes in one piece, as nearly all do, is an `Exchange`.
    """

    _pieces: list[bytes] | None = None  # of the body, while all of a request may come in one piece

    def data_received(self, data: bytes) -> None:
        """Take what came; where a request begins, without the header `Upgrade`."""
        if (b"pgrade:" in data or b"PGRADE:" in data) and (self.cycle is None or not self.cycle.more_body):
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"", head) + end + rest
        super().data_received(data)
        if self._pieces is not None:
            self._go_the_long_way()

    def on_headers_complete(self) -> None:
        """See whether the whole request is here; unless others are before it, or it waits for a word from us."""
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
        super().on_headers_complete()
        if pieces:
            super().on_body(b"".join(pieces))

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer a caller who says no more, and then end, too."""
        if self.cycle is None or self.cycle.more_body or self.cycle.response_complete:
            return None
        self.cycle.keep_alive = False
        return True  # the transport stays open for the answer

    def send_400_response(self, msg: str) -> None:
        """Say that a request cannot be understood, and close the connection."""
        self._pieces = None
        body = error_body(Refused("invalid_request", msg))
        head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()
