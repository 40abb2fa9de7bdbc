"""Persons: whom callers named, and which visitors are theirs.

An event that came with a person is that person's. Others are the person's whose visitor it was: the one to whom the
visitor was last tied by then, or, of what came before all ties, the first. So nothing is rewritten when a visitor says
who they are, and a device that several persons use does not mix them up.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from ovx_lite.errors import Refused
from ovx_lite.model import COUNTER_BITS, Event, Identity
from ovx_lite.store.db import in_pieces, insert, transaction

MOST_TRAITS = 200
"""What is kept of what was told of a person, the latest; so that nobody can make a row grow without end."""

OWNER = f"""
coalesce(
    events.person,
    (SELECT person FROM ties WHERE ties.site = events.site AND ties.visitor = visits.visitor
        AND since <= events.id >> {COUNTER_BITS} ORDER BY since DESC LIMIT 1),
    (SELECT person FROM ties WHERE ties.site = events.site AND ties.visitor = visits.visitor ORDER BY since LIMIT 1)
)
"""
"""The number of an event's person, as SQL over `events` and the `visits` joined to them."""

_TOGETHER = (64, 8, 1)
_FIND = "SELECT number, site, id, traits FROM persons WHERE (site, id) IN (VALUES {})"
_LATEST = """
SELECT site, visitor, max(since), person FROM ties WHERE (site, visitor) IN (VALUES {}) GROUP BY site, visitor
"""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode

Whose = tuple[int, int]
"""A site, and a visitor of it."""


class _Person(msgspec.Struct, gc=False):
    number: int
    traits: dict[str, Any]
    changed: bool = False


class Persons:
    """Knows or adds the persons that events come with. Inside the transaction that appends the events."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._known: dict[tuple[int, str], _Person] = {}
        self._ties: dict[Whose, tuple[int, int]] = {}
        self._changed: list[_Person] = []
        self._tied: dict[tuple[int, int, int], int] = {}

    def __len__(self) -> int:
        return max(len(self._known), len(self._ties))

    def look_up(self, named: Sequence[tuple[int, Event]]) -> None:
        """Learn of the persons and visitors of these events, each with its site, before they are placed."""
        new: dict[tuple[int, str], int] = {}
        whose: set[Whose] = set()
        for site, event in named:
            assert event.person is not None, "only those that came with a person"
            if (site, event.person.id) not in self._known:
                new.setdefault((site, event.person.id), event.ts)
            if event.visitor is not None and (site, event.visitor) not in self._ties:
                whose.add((site, event.visitor))
        rows = [(site, id, "{}", ts) for (site, id), ts in new.items()]
        insert(self._conn, "INSERT INTO persons (site, id, traits, created)", rows, "ON CONFLICT DO NOTHING")
        for number, site, id, traits in self._found(_FIND, list(new)):
            self._known[site, id] = _Person(number, _decode(traits))
        for site, visitor, since, person in self._found(_LATEST, list(whose)):
            self._ties[site, visitor] = (since, person)

    def _found(self, query: str, pairs: Sequence[tuple[int, Any]]) -> Iterator[tuple[Any, ...]]:
        for size, some in in_pieces(pairs, _TOGETHER):
            values = [value for pair in some for value in pair]
            yield from self._conn.execute(query.format(", ".join(["(?, ?)"] * size)), values)

    def place(self, site: int, event: Event, identity: Identity) -> int:
        """Take what an event says of its person, and tie its visitor to them. Returns the person's number."""
        person = self._known[site, identity.id]
        if identity.traits and not identity.traits.items() <= person.traits.items():
            merged = {**person.traits, **identity.traits}
            person.traits = dict(list(merged.items())[-MOST_TRAITS:])
            if not person.changed:
                person.changed = True
                self._changed.append(person)
        visitor, ts = event.visitor, event.ts
        if visitor is not None:
            since, latest = self._ties.get((site, visitor), (-1, -1))
            if latest != person.number:
                self._tied[site, visitor, ts] = person.number
                if ts >= since:
                    self._ties[site, visitor] = (ts, person.number)
        return person.number

    def flush(self) -> None:
        """Write what changed."""
        for person in self._changed:
            person.changed = False
            traits = _encode(person.traits).decode()
            self._conn.execute("UPDATE persons SET traits = ? WHERE number = ?", (traits, person.number))
        rows = [(*when, person) for when, person in self._tied.items()]
        insert(
            self._conn,
            "INSERT INTO ties (site, visitor, since, person)",
            rows,
            "ON CONFLICT DO UPDATE SET person = excluded.person",
        )
        self._changed.clear()
        self._tied.clear()

    def forget(self) -> None:
        """Drop all that is remembered and not written."""
        self._known.clear()
        self._ties.clear()
        self._changed.clear()
        self._tied.clear()


class Person(NamedTuple):
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


def of_site(conn: sqlite3.Connection, site: int) -> Iterator[Person]:
    """A site's persons, oldest first."""
    query = "SELECT number, id, traits, created FROM persons WHERE site = ? ORDER BY created, number"
    return (Person(number, id, _decode(traits), at) for number, id, traits, at in conn.execute(query, (site,)))


def find(conn: sqlite3.Connection, site: int, id: str) -> Person:
    """The person of that id; raises `Refused` (`not_found`) if there is none."""
    query = "SELECT number, id, traits, created FROM persons WHERE site = ? AND id = ?"
    row = conn.execute(query, (site, id)).fetchone()
    if row is None:
        raise Refused("not_found", f"There is no person {id}: see ovx-lite person list SITE for those there are.")
    return Person(row[0], row[1], _decode(row[2]), row[3])


# The events of visits, found by the time that the visits took.
_OF_VISITS = f"""
visits JOIN events ON events.site = visits.site AND events.id - events.visit = visits.id
    AND events.id >= (visits.id >> {COUNTER_BITS}) - before << {COUNTER_BITS}
    AND events.id < (visits.id >> {COUNTER_BITS}) + after + 1 << {COUNTER_BITS}
"""
# Both ways to a person's events: those that came with the person, and those of visitors that are tied to them.
_THEIRS = f"""
SELECT events.id, events.id - visit AS visit, visitor FROM events
LEFT JOIN visits ON visits.site = events.site AND visits.id = events.id - visit
WHERE events.person = :person
UNION ALL
SELECT events.id, events.id - visit, visitor FROM {_OF_VISITS}
WHERE visits.site = :site AND visitor IN (SELECT visitor FROM ties WHERE person = :person)
    AND events.person IS NULL AND {OWNER} = :person
"""


def traces(conn: sqlite3.Connection, site: int, person: Person) -> Traces:
    """What there is of a person's."""
    query = f"""
        SELECT count(DISTINCT visitor), count(DISTINCT visit), count(*),
            min(id) >> {COUNTER_BITS}, max(id) >> {COUNTER_BITS}
        FROM ({_THEIRS})
    """
    return Traces(*conn.execute(query, {"site": site, "person": person.number}).fetchone())


def erase(conn: sqlite3.Connection, site: int, person: Person, fresh: Iterator[int]) -> int:
    """Forget a person. Their events stay, as nobody's. Returns how many there were.

    What named their visitors is forgotten, too: their visits get numbers that lead nowhere, from `fresh` (48 bits), so
    that a device which says again whose it is does not bring back what it did before.
    """
    with transaction(conn):
        conn.execute(f"CREATE TEMP TABLE erased AS SELECT * FROM ({_THEIRS})", {"site": site, "person": person.number})
        _keep_others(conn, site)
        visitors = conn.execute("SELECT DISTINCT visitor FROM erased WHERE visitor IS NOT NULL").fetchall()
        conn.executemany(
            "UPDATE visits SET visitor = ? WHERE site = ? AND visitor = ? AND id IN (SELECT visit FROM erased)",
            [(next(fresh), site, visitor) for (visitor,) in visitors],
        )
        conn.execute("DELETE FROM open_visits WHERE site = ? AND visit IN (SELECT visit FROM erased)", (site,))
        conn.execute("UPDATE events SET person = NULL WHERE person = ?", (person.number,))
        conn.execute("DELETE FROM persons WHERE number = ?", (person.number,))
        (count,) = conn.execute("SELECT count(*) FROM erased").fetchone()
        conn.execute("DROP TABLE erased")
    return int(count)


def _keep_others(conn: sqlite3.Connection, site: int) -> None:
    """Write down whose the other events of the `erased` visits are, before the visitor no longer tells."""
    others = conn.execute(
        f"SELECT {OWNER} AS owner, events.site, events.id FROM {_OF_VISITS} WHERE visits.site = ? "
        "AND visits.id IN (SELECT visit FROM erased) AND events.id NOT IN (SELECT id FROM erased) "
        "AND events.person IS NULL AND owner IS NOT NULL",
        (site,),
    ).fetchall()
    conn.executemany("UPDATE events SET person = ? WHERE site = ? AND id = ?", others)
