"""A site to which happens what was drawn, and what its visits are to be: see `tests/test_recount.py`."""

import json
import sqlite3
from datetime import date, datetime, timedelta
from itertools import count
from typing import Any

import msgspec

from ovx_lite.domain.models import Hit, Reply
from ovx_lite.enrichment.enrich import enrich
from ovx_lite.services import factories
from ovx_lite.services.group_commit import store
from ovx_lite.storage.read import events, persons
from ovx_lite.storage.read.events import Stored
from ovx_lite.storage.rollups import goal_backfill
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks import goals
from ovx_lite.storage.write import sessionizer
from ovx_lite.storage.write.unit_of_work import open_books
from tests.support.drawn import GOALS
from tests.support.recount import HOUR, MINUTE, Recount, is_engagement
from tests.support.store import EVER, new_site, request

SILENCE = 30 * MINUTE


class Stay(msgspec.Struct):
    """A visit that may go on, for all that one told: its number, first and last time."""

    id: int
    session: str
    first: int
    last: int
    is_open: bool = True

    def takes(self, told: Hit) -> bool:
        near = self.first - SILENCE <= told.ts <= self.last + SILENCE
        return self.session == told.session and (bool(told.session) or near)


class Traffic:
    """A site that is told of events, and what its visits are to be."""

    def __init__(self, conn: sqlite3.Connection, zone: str, changed: str) -> None:
        self.conn, self.site, self.books = conn, new_site(conn, "here", zone), open_books(conn, 0)
        self.recount = Recount([], zone, [])
        day = date.fromisoformat(changed)
        self.midnight = int(datetime.combine(day, datetime.min.time(), self.recount.zone).timestamp()) * 1000
        self.now, self.salt, self.left = self.midnight + 30 * HOUR, 0, list(GOALS)
        self.stays: dict[object, list[Stay]] = {}
        self.visitors: dict[object, int] = {}
        self.known: set[int | None] = set()

    def read(self) -> dict[int, Stored]:
        return {event.id: event for event in events.read(self.conn, self.site, 0, EVER, True)}

    def day(self, ts: int) -> date:
        return self.recount.local(ts).date()

    def do(self, what: str, told: Any) -> None:
        if what == "store":
            self.store([one.hit(self.midnight) for one in told], [one.what for one in told])
            return
        if what == "midnight":  # the salt is another, and no visit goes on
            self.salt += 1
            with transaction(self.conn):
                sessionizer.close(self.conn, self.site.number)
            self.close(set(self.known))
        elif what == "catch up":
            goal_backfill.catch_up(self.conn)
        elif what == "goal" and self.left:
            goal = factories.goal(self.site, *self.left.pop(), self.now, f"goal_{len(self.left)}")
            goal_backfill.add_goal(self.conn, goal, self.site, self.now)
        elif what == "erase":
            self.erase(told)
        elif what == "prune":
            self.prune(self.day(self.midnight + 12 * HOUR) + timedelta(told))
        self.books.forget()

    def store(self, hits: list[Hit], what: list[str]) -> None:
        salt = b"salt %d" % self.salt
        apis = ["apex" if one == "look" else "ovyxa" for one in what]
        sent = [enrich(hit, api, self.site, salt, country_of) for hit, api in zip(hits, apis, strict=True)]
        (reply,) = store(self.conn, self.books, [request(self.site, *sent)], {}, self.now)
        assert isinstance(reply, Reply)
        found = self.read()
        for hit, id in zip(hits, json.loads(reply.body), strict=True):
            self.place(hit, found[int(id[4:], 16)])

    def place(self, hit: Hit, event: Stored) -> None:
        """Have an event take its place in a visit, by what is known of it, and see that the store has it there."""
        if hit.device:
            who: object = ("device", hit.device)
        elif hit.address or hit.user_agent:
            who = (self.salt, self.day(hit.ts), hit.address, hit.user_agent)
        else:
            who = hit.person and ("person", hit.person.id)
        if who is None or event.excluded:
            assert (event.visitor, event.visit) == (None, None)
            return
        stays = self.stays.setdefault((who, self.day(hit.ts)), [])
        fitting = [stay for stay in stays if stay.takes(hit)]
        goes_on = [stay for stay in fitting if stay.id == event.visit]
        if goes_on:
            goes_on[0].first, goes_on[0].last = min(hit.ts, goes_on[0].first), max(hit.ts, goes_on[0].last)
        else:
            assert not any(stay.is_open for stay in fitting)
            if is_engagement(event):
                assert event.visit is None
                return
            assert event.visit is not None
            assert event.visit not in self.known
            self.known.add(event.visit)
            stays.append(Stay(event.visit, hit.session, hit.ts, hit.ts))
        assert self.visitors.setdefault(who, event.visitor or 0) == event.visitor
        assert len(set(self.visitors.values())) == len(self.visitors)

    def close(self, ids: set[int | None]) -> None:
        """Of these visits, later events may be taken for others' (the spec does not say so)."""
        for stay in (stay for stays in self.stays.values() for stay in stays if stay.id in ids):
            stay.is_open = False

    def erase(self, person: str) -> None:
        before = self.read()
        theirs = {id for id, event in before.items() if event.person == person}
        if not theirs:
            return
        fresh = count(1000 + 1000 * len(self.known))
        known = persons.find(self.conn, self.site.number, person)
        assert persons.erase(self.conn, self.site, known, fresh) == sum(before[id].visit is not None for id in theirs)
        after = self.read()
        halves: dict[tuple[int | None, bool], set[int]] = {}
        touched = {before[id].visit for id in theirs} - {None}
        for id, event in before.items():
            now = after.pop(id)
            if event.visit not in touched:
                expected = event._replace(person=None if id in theirs else event.person)
                assert now == expected
                continue
            halves.setdefault((event.visit, id in theirs), set()).add(id)
        assert after == {}
        after, fates = self.read(), set[int | None]()
        for (old, gone), ids in halves.items():
            (fate,) = {after[id].visit for id in ids}
            assert (fate is None) == all(is_engagement(before[id]) for id in ids)
            assert {after[id].visitor for id in ids} != {before[id].visitor for id in ids} or not gone
            assert {after[id].person for id in ids if gone} <= {None}
            assert fate is None or fate not in fates
            fates.add(fate)
            if not gone:
                self.rename(old, fate, [after[id].ts for id in ids])
            elif (old, False) not in halves:
                self.rename(old, None, [])
            self.known.add(fate)
        self.close(fates)

    def rename(self, old: int | None, to: int | None, times: list[int]) -> None:
        for stays in self.stays.values():
            for stay in [stay for stay in stays if stay.id == old]:
                stays.remove(stay)
                if to is not None:
                    stays.append(Stay(to, stay.session, min(times), max(times), False))

    def prune(self, day: date) -> None:
        before = self.read()
        gone = {id for id, event in before.items() if self.day(event.ts) == day}
        with transaction(self.conn):
            number = day.toordinal() - date(1970, 1, 1).toordinal()
            assert events.forget_day(self.conn, self.site, number) == len(gone)
        assert self.read() == {id: event for id, event in before.items() if id not in gone}
        for _, stays in [(of, stays) for of, stays in self.stays.items() if of[1] == day]:  # type: ignore[index]
            stays.clear()

    def settle(self) -> None:
        """Add the goals that are left, and look at all that was stored."""
        while self.left:
            self.do("goal", None)
        found = goals.goals_of(self.conn, self.site.number)
        self.recount = Recount(self.read().values(), self.site.timezone, found)


def country_of(address: str) -> str:
    return {"203.0.113.1": "FR", "198.51.100.7": ""}[address]
