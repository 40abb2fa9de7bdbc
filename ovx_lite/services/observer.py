"""Observing requests to the ingestion endpoints: what was sent, and what came of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from ovx_lite.dialects.schema import Endpoint, RawRequest
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Event, Reply, Site


class RequestOutcome(msgspec.Struct):
    """A request to an ingestion endpoint, and how far it got.

    `path` includes the query. `raw_request` is `None` if the body was not read to its end, `site` if it is unknown.
    `event_ids` are the public IDs of the `events`, if these were stored. `effects` describes what followed: goals that
    were reached, messages to webhooks. Of `error` and `reply`, one is set.
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
    """Return the path of a request, with its query if it has one."""
    path: str = scope["path"]
    query: bytes = scope.get("query_string", b"")
    return f"{path}?{query.decode('latin-1')}" if query else path


class RequestObserver(Protocol):
    """Observes requests: all of them, or only those that were rejected or whose events are excluded from reports."""

    wants_all: bool

    def record(self, outcome: RequestOutcome) -> None:
        """Record a request and its outcome. Called before the response is sent; it must not block."""
        ...
