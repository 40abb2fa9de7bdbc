"""Visits: what a visitor did without 30 minutes of silence in between."""

import sqlite3

import msgspec

from ovx_lite.model import Event

SILENCE = 30 * 60 * 1000
"""Milliseconds without an event that end a visit."""

_OF_VISITOR = (
    "SELECT n, start, length, pageviews, events FROM visits WHERE site = ? AND day = ? AND visitor = ? ORDER BY n"
)

_SAVE = """
INSERT INTO visits (site, day, visitor, n, start, length, pageviews, events) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    start = excluded.start, length = excluded.length, pageviews = excluded.pageviews, events = excluded.events
"""


class _Visit(msgspec.Struct):
    n: int
    start: int
    last: int
    pageviews: int = 0
    events: int = 0


class Visits:
    """Finds or begins the visit that an event belongs to. Inside the transaction that appends the event."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._known: dict[tuple[int, int, int], list[_Visit]] = {}
        self._changed: dict[tuple[int, int, int, int], _Visit] = {}

    def __len__(self) -> int:
        return len(self._known)

    def place(self, site: int, visitor: int, event: Event) -> int:
        """Count the event in the visit that it belongs to, also if it comes late, and return the visit's number."""
        whose = (site, event.day, visitor)
        visits = self._known.get(whose)
        if visits is None:
            visits = self._known[whose] = self._of(whose)
        ts = event.ts
        for visit in reversed(visits):
            if visit.start - SILENCE <= ts <= visit.last + SILENCE:
                break
        else:
            visit = _Visit(len(visits), ts, ts)
            visits.append(visit)
        visit.start, visit.last = min(visit.start, ts), max(visit.last, ts)
        visit.pageviews += event.kind.type == "pageview"
        visit.events += 1
        self._changed[*whose, visit.n] = visit
        return visit.n

    def _of(self, whose: tuple[int, int, int]) -> list[_Visit]:
        found = self._conn.execute(_OF_VISITOR, whose)
        return [_Visit(n, start, start + length, pageviews, events) for n, start, length, pageviews, events in found]

    def flush(self) -> None:
        """Write the visits that changed."""
        rows = [
            (*key, visit.start, visit.last - visit.start, visit.pageviews, visit.events)
            for key, visit in self._changed.items()
        ]
        self._conn.executemany(_SAVE, rows)
        self._changed.clear()

    def forget(self) -> None:
        """Drop all that is remembered and not written."""
        self._known.clear()
        self._changed.clear()
