"""The head of a request to an ingestion endpoint, and what the steps of the ingestion add to it."""

from collections.abc import Sequence

from starlette.types import Scope

from ovx_lite.auth.api_keys import Principal
from ovx_lite.auth.rate_limit import RateLimitStatus
from ovx_lite.dialects import fields
from ovx_lite.dialects.schema import RawRequest
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Event
from ovx_lite.enrichment.user_agent import is_browser


class RequestHead:
    """The headers of a request that matter, and what the steps of the ingestion find out about it.

    `address` is the client's IP address; `""` if it is not valid, and at endpoints that need a key. `path_site_ref` is
    the site that the path names, `""` if it names none. `cost` is the number of events in the body, for the rate
    limits. `salt` is the site's salt of the day, once it is looked up.

    For the observer: `raw_request` is what the dialect saw, `requested_site_ref` the site that the body names, `events`
    and `event_ids` what was stored, and `effects` describes what followed, such as goals that were reached.
    """

    __slots__ = (
        "address",
        "authorization",
        "content_length",
        "cost",
        "effects",
        "event_ids",
        "events",
        "has_unread_body",
        "idempotency_header",
        "method",
        "origin",
        "path",
        "path_site_ref",
        "principal",
        "public",
        "rate_limit",
        "raw_request",
        "requested_site_ref",
        "salt",
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
        self.principal: Principal | None = None
        self.cost = 1
        self.salt: bytes | None = None
        self.rate_limit: RateLimitStatus | None = None
        self.has_unread_body = False
        self.raw_request: RawRequest | None = None
        self.requested_site_ref = ""
        self.events: list[Event] = []
        self.event_ids: Sequence[str] = ()
        self.effects: list[str] = []
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
