"""Logging in and out, and the password."""

import asyncio
import secrets
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ovx_lite.auth import passwords
from ovx_lite.auth.api_keys import network
from ovx_lite.domain.errors import Refused
from ovx_lite.http.request_head import address
from ovx_lite.storage import accounts
from ovx_lite.web.common.context import Doors, Notice, desk, go_to
from ovx_lite.web.common.csrf import session_of
from ovx_lite.web.common.forms import Form, form_of
from ovx_lite.web.common.templating import page


async def login(request: Request) -> Response:
    """`GET /login`: the form; those who are logged in need none."""
    if await session_of(request) is not None:
        return RedirectResponse(desk(request).root + _next(request.query_params.get("next", "")), 303)
    return await _login_page(request, Form())


async def log_in(request: Request) -> Response:
    """`POST /login`: the password, and where to go then."""
    form = await form_of(request)
    known = await desk(request).read(accounts.load)
    if known.password and await try_password(request, form, "password", known.password):
        if await begin_session(request, known.password):
            return RedirectResponse(desk(request).root + _next(form["next"]), 303)
        form.wrong[""] = "The password was changed just now: log in with the new one."
    return await _login_page(request, form)


async def _login_page(request: Request, form: Form) -> Response:
    known = await desk(request).read(accounts.load)
    asked = form["next"] if form.sent else request.query_params.get("next", "")
    values = {"form": form, "next": _next(asked), "has_password": bool(known.password)}
    return _with_wait(page(request, "login.html", 401 if form.wrong else 200, **values), form)


def _with_wait(answer: Response, form: Form) -> Response:
    """The answer to a form with a password, which says how long to wait if there were too many."""
    if wait := form.wrong.get("wait"):
        answer.status_code = 429
        answer.headers["Retry-After"] = wait
    return answer


async def try_password(request: Request, form: Form, field: str, kept: str, what: str = "") -> bool:
    """Whether that field of a form has the password that this was kept of. If not, the form says what is wrong.

    Wrong ones are counted, and slowed down: those of what else has a password than we on their own.
    """
    place, now = desk(request), desk(request).house.clock.now()
    # A browser that was logged in before is not held up by all who try to be: whoever looks after the sites gets in.
    browser = request.session.get("browser")
    whence = f"{what}browser {browser}" if browser else f"{what}{network(address(request.scope))}"
    try:
        place.tries.take(whence, now, trusted=bool(browser))
    except Refused as refused:
        form.wrong |= {field: refused.message, "wait": str(refused.retry_after)}
        return False
    typed = form[field]
    async with place.one_at_a_time:
        right = len(typed) <= passwords.LONGEST and await asyncio.to_thread(passwords.is_right, typed, kept)
    if right:
        place.tries.forgive(whence, now, trusted=bool(browser))
    else:
        form.wrong[field] = "This is not the password."
    return right


async def begin_session(request: Request, hashed: str) -> bool:
    """Begin a session for whoever knows the password of this hash. Returns False if it was changed just now."""
    place, token = desk(request), secrets.token_urlsafe(32)
    digest = sha256(token.encode()).digest()
    if not await place.house.database.write(accounts.begin_session, digest, hashed, place.house.clock.now()):
        return False
    browser = request.session.get("browser") or secrets.token_urlsafe(12)
    request.session.clear()
    request.session.update(id=token, browser=browser)
    request.state.session = digest
    return True


async def log_out(request: Request) -> Response:
    """`POST /logout`: the session ends, also for those who have a copy of its cookie."""
    await desk(request).house.database.write(accounts.end_session, request.state.session)
    del request.session["id"]
    return RedirectResponse(f"{desk(request).root}/login", 303)


async def account(request: Request) -> Response:
    """`GET /account`: to change the password."""
    return page(request, "account.html", form=Form(), given=desk(request).password_given)


async def change_password(request: Request) -> Response:
    """`POST /account`: the old and the new password. All other sessions end."""
    form, place = await form_of(request), desk(request)
    known = await place.read(accounts.load)
    if place.password_given:
        form.wrong[""] = "The password comes from OVX_ADMIN_PASSWORD: change it there, and start the server again."
    new = new_password(form)
    if not form.wrong and await try_password(request, form, "current", known.password):
        await begin_session(request, await place.set_password(new))
        return go_to(request, "/account", Notice("The password is changed. Everybody else is logged out."))
    return _with_wait(page(request, "account.html", 400, form=form, given=place.password_given), form)


def new_password(form: Form) -> str:
    """The new password of a form, as it was typed; `""` if it is too short, which is then noted."""
    try:
        return passwords.checked(form["password"])
    except Refused as refused:
        form.blame(refused)
        return ""


def _next(asked: str) -> str:
    """Where to go after the log-in: a path of ours, and nowhere else."""
    ours = asked.startswith("/") and not asked.startswith("//") and asked.isprintable() and "\\" not in asked
    return asked if ours else "/"


OPEN: Doors = [("GET", "/login", login), ("POST", "/login", log_in)]
SIGNED_IN: Doors = [("GET", "/account", account), ("POST", "/account", change_password), ("POST", "/logout", log_out)]
