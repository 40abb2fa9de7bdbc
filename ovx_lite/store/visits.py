"""Visits: what a visitor did without 30 minutes of silence in between.

A visit's row stands next to those of the others who are there now, and its events stand together, so that a group of
events changes few pages of the file. The way from a visitor to their visits is a table of its own that lives for a day.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

import msgspec

from ovx_lite.days import day_begins
from ovx_lite.model import COUNTER_BITS, Client, Event, Kind, Origin, Page
from ovx_lite.store.db import in_pieces, insert
from ovx_lite.store.dimensions import Dimension, of_visit
from ovx_lite.store.rollups import Rollups

SILENCE = 30 * 60 * 1000
"""Milliseconds without an event that end a visit."""

_VISIT = """
visits.id, visitor, named, before, after, pageviews, visits.events, seen,
referrer, source, channel, utm_source, utm_medium, utm_campaign, utm_content, utm_term, browser, os, device, country
"""
_WITH_WORDS = "JOIN origins ON origins.id = origin JOIN clients ON clients.id = client"
_OPEN = f"""
SELECT visits.site, guest, stay, {_VISIT}
FROM open_visits CROSS JOIN visits ON visits.site = open_visits.site AND visits.id = visit {_WITH_WORDS}
WHERE guest IN ({{}}) ORDER BY visit
"""
_OF_NAMED = f"""
SELECT {_VISIT} FROM visits INDEXED BY visits_of_named {_WITH_WORDS}
WHERE site = ? AND named = 1 AND visits.id >= ? AND visits.id < ? AND visitor IN ({{}}) ORDER BY visits.id
"""
_EVENTS = """
SELECT visit, later, kind, page, api, type, name, excluded, scheme, host, path
FROM events JOIN kinds ON kinds.id = kind JOIN pages ON pages.id = page
WHERE site = ? AND visit IN ({}) ORDER BY visit, later
"""
_TOGETHER = (64, 8, 1)  # looked up in one go

_COLUMNS = "site, id, origin, client, entry, exit, seen, visitor, named, alone, before, after, pageviews, events"
_SAVE = f"INSERT INTO visits ({_COLUMNS})"
_AGAIN = "ON CONFLICT (site, id) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in _COLUMNS.split(", ")[2:] if column not in ("visitor", "named")
)

Whose = tuple[int, int]
"""A site, and a guest of it (see `model.Event`)."""

PAGE_BITS, KIND_BITS = 47, 15


def bit_of_page(code: int) -> int:
    """The bit of a visit's `seen` that a page has, by the page's number."""
    return 1 << code % PAGE_BITS


def bit_of_kind(code: int) -> int:
    """The bit of a visit's `seen` that a kind of events has, by the kind's number."""
    return 1 << PAGE_BITS + code % KIND_BITS


class Visit(msgspec.Struct, gc=False):
    """A visit. `first`, and those beside `entry` and `exit`, are events' numbers; `open` says that it may go on."""

    site: int
    day: int
    guest: int
    id: int
    visitor: int
    named: bool
    stay: int | None
    origin: Origin
    client: Client
    first: int
    alone: bool = True
    before: int = 0
    after: int = 0
    pageviews: int = 0
    events: int = 0
    seen: int = 0
    entry: tuple[int, Page] | None = None
    exit: tuple[int, Page] | None = None
    facts: set[int] = msgspec.field(default_factory=set)
    open: bool = True
    changed: bool = False


class Visits:
    """Finds or begins the visit that an event belongs to, and counts what follows. Inside the event's transaction."""

    def __init__(self, conn: sqlite3.Connection, rollups: Rollups) -> None:
        self._conn = conn
        self._rollups = rollups
        self._known: dict[Whose, list[Visit]] = {}
        self._changed: list[Visit] = []
        self._begun: list[tuple[int, int, int, int | None]] = []

    def __len__(self) -> int:
        return len(self._known)

    def look_up(self, events: Iterable[tuple[int, int, Event]], timezones: dict[int, str]) -> None:
        """Learn of the visits of these events' guests, before the events are placed."""
        named: dict[tuple[int, int], dict[int, int]] = {}
        unknown = {}
        for site, _, event in events:
            guest = event.guest
            if guest is not None and (site, guest) not in self._known:
                unknown[site, guest] = event
                self._known[site, guest] = []
                if event.visitor is not None and event.visitor != guest:
                    named.setdefault((site, event.day), {})[event.visitor] = guest
        found = list(self._find_open(list(unknown), unknown))
        for (site, day), guests in named.items():
            found += self._find_named(site, day, guests, timezones[site])
        self._recall(found)

    def _find_open(self, whose: list[Whose], events: dict[Whose, Event]) -> Iterator[Visit]:
        for size, some in in_pieces(whose, _TOGETHER):
            rows = self._conn.execute(_OPEN.format(", ".join("?" * size)), [guest for _, guest in some])
            for site, guest, stay, *row in rows:
                if (site, guest) in some:
                    visit = _visit(site, events[site, guest].day, guest, stay, row)
                    self._known[site, guest].append(visit)
                    yield visit

    def _find_named(self, site: int, day: int, guests: dict[int, int], timezone: str) -> Iterator[Visit]:
        """Visits of that day that were told on another, and so are not open: callers name visitors for longer."""
        span = [day_begins(at, timezone) << COUNTER_BITS for at in (day, day + 1)]
        for size, some in in_pieces(list(guests), _TOGETHER):
            for row in self._conn.execute(_OF_NAMED.format(", ".join("?" * size)), [site, *span, *some]):
                known = self._known[site, guests[row[1]]]
                if all(visit.id != row[0] for visit in known):
                    visit = _visit(site, day, guests[row[1]], None, row)
                    visit.open = False
                    known.append(visit)
                    yield visit

    def _recall(self, visits: list[Visit]) -> None:
        """Learn what the events of these visits were."""
        sites: dict[int, dict[int, Visit]] = {}
        for visit in visits:
            sites.setdefault(visit.site, {})[visit.id] = visit
        for site, by_id in sites.items():
            for size, some in in_pieces(list(by_id), _TOGETHER):
                query = _EVENTS.format(", ".join("?" * size))
                for id, later, kind, page, *words in self._conn.execute(query, [site, *some]):
                    self._remember(by_id[id], id + later, (kind, page), Kind(*words[:4]), Page(*words[4:]))
        for visit in visits:
            visit.alone = len(self._known[visit.site, visit.guest]) == 1

    def _remember(self, visit: Visit, number: int, codes: tuple[int, int], kind: Kind, page: Page) -> None:
        """Take note of one of a visit's events; they come in the order of time."""
        if kind.is_engagement:
            return
        visit.facts.update(self._rollups.facts(visit.site, visit.day, kind, page, codes))
        visit.first = min(visit.first, number)
        if kind.type == "pageview" and page.path:
            visit.entry = visit.entry or (number, page)
            visit.exit = (number, page)

    def place(self, site: int, number: int, event: Event, codes: tuple[int, int]) -> int:
        """Count an event, stored under `number`, in the visit that it belongs to, also if it comes late.

        `codes` are the numbers of its kind and its page. Returns how much greater its number is than the visit's; 0
        if it is in none, as it only tells how a page was looked at, and nobody knows in which visit.
        """
        assert event.guest is not None, "whoever visits is a guest"
        others = self._known[site, event.guest]
        visit = _that_goes_on(others, event)
        engagement = event.kind.is_engagement
        if visit is None:
            if engagement:
                return 0
            visit = self._begin(site, number, event, others)
        self._change(visit)
        self._take_time(visit, event.ts)
        visit.seen |= bit_of_kind(codes[0]) | bit_of_page(codes[1])
        if not engagement:
            self._take(visit, number, event, codes, others)
        return number - visit.id

    def _begin(self, site: int, number: int, event: Event, others: list[Visit]) -> Visit:
        assert event.visitor is not None, "whoever visits is a visitor"
        assert event.guest is not None, "on some day"
        named = event.visitor != event.guest
        came_with = (event.origin, event.client)
        visit = Visit(site, event.day, event.guest, number, event.visitor, named, event.stay, *came_with, number)
        visit.alone = not others
        if len(others) == 1:
            others[0].alone = False
            self._change(others[0])
        self._rollups.begin_visit(site, event.day, *came_with, ((other.origin, other.client) for other in others))
        others.append(visit)
        self._begun.append((site, event.guest, number, event.stay))
        return visit

    def _change(self, visit: Visit) -> None:
        if not visit.changed:
            visit.changed = True
            self._changed.append(visit)

    def _take_time(self, visit: Visit, ts: int) -> None:
        began = visit.id >> COUNTER_BITS
        longer = max(ts - began - visit.after, 0) + max(began - ts - visit.before, 0)
        if longer:
            visit.after = max(visit.after, ts - began)
            visit.before = max(visit.before, began - ts)
            self._rollups.tally(visit.site, visit.day).total.duration += longer

    def _take(self, visit: Visit, number: int, event: Event, codes: tuple[int, int], others: list[Visit]) -> None:
        """Count what an event is, and says of its visit."""
        kind, page = event.kind, event.page
        view = kind.type == "pageview"
        tally = self._rollups.tally(visit.site, visit.day)
        visit.events += 1
        if visit.events == 2:
            tally.total.bounces -= 1
        if number < visit.first:
            visit.first = number
            self._replace(visit, event.origin, event.client, others)
        known = visit.facts
        for fact in self._rollups.facts(visit.site, visit.day, kind, page, codes):
            if fact in known:
                tally.add(fact, 0, 0, view, 1)
            else:
                is_new = len(others) == 1 or not any(fact in other.facts for other in others)
                tally.add(fact, is_new, 1, view, 1)
                known.add(fact)
        if view:
            visit.pageviews += 1
            if page.path:
                self._walk(visit, number, page, others)

    def _walk(self, visit: Visit, number: int, page: Page, others: list[Visit]) -> None:
        """Take note of a page that was viewed, as the visit's first or last, if it is."""
        if visit.entry is None or number < visit.entry[0]:
            before, visit.entry = visit.entry, (number, page)
            if before is None or before[1].path != page.path:
                elsewhere = [v.entry[1].path for v in others if v is not visit and v.entry]
                self._move(visit, Dimension.ENTRY, before and before[1].path, page.path, elsewhere)
        if visit.exit is None or number > visit.exit[0]:
            before, visit.exit = visit.exit, (number, page)
            if visit.day >= self._rollups.settled(visit.site):
                return  # it may go on elsewhere
            if before is None or before[1].path != page.path:
                elsewhere = [v.exit[1].path for v in others if v is not visit and v.exit]
                self._move(visit, Dimension.EXIT, before and before[1].path, page.path, elsewhere)

    def _replace(self, visit: Visit, origin: Origin, client: Client, others: list[Visit]) -> None:
        """Give a visit another origin and client: an earlier event was told later."""
        rest = [other for other in others if other is not visit]
        was = dict(of_visit(visit.origin, visit.client))
        visit.origin, visit.client = origin, client
        becomes = dict(of_visit(origin, client))
        elsewhere = [dict(of_visit(other.origin, other.client)) for other in rest]
        for dimension in {**was, **becomes}:
            before, after = was.get(dimension), becomes.get(dimension)
            if before != after:
                values = [words[dimension] for words in elsewhere if dimension in words]
                self._move(visit, dimension, before, after, values)

    def _move(
        self, visit: Visit, dimension: Dimension, before: str | None, after: str | None, elsewhere: list[str]
    ) -> None:
        """Count a visit under another value of a dimension; the visitor too, unless another visit of theirs has it."""
        tally, fact = self._rollups.tally(visit.site, visit.day), self._rollups.fact
        if before is not None:
            tally.add(fact(dimension, before), -(before not in elsewhere), -1)
        if after is not None:
            tally.add(fact(dimension, after), after not in elsewhere, 1)

    def flush(self, code_of: Callable[[Origin | Client | Page], int]) -> None:
        """Write the visits that changed; `code_of` knows the numbers of what they came with."""
        # In the order of the table, each of its pages is looked for once.
        self._changed.sort(key=attrgetter("site", "id"))
        rows = []
        for visit in self._changed:
            visit.changed = False
            rows.append(
                (
                    visit.site,
                    visit.id,
                    code_of(visit.origin),
                    code_of(visit.client),
                    visit.entry and code_of(visit.entry[1]),
                    visit.exit and code_of(visit.exit[1]),
                    visit.seen,
                    visit.visitor,
                    visit.named,
                    visit.alone,
                    visit.before,
                    visit.after,
                    visit.pageviews,
                    visit.events,
                )
            )
        insert(self._conn, _SAVE, rows, _AGAIN)
        insert(self._conn, "INSERT INTO open_visits (site, guest, visit, stay)", self._begun)
        self._changed.clear()
        self._begun.clear()

    def forget(self) -> None:
        """Drop all that is remembered and not written."""
        self._known.clear()
        self._changed.clear()
        self._begun.clear()


def _that_goes_on(visits: list[Visit], event: Event) -> Visit | None:
    """The visit that an event is part of."""
    ts, stay = event.ts, event.stay
    for visit in reversed(visits):
        if visit.open and visit.stay == stay:
            began = visit.id >> COUNTER_BITS
            if stay is not None or began - visit.before - SILENCE <= ts <= began + visit.after + SILENCE:
                return visit
    return None


def _visit(site: int, day: int, guest: int, stay: int | None, row: Iterable[Any]) -> Visit:
    id, visitor, named, before, after, pageviews, events, seen, *words = row
    origin, client = Origin(*words[:8]), Client(*words[8:])
    times = {"before": before, "after": after, "pageviews": pageviews, "events": events, "seen": seen}
    return Visit(site, day, guest, id, visitor, bool(named), stay, origin, client, id, **times)


def close(conn: sqlite3.Connection, site: int) -> int:
    """Let none of a site's visits go on. Returns how many could have. Inside a transaction."""
    return conn.execute("DELETE FROM open_visits WHERE site = ?", (site,)).rowcount
