"""HTTP as uvicorn speaks it, with errors in our words, and without offers that it would stumble over."""

import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ovx_lite.errors import Refused
from ovx_lite.web.answers import error_body

_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class Protocol(HttpToolsProtocol):
    """uvicorn's own, but for two things.

    What is not even HTTP is answered in the contract's JSON, too. And an offer to upgrade to another protocol, which
    Java's client and `curl --http2` make with each request, is passed over: uvicorn's parser would drop the body.
    """

    def data_received(self, data: bytes) -> None:
        """Take what came; where a request begins, without the header `Upgrade`."""
        if (b"pgrade:" in data or b"PGRADE:" in data) and (self.cycle is None or not self.cycle.more_body):
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"", head) + end + rest
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Say that a request cannot be understood, and close the connection."""
        body = error_body(Refused("invalid_request", msg))
        head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()
