"""Settings → Webhooks: where to send what happens on a site."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.domain import validators
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Site, Webhook
from ovx_lite.services import factories
from ovx_lite.storage.webhooks import delivery_log, subscriptions
from ovx_lite.web.common.context import Doors, Notice, desk, go_to, not_here, site_of
from ovx_lite.web.common.forms import Form, form_of
from ovx_lite.web.common.templating import page
from ovx_lite.webhooks.client import check
from ovx_lite.webhooks.message import FORMATS, MOST_OF_A_SITE
from ovx_lite.webhooks.triggers import TRIGGERS

_MOST = 10**9


async def hooks(request: Request) -> Response:
    """`GET …/webhooks`: the webhooks, what became of what they were sent, and of the test that `?tested=` names."""
    return await _page(request, await site_of(request), Form())


async def _page(request: Request, site: Site, form: Form, editing: str = "") -> Response:
    """The webhooks; the form that was sent is the one to add another, or to change that of the id `editing`."""
    place = desk(request)
    return page(
        request,
        "webhooks.html",
        400 if form.wrong else 200,
        site=site,
        form=form,
        blank=Form(),
        editing=editing,
        webhooks=await place.read(subscriptions.webhooks_of, site.number),
        counts=await place.read(delivery_log.counts, site.number),
        tested=await _tested(request, site),
        triggers=TRIGGERS,
        formats=FORMATS,
        most=MOST_OF_A_SITE,
        fresh=factories.id_of("wh_"),
    )


async def _tested(request: Request, site: Site) -> object:
    """The test that was just made, with its one try; None if there was none."""
    place = desk(request)
    try:
        delivery = await place.read(delivery_log.find_of, site.number, request.query_params.get("tested", ""))
    except Refused:
        return None
    tries = await place.read(delivery_log.attempts, delivery.number)
    return (delivery, tries[-1]) if tries else None


async def add(request: Request) -> Response:
    """`POST …/webhooks`: adds a webhook, and shows its secret once."""
    site, form, place = await site_of(request), await form_of(request), desk(request)
    url = form.judge("url", _url, "")
    events, spike_above, format = _told(form)
    try:
        if url:
            await check(url, place.allowed)
        if not form.wrong:
            made = factories.webhook(site, url, events, spike_above, format, place.house.clock.now(), form.id("wh_"))
            added = await place.change(subscriptions.add_webhook, made)
            notice = None
            if added.secret == made.secret:  # else the form was sent twice, and the first time has shown it
                words = "The webhook is there. Keep its signing secret now: it is not shown again."
                notice = Notice(words, made.secret, "signing secret", made.id)
            return go_to(request, f"/sites/{site.id}/settings/webhooks", notice)
    except Refused as refused:
        form.blame(refused)
    return await _page(request, site, form)


def _url(text: str) -> str:
    if not text:
        raise Refused("invalid_request", "Give the URL that is to be told, like https://example.com/hook.", "url")
    return text


def _told(form: Form) -> tuple[tuple[str, ...], int | None, str]:
    """Which events a form chooses, how many visitors are a spike, and in which format; noting what is wrong."""
    events = tuple(event for event in TRIGGERS if event in form.all("events"))
    if not events:
        form.wrong["events"] = "Choose at least one."
    spike_above = None
    if "realtime.spike" in events:
        spike_above = form.judge("spike_above", validators.number, None, "spike_above", _MOST)
        if spike_above is None and "spike_above" not in form.wrong:
            form.wrong["spike_above"] = "Say how many active visitors are a spike, like 100."
    return events, spike_above, form["format"] if form["format"] in FORMATS else ""


async def change(request: Request) -> Response:
    """`POST …/webhooks/ID`: changes what it is told of, and in which format."""
    site, form = await site_of(request), await form_of(request)
    webhook = await _webhook(request, site)
    events, spike_above, format = _told(form)
    if form.wrong:
        return await _page(request, site, form, webhook.id)
    changed = msgspec.structs.replace(webhook, events=events, spike_above=spike_above, format=format or webhook.format)
    await desk(request).change(subscriptions.change_webhook, changed)
    return _back(request, site, "Saved.")


async def test(request: Request) -> Response:
    """`POST …/webhooks/ID/test`: sends a sample now, and shows what was answered."""
    site = await site_of(request)
    webhook = await _webhook(request, site)
    id = await desk(request).house.sender.try_out(webhook.id)
    return go_to(request, f"/sites/{site.id}/settings/webhooks?tested={id}#{webhook.id}")


async def enable(request: Request) -> Response:
    """`POST …/webhooks/ID/enable`: sends to it again."""
    site = await site_of(request)
    await desk(request).change(subscriptions.enable, (await _webhook(request, site)).id)
    return _back(request, site, "The webhook is enabled: it is told of what happens from now on.")


async def disable(request: Request) -> Response:
    """`POST …/webhooks/ID/disable`: sends nothing more to it."""
    site = await site_of(request)
    await desk(request).change(subscriptions.disable, (await _webhook(request, site)).id)
    return _back(request, site, "The webhook is disabled.")


async def rotate(request: Request) -> Response:
    """`POST …/webhooks/ID/rotate`: gives it a new secret, and shows it once."""
    site, place = await site_of(request), desk(request)
    webhook, secret = await _webhook(request, site), factories.webhook_secret()
    await place.change(subscriptions.rotate, webhook.id, secret, place.house.clock.now())
    words = "The webhook has a new secret. The one before it signs along for 24 hours. Keep the new one now."
    return go_to(request, f"/sites/{site.id}/settings/webhooks", Notice(words, secret, "signing secret", webhook.id))


async def remove(request: Request) -> Response:
    """`POST …/webhooks/ID/remove`: removes it with its log."""
    site = await site_of(request)
    await desk(request).change(subscriptions.remove_webhook, (await _webhook(request, site)).id)
    return _back(request, site, "The webhook is removed, and its log.")


async def _webhook(request: Request, site: Site) -> Webhook:
    for webhook in await desk(request).read(subscriptions.webhooks_of, site.number):
        if webhook.id == request.path_params["webhook"]:
            return webhook
    raise not_here("webhook")


def _back(request: Request, site: Site, words: str) -> Response:
    return go_to(request, f"/sites/{site.id}/settings/webhooks", Notice(words))


_WEBHOOKS = "/sites/{site}/settings/webhooks"
_WEBHOOK = f"{_WEBHOOKS}/{{webhook}}"
SIGNED_IN: Doors = [
    ("GET", _WEBHOOKS, hooks),
    ("POST", _WEBHOOKS, add),
    ("POST", _WEBHOOK, change),
    ("POST", f"{_WEBHOOK}/test", test),
    ("POST", f"{_WEBHOOK}/enable", enable),
    ("POST", f"{_WEBHOOK}/disable", disable),
    ("POST", f"{_WEBHOOK}/rotate", rotate),
    ("POST", f"{_WEBHOOK}/remove", remove),
]
