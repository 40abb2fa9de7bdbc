"""Settings → Delivery log: what was sent to webhooks, and what came of it."""

import shlex
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Site
from ovx_lite.storage.webhooks import delivery_log, subscriptions
from ovx_lite.storage.webhooks.delivery_log import STATUSES, Attempt, Filter, Logged
from ovx_lite.web.common.context import Doors, Notice, desk, go_to, not_here, site_of
from ovx_lite.web.common.forms import Form, form_of
from ovx_lite.web.common.templating import page
from ovx_lite.webhooks.triggers import TRIGGERS

_ON_A_PAGE = 50
_LATEST = (1 << 63) - 1
_SOON = 5000  # milliseconds


async def log(request: Request) -> Response:
    """`GET …/deliveries`: the log, newest first; `?status=`, `webhook=`, `event=` choose, `before=` goes on."""
    return await _page(request, await site_of(request), Form())


async def _page(request: Request, site: Site, form: Form) -> Response:
    place, asked = desk(request), request.query_params
    which = Filter(asked.get("status", ""), asked.get("webhook", ""), asked.get("event", ""))
    before = _before(asked.get("before", ""))
    found = await place.read(delivery_log.page, site.number, which, before, _ON_A_PAGE + 1)
    return page(
        request,
        "deliveries.html",
        400 if form.wrong else 200,
        site=site,
        form=form,
        deliveries=found[:_ON_A_PAGE],
        older=_older(asked, found[_ON_A_PAGE - 1].id) if len(found) > _ON_A_PAGE else "",
        newest=before == _LATEST,
        which=which,
        webhooks=await place.read(subscriptions.webhooks_of, site.number),
        statuses=STATUSES,
        events=list(TRIGGERS),
        since=_wall_clock(place.house.clock.now(), site.timezone),
    )


def _before(id: str) -> int:
    """Where the page before ended."""
    try:
        return delivery_log.number_of(id)
    except Refused:
        return _LATEST


def _older(asked: QueryParams, last: str) -> str:
    """The query of the page that follows."""
    return str(QueryParams([(name, value) for name, value in asked.items() if name != "before"] + [("before", last)]))


def _wall_clock(now: int, timezone: str) -> str:
    """The time of yesterday, as the site's clocks had it and a form's field has it."""
    yesterday = datetime.fromtimestamp(now / 1000, ZoneInfo(timezone)) - timedelta(days=1)
    return f"{yesterday:%Y-%m-%dT%H:%M}"


async def delivery(request: Request) -> Response:
    """`GET …/deliveries/ID`: a delivery, and each of its tries."""
    site, place = await site_of(request), desk(request)
    found = await _delivery(request, site)
    tries = await place.read(delivery_log.attempts, found.number)
    hooks = {webhook.id: webhook for webhook in await place.read(subscriptions.webhooks_of, site.number)}
    return page(
        request,
        "delivery.html",
        site=site,
        delivery=found,
        enabled=hooks[found.webhook].enabled,
        soon=found.status == "pending" and found.due <= place.house.clock.now() + _SOON,
        body=_pretty(found.body),
        tries=[(attempt, _as_curl(found, attempt)) for attempt in tries],
    )


def _pretty(body: bytes) -> str:
    return msgspec.json.format(body, indent=2).decode()


def _as_curl(delivery: Logged, attempt: Attempt) -> str:
    """The request of a try, for a terminal: the same bytes, the same signatures."""
    headers = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in attempt.headers.items()]
    words = [
        f"curl --globoff {shlex.quote(delivery.url)}",
        *headers,
        f"--data-binary {shlex.quote(delivery.body.decode())}",
    ]
    return " \\\n  ".join(words)


async def redeliver(request: Request) -> Response:
    """`POST …/deliveries/ID/redeliver`: sends one again."""
    site, place = await site_of(request), desk(request)
    found = await _delivery(request, site)
    await place.change(delivery_log.send_again, found.id, place.house.clock.now())
    return go_to(request, f"/sites/{site.id}/settings/deliveries/{found.id}", Notice("It is on its way again."))


async def redeliver_failed(request: Request) -> Response:
    """`POST …/deliveries`: sends all again that failed since a time, on the site's clocks."""
    site, form, place = await site_of(request), await form_of(request), desk(request)
    since = form.judge("since", _since, 0, site.timezone)
    if form.wrong:
        return await _page(request, site, form)
    count = await place.change(delivery_log.send_failed_again, site.number, since, place.house.clock.now())
    words = f"{count:,} on their way again." if count else "Nothing failed since then that could be sent again."
    query = f"?{request.url.query}" if request.url.query else ""
    return go_to(request, f"/sites/{site.id}/settings/deliveries{query}", Notice(words))


def _since(text: str, timezone: str) -> int:
    try:
        told = datetime.fromisoformat(text)
        return int((told if told.tzinfo else told.replace(tzinfo=ZoneInfo(timezone))).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise Refused("invalid_request", "Give a day and a time, like 2026-11-21 08:00.", "since") from None


async def _delivery(request: Request, site: Site) -> Logged:
    try:
        return await desk(request).read(delivery_log.find_of, site.number, request.path_params["delivery"])
    except Refused:
        raise not_here("delivery") from None


_LOG = "/sites/{site}/settings/deliveries"
SIGNED_IN: Doors = [
    ("GET", _LOG, log),
    ("POST", _LOG, redeliver_failed),
    ("GET", f"{_LOG}/{{delivery}}", delivery),
    ("POST", f"{_LOG}/{{delivery}}/redeliver", redeliver),
]
