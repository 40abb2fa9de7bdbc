"""Lets requests to the ingestion endpoints fail on purpose, as the real API would."""

import asyncio

from starlette.types import Message, Receive, Scope, Send

from ovx_lite.domain.errors import ApiError
from ovx_lite.emulator.emulator import Emulator
from ovx_lite.emulator.fault_rules import FaultRule, current_fault, parse_rule_text
from ovx_lite.http.request_head import head_from_scope
from ovx_lite.http.responses import error_body, error_headers, send_json
from ovx_lite.services.observer import RequestOutcome
from ovx_lite.web.api.ingest import Api, RouteMatch

_HEADER = b"x-ovx-fault"
_CODES = {
    401: "unauthorized",
    404: "not_found",
    413: "payload_too_large",
    429: "rate_limit_exceeded",
    503: "unavailable",
}
_USUAL_RETRY_AFTER_S = {429: 1, 503: 1}  # real responses with these statuses always have the header


async def respond(emulator: Emulator, api: Api, route: RouteMatch, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request as the API would, unless a rule or the header `X-Ovx-Fault` makes it fail."""
    current_fault.set(None)  # a pipelined request inherits the context of the one before it
    try:
        rule = _take_rule(emulator, scope)
    except ApiError as exc:
        emulator.observer.record(await _describe_request(emulator, api, route, scope, receive, exc))
        await send_json(send, exc.status, error_body(exc), [])
        return
    if rule is not None and rule.delay_ms:
        await asyncio.sleep(rule.delay_ms / 1000)
    if rule is None or (rule.status is None and rule.kind is None):
        await api(route, scope, receive, send)
        return
    current_fault.set(rule)
    error = _error(rule)
    if rule.phase == "after":
        await api(route, scope, receive, _discard)
    else:
        emulator.observer.record(await _describe_request(emulator, api, route, scope, receive, error))
    if rule.kind is None:
        await send_json(send, rule.status or 500, error_body(error), error_headers(error))
        return
    scope["extensions"]["ovx.hang_up"](rule.kind == "reset")


def _take_rule(emulator: Emulator, scope: Scope) -> FaultRule | None:
    """Return the rule in the request's header, or else the one that applies to it. Raises `ApiError`."""
    text = dict(scope["headers"]).get(_HEADER)
    if text is None:
        return emulator.faults.take(scope["method"], scope["path"])
    try:
        rule = parse_rule_text(text.decode("latin-1"))
    except ApiError as exc:
        raise ApiError(exc.code, exc.message, "X-Ovx-Fault") from None
    if rule.times is not None or rule.rate != 1:
        message = "The header applies to this request only: remove `times` and `rate`."
        raise ApiError("invalid_request", message, "X-Ovx-Fault")
    return rule


async def _discard(message: Message) -> None:
    """Discard a response."""


def _error(rule: FaultRule) -> ApiError:
    status = rule.status or 500
    retry_after_s = _USUAL_RETRY_AFTER_S.get(status) if rule.retry_after is None else rule.retry_after
    message = "The emulator simulates this failure. The next request may succeed."
    return ApiError(_CODES.get(status, "internal_error"), message, retry_after_s=retry_after_s)


async def _describe_request(
    emulator: Emulator, api: Api, route: RouteMatch, scope: Scope, receive: Receive, error: ApiError
) -> RequestOutcome:
    """Return what is to be recorded of a request that fails before it reaches the API."""
    endpoint, site_ref = route
    request = head_from_scope(scope, site_ref, endpoint.public)
    now_ms, call = emulator.clock.now_ms(), None
    try:
        call = request.to_raw_request(
            await api.body_reader.read(receive, request.content_length, endpoint.body_limit_bytes), now_ms
        )
        site_ref = endpoint.parse(call).site_ref or site_ref
    except ApiError:
        pass  # the body is too large or not JSON, so the record has no body or no site
    site = emulator.services.sites.find_public(site_ref)
    return RequestOutcome(now_ms, endpoint, request.method, request.target, scope["headers"], call, site, error=error)
