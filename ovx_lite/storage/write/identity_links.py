"""Persons: whom callers named, and which visitors are theirs.

An event that came with a person is that person's. Others are the person's whose visitor it was: the one to whom the
visitor was last tied by then, or, of what came before all ties, the first. So nothing is rewritten when a visitor says
who they are, and a device that several persons use does not mix them up.
"""

import sqlite3
from typing import Any

import msgspec

from ovx_lite.domain.models import COUNTER_BITS, Event, Person
from ovx_lite.storage.sqlite import in_pieces, insert

MOST_TRAITS = 64 * 1024
"""Bytes (of JSON) that are kept of a person's traits. Where it would be more, the older ones give way."""

OWNER = f"""
coalesce(
    events.person_id,
    (SELECT links.person_id FROM identity_links AS links
        WHERE links.site_id = events.site_id AND links.visitor_id = visits.visitor_id
            AND linked_at <= visit_id + id_offset >> {COUNTER_BITS} ORDER BY linked_at DESC LIMIT 1),
    (SELECT links.person_id FROM identity_links AS links
        WHERE links.site_id = events.site_id AND links.visitor_id = visits.visitor_id ORDER BY linked_at LIMIT 1)
)
"""
"""The number of an event's person, as SQL over `events` and the `visits` joined to them."""

_MERGE = """
ON CONFLICT (id) DO UPDATE SET traits = merged(traits, excluded.traits) WHERE excluded.traits <> '{}'
"""
# Ties that were told late: only where they say what was not known.
_TIE_LATE = """
INSERT INTO identity_links (site_id, visitor_id, linked_at, person_id)
SELECT * FROM (VALUES {}) AS new WHERE column4 IS NOT (
    SELECT person_id FROM identity_links
    WHERE site_id = column1 AND visitor_id = column2 AND linked_at <= column3 ORDER BY linked_at DESC LIMIT 1
) ON CONFLICT DO NOTHING
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
        query = """
            SELECT linked_at, person_id FROM identity_links
            WHERE site_id = ? AND visitor_id = ? ORDER BY linked_at DESC LIMIT 1
        """
        latest = self._latest[whose] = self._conn.execute(query, whose).fetchone() or (-1, -1)
        return latest

    def flush(self) -> None:
        """Write what was told."""
        insert(self._conn, "INSERT INTO persons (id, site_id, external_id, traits, created_at)", self._persons, _MERGE)
        links = "INSERT INTO identity_links (site_id, visitor_id, linked_at, person_id)"
        insert(self._conn, links, self._ties, "ON CONFLICT DO NOTHING")
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
