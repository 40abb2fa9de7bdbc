"""Settings → API keys: a site's API keys, its public key and its JWT secret."""

import re

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.auth import api_keys
from ovx_lite.domain import validators
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import ApiKey, Site
from ovx_lite.services import factories
from ovx_lite.storage import registry
from ovx_lite.web.common.context import FlashMessage, RouteTable, context, not_found, redirect_to, site_from_path
from ovx_lite.web.common.forms import Form, read_form
from ovx_lite.web.common.templating import render

_MAX_HOURLY_LIMIT = 10**9
_PAGE_SIZE = 50


async def list_keys(request: Request) -> Response:
    """`GET …/keys`: the keys, newest first, revoked ones last."""
    return await _render_page(request, await site_from_path(request), Form())


async def _render_page(request: Request, site: Site, form: Form) -> Response:
    ui = context(request)
    all_keys = list(reversed(await ui.read(registry.api_keys_of, site)))
    all_keys.sort(key=lambda key: key.revoked_at_ms is not None)
    page_text = request.query_params.get("page", "")
    page_count = max(-(-len(all_keys) // _PAGE_SIZE), 1)
    page_number = min(int(page_text), page_count) if re.fullmatch(r"[1-9]\d{0,5}", page_text) else 1
    offset = (page_number - 1) * _PAGE_SIZE
    return render(
        request,
        "api_keys.html",
        400 if form.errors else 200,
        site=site,
        form=form,
        keys=all_keys[offset : offset + _PAGE_SIZE],
        key_count=len(all_keys),
        page_number=page_number,
        page_count=page_count,
        recent_use_ms=ui.services.sites.last_used_ms,
        tiers=[(tier, _tier_label(tier, limit)) for tier, limit in reversed(api_keys.TIERS.items())],
        hourly_limit=api_keys.hourly_limit,
        new_id=factories.new_public_id("key_"),
    )


def _tier_label(tier: str, hourly_limit: int | None) -> str:
    return f"{tier.capitalize()}: {'no limit' if hourly_limit is None else f'{hourly_limit:,} events per hour'}"


async def add(request: Request) -> Response:
    """`POST …/keys`: adds a key and shows it once."""
    site, form, ui = await site_from_path(request), await read_form(request), context(request)
    label = form.validate("label", validators.short_text, "", "label", 0)
    tier = form.validate("tier", _parse_tier, "")
    hourly_limit = form.validate("hourly_limit", validators.whole_number, None, "hourly_limit", _MAX_HOURLY_LIMIT)
    if form.errors:
        return await _render_page(request, site, form)
    key, secret = factories.key(
        site,
        label=label,
        tier=tier,
        hourly_limit=hourly_limit,
        now_ms=ui.services.clock.now_ms(),
        public_id=form.public_id("key_"),
    )
    is_new = await ui.change(registry.add_api_key, key)
    # If the form was sent twice, the first request has added the key and shows it.
    text = "The API key was added. Copy it now: it will not be shown again."
    message = FlashMessage(text, secret, "key", key.public_id) if is_new else None
    return redirect_to(request, f"/sites/{site.slug}/settings/keys", message)


def _parse_tier(text: str) -> str:
    if text not in api_keys.TIERS:
        raise ApiError("invalid_request", f"Choose a tier: {', '.join(api_keys.TIERS)}.", "tier")
    return text


async def revoke(request: Request) -> Response:
    """`POST …/keys/ID/revoke`: revokes a key."""
    site, ui = await site_from_path(request), context(request)
    key = await _find_key(request, site)
    await ui.change(registry.revoke_api_key, key.public_id, ui.services.clock.now_ms())
    message = FlashMessage(f"The key {key.label or key.public_id} was revoked. Requests with it are now rejected.")
    return redirect_to(request, f"/sites/{site.slug}/settings/keys", message)


async def rotate(request: Request) -> Response:
    """`POST …/keys/ID/rotate`: replaces a key with a new one and shows it once."""
    site, ui = await site_from_path(request), context(request)
    key = await _find_key(request, site)
    _, secret, digest = api_keys.new_key()
    await ui.change(registry.replace_api_key, key.public_id, digest)
    text = f"The key {key.label or key.public_id} was replaced. Copy the new one now: it will not be shown again."
    message = FlashMessage(text, secret, "key", key.public_id)
    return redirect_to(request, f"/sites/{site.slug}/settings/keys", message)


async def _find_key(request: Request, site: Site) -> ApiKey:
    for key in await context(request).read(registry.api_keys_of, site):
        if key.public_id == request.path_params["key"]:
            return key
    raise not_found("key")


async def rotate_jwt_secret(request: Request) -> Response:
    """`POST …/keys/jwt-secret`: replaces the JWT secret and shows the new one once."""
    site, secret = await site_from_path(request), factories.new_jwt_secret()
    await context(request).change(registry.replace_jwt_secret, site.slug, secret)
    text = "The JWT secret was replaced. Copy the new one now: it will not be shown again."
    message = FlashMessage(text, secret, "JWT secret", "jwt")
    return redirect_to(request, f"/sites/{site.slug}/settings/keys", message)


_KEYS_PATH = "/sites/{site}/settings/keys"
PROTECTED_ROUTES: RouteTable = [
    ("GET", _KEYS_PATH, list_keys),
    ("POST", _KEYS_PATH, add),
    ("POST", f"{_KEYS_PATH}/jwt-secret", rotate_jwt_secret),
    ("POST", f"{_KEYS_PATH}/{{key}}/revoke", revoke),
    ("POST", f"{_KEYS_PATH}/{{key}}/rotate", rotate),
]
