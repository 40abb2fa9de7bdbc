"""Observing requests to the ingestion endpoints: what was sent, and what came of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from ovx_lite.dialects.schema import Endpoint, RawRequest
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Event, Reply, Site


class RequestOutcome(msgspec.Struct):
    """A request and what came of it, as far as it got: `call` is None if its body was not read to the end.

    `path` is with its query; `ids` are the names of the `events`, if these were stored; `site` the one that it was
    for, if that is known; `followed` says in words what followed: goals that were met, webhooks that are told. `at` is
    Unix milliseconds.
    """

    received_at_ms: int
    endpoint: Endpoint
    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]]
    raw_request: RawRequest | None = None
    site: Site | None = None
    events: Sequence[Event] = ()
    event_ids: Sequence[str] = ()
    error: ApiError | None = None
    reply: Reply | None = None
    effects: Sequence[str] = ()


def request_target(scope: Mapping[str, Any]) -> str:
    """What a request was sent to: its path, and its query if it has one."""
    path: str = scope["path"]
    query: bytes = scope.get("query_string", b"")
    return f"{path}?{query.decode('latin-1')}" if query else path


class RequestObserver(Protocol):
    """Observes requests: all of them, or only those that were rejected or whose events are excluded from reports."""

    wants_all: bool

    def record(self, outcome: RequestOutcome) -> None:
        """Record a request and its outcome. Called before the response is sent; it must not block."""
        ...
