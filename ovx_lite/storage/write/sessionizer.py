"""Visits: what a visitor did without 30 minutes of silence in between.

A visit's row stands next to those of the others who are there now, and its events stand together, so that a group of
events changes few pages of the file. The way from a visitor to their visits is a table of its own that lives for a day.
"""

import sqlite3
from operator import attrgetter

from ovx_lite.domain.models import COUNTER_BITS, Client, Event, Origin
from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.sqlite import insert
from ovx_lite.storage.write.rollup_writer import Rollups, dimension_of
from ovx_lite.storage.write.visit_cache import Guests, Viewed, Visit, bit_of_kind, bit_of_page

SILENCE = 30 * 60 * 1000
"""Milliseconds without an event that end a visit."""

MOST_EVENTS = 5_000
"""Events that a visitor's visits of a day take: programs have more, and each would be compared with all of them."""

_COLUMNS = (
    "site_id, id, traffic_source_id, client_id, entry_page_id, exit_page_id, page_type_bloom, visitor_id,"
    " is_identified, is_only_visit_of_day, early_ms, elapsed_ms, pageviews, events"
)
_SAVE = f"INSERT INTO visits ({_COLUMNS})"
_AGAIN = "ON CONFLICT (site_id, id) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}"
    for column in _COLUMNS.split(", ")[2:]
    if column not in ("visitor_id", "is_identified")
)


class Visits:
    """Finds or begins the visit that an event belongs to, and counts what follows. Inside the event's transaction."""

    def __init__(self, conn: sqlite3.Connection, rollups: Rollups) -> None:
        self._conn = conn
        self._rollups = rollups
        self._guests = Guests(conn, rollups)
        self._changed: list[Visit] = []
        self._begun: list[tuple[int, int, int, int | None]] = []

    def __len__(self) -> int:
        return len(self._guests)

    def look_up(self, events: list[tuple[int, int, Event]], timezones: dict[int, str]) -> None:
        """Learn of the visits of these events' guests, before the events are placed."""
        self._guests.look_up(events, timezones)

    def place(self, site: int, number: int, event: Event, codes: tuple[int, int], came: tuple[int, int]) -> int | None:
        """Count an event, stored under `number`, in the visit that it belongs to, also if it comes late.

        `codes` are the numbers of its kind and its page, `came` those of its origin and its client. Returns how much
        greater its number is than the visit's; None if it is in none: as it only tells how a page was looked at, and
        nobody knows in which visit, or as the visitor's visits take no more.
        """
        assert event.guest is not None, "whoever visits is a guest"
        others = self._guests.of(site, event.guest)
        if others and (others[0].events if len(others) == 1 else sum(other.events for other in others)) >= MOST_EVENTS:
            return None
        visit = _that_goes_on(others, event)
        engagement = event.kind.is_engagement
        if visit is None:
            if engagement:
                return None
            visit = self._begin(site, number, event, came, others)
        self._change(visit)
        self._take_time(visit, event.ts)
        visit.seen |= bit_of_kind(codes[0]) | bit_of_page(codes[1])
        if not engagement:
            self._take(visit, number, event, codes, came, others)
        return number - visit.id

    def _begin(self, site: int, number: int, event: Event, came: tuple[int, int], others: list[Visit]) -> Visit:
        assert event.visitor is not None, "whoever visits is a visitor"
        assert event.guest is not None, "on some day"
        named = event.visitor != event.guest
        came_with = (event.origin, event.client)
        visit = Visit(site, event.day, event.guest, number, event.visitor, named, event.stay, *came_with, number)
        visit.alone, visit.codes = not others, came
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

    def _take(
        self,
        visit: Visit,
        number: int,
        event: Event,
        codes: tuple[int, int],
        came: tuple[int, int],
        others: list[Visit],
    ) -> None:
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
            visit.codes = came
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
                self._walk(visit, Viewed(number, page.path, codes[1]), others)

    def _walk(self, visit: Visit, viewed: Viewed, others: list[Visit]) -> None:
        """Take note of a page that was viewed, as the visit's first or last, if it is."""
        if visit.entry is None or viewed.number < visit.entry.number:
            before, visit.entry = visit.entry, viewed
            if before is None or before.path != viewed.path:
                elsewhere = [v.entry.path for v in others if v is not visit and v.entry]
                self._move_page(visit, Dimension.ENTRY, before, viewed, elsewhere)
        if visit.exit is None or viewed.number > visit.exit.number:
            before, visit.exit = visit.exit, viewed
            if visit.day >= self._rollups.settled(visit.site):
                return  # it may go on elsewhere
            if before is None or before.path != viewed.path:
                elsewhere = [v.exit.path for v in others if v is not visit and v.exit]
                self._move_page(visit, Dimension.EXIT, before, viewed, elsewhere)

    def _move_page(
        self, visit: Visit, dimension: Dimension, before: Viewed | None, after: Viewed, elsewhere: list[str]
    ) -> None:
        """Count a visit as begun or ended with another page; `elsewhere` are those of the visitor's other visits."""
        site, day, fact = visit.site, visit.day, self._rollups.fact
        left = None if before is None else fact(site, day, dimension, before.path)
        others = [fact(site, day, dimension, path) for path in elsewhere]
        self._move(visit, left, fact(site, day, dimension, after.path), others)

    def _replace(self, visit: Visit, origin: Origin, client: Client, others: list[Visit]) -> None:
        """Give a visit another origin and client: an earlier event was told later."""
        was = self._facts_of(visit)
        visit.origin, visit.client = origin, client
        becomes = self._facts_of(visit)
        elsewhere = [self._facts_of(other) for other in others if other is not visit]
        for dimension in {**was, **becomes}:
            values = [facts[dimension] for facts in elsewhere if dimension in facts]
            self._move(visit, was.get(dimension), becomes.get(dimension), values)

    def _facts_of(self, visit: Visit) -> dict[int, int]:
        """The facts of a visit's origin and client, by dimension."""
        facts = self._rollups.facts_of_visit
        both = (*facts(visit.site, visit.day, visit.origin), *facts(visit.site, visit.day, visit.client))
        return {dimension_of(fact): fact for fact in both}

    def _move(self, visit: Visit, before: int | None, after: int | None, elsewhere: list[int]) -> None:
        """Count a visit under another fact of a dimension; the visitor too, unless another visit of theirs has it."""
        if before == after:
            return
        tally = self._rollups.tally(visit.site, visit.day)
        if before is not None:
            tally.add(before, -(before not in elsewhere), -1)
        if after is not None:
            tally.add(after, after not in elsewhere, 1)

    def flush(self) -> None:
        """Write the visits that changed."""
        # In the order of the table, each of its pages is looked for once.
        self._changed.sort(key=attrgetter("site", "id"))
        rows = []
        for visit in self._changed:
            visit.changed = False
            rows.append(
                (
                    visit.site,
                    visit.id,
                    *visit.codes,
                    visit.entry and visit.entry.page,
                    visit.exit and visit.exit.page,
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
        insert(self._conn, "INSERT INTO open_visits (site_id, daily_visitor_id, visit_id, session_key)", self._begun)
        self._changed.clear()
        self._begun.clear()

    def forget(self) -> None:
        """Drop all that is remembered and not written."""
        self._guests.forget()
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


def close(conn: sqlite3.Connection, site: int) -> int:
    """Let none of a site's visits go on. Returns how many could have. Inside a transaction."""
    return conn.execute("DELETE FROM open_visits WHERE site_id = ?", (site,)).rowcount
