"""Login, logout and the password."""

import asyncio
import secrets
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ovx_lite.auth import passwords
from ovx_lite.auth.api_keys import client_network
from ovx_lite.domain.errors import ApiError
from ovx_lite.http.request_head import client_address
from ovx_lite.storage import accounts
from ovx_lite.web.common.context import FlashMessage, RouteTable, context, redirect_to
from ovx_lite.web.common.csrf import find_session
from ovx_lite.web.common.forms import Form, read_form
from ovx_lite.web.common.templating import render


async def show_login(request: Request) -> Response:
    """`GET /login`: the form; redirects browsers that are logged in already."""
    if await find_session(request) is not None:
        return RedirectResponse(context(request).root + _safe_next_path(request.query_params.get("next", "")), 303)
    return await _render_login(request, Form())


async def log_in(request: Request) -> Response:
    """`POST /login`: begins a session and redirects to the path in the field `next`."""
    form = await read_form(request)
    account = await context(request).read(accounts.load)
    if account.password_hash and await try_password(request, form, "password", account.password_hash):
        if await begin_session(request, account.password_hash):
            return RedirectResponse(context(request).root + _safe_next_path(form["next"]), 303)
        form.errors[""] = "The password has just been changed. Log in with the new one."
    return await _render_login(request, form)


async def _render_login(request: Request, form: Form) -> Response:
    account = await context(request).read(accounts.load)
    next_path = form["next"] if form.sent else request.query_params.get("next", "")
    values = {"form": form, "next": _safe_next_path(next_path), "has_password": bool(account.password_hash)}
    return _with_retry_after(render(request, "login.html", 401 if form.errors else 200, **values), form)


def _with_retry_after(response: Response, form: Form) -> Response:
    """Make the response a 429 with `Retry-After` if the form had too many wrong passwords."""
    if form.retry_after_s is not None:
        response.status_code = 429
        response.headers["Retry-After"] = str(form.retry_after_s)
    return response


async def try_password(request: Request, form: Form, field: str, password_hash: str, throttle_prefix: str = "") -> bool:
    """Check a form's field against a password hash. If the password is wrong, add an error to the form.

    Wrong passwords are counted and throttled. `throttle_prefix` separates the counters of other passwords, such as
    those of shared links, from the counters of the login.
    """
    ui, now_ms = context(request), context(request).services.clock.now_ms()
    # A browser that was logged in before has its own counter, so that attackers cannot lock out the administrator.
    browser_id = request.session.get("browser")
    throttle_key = (
        f"{throttle_prefix}browser {browser_id}"
        if browser_id
        else f"{throttle_prefix}{client_network(client_address(request.scope))}"
    )
    try:
        ui.login_throttle.record_attempt(throttle_key, now_ms, trusted=bool(browser_id))
    except ApiError as exc:
        form.errors[field] = exc.message
        form.retry_after_s = exc.retry_after_s
        return False
    password = form[field]
    async with ui.hashing_lock:
        is_correct = len(password) <= passwords.MAX_LENGTH and await asyncio.to_thread(
            passwords.verify_password, password, password_hash
        )
    if is_correct:
        ui.login_throttle.record_success(throttle_key, now_ms, trusted=bool(browser_id))
    else:
        form.errors[field] = "Wrong password."
    return is_correct


async def begin_session(request: Request, password_hash: str) -> bool:
    """Begin a session. Return False if the password of this hash has been changed meanwhile."""
    ui, token = context(request), secrets.token_urlsafe(32)
    digest = sha256(token.encode()).digest()
    if not await ui.services.database.write(accounts.begin_session, digest, password_hash, ui.services.clock.now_ms()):
        return False
    browser_id = request.session.get("browser") or secrets.token_urlsafe(12)
    request.session.clear()
    request.session.update(id=token, browser=browser_id)
    request.state.session = digest
    return True


async def log_out(request: Request) -> Response:
    """`POST /logout`: ends the session on the server, so that copies of its cookie are invalid, too."""
    await context(request).services.database.write(accounts.end_session, request.state.session)
    del request.session["id"]
    return RedirectResponse(f"{context(request).root}/login", 303)


async def show_account(request: Request) -> Response:
    """`GET /account`: the form to change the password."""
    return render(request, "account.html", form=Form(), password_from_env=context(request).password_from_env)


async def change_password(request: Request) -> Response:
    """`POST /account`: changes the password and ends all other sessions."""
    form, ui = await read_form(request), context(request)
    account = await ui.read(accounts.load)
    if ui.password_from_env:
        form.errors[""] = "The password is set by OVX_ADMIN_PASSWORD. Change the variable and restart the server."
    password = read_new_password(form)
    if not form.errors and await try_password(request, form, "current", account.password_hash):
        await begin_session(request, await ui.set_password(password))
        return redirect_to(
            request, "/account", FlashMessage("The password was changed. All other browsers are logged out.")
        )
    return _with_retry_after(
        render(request, "account.html", 400, form=form, password_from_env=ui.password_from_env), form
    )


def read_new_password(form: Form) -> str:
    """Return the new password of a form. If it is invalid, add an error to the form and return `""`."""
    try:
        return passwords.validate_password(form["password"])
    except ApiError as exc:
        form.add_error(exc)
        return ""


def _safe_next_path(path: str) -> str:
    """Return a path to redirect to after login: the given one if it is on this server, else `/`."""
    is_local = path.startswith("/") and not path.startswith("//") and path.isprintable() and "\\" not in path
    return path if is_local else "/"


PUBLIC_ROUTES: RouteTable = [("GET", "/login", show_login), ("POST", "/login", log_in)]
PROTECTED_ROUTES: RouteTable = [
    ("GET", "/account", show_account),
    ("POST", "/account", change_password),
    ("POST", "/logout", log_out),
]
