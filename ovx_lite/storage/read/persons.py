"""Persons as they are looked at and erased: what is stored of them, and the traces that they left."""

import sqlite3
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import COUNTER_BITS, Site
from ovx_lite.storage.read.events import IS_ENGAGEMENT
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.write.identity_links import OWNER

NOBODY = 0
"""Whose a visitor is that was tied to somebody who is erased."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode
# Where nobody else's tie is before that of somebody erased, it says nothing: the device is as it was at the beginning.
_NOBODY_FIRST = f"""
DELETE FROM identity_links WHERE site_id = ? AND person_id = {NOBODY} AND NOT EXISTS (
    SELECT 1 FROM identity_links AS earlier
    WHERE earlier.site_id = identity_links.site_id AND earlier.visitor_id = identity_links.visitor_id
        AND earlier.linked_at <= identity_links.linked_at AND earlier.person_id <> {NOBODY}
)
"""


class Known(NamedTuple):
    """A person as stored: the caller's `id` for them, what was told of them, and when first (Unix ms)."""

    number: int
    id: str
    traits: dict[str, Any]
    created: int


class Traces(msgspec.Struct, frozen=True):
    """What there is of a person's: how many visitors, visits and events, and the first and last of these (Unix ms)."""

    visitors: int
    visits: int
    events: int
    first: int | None
    last: int | None


def of_site(conn: sqlite3.Connection, site: int) -> Iterator[Known]:
    """A site's persons, in the order in which they were first named."""
    query = "SELECT id, external_id, traits, created_at FROM persons WHERE site_id = ? ORDER BY created_at, external_id"
    return (Known(number, id, _decode(traits), at) for number, id, traits, at in conn.execute(query, (site,)))


def page(conn: sqlite3.Connection, site: int, text: str, before: tuple[int, int], most: int) -> list[Known]:
    """A site's persons whose id, name or email has this text, latest named first, at most so many.

    `before` is where the page before ended: when its last person was first named (Unix ms), and their number.
    """
    letters = text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    rows = conn.execute(
        _PAGE, {"site": site, "created_at": before[0], "id": before[1], "like": f"%{letters}%", "most": most}
    )
    return [Known(number, id, _decode(traits), at) for number, id, traits, at in rows]


_PAGE = """
SELECT id, external_id, traits, created_at FROM persons
WHERE site_id = :site AND (created_at, id) < (:created_at, :id) AND (
    :like = '%%' OR external_id LIKE :like ESCAPE '!'
    OR json_extract(traits, '$.name') LIKE :like ESCAPE '!' OR json_extract(traits, '$.email') LIKE :like ESCAPE '!'
)
ORDER BY created_at DESC, id DESC LIMIT :most
"""


def find(conn: sqlite3.Connection, site: int, id: str) -> Known:
    """The person of that id; raises `Refused` (`not_found`) if there is none."""
    query = "SELECT id, external_id, traits, created_at FROM persons WHERE site_id = ? AND external_id = ?"
    row = conn.execute(query, (site, id)).fetchone()
    if row is None:
        raise Refused("not_found", f"There is no person {id}: see ovx-lite person list SITE for those there are.")
    return Known(row[0], row[1], _decode(row[2]), row[3])


def find_number(conn: sqlite3.Connection, site: int, number: int) -> Known | None:
    """The person of that number; None if there is none."""
    query = "SELECT id, external_id, traits, created_at FROM persons WHERE site_id = ? AND id = ?"
    row = conn.execute(query, (site, number)).fetchone()
    return None if row is None else Known(row[0], row[1], _decode(row[2]), row[3])


# A person's events are all in visits of theirs: those without a device, and those of devices that are tied to them.
_THEIRS = f"""
SELECT visit_id, id_offset, visitor_id
FROM visits JOIN events ON events.site_id = visits.site_id AND visit_id = visits.id
WHERE visits.site_id = :site AND {OWNER} = :person
    AND visitor_id IN (
        SELECT :person >> 15
        UNION ALL SELECT visitor_id FROM identity_links WHERE site_id = :site AND person_id = :person
    )
"""


def traces(conn: sqlite3.Connection, site: int, person: Known) -> Traces:
    """What there is of a person's."""
    query = f"""
        SELECT count(DISTINCT visitor_id), count(DISTINCT visit_id), count(*),
            min(visit_id + id_offset) >> {COUNTER_BITS}, max(visit_id + id_offset) >> {COUNTER_BITS}
        FROM ({_THEIRS})
    """
    return Traces(*conn.execute(query, {"site": site, "person": person.number}).fetchone())


def erase(conn: sqlite3.Connection, site: Site, person: Known, fresh: Iterator[int]) -> int:
    """Forget a person. Their events stay, as nobody's. Returns how many there were.

    What named their visitors is forgotten, too: their events go into visits of their own, of visitors with numbers
    that lead nowhere, from `fresh` (48 bits). So a device that says again whose it is does not bring them back, and
    what it does without saying so is nobody's. The days of it all are to be counted anew.
    """
    whose = {"site": site.number, "person": person.number}
    nobody: dict[int, int] = {}
    with transaction(conn):
        theirs: dict[tuple[int, int], list[int]] = {}
        for visit, later, visitor in conn.execute(_THEIRS, whose).fetchall():
            theirs.setdefault((visit, visitor), []).append(later)
        conn.execute("UPDATE events SET person_id = NULL WHERE site_id = :site AND person_id = :person", whose)
        for (visit, visitor), laters in theirs.items():
            if visitor not in nobody:
                nobody[visitor] = next(fresh)
            _split(conn, site.number, visit, nobody[visitor], set(laters))
            day = local_day(visit >> COUNTER_BITS, site.timezone)
            conn.execute("INSERT INTO dirty_days VALUES (?, ?) ON CONFLICT DO NOTHING", (site.number, day))
        weekly.forget_value(conn, site.number, Dimension.PERSON, person.number)
        conn.execute(
            f"UPDATE OR REPLACE identity_links SET person_id = {NOBODY} WHERE site_id = ? AND person_id = ?",
            (site.number, person.number),
        )
        conn.execute(_NOBODY_FIRST, (site.number,))
        conn.execute("DELETE FROM persons WHERE id = ?", (person.number,))
    return sum(map(len, theirs.values()))


def _split(conn: sqlite3.Connection, site: int, visit: int, nobody: int, theirs: set[int]) -> None:
    """Make two visits of one: of the events that are theirs (`id_offset`s), nobody's, and of the others, if any."""
    query = "SELECT visitor_id, is_identified FROM visits WHERE site_id = ? AND id = ?"
    visitor, named = conn.execute(query, (site, visit)).fetchone()
    query = "SELECT id_offset FROM events WHERE site_id = ? AND visit_id = ?"
    others = [later for (later,) in conn.execute(query, (site, visit)) if later not in theirs]
    conn.execute("DELETE FROM visits WHERE site_id = ? AND id = ?", (site, visit))
    conn.execute("DELETE FROM open_visits WHERE site_id = ? AND visit_id = ?", (site, visit))
    halves = ((_move(conn, site, visit, others), visitor, named), (_move(conn, site, visit, theirs), nobody, 0))
    for new, whose, by_name in halves:
        if new is not None:
            conn.execute(_ANEW, {"site": site, "visit": new, "visitor_id": whose, "is_identified": by_name})


def _move(conn: sqlite3.Connection, site: int, old: int, laters: Collection[int]) -> int | None:
    """Put some of a visit's events under the number of the first of them. Returns that; None if they make no visit."""
    if not laters:
        return None
    query = f"""
        SELECT id_offset FROM events JOIN event_types ON event_types.id = event_type_id
        WHERE site_id = ? AND visit_id = ? AND id_offset IN ({", ".join(map(str, laters))})
            AND NOT {IS_ENGAGEMENT} ORDER BY id_offset LIMIT 1
    """
    first = conn.execute(query, (site, old)).fetchone()
    # What only tells how pages were looked at is no visit.
    new = {later: old + (later if first is None else first[0]) for later in laters}
    moved = [(visit, old + later - visit, site, old, later) for later, visit in new.items()]
    query = "UPDATE events SET visit_id = ?, id_offset = ? WHERE site_id = ? AND visit_id = ? AND id_offset = ?"
    conn.executemany(query, moved)
    return None if first is None else old + int(first[0])


_ITS_VIEWS = """
SELECT page_id FROM events
JOIN event_types ON event_types.id = event_type_id JOIN pages ON pages.id = page_id
WHERE site_id = :site AND visit_id = :visit AND type = 'pageview' AND path <> '' ORDER BY id_offset
"""
_ANEW = f"""
INSERT INTO visits (
    site_id, id, traffic_source_id, client_id, entry_page_id, exit_page_id, page_type_bloom,
    visitor_id, is_identified, is_only_visit_of_day, early_ms, elapsed_ms, pageviews, events
)
SELECT :site, :visit,
    (SELECT traffic_source_id FROM events WHERE site_id = :site AND visit_id = :visit AND id_offset = 0),
    (SELECT client_id FROM events WHERE site_id = :site AND visit_id = :visit AND id_offset = 0),
    ({_ITS_VIEWS} LIMIT 1), ({_ITS_VIEWS} DESC LIMIT 1), -1, :visitor_id, :is_identified, 0,
    max((:visit >> {COUNTER_BITS}) - (visit_id + min(id_offset) >> {COUNTER_BITS}), 0),
    (visit_id + max(id_offset) >> {COUNTER_BITS}) - (:visit >> {COUNTER_BITS}),
    sum(type = 'pageview'), sum(NOT {IS_ENGAGEMENT})
FROM events JOIN event_types ON event_types.id = event_type_id WHERE site_id = :site AND visit_id = :visit
"""


def forget_all(conn: sqlite3.Connection, site: int) -> None:
    """Forget all persons of a site, and whose its visitors are. Inside a transaction."""
    for table in ("persons", "identity_links"):
        conn.execute(f"DELETE FROM {table} WHERE site_id = ?", (site,))
