"""The ingestion endpoints of all dialects. `Api._process` is the path of an event, as a list of steps.

It is a plain ASGI callable. Starlette's routing, request and middleware would cost as much as everything else here
(see `benchmarks/`).
"""

import re
import sqlite3
from collections import Counter
from collections.abc import Iterable

from starlette.types import Receive, Scope, Send

from ovx_lite.auth import api_keys
from ovx_lite.auth.api_keys import Principal
from ovx_lite.auth.authenticator import Authenticator
from ovx_lite.auth.rate_limit import RateLimiter
from ovx_lite.dialects.schema import Endpoint, ParsedRequest
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import ApiError, detached, no_such_site, unavailable
from ovx_lite.domain.models import Reply, Site
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
from ovx_lite.services.group_commit import GroupCommitWriter, WriteRequest
from ovx_lite.services.observer import RequestObserver, RequestOutcome, request_target
from ovx_lite.services.site_cache import SiteCache
from ovx_lite.storage.idempotency import IdempotencyKey
from ovx_lite.web.api.idempotency import parse_idempotency_key, reject_with

RouteMatch = tuple[Endpoint, str]
"""An endpoint, and the site that the request's path names; `""` if it names none."""


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
        request = RequestHead(scope, path_site_ref, endpoint.public)
        headers: Headers = [(request_id.HEADER, request_id.assign(scope["headers"]))]
        reply: Reply | None = None
        error: ApiError | None = None
        try:
            reply = await self._process(endpoint, request, receive, headers)
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
        if self._observer.wants_all or error is not None or any(event.event_type.excluded for event in request.events):
            self._record_outcome(endpoint, request, scope, reply, error)
        self.response_counts[endpoint.api, status] += 1
        headers += self._rate_limit_headers(request)
        if endpoint.public:
            headers += (*ALLOW_ORIGIN_HEADERS, *EXPOSE_HEADERS) if request.origin else ALLOW_ORIGIN_HEADERS
        await send_json(send, status, body, headers, is_last=not request.has_unread_body)
        if request.has_unread_body:
            await drain(receive)
            await send({"type": "http.response.body"})

    async def _process(self, endpoint: Endpoint, request: RequestHead, receive: Receive, headers: Headers) -> Reply:
        """Take the events of a request through all steps, and return the response. Adds to the response's `headers`.

        1. Read the body, with limits on its size and time.
        2. Parse it: JSON to hits. An invalid field is only noted, because steps 3 and 4 come first.
        3. Authenticate: by API key, by JWT, or, at public endpoints, by site and IP address.
        4. Count against the rate limit.
        5. Validate: fields, `Idempotency-Key`, site or page, properties.
        6. Enrich: hits become events. IP address and user agent end here.
        7. Submit: wait until the events are on disk.

        Each step may raise `ApiError`. This is the order of checks in docs/api/README.md, Errors.
        """
        if request.method != "POST":
            return _answer_other_method(endpoint, request, headers)
        body = await self._read_body(endpoint, request, receive, headers)
        now_ms = self._clock.now_ms()
        request.raw_request = request.to_raw_request(body, now_ms)
        parsed = endpoint.parse(request.raw_request)
        request.requested_site_ref, request.cost = parsed.site_ref, parsed.cost
        principal = self._authenticate(endpoint, parsed, request, now_ms) or await self._authenticate_after_refresh(
            endpoint, parsed, request, now_ms
        )
        request.principal = principal
        site = principal.site
        idempotency_key, key_error = parse_idempotency_key(
            request.idempotency_header, request.path, body, endpoint.public
        )
        if principal.hourly_limit is not None:
            try:
                request.rate_limit = self._rate_limiter.consume(principal, parsed.cost, now_ms)
            except ApiError as exc:
                if idempotency_key is None:
                    raise
                # A replay does not count against the limit, so it is answered even if the limit is reached.
                return await self._replay(site, idempotency_key, exc)
        try:
            _validate(endpoint, parsed, request, site, key_error)
            salt = request.salt or self._sites.cached_salt(site, now_ms) or await self._load_salt(site, now_ms)
            request.events = [enrich(hit, endpoint.api, site, salt, self._country_of) for hit in parsed.hits]
            reply = await self._submit(endpoint, request, site, idempotency_key)
        except ApiError as exc:
            if exc.code == "unavailable":
                self._refund(request, principal, now_ms)
            raise
        if reply.replayed:
            self._refund(request, principal, now_ms)
        return reply

    async def _read_body(self, endpoint: Endpoint, request: RequestHead, receive: Receive, headers: Headers) -> bytes:
        try:
            return await self.body_reader.read(receive, request.content_length, endpoint.body_limit_bytes)
        except ApiError:
            headers.append((b"connection", b"close"))  # the rest of the body is not read
            request.has_unread_body = True
            raise

    async def _replay(self, site: Site, idempotency_key: IdempotencyKey, error: ApiError) -> Reply:
        """Return the first response to a request again. If this is not a replay, raise `error`."""
        try:
            return await self._writer.submit(WriteRequest(site.id, [], reject_with(error), idempotency_key))
        except ApiError as exc:
            raise error if exc.code == "idempotency_conflict" else exc from None

    def _refund(self, request: RequestHead, principal: Principal, now_ms: int) -> None:
        """Uncount a request that was counted and then replayed or not stored."""
        if principal.hourly_limit is not None:
            self._rate_limiter.refund(principal, request.cost, now_ms)
            request.rate_limit = None

    def _authenticate(
        self, endpoint: Endpoint, parsed: ParsedRequest, request: RequestHead, now_ms: int
    ) -> Principal | None:
        """Return who sends the request, or `None` if the cache does not know them."""
        if endpoint.public:
            site = self._sites.find_public(parsed.site_ref)
            if site is None or (salt := self._sites.cached_salt(site, now_ms)) is None:
                return None
            request.salt = salt
            return api_keys.public_principal(site, request.address, salt)
        try:
            return self._authenticator.authenticate(
                request.authorization, parsed.site_ref or request.path_site_ref, now_ms
            )
        except ApiError:
            return None

    async def _authenticate_after_refresh(
        self, endpoint: Endpoint, parsed: ParsedRequest, request: RequestHead, now_ms: int
    ) -> Principal:
        """Return who sends the request, after reloading sites and keys, which may be newer than the cache.

        Raises `ApiError`.
        """
        await self._authenticator.refresh(parsed.site_ref or request.path_site_ref)
        if not endpoint.public:
            return self._authenticator.authenticate(
                request.authorization, parsed.site_ref or request.path_site_ref, now_ms
            )
        site = self._sites.find_public(parsed.site_ref)
        if site is None:
            if parsed.problem is not None and parsed.problem.code != "invalid_props":
                raise parsed.problem
            raise no_such_site(endpoint.site_field, public=True)
        request.salt = await self._load_salt(site, now_ms)
        return api_keys.public_principal(site, request.address, request.salt)

    async def _submit(
        self, endpoint: Endpoint, request: RequestHead, site: Site, idempotency_key: IdempotencyKey | None
    ) -> Reply:
        """Store the events of a request, and return the response once they are on disk. Raises `ApiError`."""
        if self._writer.disk.is_low and idempotency_key is not None:  # a replay needs no space
            return await self._replay(site, idempotency_key, self._writer.disk.low_space_error)
        if not self._observer.wants_all:
            return await self._writer.submit(
                WriteRequest(site.id, request.events, endpoint.build_response, idempotency_key)
            )

        def build_response(event_ids: list[str]) -> Reply:
            request.event_ids = event_ids
            return endpoint.build_response(event_ids)

        return await self._writer.submit(
            WriteRequest(site.id, request.events, build_response, idempotency_key, request.effects)
        )

    def _record_outcome(
        self, endpoint: Endpoint, request: RequestHead, scope: Scope, reply: Reply | None, error: ApiError | None
    ) -> None:
        """Pass a request and its outcome to the observer. If that fails, the response stays the same."""
        site = (
            request.principal.site
            if request.principal
            else self._sites.find_public(request.requested_site_ref or request.path_site_ref)
        )
        outcome = RequestOutcome(
            received_at_ms=request.raw_request.received_at_ms if request.raw_request else self._clock.now_ms(),
            endpoint=endpoint,
            method=request.method,
            path=request_target(scope),
            headers=scope["headers"],
            raw_request=request.raw_request,
            site=site,
            events=request.events,
            event_ids=request.event_ids,
            error=error,
            reply=reply,
            effects=request.effects,
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

    def _rate_limit_headers(self, request: RequestHead) -> Headers:
        """Return the `RateLimit-*` headers, which every response to a rate-limited client has, errors included."""
        rate_limit, principal = request.rate_limit, request.principal
        if rate_limit is None:
            now_ms = self._clock.now_ms()
            if principal is None and request.public:
                return []
            if principal is None:
                try:
                    site_slug = request.requested_site_ref or request.path_site_ref
                    principal = self._authenticator.authenticate(request.authorization, site_slug, now_ms)
                except ApiError:
                    return []
            if principal.hourly_limit is None:
                return []
            rate_limit = self._rate_limiter.status(principal, now_ms, request.cost)
        return rate_limit_headers(rate_limit)


def _answer_other_method(endpoint: Endpoint, request: RequestHead, headers: Headers) -> Reply:
    """Answer a preflight request at a public endpoint. Raises `ApiError` (`method_not_allowed`) for all else."""
    if request.method == "OPTIONS" and endpoint.public:
        headers += PREFLIGHT_HEADERS
        return Reply(204, b"")
    headers.append((b"allow", b"OPTIONS, POST" if endpoint.public else b"POST"))
    raise ApiError("method_not_allowed", f"{request.path} does not support {request.method}: send a POST.")


def _validate(
    endpoint: Endpoint, parsed: ParsedRequest, request: RequestHead, site: Site, key_error: ApiError | None
) -> None:
    """Raise the first error of a request: in its fields, `Idempotency-Key`, site or page, and properties."""
    problem = parsed.problem
    if problem is not None and problem.code != "invalid_props":
        raise problem
    if key_error is not None:
        raise key_error
    if endpoint.public:
        check_allowed_hosts(site, request.origin, parsed)
    elif parsed.site_ref != site.slug:
        raise no_such_site(endpoint.site_field)
    if problem is not None:
        raise problem
