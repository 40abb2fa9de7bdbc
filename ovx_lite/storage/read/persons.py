"""Reading and erasing persons: their traits and their activity."""

import sqlite3
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.models import COUNTER_BITS, Site
from ovx_lite.storage.projection.identity_links import PERSON_OF_EVENT
from ovx_lite.storage.read.events import IS_ENGAGEMENT
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.sqlite import transaction

NO_PERSON = 0
"""The person ID in the links of visitors whose person was erased."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode
# When a person is erased, their link is deleted if it is the first of its visitor, who is then as before the link. A
# link with another one before it is kept with `NO_PERSON`. Otherwise, its events would become another person's.
_DELETE_FIRST_LINKS = """
DELETE FROM identity_links WHERE site_id = :site_id AND person_id = :person_id AND NOT EXISTS (
    SELECT 1 FROM identity_links AS earlier
    WHERE earlier.site_id = identity_links.site_id AND earlier.visitor_id = identity_links.visitor_id
        AND earlier.linked_at <= identity_links.linked_at AND earlier.person_id <> :person_id
)
"""
_CLEAR_LINKS = f"""
UPDATE OR REPLACE identity_links SET person_id = {NO_PERSON} WHERE site_id = :site_id AND person_id = :person_id
"""


class PersonRecord(NamedTuple):
    """A person as stored: the caller's ID for them, their traits, and the time of the event that first named them."""

    id: int
    user_id: str
    traits: dict[str, Any]
    created_at_ms: int


class PersonActivity(msgspec.Struct, frozen=True):
    """The numbers of a person's visitors, visits and events, and the times (Unix ms) of the first and last event."""

    visitors: int
    visits: int
    events: int
    first_event_at_ms: int | None
    last_event_at_ms: int | None


def page(
    conn: sqlite3.Connection, site_id: int, text: str, before: tuple[int, int] | None, limit: int | None
) -> list[PersonRecord]:
    """Return up to `limit` persons of a site whose ID, name or email contains `text`, newest first.

    `before` is the end of the page before: `created_at_ms` and `id` of its last person. None means no limit.
    """
    created_at_ms, person_id = before or (_MAX_INTEGER, 0)
    params = {
        "site_id": site_id,
        "created_at": created_at_ms,
        "id": person_id,
        "pattern": f"%{text.replace('!', '!!').replace('%', '!%').replace('_', '!_')}%",
        "limit": -1 if limit is None else limit,
    }
    return [_record(row) for row in conn.execute(_SELECT_PAGE, params)]


_MAX_INTEGER = (1 << 63) - 1
_SELECT_PAGE = """
SELECT id, external_id, traits, created_at FROM persons
WHERE site_id = :site_id AND (created_at, id) < (:created_at, :id) AND (
    :pattern = '%%' OR external_id LIKE :pattern ESCAPE '!'
    OR json_extract(traits, '$.name') LIKE :pattern ESCAPE '!'
    OR json_extract(traits, '$.email') LIKE :pattern ESCAPE '!'
)
ORDER BY created_at DESC, id DESC LIMIT :limit
"""


def find(conn: sqlite3.Connection, site_id: int, person_id: int | str) -> PersonRecord | None:
    """Return the person with an ID, or None. A number is the ID in the store, a text is the caller's ID."""
    column = "id" if isinstance(person_id, int) else "external_id"
    query = f"SELECT id, external_id, traits, created_at FROM persons WHERE site_id = ? AND {column} = ?"
    row = conn.execute(query, (site_id, person_id)).fetchone()
    return None if row is None else _record(row)


def _record(row: tuple[int, str, str, int]) -> PersonRecord:
    person_id, user_id, traits, created_at_ms = row
    return PersonRecord(person_id, user_id, _decode(traits), created_at_ms)


# A person's events are in visits of the person's own visitor (events without a device) or of visitors linked to them.
_EVENTS_OF_PERSON = f"""
SELECT visit_id, id_offset, visitor_id
FROM visits JOIN events ON events.site_id = visits.site_id AND visit_id = visits.id
WHERE visits.site_id = :site_id AND {PERSON_OF_EVENT} = :person_id
    AND visitor_id IN (
        SELECT :person_id >> 15
        UNION ALL SELECT visitor_id FROM identity_links WHERE site_id = :site_id AND person_id = :person_id
    )
"""


def activity(conn: sqlite3.Connection, site_id: int, person: PersonRecord) -> PersonActivity:
    """Return the activity of a person, including events of linked visitors from before they were identified."""
    query = f"""
        SELECT count(DISTINCT visitor_id), count(DISTINCT visit_id), count(*),
            min(visit_id + id_offset) >> {COUNTER_BITS}, max(visit_id + id_offset) >> {COUNTER_BITS}
        FROM ({_EVENTS_OF_PERSON})
    """
    return PersonActivity(*conn.execute(query, {"site_id": site_id, "person_id": person.id}).fetchone())


def erase(conn: sqlite3.Connection, site: Site, person: PersonRecord, new_visitor_ids: Iterator[int]) -> int:
    """Delete a person. Their events stay, but belong to nobody. Return the number of these events.

    The events move to new visits of new visitors, whose IDs (48 bits) come from `new_visitor_ids` and lead nowhere. So
    the person does not get the events back when their device is identified again. Until then, later events of the
    device belong to nobody. The days of the events are marked as dirty.
    """
    params = {"site_id": site.id, "person_id": person.id}
    replacement_ids: dict[int, int] = {}
    with transaction(conn):
        offsets_by_visit: dict[tuple[int, int], list[int]] = {}
        for visit_id, id_offset, visitor_id in conn.execute(_EVENTS_OF_PERSON, params).fetchall():
            offsets_by_visit.setdefault((visit_id, visitor_id), []).append(id_offset)
        conn.execute("UPDATE events SET person_id = NULL WHERE site_id = :site_id AND person_id = :person_id", params)
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
    """Split a visit: the events in `id_offsets` go to a new visitor, the others (if any) stay with the old one."""
    query = "SELECT visitor_id, is_identified FROM visits WHERE site_id = ? AND id = ?"
    visitor_id, is_identified = conn.execute(query, (site_id, visit_id)).fetchone()
    query = "SELECT id_offset FROM events WHERE site_id = ? AND visit_id = ?"
    other_offsets = [
        id_offset for (id_offset,) in conn.execute(query, (site_id, visit_id)) if id_offset not in id_offsets
    ]
    conn.execute("DELETE FROM visits WHERE site_id = ? AND id = ?", (site_id, visit_id))
    query = "DELETE FROM open_visits WHERE site_id = ? AND visit_id = ? RETURNING daily_visitor_id, session_key"
    open_visits = conn.execute(query, (site_id, visit_id)).fetchall()
    remaining_visit_id = _move_events(conn, site_id, visit_id, other_offsets)
    halves = (
        (remaining_visit_id, visitor_id, is_identified),
        (_move_events(conn, site_id, visit_id, id_offsets), new_visitor_id, 0),
    )
    if remaining_visit_id is not None:  # it may continue; if it were not found again, the visitor would count twice
        query = "INSERT INTO open_visits (site_id, visit_id, daily_visitor_id, session_key) VALUES (?, ?, ?, ?)"
        conn.executemany(query, [(site_id, remaining_visit_id, *open_visit) for open_visit in open_visits])
    for new_visit_id, owner_id, is_owner_identified in halves:
        if new_visit_id is not None:
            params = {"site_id": site_id, "visit_id": new_visit_id}
            conn.execute(_INSERT_VISIT, params | {"visitor_id": owner_id, "is_identified": is_owner_identified})


def _move_events(conn: sqlite3.Connection, site_id: int, old_visit_id: int, id_offsets: Collection[int]) -> int | None:
    """Move some of a visit's events to a visit whose ID is that of the first of them.

    Return its ID, or None if there is no visit: without events, or with engagement events only.
    """
    if not id_offsets:
        return None
    query = f"""
        SELECT id_offset FROM events JOIN event_types ON event_types.id = event_type_id
        WHERE site_id = ? AND visit_id = ? AND id_offset IN ({", ".join(map(str, id_offsets))})
            AND NOT {IS_ENGAGEMENT} ORDER BY id_offset LIMIT 1
    """
    first_row = conn.execute(query, (site_id, old_visit_id)).fetchone()
    # Engagement events alone make no visit: each becomes an event without one, under its own ID.
    visit_id_by_offset = {
        id_offset: old_visit_id + (id_offset if first_row is None else first_row[0]) for id_offset in id_offsets
    }
    moved = [
        (visit_id, old_visit_id + id_offset - visit_id, site_id, old_visit_id, id_offset)
        for id_offset, visit_id in visit_id_by_offset.items()
    ]
    for table in ("events", "event_revenue"):
        query = f"UPDATE {table} SET visit_id = ?, id_offset = ? WHERE site_id = ? AND visit_id = ? AND id_offset = ?"
        conn.executemany(query, moved)
    return None if first_row is None else old_visit_id + int(first_row[0])


_PAGES_OF_VISIT = """
SELECT page_id FROM events
JOIN event_types ON event_types.id = event_type_id JOIN pages ON pages.id = page_id
WHERE site_id = :site_id AND visit_id = :visit_id AND type = 'pageview' AND path <> '' ORDER BY id_offset
"""
_INSERT_VISIT = f"""
INSERT INTO visits (
    site_id, id, traffic_source_id, client_id, entry_page_id, exit_page_id, page_type_bloom,
    visitor_id, flags, early_ms, elapsed_ms, pageviews, other_events
)
SELECT :site_id, :visit_id,
    (SELECT traffic_source_id FROM events WHERE site_id = :site_id AND visit_id = :visit_id AND id_offset = 0),
    (SELECT client_id FROM events WHERE site_id = :site_id AND visit_id = :visit_id AND id_offset = 0),
    ({_PAGES_OF_VISIT} LIMIT 1), ({_PAGES_OF_VISIT} DESC LIMIT 1), -1, :visitor_id, :is_identified << 1,
    max((:visit_id >> {COUNTER_BITS}) - (visit_id + min(id_offset) >> {COUNTER_BITS}), 0),
    (visit_id + max(id_offset) >> {COUNTER_BITS}) - (:visit_id >> {COUNTER_BITS}),
    sum(type = 'pageview'), sum(type <> 'pageview' AND NOT {IS_ENGAGEMENT})
FROM events JOIN event_types ON event_types.id = event_type_id WHERE site_id = :site_id AND visit_id = :visit_id
"""


def delete_all(conn: sqlite3.Connection, site_id: int) -> None:
    """Delete all persons of a site and the links to them. Call it inside a transaction."""
    for table in ("persons", "identity_links"):
        conn.execute(f"DELETE FROM {table} WHERE site_id = ?", (site_id,))
