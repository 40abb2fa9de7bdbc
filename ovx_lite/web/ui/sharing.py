"""Settings → Sharing, and the public dashboard that a shared link shows."""

import asyncio
import secrets
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ovx_lite.auth import passwords
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Site
from ovx_lite.storage import registry, shared_links
from ovx_lite.storage.shared_links import SharedLink
from ovx_lite.web.common.context import FlashMessage, RouteTable, context, redirect_to, site_from_path
from ovx_lite.web.common.csrf import EMBEDDABLE_HEADERS
from ovx_lite.web.common.forms import Form, read_form
from ovx_lite.web.common.live_visitors import ListenGrant
from ovx_lite.web.common.templating import render
from ovx_lite.web.ui.auth import try_password
from ovx_lite.web.ui.dashboard.presenters import DashboardLocation
from ovx_lite.web.ui.dashboard.routes import render_csv, render_dashboard, render_top_list

_MAX_UNLOCKED = 20


async def show_sharing(request: Request) -> Response:
    """`GET …/settings/sharing`: the form to create a link, or the link with its password, embedding and badge."""
    return await _render_settings(request, await site_from_path(request), Form())


async def _render_settings(request: Request, site: Site, form: Form) -> Response:
    share = await context(request).read(shared_links.of_site, site.id)
    url = "" if share is None else f"{context(request).public_url(request)}/share/{share.token}"
    status = 400 if form.errors else 200
    return render(request, "sharing.html", status, site=site, form=form, share=share, url=url)


async def change(request: Request) -> Response:
    """`POST …/settings/sharing`: creates the link, replaces it (`do=new`), or changes or removes its password."""
    site, form, ui = await site_from_path(request), await read_form(request), context(request)
    current = await ui.read(shared_links.of_site, site.id)
    password, password_hash = form["password"], "" if current is None else current.password_hash
    if password:
        try:
            password_hash = await asyncio.to_thread(
                passwords.hash_password, passwords.validate_password(password), secrets.token_bytes(16)
            )
        except ApiError as exc:
            form.add_error(exc)
            return await _render_settings(request, site, form)
    elif not form["keep"]:
        password_hash = ""
    is_new_link = current is None or form["do"] == "new"
    token = secrets.token_urlsafe(12) if is_new_link or current is None else current.token
    await ui.services.database.write(
        shared_links.save, SharedLink(site.id, token, password_hash, ui.services.clock.now_ms())
    )
    if current is None:
        text = "The link was created."
    else:
        text = "The link was replaced. The old link no longer works." if is_new_link else "The password was saved."
    return redirect_to(request, f"/sites/{site.slug}/settings/sharing", FlashMessage(text))


async def stop_sharing(request: Request) -> Response:
    """`POST …/settings/sharing/end`: removes the link."""
    site = await site_from_path(request)
    await context(request).services.database.write(shared_links.remove, site.id)
    return redirect_to(
        request,
        f"/sites/{site.slug}/settings/sharing",
        FlashMessage("Sharing is off. The dashboard requires a login again."),
    )


async def show_dashboard(request: Request) -> Response:
    """`GET /share/TOKEN`: the dashboard, or the form for its password."""
    share, site = await find_share(request)
    if not _is_unlocked(request, share):
        return render(request, "share.html", site=site, form=Form(), path=_path_with_query(request, share))
    return _with_share_headers(request, share, await render_dashboard(request, site, _location(request, share)))


def _with_share_headers(request: Request, share: SharedLink, response: Response) -> Response:
    """Add the headers of a public page: no referrer, which would contain the token, and embedding if it is allowed."""
    response.headers["Referrer-Policy"] = "no-referrer"
    if request.query_params.get("embed") == "1" and not share.password_hash:
        response.headers.update(EMBEDDABLE_HEADERS)
    return response


async def unlock(request: Request) -> Response:
    """`POST /share/TOKEN`: checks the password and unlocks the link for this browser."""
    share, site = await find_share(request)
    form = await read_form(request)
    if share.password_hash and await try_password(
        request, form, "password", share.password_hash, throttle_prefix=f"share {share.token} "
    ):
        stored = request.session.get("shares")
        unlocked = [*(stored if isinstance(stored, list) else []), _unlock_digest(share)]
        request.session["shares"] = unlocked[-_MAX_UNLOCKED:]
    elif share.password_hash:
        status = 401 if form.retry_after_s is None else 429
        return render(request, "share.html", status, site=site, form=form, path=_path_with_query(request, share))
    return RedirectResponse(_path_with_query(request, share), 303)


async def show_top_list(request: Request) -> Response:
    """`GET /share/TOKEN/top/DIMENSION`: all values of a dimension."""
    share, site = await _find_unlocked(request)
    return _with_share_headers(request, share, await render_top_list(request, site, _location(request, share)))


async def download_csv(request: Request) -> Response:
    """`GET /share/TOKEN/csv/PANEL`: a panel as CSV."""
    share, site = await _find_unlocked(request)
    return await render_csv(request, site, _location(request, share))


async def stream_live(request: Request) -> Response:
    """`GET /share/TOKEN/live`: Server-Sent Events with the number of active visitors."""
    share, site = await _find_unlocked(request)
    ui = context(request)

    async def is_allowed() -> bool:
        match = await ui.read(shared_links.find, share.token)
        return match is not None and match[0].password_hash == share.password_hash

    return ui.live_visitors.stream(site.id, ListenGrant((share.token, share.password_hash), share.token, is_allowed))


async def find_share(request: Request) -> tuple[SharedLink, Site]:
    """Return the link of the path's token, and its site. Raises `ApiError` (`not_found`)."""
    match = await context(request).read(shared_links.find, request.path_params["token"])
    if match is None:
        raise link_not_found()
    share, site_slug = match
    return share, await context(request).read(registry.find_site, site_slug)


async def _find_unlocked(request: Request) -> tuple[SharedLink, Site]:
    share, site = await find_share(request)
    if not _is_unlocked(request, share):
        raise ApiError("unauthorized", "This page requires a password. Open the shared link itself to enter it.")
    return share, site


def link_not_found() -> ApiError:
    """Return the error for a link that does not exist or no longer exists."""
    return ApiError("not_found", "This shared link does not exist or no longer works. Ask for a new one.")


def _is_unlocked(request: Request, share: SharedLink) -> bool:
    unlocked = request.session.get("shares")
    return not share.password_hash or (isinstance(unlocked, list) and _unlock_digest(share) in unlocked)


def _unlock_digest(share: SharedLink) -> str:
    """Return what the session cookie stores for an unlocked link. It changes with the password."""
    return sha256(f"{share.token}\n{share.password_hash}".encode()).hexdigest()[:16]


def _share_path(request: Request, share: SharedLink) -> str:
    return f"{context(request).root}/share/{share.token}"


def _path_with_query(request: Request, share: SharedLink) -> str:
    """Return the path of the shared dashboard with the query of the request."""
    return f"{_share_path(request, share)}{'?' if request.url.query else ''}{request.url.query}"


def _location(request: Request, share: SharedLink) -> DashboardLocation:
    return DashboardLocation(_share_path(request, share), True, context(request).public_url(request))


_SETTINGS_PATH = "/sites/{site}/settings/sharing"
PROTECTED_ROUTES: RouteTable = [
    ("GET", _SETTINGS_PATH, show_sharing),
    ("POST", _SETTINGS_PATH, change),
    ("POST", f"{_SETTINGS_PATH}/end", stop_sharing),
]
_SHARE_PATH = "/share/{token}"
PUBLIC_ROUTES: RouteTable = [
    ("GET", _SHARE_PATH, show_dashboard),
    ("POST", _SHARE_PATH, unlock),
    ("GET", f"{_SHARE_PATH}/top/{{dimension}}", show_top_list),
    ("GET", f"{_SHARE_PATH}/csv/{{panel}}", download_csv),
    ("GET", f"{_SHARE_PATH}/live", stream_live),
]
