"""Settings → People: the identified people of a site, and their erasure."""

import re

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.domain.models import Site
from ovx_lite.services import factories
from ovx_lite.storage.engine import EventReader
from ovx_lite.storage.read.persons import PersonActivity, PersonRecord
from ovx_lite.storage.sqlite import truncate_wal
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
from ovx_lite.web.common.templating import render

_PAGE_SIZE = 50


async def list_people(request: Request) -> Response:
    """`GET …/people`: newest first. `q` searches for an ID, a name or an email; `before` is the cursor."""
    site, params = await site_from_path(request), request.query_params
    text, cursor = params.get("q", "").strip()[:200], _parse_cursor(params.get("before", ""))
    people = await run_query(request, session_requester(request), _query_page, site.id, text, cursor)
    last = people[_PAGE_SIZE - 1] if len(people) > _PAGE_SIZE else None
    return render(
        request,
        "people.html",
        site=site,
        people=people[:_PAGE_SIZE],
        text=text,
        is_first_page=cursor is None,
        older_cursor="" if last is None else f"{last.created_at_ms}.{last.id}",
    )


def _query_page(
    reader: EventReader, now_ms: int, site_id: int, text: str, cursor: tuple[int, int] | None
) -> list[PersonRecord]:
    return reader.persons(site_id, text, cursor, _PAGE_SIZE + 1)


def _parse_cursor(text: str) -> tuple[int, int] | None:
    """Return when the last person of the page before was first identified (Unix ms), and their ID; else None."""
    match = re.fullmatch(r"(\d{1,15})\.(-?\d{1,19})", text)
    return (int(match[1]), int(match[2])) if match and abs(int(match[2])) < 1 << 63 else None


async def show_person(request: Request) -> Response:
    """`GET …/people/NUMBER`: a person's traits and activity."""
    site = await site_from_path(request)
    person = await _find_person(request, site)
    traces = await run_query(request, session_requester(request), _query_traces, site.id, person.id)
    if traces is None:
        raise not_found("person")
    return render(request, "person.html", site=site, person=person, traces=traces)


def _query_traces(reader: EventReader, now_ms: int, site_id: int, person_id: int) -> PersonActivity | None:
    person = reader.find_person(site_id, person_id)
    return None if person is None else reader.person_activity(site_id, person)


async def erase(request: Request) -> Response:
    """`POST …/people/NUMBER/erase`: erases a person. Their events stay, but belong to no person."""
    site, ui = await site_from_path(request), context(request)
    person = await _find_person(request, site)
    freed_events = await ui.services.writer.change(
        ui.services.upkeep.erase_person, site, person, factories.random_visitor_ids()
    )
    await ui.services.database.write(truncate_wal, 2)  # the WAL still contains the erased data
    events_text = f"{freed_events:,} {'event' if freed_events == 1 else 'events'}"
    message = FlashMessage(
        f"The person was erased. {events_text} no longer {'belongs' if freed_events == 1 else 'belong'} to anyone."
    )
    return redirect_to(request, f"/sites/{site.slug}/settings/people", message)


async def _find_person(request: Request, site: Site) -> PersonRecord:
    id_text = request.path_params["person"]
    if re.fullmatch(r"-?\d{1,19}", id_text) and abs(int(id_text)) < 1 << 63:
        person = await context(request).read_events(lambda reader: reader.find_person(site.id, int(id_text)))
        if person is not None:
            return person
    raise not_found("person")


_PEOPLE_PATH = "/sites/{site}/settings/people"
PROTECTED_ROUTES: RouteTable = [
    ("GET", _PEOPLE_PATH, list_people),
    ("GET", f"{_PEOPLE_PATH}/{{person}}", show_person),
    ("POST", f"{_PEOPLE_PATH}/{{person}}/erase", erase),
]
