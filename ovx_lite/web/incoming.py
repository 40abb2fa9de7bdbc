"""What the way of an event looks at of a request, beside its body."""

from starlette.types import Scope

from ovx_lite import fields
from ovx_lite.access import Caller
from ovx_lite.agents import is_browser
from ovx_lite.errors import Refused


class Incoming:
    """What matters of a request, beside its body; and what becomes known of it on the way."""

    __slots__ = (
        "_client",
        "authorization",
        "caller",
        "idempotency_key",
        "length",
        "method",
        "origin",
        "path",
        "site",
        "unread",
        "user_agent",
    )

    def __init__(self, scope: Scope, site: str) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.site = site
        self.authorization = self.origin = self.user_agent = ""
        self.length: bytes | None = None
        self.idempotency_key: str | None = None
        self.caller: Caller | None = None
        self.unread = False
        self._client = scope.get("client")
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

    @property
    def address(self) -> str:
        """The client's address, or what a trusted proxy says it is; `""` if that is none."""
        try:
            return fields.address(self._client[0] if self._client else "", "X-Forwarded-For")
        except Refused:
            return ""

    def browser(self) -> tuple[str, str]:
        """Address and user agent, if it is a visitor's browser that calls and not a program for whomever."""
        return (self.address, self.user_agent) if is_browser(self.user_agent) else ("", "")
