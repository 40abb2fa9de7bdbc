"""Persons as they are looked at and erased: what is stored of them, and the traces that they left."""

import sqlite3
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import COUNTER_BITS, Site
from ovx_lite.storage.read.events import IS_ENGAGEMENT
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.write.identity_links import PERSON_OF_EVENT

NO_PERSON = 0
"""Whose a visitor is that was tied to somebody who is erased."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode
# A link that no other link precedes says nothing once its person is gone: the device is as it was before it.
# Where one does, events between the two and the next link belong to nobody, and must not become the next person's.
_DELETE_FIRST_LINKS = """
DELETE FROM identity_links WHERE site_id = :site AND person_id = :person AND NOT EXISTS (
    SELECT 1 FROM identity_links AS earlier
    WHERE earlier.site_id = identity_links.site_id AND earlier.visitor_id = identity_links.visitor_id
        AND earlier.linked_at <= identity_links.linked_at AND earlier.person_id <> :person
)
"""
_CLEAR_LINKS = f"""
UPDATE OR REPLACE identity_links SET person_id = {NO_PERSON} WHERE site_id = :site AND person_id = :person
"""


class PersonRecord(NamedTuple):
    """A person as stored: the caller's `id` for them, what was told of them, and when first (Unix ms)."""

    id: int
    user_id: str
    traits: dict[str, Any]
    created_at_ms: int


class PersonActivity(msgspec.Struct, frozen=True):
    """What there is of a person's: how many visitors, visits and events, and the first and last of these (Unix ms)."""

    visitors: int
    visits: int
    events: int
    first_event_at_ms: int | None
    last_event_at_ms: int | None


def of_site(conn: sqlite3.Connection, site_id: int) -> Iterator[PersonRecord]:
    """A site's persons, in the order in which they were first named."""
    query = "SELECT id, external_id, traits, created_at FROM persons WHERE site_id = ? ORDER BY created_at, external_id"
    return (
        PersonRecord(person_id, user_id, _decode(traits), created_at_ms)
        for person_id, user_id, traits, created_at_ms in conn.execute(query, (site_id,))
    )


def page(conn: sqlite3.Connection, site_id: int, text: str, cursor: tuple[int, int], limit: int) -> list[PersonRecord]:
    """A site's persons whose id, name or email has this text, latest named first, at most so many.

    `before` is where the page before ended: when its last person was first named (Unix ms), and their number.
    """
    pattern = text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    rows = conn.execute(
        _SELECT_PAGE, {"site": site_id, "created_at": cursor[0], "id": cursor[1], "like": f"%{pattern}%", "most": limit}
    )
    return [
        PersonRecord(person_id, user_id, _decode(traits), created_at_ms)
        for person_id, user_id, traits, created_at_ms in rows
    ]


_SELECT_PAGE = """
SELECT id, external_id, traits, created_at FROM persons
WHERE site_id = :site AND (created_at, id) < (:created_at, :id) AND (
    :like = '%%' OR external_id LIKE :like ESCAPE '!'
    OR json_extract(traits, '$.name') LIKE :like ESCAPE '!' OR json_extract(traits, '$.email') LIKE :like ESCAPE '!'
)
ORDER BY created_at DESC, id DESC LIMIT :most
"""


def find(conn: sqlite3.Connection, site_id: int, user_id: str) -> PersonRecord:
    """The person of that id; raises `ApiError` (`not_found`) if there is none."""
    query = "SELECT id, external_id, traits, created_at FROM persons WHERE site_id = ? AND external_id = ?"
    row = conn.execute(query, (site_id, user_id)).fetchone()
    if row is None:
        raise ApiError("not_found", f"There is no person {user_id}: see ovx-lite person list SITE for those there are.")
    return PersonRecord(row[0], row[1], _decode(row[2]), row[3])


def find_by_id(conn: sqlite3.Connection, site_id: int, person_id: int) -> PersonRecord | None:
    """The person of that number; None if there is none."""
    query = "SELECT id, external_id, traits, created_at FROM persons WHERE site_id = ? AND id = ?"
    row = conn.execute(query, (site_id, person_id)).fetchone()
    return None if row is None else PersonRecord(row[0], row[1], _decode(row[2]), row[3])


# A person's events are all in visits of theirs: those without a device, and those of devices that are tied to them.
_EVENTS_OF_PERSON = f"""
SELECT visit_id, id_offset, visitor_id
FROM visits JOIN events ON events.site_id = visits.site_id AND visit_id = visits.id
WHERE visits.site_id = :site AND {PERSON_OF_EVENT} = :person
    AND visitor_id IN (
        SELECT :person >> 15
        UNION ALL SELECT visitor_id FROM identity_links WHERE site_id = :site AND person_id = :person
    )
"""


def activity(conn: sqlite3.Connection, site_id: int, person: PersonRecord) -> PersonActivity:
    """What there is of a person's."""
    query = f"""
        SELECT count(DISTINCT visitor_id), count(DISTINCT visit_id), count(*),
            min(visit_id + id_offset) >> {COUNTER_BITS}, max(visit_id + id_offset) >> {COUNTER_BITS}
        FROM ({_EVENTS_OF_PERSON})
    """
    return PersonActivity(*conn.execute(query, {"site": site_id, "person": person.id}).fetchone())


def erase(conn: sqlite3.Connection, site: Site, person: PersonRecord, new_visitor_ids: Iterator[int]) -> int:
    """Forget a person. Their events stay, as nobody's. Returns how many there were.

    What named their visitors is forgotten, too: their events go into visits of their own, of visitors with numbers
    that lead nowhere, from `fresh` (48 bits). So a device that says again whose it is does not bring them back, and
    what it does without saying so is nobody's. The days of it all are to be counted anew.
    """
    params = {"site": site.id, "person": person.id}
    replacement_ids: dict[int, int] = {}
    with transaction(conn):
        offsets_by_visit: dict[tuple[int, int], list[int]] = {}
        for visit_id, id_offset, visitor_id in conn.execute(_EVENTS_OF_PERSON, params).fetchall():
            offsets_by_visit.setdefault((visit_id, visitor_id), []).append(id_offset)
        conn.execute("UPDATE events SET person_id = NULL WHERE site_id = :site AND person_id = :person", params)
        for (visit_id, visitor_id), id_offsets in offsets_by_visit.items():
            if visitor_id not in replacement_ids:
                replacement_ids[visitor_id] = next(new_visitor_ids)
            _split_visit(conn, site.id, visit_id, replacement_ids[visitor_id], set(id_offsets))
            day = local_day(visit_id >> COUNTER_BITS, site.timezone)
            conn.execute("INSERT INTO dirty_days VALUES (?, ?) ON CONFLICT DO NOTHING", (site.id, day))
        weekly.delete_value(conn, site.id, Dimension.PERSON, person.id)
        conn.execute(_DELETE_FIRST_LINKS, params)
        conn.execute(_CLEAR_LINKS, params)
        conn.execute("DELETE FROM persons WHERE id = ?", (person.id,))
    return sum(map(len, offsets_by_visit.values()))


def _split_visit(
    conn: sqlite3.Connection, site_id: int, visit_id: int, new_visitor_id: int, id_offsets: set[int]
) -> None:
    """Make two visits of one: of the events that are theirs (`id_offset`s), nobody's, and of the others, if any."""
    query = "SELECT visitor_id, is_identified FROM visits WHERE site_id = ? AND id = ?"
    visitor_id, is_identified = conn.execute(query, (site_id, visit_id)).fetchone()
    query = "SELECT id_offset FROM events WHERE site_id = ? AND visit_id = ?"
    other_offsets = [
        id_offset for (id_offset,) in conn.execute(query, (site_id, visit_id)) if id_offset not in id_offsets
    ]
    conn.execute("DELETE FROM visits WHERE site_id = ? AND id = ?", (site_id, visit_id))
    conn.execute("DELETE FROM open_visits WHERE site_id = ? AND visit_id = ?", (site_id, visit_id))
    halves = (
        (_move_events(conn, site_id, visit_id, other_offsets), visitor_id, is_identified),
        (_move_events(conn, site_id, visit_id, id_offsets), new_visitor_id, 0),
    )
    for new_visit_id, owner_id, is_owner_identified in halves:
        if new_visit_id is not None:
            conn.execute(
                _INSERT_VISIT,
                {"site": site_id, "visit": new_visit_id, "visitor_id": owner_id, "is_identified": is_owner_identified},
            )


def _move_events(conn: sqlite3.Connection, site_id: int, old_visit_id: int, id_offsets: Collection[int]) -> int | None:
    """Put some of a visit's events under the number of the first of them. Returns that; None if they make no visit."""
    if not id_offsets:
        return None
    query = f"""
        SELECT id_offset FROM events JOIN event_types ON event_types.id = event_type_id
        WHERE site_id = ? AND visit_id = ? AND id_offset IN ({", ".join(map(str, id_offsets))})
            AND NOT {IS_ENGAGEMENT} ORDER BY id_offset LIMIT 1
    """
    first_row = conn.execute(query, (site_id, old_visit_id)).fetchone()
    # What only tells how pages were looked at is no visit.
    visit_id_by_offset = {
        id_offset: old_visit_id + (id_offset if first_row is None else first_row[0]) for id_offset in id_offsets
    }
    moved = [
        (visit_id, old_visit_id + id_offset - visit_id, site_id, old_visit_id, id_offset)
        for id_offset, visit_id in visit_id_by_offset.items()
    ]
    query = "UPDATE events SET visit_id = ?, id_offset = ? WHERE site_id = ? AND visit_id = ? AND id_offset = ?"
    conn.executemany(query, moved)
    return None if first_row is None else old_visit_id + int(first_row[0])


_PAGES_OF_VISIT = """
SELECT page_id FROM events
JOIN event_types ON event_types.id = event_type_id JOIN pages ON pages.id = page_id
WHERE site_id = :site AND visit_id = :visit AND type = 'pageview' AND path <> '' ORDER BY id_offset
"""
_INSERT_VISIT = f"""
INSERT INTO visits (
    site_id, id, traffic_source_id, client_id, entry_page_id, exit_page_id, page_type_bloom,
    visitor_id, is_identified, is_only_visit_of_day, early_ms, elapsed_ms, pageviews, events
)
SELECT :site, :visit,
    (SELECT traffic_source_id FROM events WHERE site_id = :site AND visit_id = :visit AND id_offset = 0),
    (SELECT client_id FROM events WHERE site_id = :site AND visit_id = :visit AND id_offset = 0),
    ({_PAGES_OF_VISIT} LIMIT 1), ({_PAGES_OF_VISIT} DESC LIMIT 1), -1, :visitor_id, :is_identified, 0,
    max((:visit >> {COUNTER_BITS}) - (visit_id + min(id_offset) >> {COUNTER_BITS}), 0),
    (visit_id + max(id_offset) >> {COUNTER_BITS}) - (:visit >> {COUNTER_BITS}),
    sum(type = 'pageview'), sum(NOT {IS_ENGAGEMENT})
FROM events JOIN event_types ON event_types.id = event_type_id WHERE site_id = :site AND visit_id = :visit
"""


def delete_all(conn: sqlite3.Connection, site_id: int) -> None:
    """Forget all persons of a site, and whose its visitors are. Inside a transaction."""
    for table in ("persons", "identity_links"):
        conn.execute(f"DELETE FROM {table} WHERE site_id = ?", (site_id,))
