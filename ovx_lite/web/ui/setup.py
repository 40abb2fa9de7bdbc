"""The first start: the link that the server prints leads here, to a password and the first site."""

import hmac
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ovx_lite.auth.api_keys import client_network
from ovx_lite.domain.errors import ApiError
from ovx_lite.http.request_head import client_address
from ovx_lite.storage import accounts, registry
from ovx_lite.web.common.context import RouteTable, context, redirect_to
from ovx_lite.web.common.forms import Form, read_form
from ovx_lite.web.common.templating import render
from ovx_lite.web.ui.auth import begin_session, read_new_password
from ovx_lite.web.ui.sites import add_site, read_site, timezones


async def show_setup(request: Request) -> Response:
    """`GET /setup`: with the token of the printed link, or for a browser that came with it."""
    ui, token = context(request), request.query_params.get("token")
    if token is None:
        await _check_may_set_up(request)
        return await _render_setup(request, Form())
    throttle_key, now_ms = client_network(client_address(request.scope)), ui.services.clock.now_ms()
    if ui.setup_token:  # else there is nothing to guess
        ui.login_throttle.record_attempt(throttle_key, now_ms)
    request.session["setup"] = _token_digest(token)
    await _check_may_set_up(request)
    ui.login_throttle.record_success(throttle_key, now_ms)
    return RedirectResponse(f"{ui.root}/setup", 303)  # where the token is in no history


async def _check_may_set_up(request: Request) -> None:
    """Raises `ApiError` (`forbidden`) for those who may not set up."""
    ui = context(request)
    if (await ui.read(accounts.load)).password_hash:
        raise ApiError("forbidden", "ovx-lite is set up already, so this link does nothing any more: log in.")
    is_valid = bool(ui.setup_token) and hmac.compare_digest(
        str(request.session.get("setup", "")).encode(), _token_digest(ui.setup_token).encode()
    )
    if not is_valid:
        raise ApiError(
            "forbidden",
            "This is not the link to set up ovx-lite: open the one that it printed when it was started last.",
        )


def _token_digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


async def complete_setup(request: Request) -> Response:
    """`POST /setup`: the password, and the first site if there is none."""
    form, ui = await read_form(request), context(request)
    async with ui.hashing_lock:
        await _check_may_set_up(request)
        password = read_new_password(form)
        site = None if await ui.read(registry.all_sites) else read_site(form, ui.services.clock.now_ms())
        if form.errors:
            return await _render_setup(request, form)
        next_path, message = "/", None
        if site is not None:
            try:
                next_path, message = await add_site(request, site)
            except ApiError as exc:
                form.add_error(exc)
                return await _render_setup(request, form)
        if not await begin_session(request, await ui.set_password(password)):
            return RedirectResponse(f"{ui.root}/login", 303)  # a command has set another password just now
        return redirect_to(request, next_path, message)


async def _render_setup(request: Request, form: Form) -> Response:
    has_sites = bool(await context(request).read(registry.all_sites))
    status = 400 if form.errors else 200
    return render(request, "setup.html", status, form=form, has_sites=has_sites, timezones=await timezones())


PUBLIC_ROUTES: RouteTable = [("GET", "/setup", show_setup), ("POST", "/setup", complete_setup)]
