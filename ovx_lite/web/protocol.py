"""HTTP as uvicorn speaks it, with errors in our words."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ovx_lite.errors import Refused
from ovx_lite.web.answers import error_body


class Protocol(HttpToolsProtocol):
    """What is not even HTTP is answered in the contract's JSON, too."""

    def send_400_response(self, msg: str) -> None:
        """Say that a request cannot be understood, and close the connection."""
        body = error_body(Refused("invalid_request", msg))
        head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()
