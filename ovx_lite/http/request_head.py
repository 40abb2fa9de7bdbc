"""The head of a request to an ingestion endpoint: the headers that matter."""

import msgspec
from starlette.types import Scope

from ovx_lite.dialects import fields
from ovx_lite.dialects.schema import RawRequest
from ovx_lite.domain.errors import ApiError
from ovx_lite.enrichment.user_agent import is_browser
from ovx_lite.http import request_id
from ovx_lite.http.responses import Headers


class RequestHead(msgspec.Struct, frozen=True, eq=False):
    """What matters of the head of a request.

    `request_id` is the ID of the request: from its header, or a new one. `path_site_ref` is the site that the path
    names, `""` if it names none. `address` is the client's IP address; `""` if it is not valid. At endpoints that need
    a key, `address`, `origin` and `user_agent` are `""`.
    """

    method: str
    path: str
    headers: Headers
    path_site_ref: str
    public: bool
    request_id: bytes
    authorization: str
    idempotency_header: str | None
    content_length: bytes | None
    address: str = ""
    origin: str = ""
    user_agent: str = ""
    query: bytes = b""

    @property
    def target(self) -> str:
        """The path with the query, if there is one."""
        return f"{self.path}?{self.query.decode('latin-1')}" if self.query else self.path

    def to_raw_request(self, body: bytes, now_ms: int) -> RawRequest:
        """Return what a dialect sees of the request.

        A browser at a public endpoint is the visitor's own, so its address and user agent are the visitor's. Any other
        client is a program that sends events for others: its address and user agent say nothing about the visitor.
        """
        if self.public and is_browser(self.user_agent):
            return RawRequest(body, now_ms, self.path_site_ref, self.address, self.user_agent)
        return RawRequest(body, now_ms, self.path_site_ref)


def read_head(
    method: str,
    path: str,
    headers: Headers,
    client_host: str,
    path_site_ref: str,
    public: bool,
    query: bytes = b"",
) -> RequestHead:
    """Collect what matters of a head. If a header occurs twice, the last one counts."""
    values = dict(headers)
    key = values.get(b"idempotency-key")
    return RequestHead(
        method,
        path,
        headers,
        path_site_ref,
        public,
        request_id.choose(headers) if request_id.HEADER in values else request_id.new(),
        values[b"authorization"].decode("latin-1") if b"authorization" in values else "",
        None if key is None else key.decode("latin-1"),
        values.get(b"content-length"),
        _valid_address(client_host) if public else "",
        values[b"origin"].decode("latin-1") if public and b"origin" in values else "",
        values[b"user-agent"].decode("latin-1") if public and b"user-agent" in values else "",
        query,
    )


def head_from_scope(scope: Scope, path_site_ref: str, public: bool) -> RequestHead:
    """Return the head of an ASGI request."""
    client, query = scope.get("client"), scope.get("query_string", b"")
    client_host = client[0] if client else ""
    return read_head(scope["method"], scope["path"], scope["headers"], client_host, path_site_ref, public, query)


def client_address(scope: Scope) -> str:
    """Return the client's IP address (behind a trusted proxy, the one that it reports); `""` if it is not valid."""
    client = scope.get("client")
    return _valid_address(client[0] if client else "")


def _valid_address(host: str) -> str:
    try:
        return fields.address(host, "X-Forwarded-For")
    except ApiError:
        return ""
