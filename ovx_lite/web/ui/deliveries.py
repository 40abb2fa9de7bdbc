"""Settings → Delivery log: the messages to webhooks and their attempts."""

import shlex
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.domain.calendar import SECOND_MS
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Site
from ovx_lite.storage.webhooks import delivery_log, subscriptions
from ovx_lite.storage.webhooks.delivery_log import STATUSES, Attempt, DeliveryFilter, DeliveryRecord
from ovx_lite.web.common.context import FlashMessage, RouteTable, context, not_found, redirect_to, site_from_path
from ovx_lite.web.common.forms import Form, read_form
from ovx_lite.web.common.templating import render
from ovx_lite.webhooks.triggers import TRIGGERS

_PAGE_SIZE = 50
_NEWEST_ID = (1 << 63) - 1
_SOON_MS = 5 * SECOND_MS  # a page of a delivery that is due within this time reloads until it has been sent


async def list_deliveries(request: Request) -> Response:
    """`GET …/deliveries`: the log, newest first. `status`, `webhook` and `event` filter it; `before` is the cursor."""
    return await _render_page(request, await site_from_path(request), Form())


async def _render_page(request: Request, site: Site, form: Form) -> Response:
    ui, params = context(request), request.query_params
    selected = DeliveryFilter(params.get("status", ""), params.get("webhook", ""), params.get("event", ""))
    before_id = _parse_cursor(params.get("before", ""))
    deliveries = await ui.read(delivery_log.page, site.id, selected, before_id, _PAGE_SIZE + 1)
    return render(
        request,
        "deliveries.html",
        400 if form.errors else 200,
        site=site,
        form=form,
        deliveries=deliveries[:_PAGE_SIZE],
        older_query=_older_query(params, deliveries[_PAGE_SIZE - 1].public_id) if len(deliveries) > _PAGE_SIZE else "",
        is_first_page=before_id == _NEWEST_ID,
        selected=selected,
        webhooks=await ui.read(subscriptions.webhooks_of, site.id),
        statuses=STATUSES,
        events=list(TRIGGERS),
        default_since=_local_yesterday(ui.services.clock.now_ms(), site.timezone),
    )


def _parse_cursor(public_id: str) -> int:
    """Parse the cursor, the ID of the last delivery on the page before; the highest possible ID if it is invalid."""
    try:
        return delivery_log.parse_public_id(public_id)
    except ApiError:
        return _NEWEST_ID


def _older_query(params: QueryParams, last_public_id: str) -> str:
    """Return the query string of the next page."""
    return str(
        QueryParams(
            [(name, value) for name, value in params.items() if name != "before"] + [("before", last_public_id)]
        )
    )


def _local_yesterday(now_ms: int, timezone: str) -> str:
    """Return the local time 24 hours ago in the format of a `datetime-local` field."""
    yesterday = datetime.fromtimestamp(now_ms / 1000, ZoneInfo(timezone)) - timedelta(days=1)
    return f"{yesterday:%Y-%m-%dT%H:%M}"


async def show_delivery(request: Request) -> Response:
    """`GET …/deliveries/ID`: a delivery with all its attempts."""
    site, ui = await site_from_path(request), context(request)
    delivery = await _find_delivery(request, site)
    attempts = await ui.read(delivery_log.attempts, delivery.id)
    webhooks = {webhook.public_id: webhook for webhook in await ui.read(subscriptions.webhooks_of, site.id)}
    return render(
        request,
        "delivery.html",
        site=site,
        delivery=delivery,
        webhook_enabled=webhooks[delivery.webhook].enabled,
        is_due_soon=delivery.status == "pending"
        and delivery.next_attempt_at_ms <= ui.services.clock.now_ms() + _SOON_MS,
        body=_format_json(delivery.body),
        attempts=[(attempt, _curl_command(delivery, attempt)) for attempt in attempts],
    )


def _format_json(body: bytes) -> str:
    return msgspec.json.format(body, indent=2).decode()


def _curl_command(delivery: DeliveryRecord, attempt: Attempt) -> str:
    """Return an attempt's request as a curl command with the same body and the same signatures."""
    headers = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in attempt.headers.items()]
    parts = [
        f"curl --globoff {shlex.quote(delivery.url)}",
        *headers,
        f"--data-binary {shlex.quote(delivery.body.decode())}",
    ]
    return " \\\n  ".join(parts)


async def redeliver(request: Request) -> Response:
    """`POST …/deliveries/ID/redeliver`: sends a delivery again."""
    site, ui = await site_from_path(request), context(request)
    delivery = await _find_delivery(request, site)
    await ui.change(delivery_log.redeliver, delivery.public_id, ui.services.clock.now_ms())
    return redirect_to(
        request,
        f"/sites/{site.slug}/settings/deliveries/{delivery.public_id}",
        FlashMessage("The delivery was queued again."),
    )


async def redeliver_failed(request: Request) -> Response:
    """`POST …/deliveries`: resends the deliveries that failed since a local time of the site."""
    site, form, ui = await site_from_path(request), await read_form(request), context(request)
    since_ms = form.validate("since", _parse_since, 0, site.timezone)
    if form.errors:
        return await _render_page(request, site, form)
    count = await ui.change(delivery_log.redeliver_failed, site.id, since_ms, ui.services.clock.now_ms())
    text = (
        f"{count:,} {'delivery was' if count == 1 else 'deliveries were'} queued again."
        if count
        else "No deliveries to resend: none failed since then, or their webhooks are disabled."
    )
    query = f"?{request.url.query}" if request.url.query else ""
    return redirect_to(request, f"/sites/{site.slug}/settings/deliveries{query}", FlashMessage(text))


def _parse_since(text: str, timezone: str) -> int:
    try:
        local_time = datetime.fromisoformat(text)
        return int(
            (local_time if local_time.tzinfo else local_time.replace(tzinfo=ZoneInfo(timezone))).timestamp() * 1000
        )
    except (ValueError, OverflowError):
        raise ApiError("invalid_request", "Enter a date and a time, for example 2026-11-21 08:00.", "since") from None


async def _find_delivery(request: Request, site: Site) -> DeliveryRecord:
    try:
        return await context(request).read(delivery_log.find_of_site, site.id, request.path_params["delivery"])
    except ApiError:
        raise not_found("delivery") from None


_LOG_PATH = "/sites/{site}/settings/deliveries"
PROTECTED_ROUTES: RouteTable = [
    ("GET", _LOG_PATH, list_deliveries),
    ("POST", _LOG_PATH, redeliver_failed),
    ("GET", f"{_LOG_PATH}/{{delivery}}", show_delivery),
    ("POST", f"{_LOG_PATH}/{{delivery}}/redeliver", redeliver),
]
