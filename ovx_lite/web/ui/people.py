"""Settings → People: those whom events named."""

import re
import sqlite3

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.domain.models import Site
from ovx_lite.services import factories
from ovx_lite.storage.read import persons
from ovx_lite.storage.read.persons import Known, Traces
from ovx_lite.storage.sqlite import empty_log
from ovx_lite.web.common.context import Doors, Notice, desk, go_to, not_here, run_query, signed_in, site_of
from ovx_lite.web.common.templating import page

_ON_A_PAGE = 50
_LATEST = (1 << 62, 0)


async def list_people(request: Request) -> Response:
    """`GET …/people`: latest first; `?q=` looks for an id, a name or an email, `before=` goes on."""
    site, asked = await site_of(request), request.query_params
    text, before = asked.get("q", "").strip()[:200], _place(asked.get("before", ""))
    found = await run_query(request, signed_in(request), _page, site.number, text, before)
    last = found[_ON_A_PAGE - 1] if len(found) > _ON_A_PAGE else None
    return page(
        request,
        "people.html",
        site=site,
        people=found[:_ON_A_PAGE],
        text=text,
        newest=before == _LATEST,
        older="" if last is None else f"{last.created}.{last.number}",
    )


def _page(conn: sqlite3.Connection, now: int, site: int, text: str, before: tuple[int, int]) -> list[Known]:
    return persons.page(conn, site, text, before, _ON_A_PAGE + 1)


def _place(told: str) -> tuple[int, int]:
    """Where the page before ended: when its last person was first named, and their number."""
    found = re.fullmatch(r"(\d{1,15})\.(-?\d{1,19})", told)
    return (int(found[1]), int(found[2])) if found and abs(int(found[2])) < 1 << 63 else _LATEST


async def person(request: Request) -> Response:
    """`GET …/people/NUMBER`: what is known of them."""
    site = await site_of(request)
    found = await _person(request, site)
    traces = await run_query(request, signed_in(request), _traces, site.number, found.number)
    if traces is None:
        raise not_here("person")
    return page(request, "person.html", site=site, person=found, traces=traces)


def _traces(conn: sqlite3.Connection, now: int, site: int, number: int) -> Traces | None:
    person = persons.find_number(conn, site, number)
    return None if person is None else persons.traces(conn, site, person)


async def erase(request: Request) -> Response:
    """`POST …/people/NUMBER/erase`: forgets them; their events stay, as nobody's."""
    site, place = await site_of(request), desk(request)
    found = await _person(request, site)
    untied = await place.house.ingest.change(persons.erase, site, found, factories.visitors())
    await place.house.database.write(empty_log, 2)  # what was erased is still in there
    notice = Notice(f"The person is erased. {untied:,} {'event is' if untied == 1 else 'events are'} nobody's now.")
    return go_to(request, f"/sites/{site.id}/settings/people", notice)


async def _person(request: Request, site: Site) -> Known:
    told = request.path_params["person"]
    if re.fullmatch(r"-?\d{1,19}", told) and abs(int(told)) < 1 << 63:
        found = await desk(request).read(persons.find_number, site.number, int(told))
        if found is not None:
            return found
    raise not_here("person")


_PEOPLE = "/sites/{site}/settings/people"
SIGNED_IN: Doors = [
    ("GET", _PEOPLE, list_people),
    ("GET", f"{_PEOPLE}/{{person}}", person),
    ("POST", f"{_PEOPLE}/{{person}}/erase", erase),
]
