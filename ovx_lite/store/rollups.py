"""What is counted of a site's days and weeks, in the transaction that stores the events.

A day's visitors are its own (see `model.Event.guest`), so that those of several days are the sum of each day's. Where a
dimension is the visit's, visitors and visits are counted when one begins; where it is the event's, pageviews and events
are, too. `recounts` counts the same from the events themselves.
"""

import sqlite3
from collections.abc import Iterator
from enum import IntEnum

import msgspec

from ovx_lite.days import monday
from ovx_lite.goals import Goals
from ovx_lite.model import Client, Event, Kind, Origin, Page
from ovx_lite.store import changes, goals
from ovx_lite.store.db import insert


class Dimension(IntEnum):
    """What is counted by, under the number that the store has for it."""

    PAGE = 1
    HOST = 2
    NAME = 3
    GOAL = 4
    ENTRY = 5
    EXIT = 6
    REFERRER = 7
    SOURCE = 8
    CHANNEL = 9
    UTM_SOURCE = 10
    UTM_MEDIUM = 11
    UTM_CAMPAIGN = 12
    UTM_CONTENT = 13
    UTM_TERM = 14
    BROWSER = 15
    OS = 16
    DEVICE = 17
    COUNTRY = 18
    PERSON = 19
    EXCLUDED = 20


OF_ORIGIN = tuple(Dimension(number) for number in range(7, 15))
"""The dimensions of a visit's origin, in its order."""

OF_CLIENT = tuple(Dimension(number) for number in range(15, 19))
"""The dimensions of a visit's client, in its order."""

NUMBERED = (Dimension.GOAL, Dimension.PERSON)
"""The dimensions whose values have numbers of their own, and are no words."""

_ALWAYS = {Dimension.SOURCE, Dimension.CHANNEL, *OF_CLIENT}
"""What each visit has; the others count those that have one."""

_ADD = "INSERT INTO rollups (site, span, begins, dimension, value, visitors, visits, pageviews, events)"
_MORE = """
ON CONFLICT (site, span, begins, dimension, value) DO UPDATE SET
    visitors = visitors + excluded.visitors, visits = visits + excluded.visits,
    pageviews = pageviews + excluded.pageviews, events = events + excluded.events
"""
_EMPTY = """
DELETE FROM rollups WHERE site = ? AND span = ? AND begins = ? AND dimension = ? AND value = ?
    AND visits = 0 AND events = 0
"""
_ADD_DAY = "INSERT INTO days (site, day, visitors, visits, pageviews, events, bounces, duration)"
_MORE_OF_DAY = "ON CONFLICT (site, day) DO UPDATE SET " + ", ".join(
    f"{column} = {column} + excluded.{column}"
    for column in ("visitors", "visits", "pageviews", "events", "bounces", "duration")
)
_ADD_TAKINGS = "INSERT INTO takings (site, day, currency, times, amount)"
_MORE_TAKINGS = """
ON CONFLICT (site, day, currency) DO UPDATE SET times = times + excluded.times, amount = amount + excluded.amount
"""


class Total(msgspec.Struct, gc=False):
    """What comes to a day; `duration` in milliseconds."""

    visitors: int = 0
    visits: int = 0
    pageviews: int = 0
    events: int = 0
    bounces: int = 0
    duration: int = 0


Fact = tuple[Dimension, str | int]
"""A dimension of events, and what an event has there."""

Row = tuple[int, int, Dimension, str | int]
"""Site, day, dimension and value."""


class Rollups:
    """Takes what is to be counted, and writes it all at once. Inside the transaction that appends the events."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._version = -1
        self._goals: dict[int, Goals | None] = {}
        self._words: dict[str, int] = {}
        self._totals: dict[tuple[int, int], Total] = {}
        self._rows: dict[Row, list[int]] = {}
        self._takings: dict[tuple[int, int, str], list[int]] = {}
        self._begun: dict[tuple[int, int, Origin | Client], int] = {}

    def __len__(self) -> int:
        return len(self._words)

    def begin(self) -> None:
        """Look anew at the goals, if they may have changed."""
        version = changes.version(self._conn)
        if version != self._version:
            self._version = version
            self._goals.clear()

    def goals(self, site: int) -> Goals | None:
        """A site's goals; None if it has none."""
        if site not in self._goals:
            found = goals.goals_of(self._conn, site)
            self._goals[site] = Goals(found) if found else None
        return self._goals[site]

    def total(self, site: int, day: int) -> Total:
        """What comes to a day, to be added to."""
        total = self._totals.get((site, day))
        if total is None:
            total = self._totals[site, day] = Total()
        return total

    def add(
        self,
        site: int,
        day: int,
        dimension: Dimension,
        value: str | int,
        visitors: int,
        visits: int,
        pageviews: int = 0,
        events: int = 0,
    ) -> None:
        """Count a value of a dimension."""
        row = self._rows.get((site, day, dimension, value))
        if row is None:
            self._rows[site, day, dimension, value] = [visitors, visits, pageviews, events]
            return
        row[0] += visitors
        row[1] += visits
        row[2] += pageviews
        row[3] += events

    def begin_visit(
        self, site: int, day: int, origin: Origin, client: Client, others: list[tuple[Origin, Client]]
    ) -> None:
        """Count a visit that begins; `others` are what the visitor's other visits of that day came with."""
        total = self.total(site, day)
        total.visits += 1
        total.bounces += 1
        if not others:
            total.visitors += 1
            for words in (origin, client):
                self._begun[site, day, words] = self._begun.get((site, day, words), 0) + 1
            return
        known = {pair for words in others for pair in of_visit(*words)}
        for pair in of_visit(origin, client):
            self.add(site, day, *pair, pair not in known, 1)

    def add_event(self, site: int, event: Event) -> None:
        """Count an event, but for what its visit counts of it."""
        day, kind = event.day, event.kind
        view = kind.type == "pageview"
        if kind.is_engagement:
            return
        if kind.excluded:
            self.add(site, day, Dimension.EXCLUDED, kind.excluded, 0, 0, view, 1)
            return
        total = self.total(site, day)
        total.events += 1
        total.pageviews += view
        if event.person is not None:
            self.add(site, day, Dimension.PERSON, event.person.number, 0, 0, view, 1)
        if event.revenue is not None:
            takings = self._takings.setdefault((site, day, kind.currency), [0, 0])
            takings[0] += 1
            takings[1] += event.revenue

    def add_facts(self, site: int, event: Event) -> None:
        """Count what an event has that is in no visit."""
        view = event.kind.type == "pageview"
        for fact in facts(event.kind, event.page, self.goals(site), event.day):
            self.add(site, event.day, *fact, 0, 0, view, 1)

    def flush(self) -> None:
        """Write what was counted."""
        for (site, day, words), times in self._begun.items():
            dimensions = OF_ORIGIN if len(words) == len(OF_ORIGIN) else OF_CLIENT
            for dimension, word in zip(dimensions, words, strict=True):
                if word or dimension in _ALWAYS:
                    self.add(site, day, dimension, word, times, times)
        rows: list[tuple[int, ...]] = []
        less: list[tuple[int, ...]] = []
        weeks: dict[tuple[int, ...], list[int]] = {}
        for (site, day, dimension, value), counts in sorted(self._rows.items(), key=_in_order):
            if not any(counts):
                continue  # a visit went on from there within the group
            code = value if isinstance(value, int) else self._words.get(value) or self._learn(value)
            rows.append((site, 1, day, dimension, code, *counts))
            if counts[1] < 0:
                less.append((site, 1, day, dimension, code))
            week: tuple[int, ...] = (site, 7, monday(day), dimension, code)
            if (known := weeks.get(week)) is None:
                weeks[week] = counts
            else:
                weeks[week] = [one + other for one, other in zip(known, counts, strict=True)]
        for key, counts in weeks.items():
            if not any(counts):
                continue
            rows.append((*key, *counts))
            if counts[1] < 0:
                less.append(key)
        insert(self._conn, _ADD, rows, _MORE)
        if less:
            self._conn.executemany(_EMPTY, less)
        totals = [(*whose, *msgspec.structs.astuple(total)) for whose, total in self._totals.items()]
        insert(self._conn, _ADD_DAY, totals, _MORE_OF_DAY)
        insert(self._conn, _ADD_TAKINGS, [(*whose, *told) for whose, told in self._takings.items()], _MORE_TAKINGS)
        self._clear()

    def _learn(self, word: str) -> int:
        query = "INSERT INTO words (word) VALUES (?) ON CONFLICT (word) DO UPDATE SET word = word RETURNING id"
        code = self._words[word] = int(self._conn.execute(query, (word,)).fetchone()[0])
        return code

    def _clear(self) -> None:
        for remembered in (self._totals, self._rows, self._takings, self._begun):
            remembered.clear()

    def forget(self) -> None:
        """Drop all that is remembered and not written."""
        self._version = -1
        self._words.clear()
        self._clear()


def _in_order(row: tuple[Row, list[int]]) -> tuple[int, int, int]:
    """As the rows stand in their table, as far as it is known before words have their numbers."""
    return row[0][:3]


def of_visit(origin: Origin, client: Client) -> Iterator[tuple[Dimension, str]]:
    """What a visit has in the dimensions of visits, without those that it does not have."""
    for dimension, word in zip((*OF_ORIGIN, *OF_CLIENT), (*origin, *client), strict=True):
        if word or dimension in _ALWAYS:
            yield dimension, word


def facts(kind: Kind, page: Page, goals: Goals | None, day: int) -> list[Fact]:
    """What an event has in the dimensions of events."""
    found: list[Fact] = [(Dimension.NAME, kind.name)]
    if page.path:
        found.append((Dimension.PAGE, page.path))
    if page.host:
        found.append((Dimension.HOST, page.host))
    if goals:
        met = goals.of(kind.type, kind.name, page.path)
        found += [(Dimension.GOAL, goal.number) for goal in met if goal.since <= day]
    return found


def forget(conn: sqlite3.Connection, site: int, day: int) -> None:
    """Forget what was counted of a site's day. Its week is the rest of its days then. Inside a transaction."""
    for table in ("days", "takings", "stale"):
        conn.execute(f"DELETE FROM {table} WHERE site = ? AND day = ?", (site, day))
    conn.execute("DELETE FROM rollups WHERE site = ? AND span = 1 AND begins = ?", (site, day))
    add_up(conn, site, monday(day))


def add_up(conn: sqlite3.Connection, site: int, week: int) -> None:
    """Make a week, by its Monday, the sum of its days. Inside a transaction."""
    conn.execute("DELETE FROM rollups WHERE site = ? AND span = 7 AND begins = ?", (site, week))
    conn.execute(
        "INSERT INTO rollups SELECT site, 7, ?, dimension, value, sum(visitors), sum(visits), sum(pageviews),"
        " sum(events) FROM rollups WHERE site = ? AND span = 1 AND begins >= ? AND begins < ?"
        " GROUP BY dimension, value",
        (week, site, week, week + 7),
    )


def forget_value(conn: sqlite3.Connection, site: int, dimension: Dimension, value: int) -> None:
    """Forget what was counted of a goal or person, on all days. Inside a transaction."""
    for span, begin in ((1, "day"), (7, "day - (day + 3) % 7")):
        conn.execute(
            f"DELETE FROM rollups WHERE site = ? AND span = ? AND begins IN (SELECT {begin} FROM days WHERE site = ?)"
            " AND dimension = ? AND value = ?",
            (site, span, site, dimension, value),
        )


def forget_all(conn: sqlite3.Connection, site: int) -> None:
    """Forget all that was counted of a site. Inside a transaction."""
    for table in ("days", "takings", "stale", "rollups"):
        conn.execute(f"DELETE FROM {table} WHERE site = ?", (site,))
