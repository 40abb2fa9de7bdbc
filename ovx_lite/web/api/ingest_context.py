"""What the steps of the ingestion work on: the context of a request, and the services that all requests share."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import msgspec
from starlette.types import Receive

from ovx_lite.auth.api_keys import Principal
from ovx_lite.auth.authenticator import Authenticator
from ovx_lite.auth.rate_limit import RateLimiter, RateLimitStatus
from ovx_lite.dialects.schema import Endpoint, ParsedRequest, RawRequest
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Event, Reply, Site
from ovx_lite.enrichment.geoip import CountryLookup
from ovx_lite.http.body import BodyReader
from ovx_lite.http.direct import DirectExchange
from ovx_lite.http.request_head import RequestHead
from ovx_lite.services.group_commit import GroupCommitWriter
from ovx_lite.services.observer import RequestObserver
from ovx_lite.services.site_cache import SiteCache
from ovx_lite.storage.ledger.idempotency import IdempotencyKey
from ovx_lite.storage.ledger.ledger import WriteResult


class IngestServices(msgspec.Struct, frozen=True):
    """What the steps use. `response_counts` counts responses by dialect and status."""

    sites: SiteCache
    rate_limiter: RateLimiter
    writer: GroupCommitWriter
    country_of: CountryLookup
    clock: Clock
    authenticator: Authenticator
    observer: RequestObserver
    body_reader: BodyReader
    response_counts: Counter[tuple[str, int]]


NOBODY = Principal(Site(0, "", "", "", "UTC", "", "", None, None, 0, b""))
"""The caller of a request that is not authenticated yet."""

_UNPARSED = ParsedRequest("", 1)


class IngestContext(msgspec.Struct, eq=False):
    """What the steps of the ingestion know about a request. Each step adds to it.

    - `exchange` gets the response to a direct request. The others have `receive`, and `future`, which gets the result.
    - `parsed` has the hits and the site that the body names. Until the body is parsed, it has neither.
    - `principal` is the caller, `NOBODY` until it is known. `salt` is the site's salt of the day, once it is looked up.
    - For the observer: `raw_request` is what the dialect saw, `events` and `event_ids` what was stored, and `effects`
      describes what followed, such as goals that were reached.
    - `response_lines` are headers that the response has, whatever the outcome.
    - `has_unread_body` means that the rest of the body is not read. So the connection is closed after the response.
    """

    services: IngestServices
    endpoint: Endpoint
    head: RequestHead
    body: bytes = b""
    exchange: DirectExchange | None = None
    receive: Receive | None = None
    future: asyncio.Future[WriteResult] | None = None
    has_unread_body: bool = False
    received_at_ms: int = 0
    raw_request: RawRequest | None = None
    parsed: ParsedRequest = _UNPARSED
    principal: Principal = NOBODY
    salt: bytes | None = None
    idempotency_key: IdempotencyKey | None = None
    idempotency_key_error: ApiError | None = None
    rate_limit: RateLimitStatus | None = None
    events: list[Event] = []
    event_ids: Sequence[str] = ()
    effects: Sequence[str] = ()
    response_lines: bytes = b""

    def build_reply(self, event_ids: list[str]) -> Reply:
        """Build the response, and keep the IDs of the events for the observer."""
        self.event_ids = event_ids
        return self.endpoint.build_response(event_ids)
