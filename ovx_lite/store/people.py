"""Persons as they are looked at and erased: what is stored of them, and the traces that they left."""

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from ovx_lite.errors import Refused
from ovx_lite.model import COUNTER_BITS
from ovx_lite.store.db import transaction
from ovx_lite.store.persons import OWNER

NOBODY = 0
"""Whose a visitor is that was tied to somebody who is erased."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode
# Where nobody else's tie is before that of somebody erased, it says nothing: the device is as it was at the beginning.
_NOBODY_FIRST = f"""
DELETE FROM ties WHERE site = ? AND person = {NOBODY} AND NOT EXISTS (
    SELECT 1 FROM ties AS earlier WHERE earlier.site = ties.site AND earlier.visitor = ties.visitor
        AND earlier.since <= ties.since AND earlier.person <> {NOBODY}
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
    query = "SELECT number, id, traits, created FROM persons WHERE site = ? ORDER BY created, id"
    return (Known(number, id, _decode(traits), at) for number, id, traits, at in conn.execute(query, (site,)))


def page(conn: sqlite3.Connection, site: int, text: str, before: tuple[int, int], most: int) -> list[Known]:
    """A site's persons whose id, name or email has this text, latest named first, at most so many.

    `before` is where the page before ended: when its last person was first named (Unix ms), and their number.
    """
    letters = text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    rows = conn.execute(
        _PAGE, {"site": site, "created": before[0], "number": before[1], "like": f"%{letters}%", "most": most}
    )
    return [Known(number, id, _decode(traits), at) for number, id, traits, at in rows]


_PAGE = """
SELECT number, id, traits, created FROM persons
WHERE site = :site AND (created, number) < (:created, :number) AND (
    :like = '%%' OR id LIKE :like ESCAPE '!'
    OR json_extract(traits, '$.name') LIKE :like ESCAPE '!' OR json_extract(traits, '$.email') LIKE :like ESCAPE '!'
)
ORDER BY created DESC, number DESC LIMIT :most
"""


def find(conn: sqlite3.Connection, site: int, id: str) -> Known:
    """The person of that id; raises `Refused` (`not_found`) if there is none."""
    query = "SELECT number, id, traits, created FROM persons WHERE site = ? AND id = ?"
    row = conn.execute(query, (site, id)).fetchone()
    if row is None:
        raise Refused("not_found", f"There is no person {id}: see ovx-lite person list SITE for those there are.")
    return Known(row[0], row[1], _decode(row[2]), row[3])


def find_number(conn: sqlite3.Connection, site: int, number: int) -> Known | None:
    """The person of that number; None if there is none."""
    query = "SELECT number, id, traits, created FROM persons WHERE site = ? AND number = ?"
    row = conn.execute(query, (site, number)).fetchone()
    return None if row is None else Known(row[0], row[1], _decode(row[2]), row[3])


# The events of visits, found by the time that the visits took.
_OF_VISITS = f"""
visits JOIN events ON events.site = visits.site AND events.id - events.visit = visits.id
    AND events.id >= (visits.id >> {COUNTER_BITS}) - before << {COUNTER_BITS}
    AND events.id < (visits.id >> {COUNTER_BITS}) + after + 1 << {COUNTER_BITS}
"""
_OF_ONE_VISIT = f"""
SELECT events.id, type = 'pageview' FROM {_OF_VISITS} JOIN kinds ON kinds.id = kind
WHERE visits.site = ? AND visits.id = ?
"""
# A person's events are all in visits of theirs: those without a device, and those of devices that are tied to them.
_THEIRS = f"""
SELECT events.id, visits.id AS visit, visitor FROM {_OF_VISITS}
WHERE visits.site = :site AND {OWNER} = :person
    AND visitor IN (SELECT :person >> 15 UNION ALL SELECT visitor FROM ties WHERE site = :site AND person = :person)
"""


def traces(conn: sqlite3.Connection, site: int, person: Known) -> Traces:
    """What there is of a person's."""
    query = f"""
        SELECT count(DISTINCT visitor), count(DISTINCT visit), count(*),
            min(id) >> {COUNTER_BITS}, max(id) >> {COUNTER_BITS}
        FROM ({_THEIRS})
    """
    return Traces(*conn.execute(query, {"site": site, "person": person.number}).fetchone())


def erase(conn: sqlite3.Connection, site: int, person: Known, fresh: Iterator[int]) -> int:
    """Forget a person. Their events stay, as nobody's. Returns how many there were.

    What named their visitors is forgotten, too: their events go into visits of their own, of visitors with numbers
    that lead nowhere, from `fresh` (48 bits). So a device that says again whose it is does not bring them back, and
    what it does without saying so is nobody's.
    """
    nobody: dict[int, int] = {}
    with transaction(conn):
        found = conn.execute(_THEIRS, {"site": site, "person": person.number}).fetchall()
        theirs = {id for id, _, _ in found}
        for visit, visitor in {(visit, visitor) for _, visit, visitor in found}:
            if visitor not in nobody:
                nobody[visitor] = next(fresh)
            of_visit = conn.execute(_OF_ONE_VISIT, (site, visit)).fetchall()
            conn.execute("DELETE FROM visits WHERE site = ? AND id = ?", (site, visit))
            conn.execute("DELETE FROM open_visits WHERE site = ? AND visit = ?", (site, visit))
            _begin_anew(conn, site, visitor, [row for row in of_visit if row[0] not in theirs])
            _begin_anew(conn, site, nobody[visitor], [row for row in of_visit if row[0] in theirs])
        conn.executemany("UPDATE events SET person = NULL WHERE site = ? AND id = ?", [(site, id) for id in theirs])
        conn.execute(
            f"UPDATE OR REPLACE ties SET person = {NOBODY} WHERE site = ? AND person = ?", (site, person.number)
        )
        conn.execute(_NOBODY_FIRST, (site,))
        conn.execute("DELETE FROM persons WHERE number = ?", (person.number,))
    return len(theirs)


def _begin_anew(conn: sqlite3.Connection, site: int, visitor: int, events: list[tuple[int, bool]]) -> None:
    """Make a visit of these events, if there are any: each its number, and whether it is a pageview."""
    if not events:
        return
    visit, last = min(events)[0], max(events)[0]
    row = (
        site,
        visit,
        visitor,
        (last >> COUNTER_BITS) - (visit >> COUNTER_BITS),
        sum(of for _, of in events),
        len(events),
    )
    conn.execute(
        "INSERT INTO visits (site, id, visitor, before, after, pageviews, events) VALUES (?, ?, ?, 0, ?, ?, ?)", row
    )
    conn.executemany(
        "UPDATE events SET visit = id - ? WHERE site = ? AND id = ?", [(visit, site, id) for id, _ in events]
    )


def forget_all(conn: sqlite3.Connection, site: int) -> None:
    """Forget all persons of a site, and whose its visitors are. Inside a transaction."""
    for table in ("persons", "ties"):
        conn.execute(f"DELETE FROM {table} WHERE site = ?", (site,))
