"""Settings → Webhooks: the webhooks of a site, and the result of a test."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.domain import validators
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Site, Webhook
from ovx_lite.services import factories
from ovx_lite.storage.webhooks import delivery_log, subscriptions
from ovx_lite.web.common.context import FlashMessage, RouteTable, context, not_found, redirect_to, site_from_path
from ovx_lite.web.common.forms import Form, read_form
from ovx_lite.web.common.templating import render
from ovx_lite.webhooks.client import check_url
from ovx_lite.webhooks.message import FORMATS, MAX_WEBHOOKS_PER_SITE
from ovx_lite.webhooks.triggers import TRIGGERS

_MAX_SPIKE_THRESHOLD = 10**9


async def list_webhooks(request: Request) -> Response:
    """`GET …/webhooks`: the webhooks with the numbers of their deliveries. `?tested=` is the delivery of a test."""
    return await _render_page(request, await site_from_path(request), Form())


async def _render_page(request: Request, site: Site, form: Form, edited_id: str = "") -> Response:
    """Render the page. `form` belongs to the webhook `edited_id`, or to a new webhook if that is `""`."""
    ui = context(request)
    return render(
        request,
        "webhooks.html",
        400 if form.errors else 200,
        site=site,
        form=form,
        empty_form=Form(),
        edited_id=edited_id,
        webhooks=await ui.read(subscriptions.webhooks_of, site.id),
        delivery_counts=await ui.read(delivery_log.counts, site.id),
        test_result=await _test_result(request, site),
        triggers=TRIGGERS,
        max_webhooks=MAX_WEBHOOKS_PER_SITE,
        new_id=factories.new_public_id("wh_"),
    )


async def _test_result(request: Request, site: Site) -> object:
    """Return the delivery and the attempt of the test named in the URL; None if there is none."""
    ui = context(request)
    try:
        delivery = await ui.read(delivery_log.find_of_site, site.id, request.query_params.get("tested", ""))
    except ApiError:
        return None
    attempts = await ui.read(delivery_log.attempts, delivery.id)
    return (delivery, attempts[-1]) if attempts else None


async def add(request: Request) -> Response:
    """`POST …/webhooks`: adds a webhook and shows its signing secret once."""
    site, form, ui = await site_from_path(request), await read_form(request), context(request)
    url = form.validate("url", _require_url, "")
    events, spike_threshold, format = _read_options(form)
    try:
        if url:
            await check_url(url, ui.webhook_networks)
        if not form.errors:
            webhook = factories.webhook(
                site,
                url=url,
                events=events,
                spike_threshold=spike_threshold,
                format=format,
                now_ms=ui.services.clock.now_ms(),
                public_id=form.public_id("wh_"),
            )
            stored_webhook = await ui.change(subscriptions.add_webhook, webhook)
            message = None
            if stored_webhook.secret == webhook.secret:  # otherwise an earlier request of this form shows the secret
                text = "The webhook was added. Copy its signing secret now: it will not be shown again."
                message = FlashMessage(text, webhook.secret, "signing secret", webhook.public_id)
            return redirect_to(request, f"/sites/{site.slug}/settings/webhooks", message)
    except ApiError as exc:
        form.add_error(exc)
    return await _render_page(request, site, form)


def _require_url(text: str) -> str:
    if not text:
        raise ApiError("invalid_request", "Enter a URL, for example https://example.com/hook.", "url")
    return text


def _read_options(form: Form) -> tuple[tuple[str, ...], int | None, str]:
    """Return the events, the spike threshold and the format of a form. Adds errors to the form."""
    events = tuple(event for event in TRIGGERS if event in form.all("events"))
    if not events:
        form.errors["events"] = "Select at least one event."
    spike_threshold = None
    if "realtime.spike" in events:
        spike_threshold = form.validate(
            "spike_above", validators.whole_number, None, "spike_above", _MAX_SPIKE_THRESHOLD
        )
        if spike_threshold is None and "spike_above" not in form.errors:
            form.errors["spike_above"] = "Enter a number of visitors, for example 100."
    return events, spike_threshold, form["format"] if form["format"] in FORMATS else ""


async def change(request: Request) -> Response:
    """`POST …/webhooks/ID`: changes the events, the spike threshold and the format."""
    site, form = await site_from_path(request), await read_form(request)
    webhook = await _find_webhook(request, site)
    events, spike_threshold, format = _read_options(form)
    if form.errors:
        return await _render_page(request, site, form, webhook.public_id)
    changed = msgspec.structs.replace(
        webhook, events=events, spike_threshold=spike_threshold, format=format or webhook.format
    )
    await context(request).change(subscriptions.change_webhook, changed)
    return _redirect_back(request, site, "Saved.")


async def send_test(request: Request) -> Response:
    """`POST …/webhooks/ID/test`: sends a sample message and shows the response."""
    site = await site_from_path(request)
    webhook = await _find_webhook(request, site)
    delivery_id = await context(request).services.sender.send_test(webhook.public_id)
    return redirect_to(request, f"/sites/{site.slug}/settings/webhooks?tested={delivery_id}#{webhook.public_id}")


async def enable(request: Request) -> Response:
    """`POST …/webhooks/ID/enable`: enables a webhook."""
    site = await site_from_path(request)
    await context(request).change(subscriptions.enable, (await _find_webhook(request, site)).public_id)
    return _redirect_back(request, site, "The webhook was enabled. It receives the events that happen from now on.")


async def disable(request: Request) -> Response:
    """`POST …/webhooks/ID/disable`: disables a webhook."""
    site = await site_from_path(request)
    await context(request).change(subscriptions.disable, (await _find_webhook(request, site)).public_id)
    return _redirect_back(request, site, "The webhook was disabled.")


async def rotate(request: Request) -> Response:
    """`POST …/webhooks/ID/rotate`: replaces the signing secret and shows the new one once."""
    site, ui = await site_from_path(request), context(request)
    webhook, secret = await _find_webhook(request, site), factories.new_webhook_secret()
    await ui.change(subscriptions.rotate, webhook.public_id, secret, ui.services.clock.now_ms())
    text = (
        "The signing secret was replaced. For 24 hours, messages are signed with both secrets. "
        "Copy the new one now: it will not be shown again."
    )
    return redirect_to(
        request,
        f"/sites/{site.slug}/settings/webhooks",
        FlashMessage(text, secret, "signing secret", webhook.public_id),
    )


async def remove(request: Request) -> Response:
    """`POST …/webhooks/ID/remove`: removes a webhook and its delivery log."""
    site = await site_from_path(request)
    await context(request).change(subscriptions.remove_webhook, (await _find_webhook(request, site)).public_id)
    return _redirect_back(request, site, "The webhook was removed with its delivery log.")


async def _find_webhook(request: Request, site: Site) -> Webhook:
    for webhook in await context(request).read(subscriptions.webhooks_of, site.id):
        if webhook.public_id == request.path_params["webhook"]:
            return webhook
    raise not_found("webhook")


def _redirect_back(request: Request, site: Site, text: str) -> Response:
    return redirect_to(request, f"/sites/{site.slug}/settings/webhooks", FlashMessage(text))


_WEBHOOKS_PATH = "/sites/{site}/settings/webhooks"
_WEBHOOK_PATH = f"{_WEBHOOKS_PATH}/{{webhook}}"
PROTECTED_ROUTES: RouteTable = [
    ("GET", _WEBHOOKS_PATH, list_webhooks),
    ("POST", _WEBHOOKS_PATH, add),
    ("POST", _WEBHOOK_PATH, change),
    ("POST", f"{_WEBHOOK_PATH}/test", send_test),
    ("POST", f"{_WEBHOOK_PATH}/enable", enable),
    ("POST", f"{_WEBHOOK_PATH}/disable", disable),
    ("POST", f"{_WEBHOOK_PATH}/rotate", rotate),
    ("POST", f"{_WEBHOOK_PATH}/remove", remove),
]
