"""From the result of the steps to a response. Also counts responses, and informs the observer."""

from collections.abc import Sequence

from ovx_lite.domain.errors import ApiError, detached
from ovx_lite.domain.models import Event, Reply
from ovx_lite.http import request_id
from ovx_lite.http.cors import ALLOW_ORIGIN_HEADERS, EXPOSE_HEADERS
from ovx_lite.http.responses import (
    INTERNAL_ERROR,
    encode_headers,
    error_body,
    error_headers,
    log_internal_error,
    rate_limit_lines,
)
from ovx_lite.services.observer import RequestOutcome
from ovx_lite.storage.ledger.ledger import WriteResult
from ovx_lite.web.api.ingest_context import NOBODY, IngestContext

# Headers are built as lines of bytes: joining a few of them takes a fraction of the time of encoding a list of pairs.
_PUBLIC_LINES = encode_headers(ALLOW_ORIGIN_HEADERS)
_CROSS_ORIGIN_LINES = encode_headers((*ALLOW_ORIGIN_HEADERS, *EXPOSE_HEADERS))


def build_response(context: IngestContext, result: WriteResult) -> tuple[int, bytes, bytes]:
    """Return the status, the lines of the headers, and the body of the response to a request.

    Before that, take back what a replay or a request that was not stored counts against the rate limit, and pass the
    outcome to the observer.
    """
    services, endpoint = context.services, context.endpoint
    lines = b"x-request-id: %b\r\n" % context.head.request_id + context.response_lines
    reply: Reply | None = None
    error: ApiError | None = None
    if isinstance(result, Reply):
        reply, status, body = result, result.status, result.body
        if reply.replayed:
            _refund(context)
            lines += b"idempotency-replayed: true\r\n"
    else:
        error = result if isinstance(result, ApiError) else fail(context, result)
        if error.code == "unavailable":
            _refund(context)
        status, body = error.status, error_body(error)
        lines += encode_headers(error_headers(error))
    if error is not None or services.observer.wants_all or _has_excluded(context.events):
        _inform_observer(context, reply, error)
    services.response_counts[endpoint.api, status] += 1
    lines += _rate_limit_lines(context)
    if endpoint.public:
        lines += _CROSS_ORIGIN_LINES if context.head.origin else _PUBLIC_LINES
    if body:
        lines += b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
    return status, lines, body


def build_bare_response(context: IngestContext, error: ApiError) -> tuple[int, bytes, bytes]:
    """Return the response for an error in `build_response` itself."""
    body = error_body(error)
    lines = b"x-request-id: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    return error.status, lines % (context.head.request_id, len(body)), body


def _has_excluded(events: Sequence[Event]) -> bool:
    for event in events:  # noqa: SIM110 - most requests have one event, and `any` would take four times as long
        if event.event_type.excluded:
            return True
    return False


def fail(context: IngestContext, exc: Exception) -> ApiError:
    """Return the error to answer with. An exception that is not an `ApiError` is logged, and becomes a 500."""
    if isinstance(exc, ApiError):
        return detached(exc)
    _log(context, exc)
    detached(exc)
    return INTERNAL_ERROR


def _log(context: IngestContext, exc: Exception) -> None:
    """Log an exception with the ID of the request, which a direct request does not set otherwise."""
    token = request_id.current.set(context.head.request_id.decode())
    try:
        log_internal_error(context.head.method, context.head.path, exc)
    finally:
        request_id.current.reset(token)


def _refund(context: IngestContext) -> None:
    """Uncount a request that was counted and then replayed or not stored."""
    if context.rate_limit is not None:
        context.services.rate_limiter.refund(context.principal, context.parsed.cost, context.received_at_ms)
        context.rate_limit = None


def _inform_observer(context: IngestContext, reply: Reply | None, error: ApiError | None) -> None:
    """Pass a request and its outcome to the observer. If that fails, the response stays the same."""
    services, head = context.services, context.head
    is_known = context.principal is not NOBODY
    site = (
        context.principal.site
        if is_known
        else services.sites.find_public(context.parsed.site_ref or head.path_site_ref)
    )
    outcome = RequestOutcome(
        received_at_ms=context.received_at_ms or services.clock.now_ms(),
        endpoint=context.endpoint,
        method=head.method,
        path=head.target,
        headers=head.headers,
        raw_request=context.raw_request,
        site=site,
        events=context.events,
        event_ids=context.event_ids,
        error=error,
        reply=reply,
        effects=context.effects,
    )
    try:
        services.observer.record(outcome)
    except Exception as exc:
        _log(context, exc)


def _rate_limit_lines(context: IngestContext) -> bytes:
    """Return the `RateLimit-*` headers, which every response to a rate-limited client has, errors included."""
    services, head, principal = context.services, context.head, context.principal
    if context.rate_limit is not None:
        return rate_limit_lines(context.rate_limit)
    if principal is NOBODY and not head.public:  # the request was rejected before
        try:
            site_ref = context.parsed.site_ref or head.path_site_ref
            principal = services.authenticator.authenticate(head.authorization, site_ref, services.clock.now_ms())
        except ApiError:
            return b""
    if principal.hourly_limit is None:
        return b""
    return rate_limit_lines(services.rate_limiter.status(principal, services.clock.now_ms(), context.parsed.cost))
