"""What follows from a request, in the transaction that stores it: the month's usage, goals, triggers, deliveries.

Sites without a goal or a webhook cost the count of the month, and nothing else.
"""

import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence

from ovx_lite.domain.models import COUNTER_BITS, Event, Webhook
from ovx_lite.storage.sqlite import insert
from ovx_lite.storage.webhooks.subscriptions import Listeners, listeners
from ovx_lite.webhooks.message import MOST_IN_AN_HOUR, body
from ovx_lite.webhooks.triggers import TRIGGERS, Alert, Moment, Rearmed, Span, month_of

ACTIVE = 5 * 60 * 1000
"""Milliseconds for which a visitor is active after an event."""

_HOUR = 60 * 60 * 1000
_DAY = 25 * _HOUR << COUNTER_BITS  # no visit is longer
_COUNTER_MASK = (1 << COUNTER_BITS) - 1

_SEEN = f"""
SELECT visitor_id, max(visit_id + id_offset >> {COUNTER_BITS})
FROM visits JOIN events ON events.site_id = visits.site_id AND visit_id = visits.id
WHERE visits.site_id = :site AND visits.id >= :since - {_DAY} AND visits.id < :until
    AND (visits.id >> {COUNTER_BITS}) + elapsed_ms >= :since >> {COUNTER_BITS}
    AND visit_id + id_offset >= :since AND visit_id + id_offset < :until
GROUP BY visitor_id
"""
_SENT = f"""
SELECT id >> {COUNTER_BITS} FROM deliveries
WHERE webhook_id = ? AND id >= ? AND status <> 'throttled' ORDER BY id DESC LIMIT {MOST_IN_AN_HOUR}
"""
_PUT = "INSERT INTO deliveries (id, webhook_id, event_name, body, status, attempts, next_attempt_at)"
_COUNT = "INSERT INTO monthly_usage (site_id, month, events)"
_MORE = "ON CONFLICT (site_id, month) DO UPDATE SET events = excluded.events"


class Watch:
    """Looks at requests while they are stored, over the connection and inside the transaction that stores them."""

    def __init__(self, conn: sqlite3.Connection, counter: int) -> None:
        """`counter` is where the numbers that tell apart deliveries of one millisecond begin."""
        self._conn = conn
        self._counter = counter
        self._listeners: dict[int, Listeners] | None = None
        self._used: dict[tuple[int, str], int] = {}
        self._counted: set[tuple[int, str]] = set()
        self._marks: dict[int, set[str]] = {}
        self._active: dict[int, _Active] = {}
        self._sent: dict[int, deque[int]] = {}
        self._put: list[tuple[object, ...]] = []
        self._due = False  # whether any of that is to be sent
        self.news = False  # whether anything was put on its way since somebody last looked

    def see(self, site: int, events: Sequence[Event], now: int, followed: list[str] | None = None) -> None:
        """Look at the events of one request, which came at `now` (Unix ms); and say what `followed`, if one asks."""
        month = month_of(now)
        used = self._count(site, month, sum(not event.kind.excluded for event in events))
        listening = self._listening(site)
        if listening is None:
            return
        wanted = listening.events
        met = [(goal, event) for event in events for goal in listening.goals.met(event)]
        if followed is not None:
            followed[:] = [f"goal met: {goal.name}" for goal, _ in met]  # anew, where a group is stored one by one
        active = self._see_active(site, events, now) if "realtime.spike" in wanted else None
        moment = Moment(listening.site, events, met, month, used, active, listening.webhooks, now)
        for name in wanted:
            for found in TRIGGERS[name].check(moment):
                if isinstance(found, Rearmed):
                    self._unmark(site, found.mark)
                elif not found.mark or self._mark(site, found.mark):
                    told = self._tell(listening, found, now)
                    if followed is not None:
                        followed += told

    def tell(self, site: int, alert: Alert, now: int) -> list[str]:
        """Tell a site's webhooks of an alert, as if it had been found. Returns in words what was put on its way."""
        listening = self._listening(site)
        return [] if listening is None else self._tell(listening, alert, now)

    def _listening(self, site: int) -> Listeners | None:
        if self._listeners is None:
            self._listeners = listeners(self._conn)
        return self._listeners.get(site)

    def flush(self) -> None:
        """Write what was seen."""
        insert(self._conn, _COUNT, [(*month, self._used[month]) for month in self._counted], _MORE)
        insert(self._conn, _PUT, self._put)
        self.news = self.news or self._due
        self._due = False
        self._counted.clear()
        self._put.clear()

    def forget(self) -> None:
        """Drop all that is remembered and not written."""
        self._listeners = None
        self._due = False
        for remembered in (self._used, self._counted, self._marks, self._active, self._sent, self._put):
            remembered.clear()

    def _count(self, site: int, month: str, events: int) -> Span:
        key = (site, month)
        before = self._used.get(key)
        if before is None:
            row = self._conn.execute("SELECT events FROM monthly_usage WHERE site_id = ? AND month = ?", key).fetchone()
            before = row[0] if row else 0
        self._used[key] = before + events
        self._counted.add(key)
        return Span(before, before + events)

    def _see_active(self, site: int, events: Sequence[Event], now: int) -> Span:
        active = self._active.get(site)
        if active is None:
            active = self._active[site] = _Active(seen(self._conn, site, now), now)
        active.expire(now)
        before = len(active)
        for event in events:
            if event.visitor is not None:
                active.see(event.visitor, min(event.ts, now))
        return Span(before, len(active))

    def _marks_of(self, site: int) -> set[str]:
        marks = self._marks.get(site)
        if marks is None:
            found = self._conn.execute("SELECT dedupe_key FROM fired_alerts WHERE site_id = ?", (site,))
            marks = self._marks[site] = {mark for (mark,) in found}
        return marks

    def _mark(self, site: int, mark: str) -> bool:
        """Set a mark; returns whether it was not set before."""
        marks = self._marks_of(site)
        if mark in marks:
            return False
        marks.add(mark)
        self._conn.execute("INSERT INTO fired_alerts (site_id, dedupe_key) VALUES (?, ?)", (site, mark))
        return True

    def _unmark(self, site: int, mark: str) -> None:
        marks = self._marks_of(site)
        if mark in marks:
            marks.remove(mark)
            self._conn.execute("DELETE FROM fired_alerts WHERE site_id = ? AND dedupe_key = ?", (site, mark))

    def _tell(self, listening: Listeners, alert: Alert, now: int) -> list[str]:
        """Put an alert on its way. Returns in words to whom."""
        bodies: dict[str, bytes] = {}
        told = []
        for webhook in listening.webhooks:
            if alert.event in webhook.events and alert.to in ("", webhook.id):
                made = bodies.get(webhook.format) or body(alert, listening.site.id, webhook.format)
                bodies[webhook.format] = made
                self._counter = (self._counter + 1) & _COUNTER_MASK
                # What is told once and never again is not held back by what is told often.
                may = self._may_send(webhook, now) or bool(alert.mark)
                self._due = self._due or may
                status = "pending" if may else "throttled"
                number = now << COUNTER_BITS | self._counter
                self._put.append((number, webhook.number, alert.event, made, status, 0, now))
                told.append(
                    f"webhook {webhook.id} {'is told' if may else 'is not told, it has had too many'}: {alert.event}"
                )
        return told

    def _may_send(self, webhook: Webhook, now: int) -> bool:
        """Whether this is one of the first sends that a webhook may have in an hour. Then it counts as one."""
        sent = self._sent.get(webhook.number)
        if sent is None:
            rows = self._conn.execute(_SENT, (webhook.number, now - _HOUR << COUNTER_BITS)).fetchall()
            sent = self._sent[webhook.number] = deque((ts for (ts,) in reversed(rows)), MOST_IN_AN_HOUR)
        if len(sent) == MOST_IN_AN_HOUR and sent[0] > now - _HOUR:
            return False
        sent.append(now)
        return True


def seen(conn: sqlite3.Connection, site: int, now: int) -> list[tuple[int, int]]:
    """A site's visitors of the last 5 minutes before `now`, and when each was seen last; in Unix ms."""
    span = {"since": now - ACTIVE << COUNTER_BITS, "until": now + 1 << COUNTER_BITS}
    return conn.execute(_SEEN, {"site": site, **span}).fetchall()


def active(conn: sqlite3.Connection, now: int, site: int) -> int:
    """Return how many visitors are active on a site at `now` (Unix ms)."""
    return len(seen(conn, site, now))


class _Active:
    """A site's visitors of the last 5 minutes, by the second in which they were last seen."""

    def __init__(self, seen: Iterable[tuple[int, int]], now: int) -> None:
        """`seen` are visitors and when (Unix ms) they were seen last."""
        self._oldest = (now - ACTIVE) // 1000
        self._last: dict[int, int] = {}
        self._in_second: dict[int, set[int]] = {}
        for visitor, ts in seen:
            self.see(visitor, ts)

    def __len__(self) -> int:
        return len(self._last)

    def see(self, visitor: int, ts: int) -> None:
        """Count a visitor as seen at `ts` (Unix ms), unless that is too long ago or not the last time."""
        second, before = ts // 1000, self._last.get(visitor, -1)
        if second < self._oldest or second <= before:
            return
        if before >= 0:
            self._in_second[before].remove(visitor)
        self._last[visitor] = second
        self._in_second.setdefault(second, set()).add(visitor)

    def expire(self, now: int) -> None:
        """Forget who was last seen longer ago than 5 minutes."""
        oldest = (now - ACTIVE) // 1000
        if oldest - self._oldest > len(self._in_second):
            gone = [second for second in self._in_second if second < oldest]
        else:
            gone = [second for second in range(self._oldest, oldest) if second in self._in_second]
        for second in gone:
            for visitor in self._in_second.pop(second):
                del self._last[visitor]
        self._oldest = max(oldest, self._oldest)
