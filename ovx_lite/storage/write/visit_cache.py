"""Who is there on which day, and what their visits were so far."""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain.calendar import day_begins
from ovx_lite.domain.models import COUNTER_BITS, Client, Event, Kind, Origin, Page
from ovx_lite.storage.sqlite import in_pieces
from ovx_lite.storage.write.rollup_writer import Rollups

_VISIT = """
visits.id, visitor_id, is_identified, early_ms, elapsed_ms, pageviews, visits.events, page_type_bloom,
traffic_sources.id, clients.id,
referrer, source, channel, utm_source, utm_medium, utm_campaign, utm_content, utm_term, browser, os, device, country
"""
_WITH_WORDS = "JOIN traffic_sources ON traffic_sources.id = traffic_source_id JOIN clients ON clients.id = client_id"
_OPEN = f"""
SELECT visits.site_id, daily_visitor_id, session_key, {_VISIT}
FROM open_visits CROSS JOIN visits ON visits.site_id = open_visits.site_id AND visits.id = visit_id {_WITH_WORDS}
WHERE daily_visitor_id IN ({{}}) ORDER BY visit_id
"""
_OF_NAMED = f"""
SELECT {_VISIT} FROM visits INDEXED BY visits_by_identified_visitor {_WITH_WORDS}
WHERE site_id = ? AND is_identified = 1 AND visits.id >= ? AND visits.id < ? AND visitor_id IN ({{}}) ORDER BY visits.id
"""
_EVENTS = """
SELECT visit_id, id_offset, event_type_id, page_id, api, type, name, excluded_reason, scheme, host, path
FROM events JOIN event_types ON event_types.id = event_type_id JOIN pages ON pages.id = page_id
WHERE site_id = ? AND visit_id IN ({}) ORDER BY visit_id, id_offset
"""
_TOGETHER = (64, 8, 1)  # looked up in one go

Whose = tuple[int, int]
"""A site, and a guest of it (see `model.Event`)."""

# Together they are as many as SQLite keeps in six bytes.
PAGE_BITS, KIND_BITS = 36, 11


def bit_of_page(code: int) -> int:
    """The bit of a visit's `page_type_bloom` that a page has, by the page's number."""
    return 1 << code % PAGE_BITS


def bit_of_kind(code: int) -> int:
    """The bit of a visit's `page_type_bloom` that a kind of events has, by the kind's number."""
    return 1 << PAGE_BITS + code % KIND_BITS


class Viewed(NamedTuple):
    """A pageview: the event's number, the page's path, and the page's number."""

    number: int
    path: str
    page: int


class Visit(msgspec.Struct, gc=False):
    """A visit. `first` is an event's number; `codes` are those of origin and client; `open` says that it may go on."""

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
    codes: tuple[int, int] = (0, 0)
    entry: Viewed | None = None
    exit: Viewed | None = None
    facts: set[int] = msgspec.field(default_factory=set)
    open: bool = True
    changed: bool = False


class Guests:
    """Knows the visits of guests, and what there was in them. Inside the transaction that appends their events."""

    def __init__(self, conn: sqlite3.Connection, rollups: Rollups) -> None:
        self._conn = conn
        self._rollups = rollups
        self._known: dict[Whose, list[Visit]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, site: int, guest: int) -> list[Visit]:
        """The visits of a guest whom one has learnt of; more may be added."""
        return self._known[site, guest]

    def forget(self) -> None:
        """Forget them all."""
        self._known.clear()

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
            visit.exit = Viewed(number, page.path, codes[1])
            visit.entry = visit.entry or visit.exit


def _visit(site: int, day: int, guest: int, stay: int | None, row: Iterable[Any]) -> Visit:
    id, visitor, named, before, after, pageviews, events, seen, from_, by, *words = row
    origin, client = Origin(*words[:8]), Client(*words[8:])
    times = {"before": before, "after": after, "pageviews": pageviews, "events": events, "seen": seen}
    visit = Visit(site, day, guest, id, visitor, bool(named), stay, origin, client, id, **times)
    visit.codes = (from_, by)
    return visit
