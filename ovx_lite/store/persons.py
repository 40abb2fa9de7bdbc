"""Persons: whom callers named, and which visitors are theirs.

An event that came with a person is that person's. Others are the person's whose visitor it was: the one to whom the
visitor was last tied by then, or, of what came before all ties, the first. So nothing is rewritten when a visitor says
who they are, and a device that several persons use does not mix them up.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from ovx_lite.errors import Refused
from ovx_lite.model import COUNTER_BITS, Event, Person
from ovx_lite.store.db import in_pieces, insert, transaction

MOST_TRAITS = 64 * 1024
"""Bytes (of JSON) that are kept of a person's traits. Where it would be more, the older ones give way."""

NOBODY = 0
"""Whose a visitor is that was tied to somebody who is erased."""

OWNER = f"""
coalesce(
    events.person,
    (SELECT person FROM ties WHERE ties.site = events.site AND ties.visitor = visits.visitor
        AND since <= events.id >> {COUNTER_BITS} ORDER BY since DESC LIMIT 1),
    (SELECT person FROM ties WHERE ties.site = events.site AND ties.visitor = visits.visitor ORDER BY since LIMIT 1)
)
"""
"""The number of an event's person, as SQL over `events` and the `visits` joined to them."""

_MERGE = """
ON CONFLICT (number) DO UPDATE SET traits = merged(traits, excluded.traits) WHERE excluded.traits <> '{}'
"""
# Ties that were told late: only where they say what was not known.
_TIE_LATE = """
INSERT INTO ties (site, visitor, since, person) SELECT * FROM (VALUES {}) AS new WHERE column4 IS NOT (
    SELECT person FROM ties WHERE site = column1 AND visitor = column2 AND since <= column3 ORDER BY since DESC LIMIT 1
) ON CONFLICT DO NOTHING
"""
# Where nobody else's tie is before that of somebody erased, it says nothing: the device is as it was at the beginning.
_NOBODY_FIRST = f"""
DELETE FROM ties WHERE site = ? AND person = {NOBODY} AND NOT EXISTS (
    SELECT 1 FROM ties AS earlier WHERE earlier.site = ties.site AND earlier.visitor = ties.visitor
        AND earlier.since <= ties.since AND earlier.person <> {NOBODY}
)
"""
_TOGETHER = (64, 8, 1)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Persons:
    """Adds the persons that events come with. Inside the transaction that appends the events.

    What it remembers of them spares repeating what was written before.
    """

    def __init__(self, conn: sqlite3.Connection) -> None:
        conn.create_function("merged", 2, _merged, deterministic=True)
        self._conn = conn
        self._told: dict[int, bytes] = {}
        self._latest: dict[tuple[int, int], tuple[int, int]] = {}
        self._persons: list[tuple[int, int, str, str, int]] = []
        self._ties: list[tuple[int, int, int, int]] = []
        self._late: list[tuple[int, int, int, int]] = []

    def __len__(self) -> int:
        return max(len(self._told), len(self._latest))

    def place(self, site: int, event: Event, person: Person) -> int:
        """Take what an event says of its person, and tie its visitor to them. Returns the person's number."""
        told, traits = self._told.get(person.number), _encode(person.traits)
        if told is None or (traits != told and person.traits):
            self._told[person.number] = traits
            self._persons.append((person.number, site, person.id, traits.decode(), event.ts))
        if event.visitor is not None and event.visitor != person.visitor:
            whose = (site, event.visitor)
            since, latest = self._latest.get(whose) or self._look_up(whose)
            late = event.ts < since
            if late or latest != person.number:
                (self._late if late else self._ties).append((*whose, event.ts, person.number))
                if not late:
                    self._latest[whose] = (event.ts, person.number)
        return person.number

    def _look_up(self, whose: tuple[int, int]) -> tuple[int, int]:
        """Since when (Unix ms) a visitor is whose, as far as the file knows."""
        query = "SELECT since, person FROM ties WHERE site = ? AND visitor = ? ORDER BY since DESC LIMIT 1"
        latest = self._latest[whose] = self._conn.execute(query, whose).fetchone() or (-1, -1)
        return latest

    def flush(self) -> None:
        """Write what was told."""
        insert(self._conn, "INSERT INTO persons (number, site, id, traits, created)", self._persons, _MERGE)
        insert(self._conn, "INSERT INTO ties (site, visitor, since, person)", self._ties, "ON CONFLICT DO NOTHING")
        for size, some in in_pieces(self._late, _TOGETHER):
            values = [value for tie in some for value in tie]
            self._conn.execute(_TIE_LATE.format(", ".join(["(?, ?, ?, ?)"] * size)), values)
        self._persons.clear()
        self._ties.clear()
        self._late.clear()

    def forget(self) -> None:
        """Drop all that is remembered and not written."""
        self._told.clear()
        self._latest.clear()
        self._persons.clear()
        self._ties.clear()
        self._late.clear()


def _merged(before: str, told: str) -> str:
    """Traits with those that were told later, for SQL."""
    traits = {**_decode(before), **_decode(told)}
    while len(encoded := _encode(traits)) > MOST_TRAITS:
        del traits[next(iter(traits))]
    return encoded.decode()


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


def find(conn: sqlite3.Connection, site: int, id: str) -> Known:
    """The person of that id; raises `Refused` (`not_found`) if there is none."""
    query = "SELECT number, id, traits, created FROM persons WHERE site = ? AND id = ?"
    row = conn.execute(query, (site, id)).fetchone()
    if row is None:
        raise Refused("not_found", f"There is no person {id}: see ovx-lite person list SITE for those there are.")
    return Known(row[0], row[1], _decode(row[2]), row[3])


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
