"""What is counted of a site's days and weeks, in the transaction that stores the events.

A day's visitors are its own (see `model.Event.guest`), so that those of several days are the sum of each day's. Where a
dimension is the visit's, visitors and visits are counted when one begins; where it is the event's, pageviews and events
are, too. `recounts` counts the same from the events themselves.
"""

import sqlite3
from collections.abc import Iterable

import msgspec

from ovx_lite.domain.calendar import monday
from ovx_lite.domain.goal_patterns import Goals
from ovx_lite.domain.models import Client, Event, Kind, Origin, Page
from ovx_lite.storage import registry_version
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import ALWAYS, OF_CLIENT, OF_ORIGIN, Dimension, facts
from ovx_lite.storage.rollups.value_limit import OTHER, KeptValues, max_values
from ovx_lite.storage.sqlite import insert
from ovx_lite.storage.webhooks import goals

BITS = 5
"""A dimension and the number of what stands there, as one number: `number << BITS | dimension`."""

_DIMENSION = (1 << BITS) - 1

_ADD = "INSERT INTO rollups (site_id, period_days, start_day, dimension, value_id, visitors, visits, pageviews, events)"
_MORE = """
ON CONFLICT (site_id, period_days, start_day, dimension, value_id) DO UPDATE SET
    visitors = visitors + excluded.visitors, visits = visits + excluded.visits,
    pageviews = pageviews + excluded.pageviews, events = events + excluded.events
"""
_EMPTY = """
DELETE FROM rollups WHERE site_id = ? AND period_days = ? AND start_day = ? AND dimension = ? AND value_id = ?
    AND visits = 0 AND events = 0
"""
_ADD_DAY = """
INSERT INTO daily_totals (site_id, day, visitors, visits, pageviews, events, bounces, duration_ms, sessionless_events)
"""
_MORE_OF_DAY = "ON CONFLICT (site_id, day) DO UPDATE SET " + ", ".join(
    f"{column} = {column} + excluded.{column}"
    for column in ("visitors", "visits", "pageviews", "events", "bounces", "duration_ms", "sessionless_events")
)
_ADD_TAKINGS = "INSERT INTO daily_revenue (site_id, day, currency, transactions, amount_minor)"
_MORE_TAKINGS = """
ON CONFLICT (site_id, day, currency) DO UPDATE SET
    transactions = transactions + excluded.transactions, amount_minor = amount_minor + excluded.amount_minor
"""


def dimension_of(fact: int) -> int:
    """Return the dimension of such a number."""
    return fact & _DIMENSION


class Total(msgspec.Struct, gc=False):
    """What comes to a day; `duration` in milliseconds; `strays` are events that are in no visit."""

    visitors: int = 0
    visits: int = 0
    pageviews: int = 0
    events: int = 0
    bounces: int = 0
    duration: int = 0
    strays: int = 0


class Tally:
    """What comes to a day of a site."""

    __slots__ = ("begun", "rows", "takings", "total")

    def __init__(self) -> None:
        self.total = Total()
        self.rows: dict[int, list[int]] = {}
        self.takings: dict[str, list[int]] = {}
        self.begun: dict[Origin | Client, int] = {}  # visits of visitors who had none before on that day

    def add(self, fact: int, visitors: int, visits: int, pageviews: int = 0, events: int = 0) -> None:
        """Count what stands in a dimension."""
        row = self.rows.get(fact)
        if row is None:
            self.rows[fact] = [visitors, visits, pageviews, events]
            return
        row[0] += visitors
        row[1] += visits
        row[2] += pageviews
        row[3] += events


class _Day:
    """What is remembered of a site's day: the values that it keeps, and under which facts events and visits count."""

    __slots__ = ("kept", "of_events", "of_visits")

    def __init__(self, kept: KeptValues) -> None:
        self.kept = kept
        self.of_events: dict[tuple[int, int], tuple[int, ...]] = {}
        self.of_visits: dict[Origin | Client, tuple[int, ...]] = {}


class Rollups:
    """Takes what is to be counted, and writes it all at once. Inside the transaction that appends the events."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._version = -1
        self._goals: dict[int, Goals | None] = {}
        self._settled: dict[int, int] = {}
        self._words: dict[str, int] = {}
        self._days: dict[tuple[int, int], _Day] = {}
        self._remembered = 0  # facts of events and visits, of all days
        self._latest: tuple[int, int, _Day] | None = None
        self._tallies: dict[tuple[int, int], Tally] = {}

    def __len__(self) -> int:
        return max(len(self._words), self._remembered // 4)  # of other things, each takes more memory than a fact

    def begin(self) -> bool:
        """Look anew at the goals, if they may have changed. Returns whether they may have."""
        version, before = registry_version.version(self._conn), self._version
        if version != before:
            self._version = version
            self._goals.clear()
        return version != before

    def settled(self, site: int) -> int:
        """The first of a site's days that are not over: of these, what one only knows at their end is not counted."""
        if site not in self._settled:
            self._settled[site] = weekly.settled(self._conn, site)
        return self._settled[site]

    def tally(self, site: int, day: int) -> Tally:
        """What comes to a day of a site, to be added to."""
        tally = self._tallies.get((site, day))
        if tally is None:
            tally = self._tallies[site, day] = Tally()
        return tally

    def _day(self, site: int, day: int) -> _Day:
        latest = self._latest
        if latest is not None and latest[0] == site and latest[1] == day:
            return latest[2]
        known = self._days.get((site, day))
        if known is None:
            kept = KeptValues(self._conn, site, day, max_values(self._conn))
            known = self._days[site, day] = _Day(kept)
        self._latest = (site, day, known)
        return known

    def fact(self, site: int, day: int, dimension: Dimension, word: str) -> int:
        """A dimension and what stands there on a day of a site as one number; that of `OTHER` if it is not kept."""
        kept = self._day(site, day).kept
        code = self._words.get(word) or self._find(word)
        if code is None:
            if kept.is_full(dimension):
                return OTHER << BITS | dimension
            code = self._learn(word)
        return kept.place(dimension, code) << BITS | dimension

    def facts(self, site: int, day: int, kind: Kind, page: Page, codes: tuple[int, int]) -> tuple[int, ...]:
        """What an event has in the dimensions of events; `codes` are the numbers of its kind and its page."""
        of_events = self._day(site, day).of_events
        known = of_events.get(codes)
        if known is None:
            ready = self._goals[site] if site in self._goals else self._load_goals(site)
            found = facts(kind, page, ready, day)
            known = of_events[codes] = tuple(
                word << BITS | dimension if isinstance(word, int) else self.fact(site, day, dimension, word)
                for dimension, word in found
            )
            self._remembered += len(known)
        return known

    def facts_of_visit(self, site: int, day: int, words: Origin | Client) -> tuple[int, ...]:
        """What a visit has in the dimensions of its origin or its client, without those that it does not have."""
        of_visits = self._day(site, day).of_visits
        known = of_visits.get(words)
        if known is None:
            dimensions = OF_ORIGIN if isinstance(words, Origin) else OF_CLIENT
            known = of_visits[words] = tuple(
                self.fact(site, day, dimension, word)
                for dimension, word in zip(dimensions, words, strict=True)
                if word or dimension in ALWAYS
            )
            self._remembered += len(known)
        return known

    def _load_goals(self, site: int) -> Goals | None:
        found = goals.goals_of(self._conn, site)
        ready = self._goals[site] = Goals(found) if found else None
        return ready

    def begin_visit(
        self, site: int, day: int, origin: Origin, client: Client, others: Iterable[tuple[Origin, Client]]
    ) -> None:
        """Count a visit that begins; `others` are what the visitor's other visits of that day came with."""
        tally = self.tally(site, day)
        tally.total.visits += 1
        tally.total.bounces += 1
        known = {fact for pair in others for words in pair for fact in self.facts_of_visit(site, day, words)}
        if not known:
            tally.total.visitors += 1
            tally.begun[origin] = tally.begun.get(origin, 0) + 1
            tally.begun[client] = tally.begun.get(client, 0) + 1
            return
        for fact in (*self.facts_of_visit(site, day, origin), *self.facts_of_visit(site, day, client)):
            tally.add(fact, fact not in known, 1)

    def add_event(self, site: int, event: Event, codes: tuple[int, int], stray: bool) -> None:
        """Count an event, but for what its visit counts of it; all of it, if it is a `stray`, that is in none.

        `codes` are the numbers of its kind and its page.
        """
        kind = event.kind
        if kind.is_engagement:
            return
        tally, view = self.tally(site, event.day), kind.type == "pageview"
        if kind.excluded:
            tally.add(self.fact(site, event.day, Dimension.EXCLUDED, kind.excluded), 0, 0, view, 1)
            return
        tally.total.events += 1
        tally.total.pageviews += view
        if stray:
            tally.total.strays += 1
            for fact in self.facts(site, event.day, kind, event.page, codes):
                tally.add(fact, 0, 0, view, 1)
        if event.person is not None:
            person = self._day(site, event.day).kept.place(Dimension.PERSON, event.person.number)
            tally.add(person << BITS | Dimension.PERSON, 0, 0, view, 1)
        if event.revenue is not None:
            takings = tally.takings.setdefault(kind.currency, [0, 0])
            takings[0] += 1
            takings[1] += event.revenue

    def flush(self) -> None:
        """Write what was counted."""
        days: dict[tuple[int, ...], list[int]] = {}
        weeks: dict[tuple[int, ...], list[int]] = {}
        for (site, day), tally in self._tallies.items():
            self._count_begun(site, day, tally)
            week = monday(day)
            over = week + 7 <= self.settled(site)
            for fact, counts in tally.rows.items():
                value = (fact & _DIMENSION, fact >> BITS)
                days[site, 1, day, *value] = counts
                if not over or fact & _DIMENSION == Dimension.PERSON:  # of persons, weeks are never asked for
                    continue
                before = weeks.get(key := (site, 7, week, *value))
                weeks[key] = counts if before is None else [*map(sum, zip(before, counts, strict=True))]
        # In the order of the table, each of its pages is looked for once. What went on in the same group is nothing.
        rows = sorted((*key, *counts) for changed in (days, weeks) for key, counts in changed.items() if any(counts))
        insert(self._conn, _ADD, rows, _MORE)
        if less := [row[:5] for row in rows if row[6] < 0]:
            self._conn.executemany(_EMPTY, less)
        told = [(*whose, *msgspec.structs.astuple(tally.total)) for whose, tally in self._tallies.items()]
        insert(self._conn, _ADD_DAY, told, _MORE_OF_DAY)
        purses = [(*whose, *purse) for whose, tally in self._tallies.items() for purse in _purses(tally)]
        insert(self._conn, _ADD_TAKINGS, purses, _MORE_TAKINGS)
        self._tallies.clear()

    def _count_begun(self, site: int, day: int, tally: Tally) -> None:
        for words, times in tally.begun.items():
            for fact in self.facts_of_visit(site, day, words):
                tally.add(fact, times, times)

    def _find(self, word: str) -> int | None:
        row = self._conn.execute("SELECT id FROM dimension_values WHERE value = ?", (word,)).fetchone()
        if row is None:
            return None
        code = self._words[word] = int(row[0])
        return code

    def _learn(self, word: str) -> int:
        row = self._conn.execute("INSERT INTO dimension_values (value) VALUES (?) RETURNING id", (word,)).fetchone()
        code = self._words[word] = int(row[0])
        return code

    def forget(self) -> None:
        """Drop all that is remembered and not written."""
        self._version = -1
        self._settled.clear()
        self._words.clear()
        self._days.clear()
        self._latest = None
        self._remembered = 0
        self._tallies.clear()


def _purses(tally: Tally) -> Iterable[tuple[str, int, int]]:
    return ((currency, times, amount) for currency, (times, amount) in tally.takings.items())
