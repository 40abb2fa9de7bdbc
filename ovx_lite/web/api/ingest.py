"""The ingestion endpoints of all dialects. `Api._process` is the path of an event, as a list of steps.

It is a plain ASGI callable. Starlette's routing, request and middleware would cost as much as everything else here
(see `benchmarks/`).
"""

import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence

from starlette.types import Receive, Scope, Send

from ovx_lite.auth import api_keys
from ovx_lite.auth.api_keys import Principal
from ovx_lite.auth.authenticator import Authenticator
from ovx_lite.auth.rate_limit import RateLimiter, RateLimitStatus
from ovx_lite.dialects.schema import Endpoint, ParsedRequest, RawRequest
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import ApiError, detached, no_such_site, unavailable
from ovx_lite.domain.models import Event, Reply, Site
from ovx_lite.enrichment.enrich import enrich
from ovx_lite.enrichment.geoip import CountryLookup
from ovx_lite.http import request_id
from ovx_lite.http.body import BodyReader, drain
from ovx_lite.http.cors import ALLOW_ORIGIN_HEADERS, EXPOSE_HEADERS, PREFLIGHT_HEADERS, check_allowed_hosts
from ovx_lite.http.request_head import RequestHead
from ovx_lite.http.responses import (
    INTERNAL_ERROR,
    Headers,
    error_body,
    error_headers,
    log_internal_error,
    rate_limit_headers,
    send_json,
)
from ovx_lite.services.group_commit import GroupCommitWriter
from ovx_lite.services.observer import RequestObserver, RequestOutcome, request_target
from ovx_lite.services.site_cache import SiteCache
from ovx_lite.storage.ledger.idempotency import IdempotencyKey
from ovx_lite.storage.ledger.ledger import WriteRequest
from ovx_lite.web.api.idempotency import parse_idempotency_key, reject_with

RouteMatch = tuple[Endpoint, str]
"""An endpoint, and the site that the request's path names; `""` if it names none."""


class IngestContext:
    """What the steps of the ingestion know about a request. Each step adds to it.

    `cost` is the number of events in the body, for the rate limits. `salt` is the site's salt of the day, once it is
    looked up. For the observer: `raw_request` is what the dialect saw, `requested_site_ref` the site that the body
    names, `events` and `event_ids` what was stored, and `effects` describes what followed, such as goals that were
    reached. `response_headers` are sent with the response, whatever the outcome.
    """

    __slots__ = (
        "cost",
        "effects",
        "endpoint",
        "event_ids",
        "events",
        "has_unread_body",
        "head",
        "principal",
        "rate_limit",
        "raw_request",
        "requested_site_ref",
        "response_headers",
        "salt",
    )

    def __init__(self, endpoint: Endpoint, head: RequestHead, response_headers: Headers) -> None:
        self.endpoint = endpoint
        self.head = head
        self.response_headers = response_headers
        self.has_unread_body = False
        self.raw_request: RawRequest | None = None
        self.requested_site_ref = ""
        self.cost = 1
        self.principal: Principal | None = None
        self.salt: bytes | None = None
        self.rate_limit: RateLimitStatus | None = None
        self.events: list[Event] = []
        self.event_ids: Sequence[str] = ()
        self.effects: list[str] = []


class Api:
    """Answers requests to the ingestion endpoints. `response_counts`, by dialect and status, count since the start."""

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        sites: SiteCache,
        rate_limiter: RateLimiter,
        writer: GroupCommitWriter,
        country_of: CountryLookup,
        clock: Clock,
        authenticator: Authenticator,
        observer: RequestObserver,
    ) -> None:
        self._routes: dict[str, RouteMatch] = {}
        self._patterns: list[tuple[re.Pattern[str], Endpoint]] = []
        for endpoint in endpoints:
            prefix, brace, suffix = endpoint.path.partition("{")
            if brace:
                pattern = re.compile(f"{prefix}([^/]+){suffix.partition('}')[2]}")
                self._patterns.append((pattern, endpoint))
            else:
                self._routes[endpoint.path] = (endpoint, "")
        self._sites = sites
        self._rate_limiter = rate_limiter
        self._writer = writer
        self._country_of = country_of
        self._clock = clock
        self._authenticator = authenticator
        self._observer = observer
        self.body_reader = BodyReader()
        self.response_counts: Counter[tuple[str, int]] = Counter()

    def match(self, path: str) -> RouteMatch | None:
        """Return the endpoint at a path, or `None`."""
        if route := self._routes.get(path):
            return route
        for pattern, endpoint in self._patterns:
            if match := pattern.fullmatch(path):
                return endpoint, match[1]
        return None

    async def __call__(self, route_match: RouteMatch, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request to an endpoint, send the response, and pass its outcome to the observer."""
        endpoint, path_site_ref = route_match
        headers: Headers = [(request_id.HEADER, request_id.assign(scope["headers"]))]
        context = IngestContext(endpoint, RequestHead(scope, path_site_ref, endpoint.public), headers)
        reply: Reply | None = None
        error: ApiError | None = None
        try:
            reply = await self._process(context, receive)
            status, body = reply.status, reply.body
            if reply.replayed:
                headers.append((b"idempotency-replayed", b"true"))
        except ApiError as exc:
            error, status, body = detached(exc), exc.status, error_body(exc)
            headers += error_headers(exc)
        except Exception as exc:
            log_internal_error(scope, exc)
            detached(exc)
            error, status, body = INTERNAL_ERROR, INTERNAL_ERROR.status, error_body(INTERNAL_ERROR)
        if self._observer.wants_all or error is not None or any(event.event_type.excluded for event in context.events):
            self._record_outcome(context, scope, reply, error)
        self.response_counts[endpoint.api, status] += 1
        headers += self._rate_limit_headers(context)
        if endpoint.public:
            headers += (*ALLOW_ORIGIN_HEADERS, *EXPOSE_HEADERS) if context.head.origin else ALLOW_ORIGIN_HEADERS
        await send_json(send, status, body, headers, is_last=not context.has_unread_body)
        if context.has_unread_body:
            await drain(receive)
            await send({"type": "http.response.body"})

    async def _process(self, context: IngestContext, receive: Receive) -> Reply:
        """Take the events of a request through all steps, and return the response.

        1. Read the body, with limits on its size and time.
        2. Parse it: JSON to hits. An invalid field is only noted, because steps 3 and 4 come first.
        3. Authenticate: by API key, by JWT, or, at public endpoints, by site and IP address.
        4. Count against the rate limit.
        5. Validate: fields, `Idempotency-Key`, site or page, properties.
        6. Enrich: hits become events. IP address and user agent end here.
        7. Submit: wait until the events are on disk.

        Each step may raise `ApiError`. This is the order of checks in docs/api/README.md, Errors.
        """
        endpoint, head = context.endpoint, context.head
        if head.method != "POST":
            return _answer_other_method(context)
        try:
            body = await self.body_reader.read(receive, head.content_length, endpoint.body_limit_bytes)
        except ApiError:
            context.response_headers.append((b"connection", b"close"))  # the rest of the body is not read
            context.has_unread_body = True
            raise
        now_ms = self._clock.now_ms()
        context.raw_request = head.to_raw_request(body, now_ms)
        parsed = endpoint.parse(context.raw_request)
        context.requested_site_ref, context.cost = parsed.site_ref, parsed.cost
        principal = self._authenticate(context, parsed, now_ms) or await self._authenticate_after_refresh(
            context, parsed, now_ms
        )
        context.principal = principal
        site = principal.site
        idempotency_key, key_error = parse_idempotency_key(head.idempotency_header, head.path, body, endpoint.public)
        if principal.hourly_limit is not None:
            try:
                context.rate_limit = self._rate_limiter.consume(principal, parsed.cost, now_ms)
            except ApiError as exc:
                if idempotency_key is None:
                    raise
                # A replay does not count against the limit, so it is answered even if the limit is reached.
                return await self._replay(site, idempotency_key, exc)
        try:
            _validate(context, parsed, site, key_error)
            salt = context.salt or self._sites.cached_salt(site, now_ms) or await self._load_salt(site, now_ms)
            context.events = [enrich(hit, endpoint.api, site, salt, self._country_of) for hit in parsed.hits]
            reply = await self._submit(context, site, idempotency_key)
        except ApiError as exc:
            if exc.code == "unavailable":
                self._refund(context, principal, now_ms)
            raise
        if reply.replayed:
            self._refund(context, principal, now_ms)
        return reply

    async def _replay(self, site: Site, idempotency_key: IdempotencyKey, error: ApiError) -> Reply:
        """Return the first response to a request again. If this is not a replay, raise `error`."""
        try:
            return await self._writer.submit(WriteRequest(site.id, [], reject_with(error), idempotency_key))
        except ApiError as exc:
            raise error if exc.code == "idempotency_conflict" else exc from None

    def _refund(self, context: IngestContext, principal: Principal, now_ms: int) -> None:
        """Uncount a request that was counted and then replayed or not stored."""
        if principal.hourly_limit is not None:
            self._rate_limiter.refund(principal, context.cost, now_ms)
            context.rate_limit = None

    def _authenticate(self, context: IngestContext, parsed: ParsedRequest, now_ms: int) -> Principal | None:
        """Return who sends the request, or `None` if the cache does not know them."""
        head = context.head
        if head.public:
            site = self._sites.find_public(parsed.site_ref)
            if site is None or (salt := self._sites.cached_salt(site, now_ms)) is None:
                return None
            context.salt = salt
            return api_keys.public_principal(site, head.address, salt)
        try:
            return self._authenticator.authenticate(head.authorization, parsed.site_ref or head.path_site_ref, now_ms)
        except ApiError:
            return None

    async def _authenticate_after_refresh(
        self, context: IngestContext, parsed: ParsedRequest, now_ms: int
    ) -> Principal:
        """Return who sends the request, after reloading sites and keys, which may be newer than the cache.

        Raises `ApiError`.
        """
        head = context.head
        await self._authenticator.refresh(parsed.site_ref or head.path_site_ref)
        if not head.public:
            return self._authenticator.authenticate(head.authorization, parsed.site_ref or head.path_site_ref, now_ms)
        site = self._sites.find_public(parsed.site_ref)
        if site is None:
            if parsed.problem is not None and parsed.problem.code != "invalid_props":
                raise parsed.problem
            raise no_such_site(context.endpoint.site_field, public=True)
        context.salt = await self._load_salt(site, now_ms)
        return api_keys.public_principal(site, head.address, context.salt)

    async def _submit(self, context: IngestContext, site: Site, idempotency_key: IdempotencyKey | None) -> Reply:
        """Store the events of a request, and return the response once they are on disk. Raises `ApiError`."""
        endpoint = context.endpoint
        if self._writer.disk.is_low and idempotency_key is not None:  # a replay needs no space
            return await self._replay(site, idempotency_key, self._writer.disk.low_space_error)
        if not self._observer.wants_all:
            return await self._writer.submit(
                WriteRequest(site.id, context.events, endpoint.build_response, idempotency_key)
            )

        def build_response(event_ids: list[str]) -> Reply:
            context.event_ids = event_ids
            return endpoint.build_response(event_ids)

        return await self._writer.submit(
            WriteRequest(site.id, context.events, build_response, idempotency_key, context.effects)
        )

    def _record_outcome(
        self, context: IngestContext, scope: Scope, reply: Reply | None, error: ApiError | None
    ) -> None:
        """Pass a request and its outcome to the observer. If that fails, the response stays the same."""
        site = (
            context.principal.site
            if context.principal
            else self._sites.find_public(context.requested_site_ref or context.head.path_site_ref)
        )
        outcome = RequestOutcome(
            received_at_ms=context.raw_request.received_at_ms if context.raw_request else self._clock.now_ms(),
            endpoint=context.endpoint,
            method=context.head.method,
            path=request_target(scope),
            headers=scope["headers"],
            raw_request=context.raw_request,
            site=site,
            events=context.events,
            event_ids=context.event_ids,
            error=error,
            reply=reply,
            effects=context.effects,
        )
        try:
            self._observer.record(outcome)
        except Exception as exc:
            log_internal_error(scope, exc)

    async def _load_salt(self, site: Site, now_ms: int) -> bytes:
        try:
            return await self._sites.load_salt(site, now_ms)
        except sqlite3.OperationalError:
            raise unavailable("The store cannot be written now") from None

    def _rate_limit_headers(self, context: IngestContext) -> Headers:
        """Return the `RateLimit-*` headers, which every response to a rate-limited client has, errors included."""
        rate_limit, principal, head = context.rate_limit, context.principal, context.head
        if rate_limit is None:
            now_ms = self._clock.now_ms()
            if principal is None and head.public:
                return []
            if principal is None:
                try:
                    site_ref = context.requested_site_ref or head.path_site_ref
                    principal = self._authenticator.authenticate(head.authorization, site_ref, now_ms)
                except ApiError:
                    return []
            if principal.hourly_limit is None:
                return []
            rate_limit = self._rate_limiter.status(principal, now_ms, context.cost)
        return rate_limit_headers(rate_limit)


def _answer_other_method(context: IngestContext) -> Reply:
    """Answer a preflight request at a public endpoint. Raises `ApiError` (`method_not_allowed`) for all else."""
    head, headers = context.head, context.response_headers
    if head.method == "OPTIONS" and head.public:
        headers += PREFLIGHT_HEADERS
        return Reply(204, b"")
    headers.append((b"allow", b"OPTIONS, POST" if head.public else b"POST"))
    raise ApiError("method_not_allowed", f"{head.path} does not support {head.method}: send a POST.")


def _validate(context: IngestContext, parsed: ParsedRequest, site: Site, key_error: ApiError | None) -> None:
    """Raise the first error of a request: in its fields, `Idempotency-Key`, site or page, and properties."""
    problem = parsed.problem
    if problem is not None and problem.code != "invalid_props":
        raise problem
    if key_error is not None:
        raise key_error
    if context.head.public:
        check_allowed_hosts(site, context.head.origin, parsed)
    elif parsed.site_ref != site.slug:
        raise no_such_site(context.endpoint.site_field)
    if problem is not None:
        raise problem
