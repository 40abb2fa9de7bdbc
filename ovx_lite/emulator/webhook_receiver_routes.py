"""`/_dev`: endpoints to add goals and webhooks, to send messages, and to receive them."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.domain import validators
from ovx_lite.domain.errors import ApiError
from ovx_lite.emulator.routes import as_json, emulator_of, read_body, read_object
from ovx_lite.emulator.webhook_receiver import parse_replies
from ovx_lite.services import factories
from ovx_lite.storage.webhooks import subscriptions
from ovx_lite.web.common.context import RouteTable, context
from ovx_lite.webhooks.client import check_url
from ovx_lite.webhooks.message import verify_signatures
from ovx_lite.webhooks.triggers import TRIGGERS

_STATUSES_WITHOUT_BODY = (204, 205, 304)


def _read_text(document: dict[str, Any], name: str) -> str:
    text = document.get(name, "")
    if not isinstance(text, str):
        raise ApiError("invalid_request", f"`{name}` must be a string.", name)
    return text


async def send_message(request: Request) -> Response:
    """`POST /_dev/trigger`: send a message to a site's webhooks, although nothing has happened."""
    emulator, document = emulator_of(request), await read_object(request)
    site = emulator.site(_read_text(document, "site"))
    followed = await emulator.trigger(site, _read_text(document, "event"), document.get("data"))
    return as_json({"followed": followed}, 202)


async def list_deliveries(request: Request) -> Response:
    """`GET /_dev/deliveries`: the delivery log of a site."""
    emulator = emulator_of(request)
    site = emulator.site(request.query_params.get("site", ""))
    return as_json({"deliveries": await emulator.deliveries(site)})


async def receive_webhook(request: Request) -> Response:
    """`/_dev/hook/NAME`: receive a webhook, and answer as `?reply=` says."""
    emulator, body = emulator_of(request), await read_body(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    secrets = await context(request).read(subscriptions.all_secrets)
    status = emulator.webhook_receiver.receive(
        name=request.path_params["name"],
        replies=parse_replies(request.query_params.get("reply", "")),
        method=request.method,
        headers=headers,
        body=body,
        signatures=verify_signatures(headers, body, secrets),
        now_ms=emulator.clock.now_ms(),
    )
    if status in _STATUSES_WITHOUT_BODY:
        return Response(status_code=status)
    return as_json({"received": True}, status)


async def list_received(request: Request) -> Response:
    """`GET /_dev/hook/NAME/requests`: what the receiver of this name got."""
    return as_json({"requests": emulator_of(request).webhook_receiver.requests(request.path_params["name"])})


async def add_webhook(request: Request) -> Response:
    """`POST /_dev/webhooks`: add a webhook to a site."""
    emulator, document = emulator_of(request), await read_object(request)
    site, triggers = emulator.site(_read_text(document, "site")), _read_triggers(document)
    spike_threshold = document.get("spike_above")
    if spike_threshold is not None and (
        not isinstance(spike_threshold, int) or isinstance(spike_threshold, bool) or spike_threshold < 1
    ):
        raise ApiError("invalid_request", "`spike_above` must be an integer from 1 on.", "spike_above")
    if "realtime.spike" in triggers and spike_threshold is None:
        message = "`spike_above` is required for realtime.spike: the number of active visitors that is a spike."
        raise ApiError("invalid_request", message, "spike_above")
    url = _read_text(document, "url")
    await check_url(url, context(request).webhook_networks)
    if "/_dev/hook/" in url:
        parse_replies(dict(parse_qsl(urlsplit(url).query)).get("reply", ""))  # fail now, not at each delivery
    webhook = factories.webhook(site, url, triggers, spike_threshold, "json", emulator.clock.now_ms())
    webhook = await context(request).change(subscriptions.add_webhook, webhook)
    return as_json(
        {"id": webhook.public_id, "url": webhook.url, "events": webhook.events, "secret": webhook.secret}, 201
    )


def _read_triggers(document: dict[str, Any]) -> tuple[str, ...]:
    triggers = document.get("events", ["goal.completed"])
    if not isinstance(triggers, list) or not triggers or not all(_is_trigger(trigger) for trigger in triggers):
        message = f"`events` must be a list with at least one of {', '.join(TRIGGERS)}."
        raise ApiError("invalid_request", message, "events")
    return tuple(triggers)


def _is_trigger(value: object) -> bool:
    return isinstance(value, str) and value in TRIGGERS


async def add_goal(request: Request) -> Response:
    """`POST /_dev/goals`: add a goal to a site."""
    emulator, document = emulator_of(request), await read_object(request)
    site, now_ms = emulator.site(_read_text(document, "site")), emulator.clock.now_ms()
    event, path = _read_text(document, "event"), _read_text(document, "path")
    if bool(event) == bool(path):
        raise ApiError("invalid_request", "A goal needs either an `event` or a `path`.", "event")
    if path:
        validators.path_pattern(path)
    else:
        validators.event_name(event)
    name = validators.short_text(_read_text(document, "name") or event or path, "name")
    goal = factories.goal(site, name, event, path, now_ms)
    await context(request).change(context(request).services.upkeep.add_goal, goal, site, now_ms)
    return as_json({"id": goal.public_id, "name": goal.name, "event": event, "path": path}, 201)


_RECEIVER = "/_dev/hook/{name}"
ROUTES: RouteTable = [
    ("POST", "/_dev/trigger", send_message),
    ("GET", "/_dev/deliveries", list_deliveries),
    ("POST", "/_dev/webhooks", add_webhook),
    ("POST", "/_dev/goals", add_goal),
    ("GET", f"{_RECEIVER}/requests", list_received),
    *((method, _RECEIVER, receive_webhook) for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
]
