"""Visits: what a visitor did without 30 minutes of silence in between.

A visit's row stands at the end of its table, next to those of the others who are there now, so that a group of
events changes few pages of the file. The way from a visitor to their visits is a table of its own that lives for a day.
"""

import sqlite3
from collections.abc import Iterable
from operator import attrgetter

import msgspec

from ovx_lite.model import COUNTER_BITS, Event
from ovx_lite.store.db import in_pieces, insert

SILENCE = 30 * 60 * 1000
"""Milliseconds without an event that end a visit."""

_OPEN = """
SELECT visits.site, stay, visits.id, visitor, before, after, pageviews, events
FROM open_visits CROSS JOIN visits ON visits.site = open_visits.site AND visits.id = visit
WHERE stay IN ({}) ORDER BY visit
"""
_TOGETHER = (64, 8, 1)  # stays looked up in one go

_SAVE = "INSERT INTO visits (site, id, visitor, before, after, pageviews, events)"
_AGAIN = """
ON CONFLICT (site, id) DO UPDATE SET
    before = excluded.before, after = excluded.after, pageviews = excluded.pageviews, events = excluded.events
"""

Whose = tuple[int, int]
"""A site, and a stay on it (see `model.Event`)."""


class _Visit(msgspec.Struct, gc=False):
    site: int
    id: int
    visitor: int
    begun: int
    before: int = 0
    after: int = 0
    pageviews: int = 0
    events: int = 0
    changed: bool = False


class Visits:
    """Finds or begins the visit that an event belongs to. Inside the transaction that appends the event."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._known: dict[Whose, list[_Visit]] = {}
        self._changed: list[_Visit] = []
        self._begun: list[tuple[int, int, int]] = []

    def __len__(self) -> int:
        return len(self._known)

    def look_up(self, whose: Iterable[Whose]) -> None:
        """Learn of the visits in these stays, before their events are placed."""
        unknown = list({stay for stay in whose if stay not in self._known})
        self._known.update((stay, []) for stay in unknown)
        for size, some in in_pieces(unknown, _TOGETHER):
            found = self._conn.execute(_OPEN.format(", ".join("?" * size)), [stay for _, stay in some])
            for site, stay, id, visitor, *counts in found:
                if (site, stay) in some:
                    self._known[site, stay].append(_Visit(site, id, visitor, id >> COUNTER_BITS, *counts))

    def place(self, whose: Whose, number: int, event: Event) -> int:
        """Count an event, stored under `number`, in the visit that it belongs to, also if it comes late.

        Returns how much greater its number is than the visit's.
        """
        visits, ts = self._known[whose], event.ts
        for visit in reversed(visits):
            if event.whole or visit.begun - visit.before - SILENCE <= ts <= visit.begun + visit.after + SILENCE:
                break
        else:
            site, stay = whose
            assert event.visitor is not None, "whoever stays is a visitor"
            visit = _Visit(site, number, event.visitor, ts)
            visits.append(visit)
            self._begun.append((site, stay, number))
        if ts - visit.begun > visit.after:
            visit.after = ts - visit.begun
        elif visit.begun - ts > visit.before:
            visit.before = visit.begun - ts
        visit.pageviews += event.kind.type == "pageview"
        visit.events += 1
        if not visit.changed:
            visit.changed = True
            self._changed.append(visit)
        return number - visit.id

    def flush(self) -> None:
        """Write the visits that changed."""
        # In the order of the table, each of its pages is looked for once.
        self._changed.sort(key=attrgetter("site", "id"))
        rows = []
        for visit in self._changed:
            visit.changed = False
            rows.append((visit.site, visit.id, visit.visitor, visit.before, visit.after, visit.pageviews, visit.events))
        insert(self._conn, _SAVE, rows, _AGAIN)
        insert(self._conn, "INSERT INTO open_visits (site, stay, visit)", self._begun)
        self._changed.clear()
        self._begun.clear()

    def forget(self) -> None:
        """Drop all that is remembered and not written."""
        self._known.clear()
        self._changed.clear()
        self._begun.clear()


def close(conn: sqlite3.Connection, site: int) -> int:
    """Let none of a site's visits go on. Returns how many could have. Inside a transaction."""
    return conn.execute("DELETE FROM open_visits WHERE site = ?", (site,)).rowcount
