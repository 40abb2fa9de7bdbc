"""The list of sites, the form to add one, and Settings → General."""

import asyncio
import re
from collections.abc import Callable
from datetime import date
from functools import cache
from zoneinfo import available_timezones

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ovx_lite.auth.api_keys import PUBLIC_HOURLY_LIMIT
from ovx_lite.domain import validators
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Site
from ovx_lite.services import factories
from ovx_lite.storage import accounts, registry, retention, site_activity
from ovx_lite.web.common.context import FlashMessage, RouteTable, context, redirect_to, site_from_path
from ovx_lite.web.common.csrf import find_session
from ovx_lite.web.common.forms import Form, read_form
from ovx_lite.web.common.templating import render
from ovx_lite.webhooks.triggers import month_of

_MAX_EVENTS, _MAX_RETENTION_DAYS, _MAX_PER_HOUR = 10**15, 36_500, 10**9


async def show_home(request: Request) -> Response:
    """`GET /`: the list of sites; before the setup, how to set up the server."""
    ui = context(request)
    request.state.session = await find_session(request)
    if request.state.session is None:
        if (await ui.read(accounts.load)).password_hash:
            return RedirectResponse(f"{ui.root}/login", 303)
        return render(request, "welcome.html")
    sites = await ui.read(registry.all_sites)
    events_by_site = await ui.read(site_activity.monthly_events, month_of(ui.services.clock.now_ms()))
    latest_events = await ui.read_events(lambda reader: reader.latest_events(site.id for site in sites))
    hold = await ui.read(retention.find_hold, ui.services.clock.now_ms())
    return render(
        request, "sites.html", sites=sites, events_by_site=events_by_site, latest_events=latest_events, hold=hold
    )


async def confirm_clock(request: Request) -> Response:
    """`POST /retention`: confirms that the clock is right, which ends the hold on retention."""
    ui = context(request)
    await ui.services.database.write(retention.confirm, ui.services.clock.now_ms())
    return redirect_to(request, "/", FlashMessage("The clock was confirmed. Retention will run within the next hour."))


async def show_new_site(request: Request) -> Response:
    """`GET /new-site`: the form to add a site."""
    return await _render_new_site(request, Form())


async def add(request: Request) -> Response:
    """`POST /new-site`: adds a site with a key and redirects to its page Get started."""
    form = await read_form(request)
    site = read_site(form, context(request).services.clock.now_ms())
    if site is not None:
        try:
            return redirect_to(request, *await add_site(request, site))
        except ApiError as exc:
            form.add_error(exc)
    return await _render_new_site(request, form)


async def _render_new_site(request: Request, form: Form) -> Response:
    return render(request, "new_site.html", 400 if form.errors else 200, form=form, timezones=await timezones())


def read_site(form: Form, now_ms: int) -> Site | None:
    """Return the site that a form describes. If a field is invalid, add errors to the form and return None."""
    domain = form.validate("domain", _parse_domain, "")
    # The ID defaults to the domain. If the domain is invalid, one error is enough.
    slug = "" if "domain" in form.errors and not form["id"] else form.validate("id", _parse_slug, "", domain)
    timezone = form.validate("timezone", lambda text: validators.timezone(text or "UTC"), "UTC")
    if form.errors:
        return None
    return msgspec.structs.replace(factories.site(slug, timezone, now_ms), domain=domain)


def _parse_slug(text: str, domain: str) -> str:
    """Return the ID from the form; if it is empty, the domain in its ASCII form (IDNA)."""
    try:
        return validators.site_slug(text or domain.encode("idna").decode())
    except UnicodeError:
        raise ApiError("invalid_request", "This domain cannot serve as the site ID. Enter an ID.", "id") from None


def _parse_domain(text: str) -> str:
    """Return the host, also from the URL of the home page."""
    match = re.fullmatch(r"(?:https?://)?([^/?#:]*)(?::\d+)?(?:[/?#].*)?", text, re.IGNORECASE)
    host = match[1] if match else text
    return validators.host(host, "domain") if host else ""


_EDITABLE_FIELDS: dict[str, Callable[[str], object]] = {
    "name": lambda text: validators.short_text(text, "name"),
    "domain": _parse_domain,
    "timezone": validators.timezone,
    "monthly_limit": lambda text: validators.whole_number(text, "monthly_limit", _MAX_EVENTS),
    "retention_days": lambda text: validators.whole_number(text, "retention_days", _MAX_RETENTION_DAYS),
    "allowed_hosts": lambda text: validators.hosts(text, "allowed_hosts"),
    "hourly_limit": lambda text: validators.whole_number(text, "hourly_limit", _MAX_PER_HOUR),
    "hourly_events": lambda text: validators.whole_number(text, "hourly_events", _MAX_PER_HOUR),
}


async def add_site(request: Request, site: Site) -> tuple[str, FlashMessage]:
    """Add a site with an API key. Return the path of its next page and the message with the key."""
    ui = context(request)
    stored_site = await ui.change(registry.add_site, site)
    key, secret = factories.key(
        stored_site, label="First key", tier="enterprise", hourly_limit=None, now_ms=site.created_at_ms
    )
    await ui.change(registry.add_api_key, key)
    message = FlashMessage(
        f"The site {site.slug} was added. This is its API key; copy it now, it will not be shown again:",
        secret,
        "key",
        key.public_id,
    )
    return f"/sites/{site.slug}/settings/start", message


async def timezones() -> list[str]:
    """Return UTC and all time zones named after a place, sorted."""
    return await asyncio.to_thread(_timezones)


@cache
def _timezones() -> list[str]:
    return ["UTC", *sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc/"))]


async def redirect_to_settings(request: Request) -> Response:
    """`GET /sites/ID/settings`: redirects to General."""
    site = await site_from_path(request)
    return RedirectResponse(f"{context(request).root}/sites/{site.slug}/settings/general", 302)


async def show_general(request: Request) -> Response:
    """`GET …/general`: the settings of the site, and its events of this month."""
    return await _render_general(request, await site_from_path(request))


async def change(request: Request) -> Response:
    """`POST …/general`: saves the fields that were changed in the form."""
    site, form = await site_from_path(request), await read_form(request)
    # Another browser or a command may have changed the other fields since the form was loaded.
    changes = {
        name: form.validate(name, rule, None) for name, rule in _EDITABLE_FIELDS.items() if _is_changed(form, name)
    }
    if not form.errors:
        try:
            await context(request).change(registry.change_site, msgspec.structs.replace(site, **changes))
            return redirect_to(request, f"/sites/{site.slug}/settings/general", FlashMessage("Saved."))
        except ApiError as exc:
            form.add_error(exc)
    return await _render_general(request, site, form)


def _is_changed(form: Form, name: str) -> bool:
    """Return whether a field was sent and differs from the value that the form was loaded with."""
    previous_field = f"was_{name}"
    return form.has(name) and not (form.has(previous_field) and form[previous_field] == form[name])


def _form_values(site: Site) -> dict[str, str]:
    """Return the values of the editable fields as a form shows them."""
    return {
        name: ", ".join(value) if isinstance(value, tuple) else str(value or "")
        for name, value in ((name, getattr(site, name)) for name in _EDITABLE_FIELDS)
    }


async def _render_general(
    request: Request, site: Site, form: Form | None = None, delete_form: Form | None = None
) -> Response:
    form, delete_form = form or Form(), delete_form or Form()
    ui, month = context(request), month_of(context(request).services.clock.now_ms())
    events_used = (await ui.read(site_activity.monthly_events, month)).get(site.id, 0)
    oldest_event_ms = await ui.read_events(lambda reader: reader.oldest_event_ms(site.id))
    return render(
        request,
        "general.html",
        400 if form.errors or delete_form.errors else 200,
        site=site,
        form=form,
        delete_form=delete_form,
        current_values=_form_values(site),
        events_used=events_used,
        month=f"{date.fromisoformat(f'{month}-01'):%B %Y}",
        has_events=oldest_event_ms is not None,
        timezones=await timezones(),
        public_limit=PUBLIC_HOURLY_LIMIT,
    )


async def delete(request: Request) -> Response:
    """`POST …/delete`: permanently deletes a site if its ID was typed."""
    site, form = await site_from_path(request), await read_form(request)
    if form["confirm"].strip() != site.slug:
        form.errors["confirm"] = f"Type {site.slug} to confirm."
        return await _render_general(request, site, delete_form=form)
    ui = context(request)
    event_count = await ui.services.writer.change(registry.remove_site, ui.services.upkeep, site.slug)
    await ui.services.sites.refresh()
    return redirect_to(
        request,
        "/",
        FlashMessage(
            f"The site {site.slug} was deleted with {event_count:,} {'event' if event_count == 1 else 'events'}."
        ),
    )


PUBLIC_ROUTES: RouteTable = [("GET", "/", show_home)]
_SETTINGS_PATH = "/sites/{site}/settings"
PROTECTED_ROUTES: RouteTable = [
    ("GET", "/new-site", show_new_site),
    ("POST", "/new-site", add),
    ("POST", "/retention", confirm_clock),
    ("GET", _SETTINGS_PATH, redirect_to_settings),
    ("GET", f"{_SETTINGS_PATH}/general", show_general),
    ("POST", f"{_SETTINGS_PATH}/general", change),
    ("POST", f"{_SETTINGS_PATH}/delete", delete),
]
