"""Logging in and out, and the password."""

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
    """`GET /login`: the form; those who are logged in need none."""
    if await find_session(request) is not None:
        return RedirectResponse(context(request).root + _safe_next_path(request.query_params.get("next", "")), 303)
    return await _render_login(request, Form())


async def log_in(request: Request) -> Response:
    """`POST /login`: the password, and where to go then."""
    form = await read_form(request)
    account = await context(request).read(accounts.load)
    if account.password_hash and await try_password(request, form, "password", account.password_hash):
        if await begin_session(request, account.password_hash):
            return RedirectResponse(context(request).root + _safe_next_path(form["next"]), 303)
        form.errors[""] = "The password was changed just now: log in with the new one."
    return await _render_login(request, form)


async def _render_login(request: Request, form: Form) -> Response:
    account = await context(request).read(accounts.load)
    next_path = form["next"] if form.sent else request.query_params.get("next", "")
    values = {"form": form, "next": _safe_next_path(next_path), "has_password": bool(account.password_hash)}
    return _with_retry_after(render(request, "login.html", 401 if form.errors else 200, **values), form)


def _with_retry_after(response: Response, form: Form) -> Response:
    """The answer to a form with a password, which says how long to wait if there were too many."""
    if retry_after_s := form.errors.get("wait"):
        response.status_code = 429
        response.headers["Retry-After"] = retry_after_s
    return response


async def try_password(request: Request, form: Form, field: str, password_hash: str, throttle_prefix: str = "") -> bool:
    """Whether that field of a form has the password that this was kept of. If not, the form says what is wrong.

    Wrong ones are counted, and slowed down: those of what else has a password than we on their own.
    """
    ui, now_ms = context(request), context(request).services.clock.now_ms()
    # A browser that was logged in before is not held up by all who try to be: whoever looks after the sites gets in.
    browser_id = request.session.get("browser")
    throttle_key = (
        f"{throttle_prefix}browser {browser_id}"
        if browser_id
        else f"{throttle_prefix}{client_network(client_address(request.scope))}"
    )
    try:
        ui.login_throttle.record_attempt(throttle_key, now_ms, trusted=bool(browser_id))
    except ApiError as exc:
        form.errors |= {field: exc.message, "wait": str(exc.retry_after_s)}
        return False
    password = form[field]
    async with ui.hashing_lock:
        is_correct = len(password) <= passwords.MAX_LENGTH and await asyncio.to_thread(
            passwords.verify_password, password, password_hash
        )
    if is_correct:
        ui.login_throttle.record_success(throttle_key, now_ms, trusted=bool(browser_id))
    else:
        form.errors[field] = "This is not the password."
    return is_correct


async def begin_session(request: Request, password_hash: str) -> bool:
    """Begin a session for whoever knows the password of this hash. Returns False if it was changed just now."""
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
    """`POST /logout`: the session ends, also for those who have a copy of its cookie."""
    await context(request).services.database.write(accounts.end_session, request.state.session)
    del request.session["id"]
    return RedirectResponse(f"{context(request).root}/login", 303)


async def show_account(request: Request) -> Response:
    """`GET /account`: to change the password."""
    return render(request, "account.html", form=Form(), password_from_env=context(request).password_from_env)


async def change_password(request: Request) -> Response:
    """`POST /account`: the old and the new password. All other sessions end."""
    form, ui = await read_form(request), context(request)
    account = await ui.read(accounts.load)
    if ui.password_from_env:
        form.errors[""] = "The password comes from OVX_ADMIN_PASSWORD: change it there, and start the server again."
    password = read_new_password(form)
    if not form.errors and await try_password(request, form, "current", account.password_hash):
        await begin_session(request, await ui.set_password(password))
        return redirect_to(request, "/account", FlashMessage("The password is changed. Everybody else is logged out."))
    return _with_retry_after(
        render(request, "account.html", 400, form=form, password_from_env=ui.password_from_env), form
    )


def read_new_password(form: Form) -> str:
    """The new password of a form, as it was typed; `""` if it is too short, which is then noted."""
    try:
        return passwords.validate_password(form["password"])
    except ApiError as exc:
        form.add_error(exc)
        return ""


def _safe_next_path(path: str) -> str:
    """Where to go after the log-in: a path of ours, and nowhere else."""
    is_local = path.startswith("/") and not path.startswith("//") and path.isprintable() and "\\" not in path
    return path if is_local else "/"


PUBLIC_ROUTES: RouteTable = [("GET", "/login", show_login), ("POST", "/login", log_in)]
PROTECTED_ROUTES: RouteTable = [
    ("GET", "/account", show_account),
    ("POST", "/account", change_password),
    ("POST", "/logout", log_out),
]
