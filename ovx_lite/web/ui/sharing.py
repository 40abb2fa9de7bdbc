"""A site's public link: the dashboard for all who have it, in pages of others, too."""

import asyncio
import secrets
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ovx_lite.auth import passwords
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Site
from ovx_lite.storage import registry, shared_links
from ovx_lite.storage.shared_links import Share
from ovx_lite.web.common.context import Doors, Notice, desk, go_to, site_of
from ovx_lite.web.common.csrf import EMBEDDED
from ovx_lite.web.common.forms import Form, form_of
from ovx_lite.web.common.live_visitors import Right
from ovx_lite.web.common.templating import page
from ovx_lite.web.ui.auth import try_password
from ovx_lite.web.ui.dashboard.presenters import Place
from ovx_lite.web.ui.dashboard.routes import board_page, csv_file, top_page

_MOST_UNLOCKED = 20


async def sharing(request: Request) -> Response:
    """`GET …/settings/sharing`: the link, if there is one, and what can be done with it."""
    return await _settings_page(request, await site_of(request), Form())


async def _settings_page(request: Request, site: Site, form: Form) -> Response:
    share = await desk(request).read(shared_links.of_site, site.number)
    url = "" if share is None else f"{desk(request).url(request)}/share/{share.token}"
    status = 400 if form.wrong else 200
    return page(request, "sharing.html", status, site=site, form=form, share=share, url=url)


async def change(request: Request) -> Response:
    """`POST …/settings/sharing`: makes the link, or another one (`new`), or gives it another password, or none."""
    site, form, place = await site_of(request), await form_of(request), desk(request)
    before = await place.read(shared_links.of_site, site.number)
    typed, kept = form["password"], "" if before is None else before.password
    if typed:
        try:
            kept = await asyncio.to_thread(passwords.hashed, passwords.checked(typed), secrets.token_bytes(16))
        except Refused as refused:
            form.blame(refused)
            return await _settings_page(request, site, form)
    elif not form["keep"]:
        kept = ""
    anew = before is None or form["do"] == "new"
    token = secrets.token_urlsafe(12) if anew or before is None else before.token
    await place.house.database.write(shared_links.put, Share(site.number, token, kept, place.house.clock.now()))
    words = (
        "Whoever has the link may look now."
        if before is None
        else "The old link is no good any more."
        if anew
        else "Saved."
    )
    return go_to(request, f"/sites/{site.id}/settings/sharing", Notice(words))


async def end(request: Request) -> Response:
    """`POST …/settings/sharing/end`: takes the link away."""
    site = await site_of(request)
    await desk(request).house.database.write(shared_links.remove, site.number)
    return go_to(request, f"/sites/{site.id}/settings/sharing", Notice("Nobody may look without logging in any more."))


async def dashboard(request: Request) -> Response:
    """`GET /share/TOKEN`: the dashboard, or the question for its password."""
    share, site = await shared(request)
    if not _is_unlocked(request, share):
        return page(request, "share.html", site=site, form=Form(), path=_asked(request, share))
    return _shown(request, share, await board_page(request, site, _place(request, share)))


def _shown(request: Request, share: Share, answer: Response) -> Response:
    """A page that whoever has the link sees: where it leads is told nothing of it; it may stand in pages of others."""
    answer.headers["Referrer-Policy"] = "no-referrer"
    if request.query_params.get("embed") == "1" and not share.password:
        answer.headers.update(EMBEDDED)
    return answer


async def unlock(request: Request) -> Response:
    """`POST /share/TOKEN`: the password."""
    share, site = await shared(request)
    form = await form_of(request)
    if share.password and await try_password(request, form, "password", share.password, f"share {share.token} "):
        known = request.session.get("shares")
        unlocked = [*(known if isinstance(known, list) else []), _mark(share)]
        request.session["shares"] = unlocked[-_MOST_UNLOCKED:]
    elif share.password:
        status = 429 if form.wrong.get("wait") else 401
        return page(request, "share.html", status, site=site, form=form, path=_asked(request, share))
    return RedirectResponse(_asked(request, share), 303)


async def top(request: Request) -> Response:
    """`GET /share/TOKEN/top/DIMENSION`: all that stands in a dimension."""
    share, site = await _open(request)
    return _shown(request, share, await top_page(request, site, _place(request, share)))


async def download(request: Request) -> Response:
    """`GET /share/TOKEN/csv/PANEL`: a panel as CSV."""
    share, site = await _open(request)
    return await csv_file(request, site, _place(request, share))


async def live(request: Request) -> Response:
    """`GET /share/TOKEN/live`: Server-Sent Events: how many visitors are active now."""
    share, site = await _open(request)
    place = desk(request)

    async def may() -> bool:
        found = await place.read(shared_links.find, share.token)
        return found is not None and found[0].password == share.password

    return place.live.stream(site.number, Right((share.token, share.password), share.token, may))


async def shared(request: Request) -> tuple[Share, Site]:
    """The link that the path names, and its site. Raises `Refused` (`not_found`)."""
    found = await desk(request).read(shared_links.find, request.path_params["token"])
    if found is None:
        raise nothing_here()
    share, id = found
    return share, await desk(request).read(registry.find_site, id)


async def _open(request: Request) -> tuple[Share, Site]:
    share, site = await shared(request)
    if not _is_unlocked(request, share):
        raise Refused("unauthorized", "This needs a password: open the link without what follows it.")
    return share, site


def nothing_here() -> Refused:
    """The refusal for a link that is none, or none any more."""
    return Refused("not_found", "There is nothing here: ask whoever gave you the link for a new one.")


def _is_unlocked(request: Request, share: Share) -> bool:
    known = request.session.get("shares")
    return not share.password or (isinstance(known, list) and _mark(share) in known)


def _mark(share: Share) -> str:
    """What the cookie of a browser has that knew the password: another once the password is."""
    return sha256(f"{share.token}\n{share.password}".encode()).hexdigest()[:16]


def _path(request: Request, share: Share) -> str:
    return f"{desk(request).root}/share/{share.token}"


def _asked(request: Request, share: Share) -> str:
    """The path of the dashboard with what was asked of it."""
    return f"{_path(request, share)}{'?' if request.url.query else ''}{request.url.query}"


def _place(request: Request, share: Share) -> Place:
    return Place(_path(request, share), True, desk(request).url(request))


_SETTINGS = "/sites/{site}/settings/sharing"
SIGNED_IN: Doors = [("GET", _SETTINGS, sharing), ("POST", _SETTINGS, change), ("POST", f"{_SETTINGS}/end", end)]
_SHARE = "/share/{token}"
OPEN: Doors = [
    ("GET", _SHARE, dashboard),
    ("POST", _SHARE, unlock),
    ("GET", f"{_SHARE}/top/{{dimension}}", top),
    ("GET", f"{_SHARE}/csv/{{panel}}", download),
    ("GET", f"{_SHARE}/live", live),
]
