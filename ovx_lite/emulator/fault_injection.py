"""Requests that fail on purpose, as callers of the real thing would see it."""

import asyncio

from starlette.types import Message, Receive, Scope, Send

from ovx_lite.domain.errors import ApiError
from ovx_lite.emulator.emulator import Standin
from ovx_lite.emulator.fault_rules import PRESENT, Rule, rule_of_words
from ovx_lite.http.request_head import RequestHead
from ovx_lite.http.responses import error_body, error_headers, send_json
from ovx_lite.services.observer import RequestOutcome, request_target
from ovx_lite.web.api.ingest import Api, RouteMatch

_HEADER = b"x-ovx-fault"
_CODES = {
    401: "unauthorized",
    404: "not_found",
    413: "payload_too_large",
    429: "rate_limit_exceeded",
    503: "unavailable",
}


async def perform(standin: Standin, api: Api, door: RouteMatch, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request as the API would, or let it fail as the rules, or its own header, have it."""
    PRESENT.set(None)  # a request that was sent right behind another inherits from it
    try:
        rule = _rule(standin, scope)
    except ApiError as refused:
        standin.record(await _stopped(standin, api, door, scope, receive, refused))
        await send_json(send, refused.status, error_body(refused), [])
        return
    if rule is not None and rule.delay_ms:
        await asyncio.sleep(rule.delay_ms / 1000)
    if rule is None or (rule.status is None and rule.kind is None):
        await api(door, scope, receive, send)
        return
    PRESENT.set(rule)
    error = _error(rule)
    if rule.phase == "after":
        await api(door, scope, receive, _lost)
    else:
        standin.record(await _stopped(standin, api, door, scope, receive, error))
    if rule.kind is None:
        await send_json(send, rule.status or 500, error_body(error), error_headers(error))
        return
    scope["extensions"]["ovx.hang_up"](rule.kind == "reset")


def _rule(standin: Standin, scope: Scope) -> Rule | None:
    told = dict(scope["headers"]).get(_HEADER)
    if told is None:
        return standin.faults.next(scope["method"], scope["path"])
    try:
        rule = rule_of_words(told.decode("latin-1"))
    except ApiError as refused:
        raise ApiError(refused.code, refused.message, "X-Ovx-Fault") from None
    if rule.times is not None or rule.rate != 1:
        raise ApiError("invalid_request", "This is for one request: leave out times and rate.", "X-Ovx-Fault")
    return rule


async def _lost(message: Message) -> None:
    """Where an answer goes that nobody gets."""


def _error(rule: Rule) -> ApiError:
    message = "This is a fault that the stand-in was told to make; the next request may fare better."
    usual = 1 if rule.status in (429, 503) else None  # these never come without
    wait = usual if rule.retry_after is None else rule.retry_after
    return ApiError(_CODES.get(rule.status or 500, "internal_error"), message, retry_after_s=wait)


async def _stopped(
    standin: Standin, api: Api, door: RouteMatch, scope: Scope, receive: Receive, error: ApiError
) -> RequestOutcome:
    """What there is to say of a request that does not get as far as the API."""
    endpoint, named = door
    request = RequestHead(scope, named, endpoint.public)
    now, call = standin.clock.now_ms(), None
    try:
        call = request.to_raw_request(
            await api.body_reader.read(receive, request.content_length, endpoint.body_limit_bytes), now
        )
        named = endpoint.parse(call).site_ref or named
    except ApiError:
        pass  # too large, or no JSON: then there is less to say of it
    site = standin.house.sites.find_public(named)
    return RequestOutcome(
        now, endpoint, request.method, request_target(scope), scope["headers"], call, site, error=error
    )
