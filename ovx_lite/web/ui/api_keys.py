"""Settings → API Keys: a site's keys, its public key and its JWT secret."""

import re

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.auth import api_keys
from ovx_lite.domain import validators
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Key, Site
from ovx_lite.services import factories
from ovx_lite.storage import registry
from ovx_lite.web.common.context import Doors, Notice, desk, go_to, not_here, site_of
from ovx_lite.web.common.forms import Form, form_of
from ovx_lite.web.common.templating import page

_MOST = 10**9
_ON_A_PAGE = 50


async def keys(request: Request) -> Response:
    """`GET …/keys`: the keys, newest first."""
    return await _page(request, await site_of(request), Form())


async def _page(request: Request, site: Site, form: Form) -> Response:
    place = desk(request)
    found = list(reversed(await place.read(registry.keys_of, site)))
    found.sort(key=lambda key: key.revoked is not None)
    number = request.query_params.get("page", "")
    last = max(-(-len(found) // _ON_A_PAGE), 1)
    asked = min(int(number), last) if re.fullmatch(r"[1-9]\d{0,5}", number) else 1
    first = (asked - 1) * _ON_A_PAGE
    return page(
        request,
        "keys.html",
        400 if form.wrong else 200,
        site=site,
        form=form,
        keys=found[first : first + _ON_A_PAGE],
        total=len(found),
        number=asked,
        last=last,
        used=place.house.sites.used,
        tiers=api_keys.TIERS,
        hourly_limit=api_keys.hourly_limit,
        fresh=factories.id_of("key_"),
    )


async def add(request: Request) -> Response:
    """`POST …/keys`: adds a key, and shows it once."""
    site, form, place = await site_of(request), await form_of(request), desk(request)
    label = form.judge("label", validators.words, "", "label", 0)
    tier = form.judge("tier", _tier, "")
    limit = form.judge("hourly_limit", validators.number, None, "hourly_limit", _MOST)
    if form.wrong:
        return await _page(request, site, form)
    key, secret = factories.key(site, label, tier, limit, place.house.clock.now(), form.id("key_"))
    added = await place.change(registry.add_key, key)
    # A form that was sent twice has made one key, which the first time has shown, or is about to.
    notice = Notice("The key is there. Keep it now: it is not shown again.", secret, "key", key.id) if added else None
    return go_to(request, f"/sites/{site.id}/settings/keys", notice)


def _tier(text: str) -> str:
    if text not in api_keys.TIERS:
        raise Refused("invalid_request", f"Choose one of {', '.join(api_keys.TIERS)}.", "tier")
    return text


async def revoke(request: Request) -> Response:
    """`POST …/keys/ID/revoke`: ends a key."""
    site, place = await site_of(request), desk(request)
    key = await _key(request, site)
    await place.change(registry.revoke_key, key.id, place.house.clock.now())
    notice = Notice(f"The key {key.label or key.id} is revoked: whoever still sends it is refused.")
    return go_to(request, f"/sites/{site.id}/settings/keys", notice)


async def rotate(request: Request) -> Response:
    """`POST …/keys/ID/rotate`: puts a new key in its place."""
    site, place = await site_of(request), desk(request)
    key = await _key(request, site)
    _, secret, digest = api_keys.new_key()
    await place.change(registry.replace_key, key.id, digest)
    words = f"{key.label or key.id} has a new key; the old one has ended. Keep it now."
    notice = Notice(words, secret, "key", key.id)
    return go_to(request, f"/sites/{site.id}/settings/keys", notice)


async def _key(request: Request, site: Site) -> Key:
    for key in await desk(request).read(registry.keys_of, site):
        if key.id == request.path_params["key"]:
            return key
    raise not_here("key")


async def new_jwt_secret(request: Request) -> Response:
    """`POST …/keys/jwt-secret`: puts a new JWT secret in the place of the old one."""
    site, secret = await site_of(request), factories.jwt_secret()
    await desk(request).change(registry.replace_jwt_secret, site.id, secret)
    notice = Notice(
        "JWTs are signed with this from now on. Keep it now: it is not shown again.", secret, "JWT secret", "jwt"
    )
    return go_to(request, f"/sites/{site.id}/settings/keys", notice)


_KEYS = "/sites/{site}/settings/keys"
SIGNED_IN: Doors = [
    ("GET", _KEYS, keys),
    ("POST", _KEYS, add),
    ("POST", f"{_KEYS}/jwt-secret", new_jwt_secret),
    ("POST", f"{_KEYS}/{{key}}/revoke", revoke),
    ("POST", f"{_KEYS}/{{key}}/rotate", rotate),
]
