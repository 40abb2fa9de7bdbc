"""The setup page: the link that the server prints at its first start leads here."""

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
    """`GET /setup`: checks the token of the link, stores it in the session, and then shows the form."""
    ui, token = context(request), request.query_params.get("token")
    if token is None:
        await _check_may_set_up(request)
        return await _render_setup(request, Form())
    throttle_key, now_ms = client_network(client_address(request.scope)), ui.services.clock.now_ms()
    if ui.setup_token:  # otherwise there is no token to guess
        ui.login_throttle.record_attempt(throttle_key, now_ms)
    request.session["setup"] = _token_digest(token)
    await _check_may_set_up(request)
    ui.login_throttle.record_success(throttle_key, now_ms)
    return RedirectResponse(f"{ui.root}/setup", 303)  # so that the token does not stay in the browser's history


async def _check_may_set_up(request: Request) -> None:
    """Raise `ApiError` (`forbidden`) if the server is set up already or the session has no valid token."""
    ui = context(request)
    if (await ui.read(accounts.load)).password_hash:
        raise ApiError("forbidden", "ovx-lite is set up already, so this link no longer works. Log in instead.")
    is_valid = bool(ui.setup_token) and hmac.compare_digest(
        str(request.session.get("setup", "")).encode(), _token_digest(ui.setup_token).encode()
    )
    if not is_valid:
        raise ApiError(
            "forbidden",
            "This setup link is not valid. Open the link that the server printed at its latest start.",
        )


def _token_digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


async def complete_setup(request: Request) -> Response:
    """`POST /setup`: sets the password and, if there are no sites, adds the first one."""
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
            return RedirectResponse(f"{ui.root}/login", 303)  # a command has changed the password meanwhile
        return redirect_to(request, next_path, message)


async def _render_setup(request: Request, form: Form) -> Response:
    has_sites = bool(await context(request).read(registry.all_sites))
    status = 400 if form.errors else 200
    return render(request, "setup.html", status, form=form, has_sites=has_sites, timezones=await timezones())


PUBLIC_ROUTES: RouteTable = [("GET", "/setup", show_setup), ("POST", "/setup", complete_setup)]
