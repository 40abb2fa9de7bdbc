"""Settings → Goals: what a site wants its visitors to do."""

import re
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.domain import validators
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.goal_patterns import Goals
from ovx_lite.domain.models import Goal, Site
from ovx_lite.services import factories
from ovx_lite.storage.rollups import goal_backfill
from ovx_lite.storage.webhooks import goals as store
from ovx_lite.web.common.context import Doors, Notice, desk, go_to, not_here, site_of
from ovx_lite.web.common.forms import Form, form_of
from ovx_lite.web.common.templating import page

_LONGEST_WORD = 2000


async def goals(request: Request) -> Response:
    """`GET …/goals`: the goals, how often each was met this week, and which of them `?try=` meets."""
    return await _page(request, await site_of(request), Form())


async def _page(request: Request, site: Site, form: Form) -> Response:
    place = desk(request)
    found = await place.read(store.goals_of, site.number)
    ready, tried = Goals(found), request.query_params.get("try", "").strip()[:_LONGEST_WORD]
    met = await place.read(goal_backfill.met_this_week, site, place.house.clock.now())
    return page(
        request,
        "goals.html",
        400 if form.wrong else 200,
        site=site,
        form=form,
        goals=found,
        met=met,
        tried=tried,
        meets=[goal.id for goal in _meets(ready, tried)],
        fresh=factories.id_of("goal_"),
    )


def _meets(goals: Goals, tried: str) -> list[Goal]:
    """The goals that a pageview of a path or URL, or an event of a name, would meet."""
    path = re.split("[?#]", tried)[0] if tried.startswith("/") else _path(tried)
    return goals.of("pageview", "pageview", path) if path else goals.of("event", tried, "")


def _path(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return (parts.path or "/") if parts.scheme and parts.netloc else ""


async def add(request: Request) -> Response:
    """`POST …/goals`: adds a goal."""
    site, form, place = await site_of(request), await form_of(request), desk(request)
    name = form.judge("name", validators.words, "", "name")
    by_path = form["kind"] != "event" and (form["path"] != "" or form["event"] == "")
    path = form.judge("path", validators.path_pattern, "") if by_path else ""
    event = "" if by_path else form.judge("event", validators.event_name, "")
    if not form.wrong:
        goal = factories.goal(site, name, event, path, place.house.clock.now(), form.id("goal_"))
        try:
            await place.change(goal_backfill.add_goal, goal, site, goal.created)
            return go_to(request, f"/sites/{site.id}/settings/goals", Notice(f"The goal {name} is there."))
        except Refused as refused:
            form.blame(refused)
    return await _page(request, site, form)


async def remove(request: Request) -> Response:
    """`POST …/goals/ID/remove`: removes a goal."""
    site, place = await site_of(request), desk(request)
    for goal in await place.read(store.goals_of, site.number):
        if goal.id == request.path_params["goal"]:
            await place.change(goal_backfill.remove_goal, goal.id)
            return go_to(request, f"/sites/{site.id}/settings/goals", Notice(f"The goal {goal.name} is removed."))
    raise not_here("goal")


_GOALS = "/sites/{site}/settings/goals"
SIGNED_IN: Doors = [("GET", _GOALS, goals), ("POST", _GOALS, add), ("POST", f"{_GOALS}/{{goal}}/remove", remove)]
