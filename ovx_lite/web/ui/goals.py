"""Settings → Goals: the goals of a site, and a field to test which of them a path or an event matches."""

import re
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.domain import validators
from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.goal_patterns import GoalMatcher
from ovx_lite.domain.models import Goal, Site
from ovx_lite.services import factories
from ovx_lite.stats import date_ranges
from ovx_lite.stats.query import Query
from ovx_lite.storage.engine import EventReader
from ovx_lite.storage.webhooks import goals as store
from ovx_lite.web.common.context import (
    FlashMessage,
    RouteTable,
    context,
    not_found,
    redirect_to,
    run_query,
    session_requester,
    site_from_path,
)
from ovx_lite.web.common.forms import Form, read_form
from ovx_lite.web.common.templating import render

_MAX_TRIED_LENGTH = 2000
_COUNTED_DAYS = 7


async def list_goals(request: Request) -> Response:
    """`GET …/goals`: the goals with their events of the last 7 days, and which of them `?try=` matches."""
    return await _render_page(request, await site_from_path(request), Form())


async def _render_page(request: Request, site: Site, form: Form) -> Response:
    ui = context(request)
    site_goals = await ui.read(store.goals_of, site.id)
    matcher, tried = GoalMatcher(site_goals), request.query_params.get("try", "").strip()[:_MAX_TRIED_LENGTH]
    events_by_goal = await run_query(request, session_requester(request), _query_goal_events, site)
    return render(
        request,
        "goals.html",
        400 if form.errors else 200,
        site=site,
        form=form,
        goals=site_goals,
        events_by_goal=events_by_goal,
        tried=tried,
        matching_goal_ids=[goal.public_id for goal in _matching_goals(matcher, tried)],
        new_id=factories.new_public_id("goal_"),
    )


def _query_goal_events(reader: EventReader, now_ms: int, site: Site) -> dict[str, int]:
    """Return how often each goal was reached in the last days, by name. Goals that were not reached may be missing."""
    today = local_day(now_ms, site.timezone)
    date_range = date_ranges.from_days(today - _COUNTED_DAYS + 1, today, site.timezone)
    groups = reader.groups(site, Query(("events",), date_range, ("event:goal",)), date_range)
    return {name: inputs.counts.events for (name,), inputs in groups}


def _matching_goals(matcher: GoalMatcher, tried: str) -> list[Goal]:
    """Return the goals that a pageview of this path or URL, or an event of this name, would complete."""
    path = re.split("[?#]", tried)[0] if tried.startswith("/") else _url_path(tried)
    return matcher.match("pageview", "pageview", path) if path else matcher.match("event", tried, "")


def _url_path(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return (parts.path or "/") if parts.scheme and parts.netloc else ""


async def add(request: Request) -> Response:
    """`POST …/goals`: adds a goal."""
    site, form, ui = await site_from_path(request), await read_form(request), context(request)
    name = form.validate("name", validators.short_text, "", "name")
    is_path_goal = form["kind"] != "event" and (form["path"] != "" or form["event"] == "")
    path = form.validate("path", validators.path_pattern, "") if is_path_goal else ""
    event = "" if is_path_goal else form.validate("event", validators.event_name, "")
    if not form.errors:
        goal = factories.goal(
            site,
            name=name,
            event_name=event,
            path_pattern=path,
            now_ms=ui.services.clock.now_ms(),
            public_id=form.public_id("goal_"),
        )
        try:
            await ui.change(ui.services.upkeep.add_goal, goal, site, goal.created_at_ms)
            return redirect_to(
                request, f"/sites/{site.slug}/settings/goals", FlashMessage(f"The goal {name} was added.")
            )
        except ApiError as exc:
            form.add_error(exc)
    return await _render_page(request, site, form)


async def remove(request: Request) -> Response:
    """`POST …/goals/ID/remove`: removes a goal."""
    site, ui = await site_from_path(request), context(request)
    for goal in await ui.read(store.goals_of, site.id):
        if goal.public_id == request.path_params["goal"]:
            await ui.change(ui.services.upkeep.remove_goal, goal.public_id)
            return redirect_to(
                request, f"/sites/{site.slug}/settings/goals", FlashMessage(f"The goal {goal.name} was removed.")
            )
    raise not_found("goal")


_GOALS_PATH = "/sites/{site}/settings/goals"
PROTECTED_ROUTES: RouteTable = [
    ("GET", _GOALS_PATH, list_goals),
    ("POST", _GOALS_PATH, add),
    ("POST", f"{_GOALS_PATH}/{{goal}}/remove", remove),
]
