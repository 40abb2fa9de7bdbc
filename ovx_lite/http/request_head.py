"""What the way of an event looks at of a request, beside its body."""

from collections.abc import Sequence

from starlette.types import Scope

from ovx_lite.auth.api_keys import Caller
from ovx_lite.auth.rate_limit import Allowance
from ovx_lite.dialects import fields
from ovx_lite.dialects.schema import Call
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Event
from ovx_lite.enrichment.user_agent import is_browser


class Incoming:
    """What matters of a request, beside its body; and what becomes known of it on the way.

    `address` is the client's, or what a trusted proxy says it is, where it is looked at; `""` if that is none. `cost`
    is how many events the body has, for the rate limits. For the observer: `told` is what the dialect saw, `asked`
    the site that it names, `events` and `ids` what was made of it, and `followed` what followed.
    """

    __slots__ = (
        "address",
        "asked",
        "authorization",
        "caller",
        "cost",
        "events",
        "followed",
        "idempotency_key",
        "ids",
        "length",
        "method",
        "origin",
        "path",
        "public",
        "salt",
        "site",
        "standing",
        "told",
        "unread",
        "user_agent",
    )

    def __init__(self, scope: Scope, site: str, public: bool) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.site = site
        self.public = public
        self.address = address(scope) if public else ""
        self.authorization = self.origin = self.user_agent = ""
        self.length: bytes | None = None
        self.idempotency_key: str | None = None
        self.caller: Caller | None = None
        self.cost = 1
        self.salt: bytes | None = None
        self.standing: Allowance | None = None
        self.unread = False
        self.told: Call | None = None
        self.asked = ""
        self.events: Sequence[Event] = ()
        self.ids: Sequence[str] = ()
        self.followed: list[str] = []
        for name, value in scope["headers"]:
            if name == b"authorization":
                self.authorization = value.decode("latin-1")
            elif name == b"content-length":
                self.length = value
            elif name == b"idempotency-key":
                self.idempotency_key = value.decode("latin-1")
            elif name == b"user-agent":
                self.user_agent = value.decode("latin-1")
            elif name == b"origin":
                self.origin = value.decode("latin-1")

    def call(self, body: bytes, now: int) -> Call:
        """What a dialect sees of it. It is the visitor's browser that calls, or else a program for whomever."""
        if self.public and is_browser(self.user_agent):
            return Call(body, now, self.site, self.address, self.user_agent)
        return Call(body, now, self.site)


def address(scope: Scope) -> str:
    """The client's address, or what a trusted proxy says it is; `""` if that is none."""
    client = scope.get("client")
    try:
        return fields.address(client[0] if client else "", "X-Forwarded-For")
    except Refused:
        return ""
