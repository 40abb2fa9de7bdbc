"""Persons whom callers identify, and the links from visitors to persons.

An event that was sent with a person belongs to that person. Any other event belongs to the person to whom its visitor
was last linked at the time of the event, or, if it is earlier than all links, to the person of the first link. So no
event is rewritten when a visitor is identified, and the persons who share a device stay apart.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec

from ovx_lite.domain.models import COUNTER_BITS, Person
from ovx_lite.storage.ledger.event_journal import JournalEvent
from ovx_lite.storage.sqlite import insert

MAX_TRAITS_BYTES = 64 * 1024
"""The maximum size of a person's traits as JSON. If they are larger, the oldest traits are deleted."""

PERSON_OF_EVENT = f"""
coalesce(
    events.person_id,
    (SELECT links.person_id FROM identity_links AS links
        WHERE links.site_id = events.site_id AND links.visitor_id = visits.visitor_id
            AND linked_at <= visit_id + id_offset >> {COUNTER_BITS} ORDER BY linked_at DESC LIMIT 1),
    (SELECT links.person_id FROM identity_links AS links
        WHERE links.site_id = events.site_id AND links.visitor_id = visits.visitor_id ORDER BY linked_at LIMIT 1)
)
"""
"""The ID of an event's person, as SQL over `events` and the `visits` joined to them."""

_MERGE_TRAITS = """
ON CONFLICT (id) DO UPDATE SET traits = merged(traits, excluded.traits) WHERE excluded.traits <> '{}'
"""
# For events that arrive late: insert a link only if the link before it is to another person.
_INSERT_LATE_LINK = """
INSERT INTO identity_links (site_id, visitor_id, linked_at, person_id)
SELECT * FROM (VALUES (?, ?, ?, ?)) AS new WHERE column4 IS NOT (
    SELECT person_id FROM identity_links
    WHERE site_id = column1 AND visitor_id = column2 AND linked_at <= column3 ORDER BY linked_at DESC LIMIT 1
) ON CONFLICT DO NOTHING
"""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class IdentityLinks:
    """Stores the persons of events, and links visitors to them.

    The projection owns it. It caches traits and latest links, so that it does not write again what is stored already.
    """

    def __init__(self, conn: sqlite3.Connection) -> None:
        conn.create_function("merged", 2, _merge_traits, deterministic=True)
        self._conn = conn
        self._traits: dict[int, bytes] = {}
        self._latest_links: dict[tuple[int, int], tuple[int, int]] = {}
        self._persons: list[tuple[int, int, str, str, int]] = []
        self._links: list[tuple[int, int, int, int]] = []
        self._late_links: list[tuple[int, int, int, int]] = []

    def __len__(self) -> int:
        return max(len(self._traits), len(self._latest_links))

    def record(self, events: Iterable[JournalEvent]) -> None:
        """Write the persons and links of a batch of events. Call it inside a transaction."""
        for event in events:
            if event.person is not None:
                self._add(event, event.person)
        self._flush()

    def _add(self, event: JournalEvent, person: Person) -> None:
        timestamp_ms = event.id >> COUNTER_BITS
        previous_traits, traits = self._traits.get(person.id), _encode(person.traits)
        if previous_traits is None or (traits != previous_traits and person.traits):
            self._traits[person.id] = traits
            self._persons.append((person.id, event.site_id, person.user_id, traits.decode(), timestamp_ms))
        if event.visitor_id is not None and event.visitor_id != person.visitor_id:
            visitor_key = (event.site_id, event.visitor_id)
            linked_at_ms, person_id = self._latest_links.get(visitor_key) or self._look_up(visitor_key)
            is_late = timestamp_ms < linked_at_ms
            if is_late or person_id != person.id:
                (self._late_links if is_late else self._links).append((*visitor_key, timestamp_ms, person.id))
                if not is_late:
                    self._latest_links[visitor_key] = (timestamp_ms, person.id)

    def _look_up(self, visitor_key: tuple[int, int]) -> tuple[int, int]:
        """Read a visitor's latest link and cache it: its time (Unix ms) and the person's ID, or (-1, -1)."""
        query = """
            SELECT linked_at, person_id FROM identity_links
            WHERE site_id = ? AND visitor_id = ? ORDER BY linked_at DESC LIMIT 1
        """
        link = self._latest_links[visitor_key] = self._conn.execute(query, visitor_key).fetchone() or (-1, -1)
        return link

    def _flush(self) -> None:
        insert(
            self._conn,
            "INSERT INTO persons (id, site_id, external_id, traits, created_at)",
            self._persons,
            _MERGE_TRAITS,
        )
        links = "INSERT INTO identity_links (site_id, visitor_id, linked_at, person_id)"
        insert(self._conn, links, self._links, "ON CONFLICT DO NOTHING")
        for link in self._late_links:  # one by one, because each depends on those before it
            self._conn.execute(_INSERT_LATE_LINK, link)
        self._persons.clear()
        self._links.clear()
        self._late_links.clear()

    def reset(self) -> None:
        """Empty the caches, and drop what a failed transaction has left."""
        self._traits.clear()
        self._latest_links.clear()
        self._persons.clear()
        self._links.clear()
        self._late_links.clear()


def _merge_traits(old_json: str, new_json: str) -> str:
    """Return the old traits with the new ones (JSON objects), within `MAX_TRAITS_BYTES`. SQL calls it as `merged`."""
    traits = {**_decode(old_json), **_decode(new_json)}
    while len(encoded := _encode(traits)) > MAX_TRAITS_BYTES:
        del traits[next(iter(traits))]
    return encoded.decode()
