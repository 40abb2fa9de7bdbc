"""The ingestion endpoints of all dialects. `STEPS` is the path of an event from the request to the writer.

The same steps serve two callers. `Api.answer_directly` takes a request that has arrived completely: plain function
calls from the protocol to the writer, without a task or a future. `Api.__call__` is the ASGI way, for bodies in pieces
and for the emulator. Starlette's routing, request and middleware would cost as much as everything else here (see
`benchmarks/`).
"""

import asyncio
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from enum import Enum
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from ovx_lite.auth import api_keys
from ovx_lite.auth.authenticator import Authenticator
from ovx_lite.auth.rate_limit import RateLimiter
from ovx_lite.dialects.schema import Endpoint
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import ApiError, detached, no_such_site, unavailable
from ovx_lite.domain.models import Reply, Site
from ovx_lite.enrichment.enrich import enrich as enrich_hit
from ovx_lite.enrichment.geoip import CountryLookup
from ovx_lite.http import request_id
from ovx_lite.http.body import BodyReader, drain, too_large
from ovx_lite.http.cors import PREFLIGHT_HEADERS, check_allowed_hosts
from ovx_lite.http.direct import DirectExchange, DirectHandler
from ovx_lite.http.request_head import head_from_scope, read_head
from ovx_lite.http.responses import decode_headers, encode_headers, send_response
from ovx_lite.services.group_commit import GroupCommitWriter
from ovx_lite.services.observer import RequestObserver
from ovx_lite.services.site_cache import SiteCache
from ovx_lite.storage.ledger.ledger import WriteRequest, WriteResult
from ovx_lite.web.api.idempotency import parse_idempotency_key, reject_with
from ovx_lite.web.api.ingest_context import IngestContext, IngestServices
from ovx_lite.web.api.ingest_response import build_bare_response, build_response, fail

RouteMatch = tuple[Endpoint, str]
"""An endpoint, and the site that the request's path names; `""` if it names none."""


_PREFLIGHT_LINES = encode_headers(PREFLIGHT_HEADERS)


class Progress(Enum):
    """What a step may return in place of `None`, which means: go on with the next step."""

    DONE = "the remaining steps are skipped: the result is delivered, or the writer will deliver it"


DONE = Progress.DONE
StepResult = Coroutine[Any, Any, None] | Progress | None
"""A coroutine means that the step has to wait: it is complete when the coroutine has been awaited."""

Step = Callable[[IngestContext], StepResult]


def check_method(context: IngestContext) -> StepResult:
    """Let a POST pass, answer a preflight request, and reject everything else."""
    head = context.head
    if head.method == "POST":
        return None
    if head.method == "OPTIONS" and head.public:
        context.response_lines = _PREFLIGHT_LINES
        deliver(context, Reply(204, b""))
        return DONE
    context.response_lines = b"allow: OPTIONS, POST\r\n" if head.public else b"allow: POST\r\n"
    raise ApiError("method_not_allowed", f"{head.path} does not support {head.method}: send a POST.")


def read_body(context: IngestContext) -> StepResult:
    """Read the body, with limits on its size and time. The body of a direct request is already there."""
    if context.receive is not None:
        return _read_body(context, context.receive)
    limit_bytes = context.endpoint.body_limit_bytes
    if len(context.body) > limit_bytes:
        context.has_unread_body = True
        raise too_large(limit_bytes)
    return None


async def _read_body(context: IngestContext, receive: Receive) -> None:
    try:
        context.body = await context.services.body_reader.read(
            receive, context.head.content_length, context.endpoint.body_limit_bytes
        )
    except ApiError:
        context.has_unread_body = True
        raise


def parse(context: IngestContext) -> StepResult:
    """Parse the body: JSON to hits. An invalid field is only noted, because credentials and limits come first."""
    context.received_at_ms = now_ms = context.services.clock.now_ms()
    context.raw_request = raw_request = context.head.to_raw_request(context.body, now_ms)
    context.parsed = context.endpoint.parse(raw_request)
    return None


def authenticate(context: IngestContext) -> StepResult:
    """Find out who sends the request: by API key, by JWT, or, at public endpoints, by site and IP address."""
    services, head, parsed, now_ms = context.services, context.head, context.parsed, context.received_at_ms
    if not head.public:
        try:
            site_ref = parsed.site_ref or head.path_site_ref
            context.principal = services.authenticator.authenticate(head.authorization, site_ref, now_ms)
        except ApiError:
            return _authenticate_after_refresh(context)
        return None
    site = services.sites.find_public(parsed.site_ref)
    if site is None or (salt := services.sites.cached_salt(site, now_ms)) is None:
        return _authenticate_after_refresh(context)
    context.salt = salt
    context.principal = api_keys.public_principal(site, head.address, salt)
    return None


async def _authenticate_after_refresh(context: IngestContext) -> None:
    """Authenticate after reloading sites and keys, which may be newer than the cache."""
    services, head, parsed, now_ms = context.services, context.head, context.parsed, context.received_at_ms
    site_ref = parsed.site_ref or head.path_site_ref
    await services.authenticator.refresh(site_ref)
    if not head.public:
        context.principal = services.authenticator.authenticate(head.authorization, site_ref, now_ms)
        return
    site = services.sites.find_public(parsed.site_ref)
    if site is None:
        if parsed.problem is not None and parsed.problem.code != "invalid_props":
            raise parsed.problem
        raise no_such_site(context.endpoint.site_field, public=True)
    context.salt = salt = await _load_salt(context, site)
    context.principal = api_keys.public_principal(site, head.address, salt)


async def _load_salt(context: IngestContext, site: Site) -> bytes:
    try:
        return await context.services.sites.load_salt(site, context.received_at_ms)
    except sqlite3.OperationalError:
        raise unavailable("The store cannot be written now") from None


def rate_limit(context: IngestContext) -> StepResult:
    """Count the request against the caller's limit. A replay is answered even if the limit is reached."""
    head, principal = context.head, context.principal
    if head.idempotency_header is not None:
        context.idempotency_key, context.idempotency_key_error = parse_idempotency_key(
            head.idempotency_header, head.path, context.body, head.public
        )
    if principal.hourly_limit is None:
        return None
    try:
        context.rate_limit = context.services.rate_limiter.consume(
            principal, context.parsed.cost, context.received_at_ms
        )
    except ApiError as exc:
        if context.idempotency_key is None:
            raise
        return _submit_replay(context, detached(exc))
    return None


def validate(context: IngestContext) -> StepResult:
    """Reject invalid fields and an invalid `Idempotency-Key`. Invalid properties are reported later."""
    problem = context.parsed.problem
    if problem is not None and problem.code != "invalid_props":
        raise problem
    if context.idempotency_key_error is not None:
        raise context.idempotency_key_error
    return None


def check_origin(context: IngestContext) -> StepResult:
    """Check that the caller may write to this site, and that its page may send events."""
    site = context.principal.site
    if context.head.public:
        check_allowed_hosts(site, context.head.origin, context.parsed)
    elif context.parsed.site_ref != site.slug:
        raise no_such_site(context.endpoint.site_field)
    return None


def validate_props(context: IngestContext) -> StepResult:
    """Reject invalid properties, the last of all checks (docs/api/README.md, Errors)."""
    if context.parsed.problem is not None:
        raise context.parsed.problem
    return None


def enrich(context: IngestContext) -> StepResult:
    """Turn hits into events. IP address and user agent end here."""
    site = context.principal.site
    salt = context.salt or context.services.sites.cached_salt(site, context.received_at_ms)
    if salt is None:
        return _enrich_after_loading_salt(context, site)
    _enrich(context, site, salt)
    return None


async def _enrich_after_loading_salt(context: IngestContext, site: Site) -> None:
    _enrich(context, site, await _load_salt(context, site))


def _enrich(context: IngestContext, site: Site, salt: bytes) -> None:
    api, country_of = context.endpoint.api, context.services.country_of
    context.events = [enrich_hit(hit, api, site, salt, country_of) for hit in context.parsed.hits]


def submit(context: IngestContext) -> StepResult:
    """Hand the events to the writer, which delivers the result when they are on disk."""
    writer, key = context.services.writer, context.idempotency_key
    if writer.disk.is_low and key is not None:  # a replay needs no space
        return _submit_replay(context, writer.disk.low_space_error)
    site_id, events = context.principal.site.id, context.events
    if context.services.observer.wants_all:
        effects = list[str]()
        context.effects = effects
        request = WriteRequest(site_id, events, context.build_reply, key, effects)
    else:
        request = WriteRequest(site_id, events, context.endpoint.build_response, key)
    writer.submit(request, partial(deliver, context))
    return DONE


def _submit_replay(context: IngestContext, error: ApiError) -> StepResult:
    """Have the writer return the first response to this request again, or `error` if this is not a replay."""
    request = WriteRequest(context.principal.site.id, [], reject_with(error), context.idempotency_key)
    context.services.writer.submit(request, partial(_deliver_replay, context, error))
    return DONE


def _deliver_replay(context: IngestContext, error: ApiError, result: WriteResult) -> None:
    is_conflict = isinstance(result, ApiError) and result.code == "idempotency_conflict"
    deliver(context, error if is_conflict else result)


STEPS: tuple[Step, ...] = (
    check_method,
    read_body,
    parse,
    authenticate,
    rate_limit,
    validate,
    check_origin,
    validate_props,
    enrich,
    submit,
)
"""The steps of the ingestion. Each may raise `ApiError`; this is the order of checks in docs/api/README.md, Errors."""


def deliver(context: IngestContext, result: WriteResult) -> None:
    """Answer a request with its result: now, or in the task that waits for it."""
    if context.exchange is not None:
        try:
            status, lines, body = build_response(context, result)
        except Exception as exc:  # a defect, but the client must not wait in vain
            status, lines, body = build_bare_response(context, fail(context, exc))
        context.exchange.respond(status, lines, body, close=context.has_unread_body)
    elif context.future is not None and not context.future.done():
        context.future.set_result(result)


def run_steps(context: IngestContext, steps: Iterator[Step]) -> Coroutine[Any, Any, None] | None:
    """Run the steps until one has to wait. Then return a coroutine that waits and runs the remaining steps.

    An exception is delivered as the result.
    """
    try:
        for step in steps:
            result = step(context)
            if result is None:
                continue
            return None if result is DONE else _run_after(result, context, steps)
    except Exception as exc:
        deliver(context, fail(context, exc))
    return None


async def _run_after(waiting: Coroutine[Any, Any, None], context: IngestContext, steps: Iterator[Step]) -> None:
    request_id.current.set(context.head.request_id.decode())
    try:
        await waiting
    except Exception as exc:
        deliver(context, fail(context, exc))
        return
    if (rest := run_steps(context, steps)) is not None:
        await rest


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
        self.body_reader = BodyReader()
        self.response_counts: Counter[tuple[str, int]] = Counter()
        self._services = IngestServices(
            sites=sites,
            rate_limiter=rate_limiter,
            writer=writer,
            country_of=country_of,
            clock=clock,
            authenticator=authenticator,
            observer=observer,
            body_reader=self.body_reader,
            response_counts=self.response_counts,
        )

    def match(self, path: str) -> RouteMatch | None:
        """Return the endpoint at a path, or `None`."""
        if route := self._routes.get(path):
            return route
        for pattern, endpoint in self._patterns:
            if match := pattern.fullmatch(path):
                return endpoint, match[1]
        return None

    def direct_handler(self, path: str, query: bytes) -> DirectHandler | None:
        """Return what answers direct requests to a path, or `None` if there is no endpoint at it."""
        route = self.match(path)
        return None if route is None else partial(self.answer_directly, route, path, query)

    def answer_directly(
        self, route: RouteMatch, path: str, query: bytes, exchange: DirectExchange
    ) -> Coroutine[Any, Any, None] | None:
        """Answer a request that has arrived completely. If it has to wait, return the coroutine that goes on."""
        endpoint, path_site_ref = route
        headers = exchange.headers
        client_host = exchange.connection.client_host(headers) if endpoint.public else ""
        head = read_head(exchange.method, path, headers, client_host, path_site_ref, endpoint.public, query)
        context = IngestContext(self._services, endpoint, head, exchange.body, exchange)
        return run_steps(context, iter(STEPS))

    async def __call__(self, route: RouteMatch, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as an ASGI application."""
        endpoint, path_site_ref = route
        head = head_from_scope(scope, path_site_ref, endpoint.public)
        future: asyncio.Future[WriteResult] = asyncio.get_running_loop().create_future()
        request_id.current.set(head.request_id.decode())
        context = IngestContext(self._services, endpoint, head, receive=receive, future=future)
        if (rest := run_steps(context, iter(STEPS))) is not None:
            await rest
        status, lines, body = build_response(context, await future)
        headers = decode_headers(lines)
        if not context.has_unread_body:
            await send_response(send, status, headers, body)
        else:
            await send_response(send, status, [*headers, (b"connection", b"close")], body, is_last=False)
            await drain(receive)
            await send({"type": "http.response.body"})
