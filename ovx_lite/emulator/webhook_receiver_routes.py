"""`/_dev`: webhooks without waiting for anything to happen, and a receiver for them."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.domain import validators
from ovx_lite.domain.errors import Refused
from ovx_lite.emulator.routes import as_json, body_of, document_of, emulator_of
from ovx_lite.emulator.webhook_receiver import replies_of
from ovx_lite.services import factories
from ovx_lite.storage.rollups import goal_backfill
from ovx_lite.storage.webhooks import subscriptions
from ovx_lite.web.common.context import Doors, desk
from ovx_lite.webhooks.client import check
from ovx_lite.webhooks.message import verified
from ovx_lite.webhooks.triggers import TRIGGERS


def _text(document: dict[str, Any], name: str) -> str:
    told = document.get(name, "")
    if not isinstance(told, str):
        raise Refused("invalid_request", f"{name} must be a string.", name)
    return told


async def trigger(request: Request) -> Response:
    """`POST /_dev/trigger`: a webhook event, without anything having happened."""
    emulator, told = emulator_of(request), await document_of(request)
    site = emulator.site(_text(told, "site"))
    return as_json({"followed": await emulator.trigger(site, _text(told, "event"), told.get("data"))}, 202)


async def deliveries(request: Request) -> Response:
    """`GET /_dev/deliveries`: the log of deliveries of a site."""
    emulator = emulator_of(request)
    return as_json({"deliveries": await emulator.deliveries(emulator.site(request.query_params.get("site", "")))})


async def hook(request: Request) -> Response:
    """`/_dev/hook/NAME`: receives webhooks, and answers as `?reply=` says."""
    emulator, body = emulator_of(request), await body_of(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    known = await desk(request).read(subscriptions.all_secrets)
    status = emulator.webhook_receiver.receive(
        request.path_params["name"],
        replies_of(request.query_params.get("reply", "")),
        request.method,
        headers,
        body,
        verified(headers, body, known),
        emulator.clock.now(),
    )
    return Response(status_code=status) if status in _WITHOUT_BODY else as_json({"received": True}, status)


async def hooked(request: Request) -> Response:
    """`GET /_dev/hook/NAME/requests`: what came to it."""
    return as_json({"requests": emulator_of(request).webhook_receiver.requests(request.path_params["name"])})


async def add_webhook(request: Request) -> Response:
    """`POST /_dev/webhooks`: a webhook of a site, with its secret."""
    emulator, told = emulator_of(request), await document_of(request)
    site, wanted = emulator.site(_text(told, "site")), told.get("events", ["goal.completed"])
    if (
        not isinstance(wanted, list)
        or not wanted
        or not all(isinstance(event, str) and event in TRIGGERS for event in wanted)
    ):
        raise Refused("invalid_request", f"events is a list of some of {', '.join(TRIGGERS)}.", "events")
    spike = told.get("spike_above")
    if spike is not None and (not isinstance(spike, int) or isinstance(spike, bool) or spike < 1):
        raise Refused("invalid_request", "spike_above is a whole number from 1 on.", "spike_above")
    if "realtime.spike" in wanted and spike is None:
        raise Refused(
            "invalid_request", "realtime.spike needs spike_above: how many visitors are a spike.", "spike_above"
        )
    url = _text(told, "url")
    await check(url, desk(request).allowed)
    if "/_dev/hook/" in url:
        replies_of(dict(parse_qsl(urlsplit(url).query)).get("reply", ""))  # better refused now than at each delivery
    made = factories.webhook(site, url, tuple(wanted), spike, "json", emulator.clock.now())
    added = await desk(request).change(subscriptions.add_webhook, made)
    return as_json({"id": added.id, "url": added.url, "events": added.events, "secret": added.secret}, 201)


async def add_goal(request: Request) -> Response:
    """`POST /_dev/goals`: a goal of a site."""
    emulator, told = emulator_of(request), await document_of(request)
    site, now = emulator.site(_text(told, "site")), emulator.clock.now()
    event, path = _text(told, "event"), _text(told, "path")
    if bool(event) == bool(path):
        raise Refused("invalid_request", "A goal is met by an event, or by a path: give one of both.", "event")
    if path:
        validators.path_pattern(path)
    else:
        validators.event_name(event)
    name = validators.words(_text(told, "name") or event or path, "name")
    made = factories.goal(site, name, event, path, now)
    await desk(request).change(goal_backfill.add_goal, made, site, now)
    return as_json({"id": made.id, "name": made.name, "event": event, "path": path}, 201)


_WITHOUT_BODY = (204, 205, 304)
_HOOK = "/_dev/hook/{name}"
OPEN: Doors = [
    ("POST", "/_dev/trigger", trigger),
    ("GET", "/_dev/deliveries", deliveries),
    ("POST", "/_dev/webhooks", add_webhook),
    ("POST", "/_dev/goals", add_goal),
    ("GET", f"{_HOOK}/requests", hooked),
    *((method, _HOOK, hook) for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
]
