"""The sites: their list, adding one, and a site's general settings."""

import asyncio
import re
from collections.abc import Callable
from functools import cache
from zoneinfo import available_timezones

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ovx_lite.auth.api_keys import PUBLIC_LIMIT
from ovx_lite.domain import validators
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Site
from ovx_lite.services import factories
from ovx_lite.storage import accounts, registry, retention, site_activity
from ovx_lite.web.common.context import Doors, Notice, desk, go_to, site_of
from ovx_lite.web.common.csrf import session_of
from ovx_lite.web.common.forms import Form, form_of
from ovx_lite.web.common.templating import page
from ovx_lite.webhooks.triggers import month_of

_MOST_EVENTS, _MOST_DAYS, _MOST_AN_HOUR = 10**15, 36_500, 10**9


async def home(request: Request) -> Response:
    """`/`: the sites; before the set-up, how to begin."""
    place = desk(request)
    request.state.session = await session_of(request)
    if request.state.session is None:
        if (await place.read(accounts.load)).password:
            return RedirectResponse(f"{place.root}/login", 303)
        return page(request, "welcome.html")
    sites = await place.read(registry.all_sites)
    used = await place.read(site_activity.months, month_of(place.house.clock.now()))
    latest = await place.read(site_activity.latest_of_all)
    hold = await place.read(retention.find_hold, place.house.clock.now())
    return page(request, "sites.html", sites=sites, used=used, latest=latest, hold=hold)


async def confirm_clock(request: Request) -> Response:
    """`POST /retention`: the clock is right, so that retention, which is on hold, deletes again."""
    place = desk(request)
    await place.house.database.write(retention.confirm, place.house.clock.now())
    return go_to(request, "/", Notice("The clock is confirmed. Retention runs again within the hour."))


async def new_site(request: Request) -> Response:
    """`GET /new-site`: the form."""
    return await _new_page(request, Form())


async def add(request: Request) -> Response:
    """`POST /new-site`: adds a site with a key, and leads to what sends its first event."""
    form = await form_of(request)
    site = read_site(form, desk(request).house.clock.now())
    if site is not None:
        try:
            return go_to(request, *await add_site(request, site))
        except Refused as refused:
            form.blame(refused)
    return await _new_page(request, form)


async def _new_page(request: Request, form: Form) -> Response:
    return page(request, "new_site.html", 400 if form.wrong else 200, form=form, timezones=await timezones())


def read_site(form: Form, now: int) -> Site | None:
    """The site that a form describes; None if anything in it is wrong, which it then says."""
    domain = form.judge("domain", _domain, "")
    # Where the domain is wrong, an id that is to be the same is not blamed, too.
    id = "" if "domain" in form.wrong and not form["id"] else form.judge("id", _id, "", domain)
    timezone = form.judge("timezone", lambda text: validators.timezone(text or "UTC"), "UTC")
    if form.wrong:
        return None
    return msgspec.structs.replace(factories.site(id, timezone, now), domain=domain)


def _id(text: str, domain: str) -> str:
    """A site's id: what was typed, or else the domain, as programs write it."""
    try:
        return validators.site_id(text or domain.encode("idna").decode())
    except UnicodeError:
        raise Refused("invalid_request", "This domain cannot be an id, too: give it one.", "id") from None


def _domain(text: str) -> str:
    """The host of a site; also where somebody has pasted the URL of its home page."""
    found = re.fullmatch(r"(?:https?://)?([^/?#:]*)(?::\d+)?(?:[/?#].*)?", text, re.IGNORECASE)
    told = found[1] if found else text
    return validators.host(told, "domain") if told else ""


_CHANGEABLE: dict[str, Callable[[str], object]] = {
    "name": lambda text: validators.words(text, "name"),
    "domain": _domain,
    "timezone": validators.timezone,
    "monthly_limit": lambda text: validators.number(text, "monthly_limit", _MOST_EVENTS),
    "retention_days": lambda text: validators.number(text, "retention_days", _MOST_DAYS),
    "allowed_hosts": lambda text: validators.hosts(text, "allowed_hosts"),
    "hourly_limit": lambda text: validators.number(text, "hourly_limit", _MOST_AN_HOUR),
    "hourly_events": lambda text: validators.number(text, "hourly_events", _MOST_AN_HOUR),
}


async def add_site(request: Request, site: Site) -> tuple[str, Notice]:
    """Add a site with a key. Returns the page to go on to, and what it is to say, with the key."""
    place = desk(request)
    added = await place.change(registry.add_site, site)
    key, secret = factories.key(added, "First key", "enterprise", None, site.created)
    await place.change(registry.add_key, key)
    notice = Notice(f"The site {site.id} is there. This is its key:", secret, "key", key.id)
    return f"/sites/{site.id}/settings/start", notice


async def timezones() -> list[str]:
    """All time zones that a place is named after, and UTC."""
    return await asyncio.to_thread(_timezones)


@cache
def _timezones() -> list[str]:
    return ["UTC", *sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc/"))]


async def site(request: Request) -> Response:
    """`/sites/ID/settings`: the way to a site's settings."""
    found = await site_of(request)
    return RedirectResponse(f"{desk(request).root}/sites/{found.id}/settings/general", 302)


async def general(request: Request) -> Response:
    """`GET …/general`: what a site is, and how much it has used this month."""
    return await _general_page(request, await site_of(request))


async def change(request: Request) -> Response:
    """`POST …/general`: changes what can be changed."""
    found, form = await site_of(request), await form_of(request)
    # What was not changed here may have been changed elsewhere, since the form was shown.
    wanted = {name: form.judge(name, rule, None) for name, rule in _CHANGEABLE.items() if _is_changed(form, name)}
    if not form.wrong:
        try:
            await desk(request).change(registry.change_site, msgspec.structs.replace(found, **wanted))
            return go_to(request, f"/sites/{found.id}/settings/general", Notice("Saved."))
        except Refused as refused:
            form.blame(refused)
    return await _general_page(request, found, form)


def _is_changed(form: Form, name: str) -> bool:
    """Whether a field was sent, and has something else than when the form was shown."""
    before = f"was_{name}"
    return form.has(name) and not (form.has(before) and form[before] == form[name])


def _shown(site: Site) -> dict[str, str]:
    """What can be changed of a site, as a form shows it."""
    return {
        name: ", ".join(value) if isinstance(value, tuple) else str(value or "")
        for name, value in ((name, getattr(site, name)) for name in _CHANGEABLE)
    }


async def _general_page(
    request: Request, site: Site, form: Form | None = None, deleting: Form | None = None
) -> Response:
    form, deleting = form or Form(), deleting or Form()
    place, month = desk(request), month_of(desk(request).house.clock.now())
    used = (await place.read(site_activity.months, month)).get(site.number, 0)
    latest = await place.read(site_activity.latest, site.number)
    return page(
        request,
        "general.html",
        400 if form.wrong or deleting.wrong else 200,
        site=site,
        form=form,
        deleting=deleting,
        now=_shown(site),
        used=used,
        month=month,
        has_events=latest is not None,
        timezones=await timezones(),
        public_limit=PUBLIC_LIMIT,
    )


async def delete(request: Request) -> Response:
    """`POST …/delete`: removes a site for good, if its id was typed."""
    found, form = await site_of(request), await form_of(request)
    if form["confirm"].strip() != found.id:
        form.wrong["confirm"] = f"Type {found.id} to delete it."
        return await _general_page(request, found, deleting=form)
    place = desk(request)
    events = await place.house.ingest.change(registry.remove_site, found.id)
    await place.house.sites.refresh()
    return go_to(
        request, "/", Notice(f"The site {found.id} is deleted, with {events:,} {'event' if events == 1 else 'events'}.")
    )


OPEN: Doors = [("GET", "/", home)]
_SETTINGS = "/sites/{site}/settings"
SIGNED_IN: Doors = [
    ("GET", "/new-site", new_site),
    ("POST", "/new-site", add),
    ("POST", "/retention", confirm_clock),
    ("GET", _SETTINGS, site),
    ("GET", f"{_SETTINGS}/general", general),
    ("POST", f"{_SETTINGS}/general", change),
    ("POST", f"{_SETTINGS}/delete", delete),
]
