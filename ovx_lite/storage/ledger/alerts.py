"""Monthly usage, goals, triggers and deliveries of a request, written in the transaction that accepts its events.

For a site without goals and webhooks, only the monthly usage is counted.
"""

import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from ovx_lite.domain.calendar import HOUR_MS, MINUTE_MS
from ovx_lite.domain.models import COUNTER_BITS, Event, Webhook
from ovx_lite.storage.ledger import event_journal
from ovx_lite.storage.sqlite import insert
from ovx_lite.storage.webhooks.subscriptions import SiteSubscriptions, subscriptions_by_site
from ovx_lite.webhooks.message import MAX_SENDS_PER_HOUR, build_body
from ovx_lite.webhooks.triggers import TRIGGERS, Alert, Change, ResetAlert, TriggerContext, month_of

ACTIVE_WINDOW_MS = 5 * MINUTE_MS
"""How long a visitor counts as active after an event."""

_MAX_VISIT_ID_SPAN = 25 * HOUR_MS << COUNTER_BITS  # no visit is longer: none crosses midnight
_COUNTER_MASK = (1 << COUNTER_BITS) - 1

_RECENT_VISITORS = f"""
SELECT visitor_id, max(visit_id + id_offset >> {COUNTER_BITS})
FROM visits JOIN events ON events.site_id = visits.site_id AND visit_id = visits.id
WHERE visits.site_id = :site_id AND visits.id >= :first_id - {_MAX_VISIT_ID_SPAN} AND visits.id < :end_id
    AND (visits.id >> {COUNTER_BITS}) + elapsed_ms >= :first_id >> {COUNTER_BITS}
    AND visit_id + id_offset >= :first_id AND visit_id + id_offset < :end_id
GROUP BY visitor_id
"""
_SENT_TIMES = f"""
SELECT id >> {COUNTER_BITS} FROM deliveries
WHERE webhook_id = ? AND id >= ? AND status <> 'throttled' ORDER BY id DESC LIMIT {MAX_SENDS_PER_HOUR}
"""
_INSERT_DELIVERIES = "INSERT INTO deliveries (id, webhook_id, event_name, body, status, attempts, next_attempt_at)"
_INSERT_MONTHLY_USAGE = "INSERT INTO monthly_usage (site_id, month, events)"
_UPDATE_MONTHLY_USAGE = "ON CONFLICT (site_id, month) DO UPDATE SET events = excluded.events"


class AlertEvaluator:
    """Finds the alerts of requests and queues their deliveries, inside the transaction that stores the requests.

    It caches rows of the database, and fills each cache when a site or webhook first needs it. `reset` empties them.
    """

    def __init__(self, conn: sqlite3.Connection, counter: int) -> None:
        """`counter` is the first value of the counter that makes the IDs of deliveries in one millisecond distinct."""
        self._conn = conn
        self._counter = counter
        self._subscriptions: dict[int, SiteSubscriptions] | None = None
        self._monthly_events: dict[tuple[int, str], int] = {}
        self._changed_months: set[tuple[int, str]] = set()
        self._fired_keys: dict[int, set[str]] = {}
        self._active_visitors: dict[int, ActiveVisitors] = {}
        self._sent_times_ms: dict[int, deque[int]] = {}
        self._deliveries: list[tuple[object, ...]] = []
        self._has_pending = False  # whether a delivery in `_deliveries` is to be sent
        self.has_new_deliveries = False  # whether one was written that is to be sent; the reader sets it back

    def evaluate(self, site_id: int, events: Sequence[Event], now_ms: int, effects: list[str] | None = None) -> None:
        """Count the events of one request, and queue the deliveries of the alerts that they cause.

        `effects`, if given, is replaced by one line of text for each goal reached and each delivery queued.
        """
        month = month_of(now_ms)
        usage = self._count_events(site_id, month, sum(not event.event_type.excluded for event in events))
        subscriptions = self._subscriptions_of(site_id)
        if subscriptions is None:
            return
        event_names = subscriptions.events
        matched = [(goal, event) for event in events for goal in subscriptions.goals.match_event(event)]
        if effects is not None:
            # Replaced, because the request may be evaluated again: a group that fails is stored one request at a time.
            effects[:] = [f"goal reached: {goal.name}" for goal, _ in matched]
        active_change = (
            self._update_active_visitors(site_id, events, now_ms) if "realtime.spike" in event_names else None
        )
        context = TriggerContext(
            site=subscriptions.site,
            events=events,
            matched_goals=matched,
            month=month,
            monthly_usage=usage,
            active_visitors=active_change,
            webhooks=subscriptions.webhooks,
            now_ms=now_ms,
        )
        for name in event_names:
            for alert in TRIGGERS[name].check(context):
                if isinstance(alert, ResetAlert):
                    self._rearm(site_id, alert.dedupe_key)
                elif not alert.dedupe_key or self._record_fired(site_id, alert.dedupe_key):
                    enqueued = self._enqueue(subscriptions, alert, now_ms)
                    if effects is not None:
                        effects += enqueued

    def enqueue(self, site_id: int, alert: Alert, now_ms: int) -> list[str]:
        """Queue the deliveries of an alert that no request caused. Return one line of text for each delivery."""
        subscriptions = self._subscriptions_of(site_id)
        return [] if subscriptions is None else self._enqueue(subscriptions, alert, now_ms)

    def _subscriptions_of(self, site_id: int) -> SiteSubscriptions | None:
        if self._subscriptions is None:
            self._subscriptions = subscriptions_by_site(self._conn)
        return self._subscriptions.get(site_id)

    def flush(self) -> None:
        """Write the monthly usage and the deliveries."""
        insert(
            self._conn,
            _INSERT_MONTHLY_USAGE,
            [(*month, self._monthly_events[month]) for month in self._changed_months],
            _UPDATE_MONTHLY_USAGE,
        )
        insert(self._conn, _INSERT_DELIVERIES, self._deliveries)
        self.has_new_deliveries = self.has_new_deliveries or self._has_pending
        self._has_pending = False
        self._changed_months.clear()
        self._deliveries.clear()

    def reset(self) -> None:
        """Empty the caches, and drop what is not written yet."""
        self._subscriptions = None
        self._has_pending = False
        for cache in (
            self._monthly_events,
            self._changed_months,
            self._fired_keys,
            self._active_visitors,
            self._sent_times_ms,
            self._deliveries,
        ):
            cache.clear()

    def _count_events(self, site_id: int, month: str, events: int) -> Change:
        key = (site_id, month)
        previous_count = self._monthly_events.get(key)
        if previous_count is None:
            row = self._conn.execute("SELECT events FROM monthly_usage WHERE site_id = ? AND month = ?", key).fetchone()
            previous_count = row[0] if row else 0
        self._monthly_events[key] = previous_count + events
        self._changed_months.add(key)
        return Change(previous_count, previous_count + events)

    def _update_active_visitors(self, site_id: int, events: Sequence[Event], now_ms: int) -> Change:
        active_visitors = self._active_visitors.get(site_id)
        if active_visitors is None:
            recent = [*recent_visitors(self._conn, site_id, now_ms), *_visitors_in_journal(self._conn, site_id, now_ms)]
            active_visitors = self._active_visitors[site_id] = ActiveVisitors(recent, now_ms)
        active_visitors.expire(now_ms)
        previous_count = len(active_visitors)
        for event in events:
            if event.visitor_id is not None:
                active_visitors.record(event.visitor_id, min(event.timestamp_ms, now_ms))
        return Change(previous_count, len(active_visitors))

    def _fired_keys_of(self, site_id: int) -> set[str]:
        fired_keys = self._fired_keys.get(site_id)
        if fired_keys is None:
            rows = self._conn.execute("SELECT dedupe_key FROM fired_alerts WHERE site_id = ?", (site_id,))
            fired_keys = self._fired_keys[site_id] = {dedupe_key for (dedupe_key,) in rows}
        return fired_keys

    def _record_fired(self, site_id: int, dedupe_key: str) -> bool:
        """Record that an alert fired. Return False if it had fired before."""
        fired_keys = self._fired_keys_of(site_id)
        if dedupe_key in fired_keys:
            return False
        fired_keys.add(dedupe_key)
        self._conn.execute("INSERT INTO fired_alerts (site_id, dedupe_key) VALUES (?, ?)", (site_id, dedupe_key))
        return True

    def _rearm(self, site_id: int, dedupe_key: str) -> None:
        fired_keys = self._fired_keys_of(site_id)
        if dedupe_key in fired_keys:
            fired_keys.remove(dedupe_key)
            self._conn.execute("DELETE FROM fired_alerts WHERE site_id = ? AND dedupe_key = ?", (site_id, dedupe_key))

    def _enqueue(self, subscriptions: SiteSubscriptions, alert: Alert, now_ms: int) -> list[str]:
        bodies: dict[str, bytes] = {}  # by format
        effects = []
        for webhook in subscriptions.webhooks:
            if alert.event in webhook.events and alert.webhook_public_id in ("", webhook.public_id):
                payload = bodies.get(webhook.format) or build_body(alert, subscriptions.site.slug, webhook.format)
                bodies[webhook.format] = payload
                self._counter = (self._counter + 1) & _COUNTER_MASK
                # An alert with a dedupe key fires once, so deliveries of frequent alerts must not get it throttled.
                is_allowed = self._reserve_send(webhook, now_ms) or bool(alert.dedupe_key)
                self._has_pending = self._has_pending or is_allowed
                status = "pending" if is_allowed else "throttled"
                delivery_id = now_ms << COUNTER_BITS | self._counter
                self._deliveries.append((delivery_id, webhook.id, alert.event, payload, status, 0, now_ms))
                limit_text = "" if is_allowed else f" (more than {MAX_SENDS_PER_HOUR} deliveries in an hour)"
                effects.append(f"webhook {webhook.public_id}: {alert.event} is {status}{limit_text}")
        return effects

    def _reserve_send(self, webhook: Webhook, now_ms: int) -> bool:
        """Count a delivery to a webhook, unless it had `MAX_SENDS_PER_HOUR` in the last hour. Return whether it counts.

        Only first attempts count: retries are not limited.
        """
        sent_times_ms = self._sent_times_ms.get(webhook.id)
        if sent_times_ms is None:
            rows = self._conn.execute(_SENT_TIMES, (webhook.id, now_ms - HOUR_MS << COUNTER_BITS)).fetchall()
            sent_times_ms = self._sent_times_ms[webhook.id] = deque(
                (timestamp_ms for (timestamp_ms,) in reversed(rows)), MAX_SENDS_PER_HOUR
            )
        if len(sent_times_ms) == MAX_SENDS_PER_HOUR and sent_times_ms[0] > now_ms - HOUR_MS:
            return False
        sent_times_ms.append(now_ms)
        return True


def recent_visitors(conn: sqlite3.Connection, site_id: int, now_ms: int) -> list[tuple[int, int]]:
    """Return the active visitors of a site at `now_ms`, each with the time (Unix ms) of their last event until then."""
    id_range = {"first_id": now_ms - ACTIVE_WINDOW_MS << COUNTER_BITS, "end_id": now_ms + 1 << COUNTER_BITS}
    return conn.execute(_RECENT_VISITORS, {"site_id": site_id, **id_range}).fetchall()


def _visitors_in_journal(conn: sqlite3.Connection, site_id: int, now_ms: int) -> Iterator[tuple[int, int]]:
    """Yield the visitors of a site's events that are not projected yet, each with the time (Unix ms) of the event."""
    for event in event_journal.read_all(conn):
        timestamp_ms = event.id >> COUNTER_BITS
        if event.site_id == site_id and event.visitor_id is not None and timestamp_ms <= now_ms:
            yield event.visitor_id, timestamp_ms


class ActiveVisitors:
    """The active visitors of a site, grouped by the second of their last event, so that they expire in order.

    An `AlertEvaluator` owns it, records events as they are stored, and expires visitors before it reads their number.
    """

    def __init__(self, recent: Iterable[tuple[int, int]], now_ms: int) -> None:
        """`recent` are pairs of a visitor and the time (Unix ms) of their last event."""
        self._oldest_second = (now_ms - ACTIVE_WINDOW_MS) // 1000
        self._last_second: dict[int, int] = {}
        self._visitors_by_second: dict[int, set[int]] = {}
        for visitor_id, timestamp_ms in recent:
            self.record(visitor_id, timestamp_ms)

    def __len__(self) -> int:
        return len(self._last_second)

    def record(self, visitor_id: int, timestamp_ms: int) -> None:
        """Record an event of a visitor, unless it is too old, or not later than the visitor's last one."""
        second, previous_second = timestamp_ms // 1000, self._last_second.get(visitor_id, -1)
        if second < self._oldest_second or second <= previous_second:
            return
        if previous_second >= 0:
            self._visitors_by_second[previous_second].remove(visitor_id)
        self._last_second[visitor_id] = second
        self._visitors_by_second.setdefault(second, set()).add(visitor_id)

    def expire(self, now_ms: int) -> None:
        """Remove the visitors without an event in the 5 minutes before `now_ms`."""
        oldest_second = (now_ms - ACTIVE_WINDOW_MS) // 1000
        # Go through whatever is shorter: the seconds that have visitors, or the seconds since the last call.
        if oldest_second - self._oldest_second > len(self._visitors_by_second):
            expired_seconds = [second for second in self._visitors_by_second if second < oldest_second]
        else:
            expired_seconds = [
                second for second in range(self._oldest_second, oldest_second) if second in self._visitors_by_second
            ]
        for second in expired_seconds:
            for visitor_id in self._visitors_by_second.pop(second):
                del self._last_second[visitor_id]
        self._oldest_second = max(oldest_second, self._oldest_second)
