"""The first start: the link that the server prints leads here, to a password and the first site."""

import hmac
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ovx_lite.auth.api_keys import network
from ovx_lite.domain.errors import Refused
from ovx_lite.http.request_head import address
from ovx_lite.storage import accounts, registry
from ovx_lite.web.common.context import Doors, desk, go_to
from ovx_lite.web.common.forms import Form, form_of
from ovx_lite.web.common.templating import page
from ovx_lite.web.ui.auth import begin_session, new_password
from ovx_lite.web.ui.sites import add_site, read_site, timezones


async def setup(request: Request) -> Response:
    """`GET /setup`: with the token of the printed link, or for a browser that came with it."""
    place, token = desk(request), request.query_params.get("token")
    if token is None:
        await _check(request)
        return await _setup_page(request, Form())
    whence, now = network(address(request.scope)), place.house.clock.now()
    if place.setup_token:  # else there is nothing to guess
        place.tries.take(whence, now)
    request.session["setup"] = _digest(token)
    await _check(request)
    place.tries.forgive(whence, now)
    return RedirectResponse(f"{place.root}/setup", 303)  # where the token is in no history


async def _check(request: Request) -> None:
    """Raises `Refused` (`forbidden`) for those who may not set up."""
    place = desk(request)
    if (await place.read(accounts.load)).password:
        raise Refused("forbidden", "ovx-lite is set up already, so this link does nothing any more: log in.")
    right = bool(place.setup_token) and hmac.compare_digest(
        str(request.session.get("setup", "")).encode(), _digest(place.setup_token).encode()
    )
    if not right:
        raise Refused(
            "forbidden",
            "This is not the link to set up ovx-lite: open the one that it printed when it was started last.",
        )


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


async def set_up(request: Request) -> Response:
    """`POST /setup`: the password, and the first site if there is none."""
    form, place = await form_of(request), desk(request)
    async with place.one_at_a_time:
        await _check(request)
        password = new_password(form)
        site = None if await place.read(registry.all_sites) else read_site(form, place.house.clock.now())
        if form.wrong:
            return await _setup_page(request, form)
        leads_to, notice = "/", None
        if site is not None:
            try:
                leads_to, notice = await add_site(request, site)
            except Refused as refused:
                form.blame(refused)
                return await _setup_page(request, form)
        if not await begin_session(request, await place.set_password(password)):
            return RedirectResponse(f"{place.root}/login", 303)  # a command has set another password just now
        return go_to(request, leads_to, notice)


async def _setup_page(request: Request, form: Form) -> Response:
    has_sites = bool(await desk(request).read(registry.all_sites))
    status = 400 if form.wrong else 200
    return page(request, "setup.html", status, form=form, has_sites=has_sites, timezones=await timezones())


OPEN: Doors = [("GET", "/setup", setup), ("POST", "/setup", set_up)]
