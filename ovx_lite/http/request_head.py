"""The head of a request to an ingestion endpoint: the headers that matter."""

from starlette.types import Scope

from ovx_lite.dialects import fields
from ovx_lite.dialects.schema import RawRequest
from ovx_lite.domain.errors import ApiError
from ovx_lite.enrichment.user_agent import is_browser


class RequestHead:
    """The headers of a request that matter. Nothing changes them.

    `address` is the client's IP address; `""` if it is not valid, and at endpoints that need a key. `path_site_ref` is
    the site that the path names, `""` if it names none.
    """

    __slots__ = (
        "address",
        "authorization",
        "content_length",
        "idempotency_header",
        "method",
        "origin",
        "path",
        "path_site_ref",
        "public",
        "user_agent",
    )

    def __init__(self, scope: Scope, path_site_ref: str, public: bool) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.path_site_ref = path_site_ref
        self.public = public
        self.address = client_address(scope) if public else ""
        self.authorization = self.origin = self.user_agent = ""
        self.content_length: bytes | None = None
        self.idempotency_header: str | None = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                self.authorization = value.decode("latin-1")
            elif name == b"content-length":
                self.content_length = value
            elif name == b"idempotency-key":
                self.idempotency_header = value.decode("latin-1")
            elif name == b"user-agent":
                self.user_agent = value.decode("latin-1")
            elif name == b"origin":
                self.origin = value.decode("latin-1")

    def to_raw_request(self, body: bytes, now_ms: int) -> RawRequest:
        """Return what a dialect sees of the request.

        A browser at a public endpoint is the visitor's own, so its address and user agent are the visitor's. Any other
        client is a program that sends events for others: its address and user agent say nothing about the visitor.
        """
        if self.public and is_browser(self.user_agent):
            return RawRequest(body, now_ms, self.path_site_ref, self.address, self.user_agent)
        return RawRequest(body, now_ms, self.path_site_ref)


def client_address(scope: Scope) -> str:
    """Return the client's IP address (behind a trusted proxy, the one that it reports); `""` if it is not valid."""
    client = scope.get("client")
    try:
        return fields.address(client[0] if client else "", "X-Forwarded-For")
    except ApiError:
        return ""
