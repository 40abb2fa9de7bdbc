"""A site with random traffic, and its expected visits: see `tests/test_recount.py`."""

import json
import sqlite3
from datetime import date, datetime, timedelta
from itertools import count
from typing import Any

import msgspec

from ovx_lite.domain.calendar import HOUR_MS, MINUTE_MS
from ovx_lite.domain.models import Hit, Reply
from ovx_lite.enrichment.enrich import enrich
from ovx_lite.services import factories
from ovx_lite.storage.projection.visits import close_open_visits
from ovx_lite.storage.read import events, persons
from ovx_lite.storage.read.events import StoredEvent
from ovx_lite.storage.rollups import goal_backfill
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks import goals
from tests.support.drawn import GOALS
from tests.support.recount import Recount, is_engagement
from tests.support.store import MAX_TIME_MS, new_site, open_writer, request, store_group

VISIT_TIMEOUT_MS = 30 * MINUTE_MS


class ExpectedVisit(msgspec.Struct):
    """A visit that later events may continue."""

    id: int
    session: str
    first_ms: int
    last_ms: int
    is_open: bool = True

    def accepts(self, hit: Hit) -> bool:
        is_near = self.first_ms - VISIT_TIMEOUT_MS <= hit.timestamp_ms <= self.last_ms + VISIT_TIMEOUT_MS
        return self.session == hit.session_id and (bool(hit.session_id) or is_near)


class Traffic:
    """A site that receives random events, and its expected visits."""

    def __init__(self, conn: sqlite3.Connection, timezone: str, change_date: str) -> None:
        self.conn, self.site, self.writer = conn, new_site(conn, "here", timezone), open_writer(conn, 0)
        self.recount = Recount([], timezone, [])
        day = date.fromisoformat(change_date)
        self.midnight_ms = int(datetime.combine(day, datetime.min.time(), self.recount.zone).timestamp()) * 1000
        self.now_ms, self.salt_number, self.remaining_goals = self.midnight_ms + 30 * HOUR_MS, 0, list(GOALS)
        self.expected_visits: dict[tuple[object, date], list[ExpectedVisit]] = {}
        self.visitor_ids: dict[object, int] = {}
        self.visit_ids: set[int | None] = set()

    def read_events(self) -> dict[int, StoredEvent]:
        return {event.id: event for event in events.read(self.conn, self.site, 0, MAX_TIME_MS, True)}

    def local_date(self, time_ms: int) -> date:
        return self.recount.local_time(time_ms).date()

    def apply(self, operation: str, argument: Any) -> None:
        if operation == "store":
            self.store_hits(
                [drawn_hit.hit(self.midnight_ms) for drawn_hit in argument],
                [drawn_hit.action for drawn_hit in argument],
            )
            return
        if operation == "midnight":  # the salt changes, and no visit continues
            self.salt_number += 1
            with transaction(self.conn):
                close_open_visits(self.conn, self.site.id)
            self.close_visits(set(self.visit_ids))
        elif operation == "catch up":
            goal_backfill.catch_up(self.conn)
        elif operation == "goal" and self.remaining_goals:
            goal = factories.goal(
                self.site, *self.remaining_goals.pop(), self.now_ms, f"goal_{len(self.remaining_goals)}"
            )
            goal_backfill.add_goal(self.conn, goal, self.site, self.now_ms)
        elif operation == "erase":
            self.erase_person(argument)
        elif operation == "prune":
            self.prune_day(self.local_date(self.midnight_ms + 12 * HOUR_MS) + timedelta(argument))
        self.writer.reset()

    def store_hits(self, hits: list[Hit], actions: list[str]) -> None:
        salt = b"salt %d" % self.salt_number
        apis = ["apex" if action == "look" else "ovyxa" for action in actions]
        enriched = [enrich(hit, api, self.site, salt, country_of) for hit, api in zip(hits, apis, strict=True)]
        (reply,) = store_group(self.conn, self.writer, [request(self.site, *enriched)], {}, self.now_ms)
        assert isinstance(reply, Reply)
        stored = self.read_events()
        for hit, id in zip(hits, json.loads(reply.body), strict=True):
            self.check_visit(hit, stored[int(id[4:], 16)])

    def check_visit(self, hit: Hit, event: StoredEvent) -> None:
        """Find the expected visit of an event, and check that the store has put it there."""
        if hit.device_id:
            visitor_key: object = ("device", hit.device_id)
        elif hit.address or hit.user_agent:
            visitor_key = (self.salt_number, self.local_date(hit.timestamp_ms), hit.address, hit.user_agent)
        else:
            visitor_key = hit.identity and ("person", hit.identity.user_id)
        if visitor_key is None or event.excluded:
            assert (event.visitor_id, event.visit_id) == (None, None)
            return
        visits = self.expected_visits.setdefault((visitor_key, self.local_date(hit.timestamp_ms)), [])
        candidates = [visit for visit in visits if visit.accepts(hit)]
        continued = [visit for visit in candidates if visit.id == event.visit_id]
        if continued:
            continued[0].first_ms, continued[0].last_ms = (
                min(hit.timestamp_ms, continued[0].first_ms),
                max(hit.timestamp_ms, continued[0].last_ms),
            )
        else:
            assert not any(visit.is_open for visit in candidates)
            if is_engagement(event):
                assert event.visit_id is None
                return
            assert event.visit_id is not None
            assert event.visit_id not in self.visit_ids
            self.visit_ids.add(event.visit_id)
            visits.append(ExpectedVisit(event.visit_id, hit.session_id, hit.timestamp_ms, hit.timestamp_ms))
        assert self.visitor_ids.setdefault(visitor_key, event.visitor_id or 0) == event.visitor_id
        assert len(set(self.visitor_ids.values())) == len(self.visitor_ids)

    def close_visits(self, ids: set[int | None]) -> None:
        """Close visits: later events may start new ones (this is not specified)."""
        for visit in (visit for visits in self.expected_visits.values() for visit in visits if visit.id in ids):
            visit.is_open = False

    def erase_person(self, person: str) -> None:
        before = self.read_events()
        person_event_ids = {id for id, event in before.items() if event.person == person}
        if not person_event_ids:
            return
        new_visitor_ids = count(1000 + 1000 * len(self.visit_ids))
        stored_person = persons.find(self.conn, self.site.id, person)
        assert stored_person is not None
        assert persons.erase(self.conn, self.site, stored_person, new_visitor_ids) == sum(
            before[id].visit_id is not None for id in person_event_ids
        )
        after = self.read_events()
        event_ids_by_half: dict[tuple[int | None, bool], set[int]] = {}
        changed_visits = {before[id].visit_id for id in person_event_ids} - {None}
        for id, event in before.items():
            actual = after.pop(id)
            if event.visit_id not in changed_visits:
                expected = event._replace(person=None if id in person_event_ids else event.person)
                assert actual == expected
                continue
            event_ids_by_half.setdefault((event.visit_id, id in person_event_ids), set()).add(id)
        assert after == {}
        after, new_visit_ids = self.read_events(), set[int | None]()
        for (old_visit_id, is_erased), ids in event_ids_by_half.items():
            (new_visit_id,) = {after[id].visit_id for id in ids}
            assert (new_visit_id is None) == all(is_engagement(before[id]) for id in ids)
            assert {after[id].visitor_id for id in ids} != {before[id].visitor_id for id in ids} or not is_erased
            assert {after[id].person for id in ids if is_erased} <= {None}
            assert new_visit_id is None or new_visit_id not in new_visit_ids
            new_visit_ids.add(new_visit_id)
            if not is_erased:
                self.replace_visit(old_visit_id, new_visit_id, [after[id].timestamp_ms for id in ids])
            elif (old_visit_id, False) not in event_ids_by_half:
                self.replace_visit(old_visit_id, None, [])
            self.visit_ids.add(new_visit_id)
        self.close_visits(new_visit_ids)

    def replace_visit(self, old_id: int | None, new_id: int | None, times_ms: list[int]) -> None:
        for visits in self.expected_visits.values():
            for visit in [visit for visit in visits if visit.id == old_id]:
                visits.remove(visit)
                if new_id is not None:
                    visits.append(ExpectedVisit(new_id, visit.session, min(times_ms), max(times_ms), False))

    def prune_day(self, day: date) -> None:
        before = self.read_events()
        deleted_ids = {id for id, event in before.items() if self.local_date(event.timestamp_ms) == day}
        with transaction(self.conn):
            day_number = day.toordinal() - date(1970, 1, 1).toordinal()
            assert events.delete_day(self.conn, self.site, day_number) == len(deleted_ids)
        assert self.read_events() == {id: event for id, event in before.items() if id not in deleted_ids}
        for (_, visit_day), visits in self.expected_visits.items():
            if visit_day == day:
                visits.clear()

    def add_remaining_goals(self) -> None:
        """Add the remaining goals, and recount all stored events."""
        while self.remaining_goals:
            self.apply("goal", None)
        stored_goals = goals.goals_of(self.conn, self.site.id)
        self.recount = Recount(self.read_events().values(), self.site.timezone, stored_goals)


def country_of(address: str) -> str:
    return {"203.0.113.1": "FR", "198.51.100.7": ""}[address]
