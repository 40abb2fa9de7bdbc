"""What is counted of a day, from its events themselves: where `rollups` could not count as they came.

That is so for days before an upgrade or a new goal, and those of persons who were erased. And it is how one sees that
`rollups` counted right.
"""

import sqlite3
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import msgspec

from ovx_lite.domain.calendar import monday
from ovx_lite.domain.goal_patterns import Goals
from ovx_lite.domain.models import Client, Kind, Origin, Page, Site
from ovx_lite.storage.read import events
from ovx_lite.storage.read.events import OF_DAY, ids_of_day
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import NUMBERED, Dimension, Fact, facts, of_visit
from ovx_lite.storage.rollups.value_limit import OTHER, Choice, max_values
from ovx_lite.storage.sqlite import insert, transaction
from ovx_lite.storage.webhooks import goals
from ovx_lite.storage.write.rollup_writer import Total

_VISITS = """
SELECT visitor_id, is_only_visit_of_day, early_ms + elapsed_ms, events,
    entry_page.path, exit_page.path,
    referrer, source, channel, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
    browser, os, device, country
FROM (SELECT * FROM visits WHERE site_id = ? AND id >= ? AND id < ?) AS visits
JOIN traffic_sources ON traffic_sources.id = traffic_source_id JOIN clients ON clients.id = client_id
LEFT JOIN pages AS entry_page ON entry_page.id = entry_page_id
LEFT JOIN pages AS exit_page ON exit_page.id = exit_page_id
"""
# The events of a visit come one after the other.
EVENTS = f"""
SELECT visits.id, visitor_id, is_only_visit_of_day, person_id, revenue_minor,
    api, type, name, excluded_reason, context, currency, scheme, host, path
FROM (SELECT * FROM events WHERE {OF_DAY}) AS events
CROSS JOIN event_types ON event_types.id = event_type_id CROSS JOIN pages ON pages.id = page_id
LEFT JOIN visits ON visits.site_id = events.site_id AND visits.id = visit_id
ORDER BY events.site_id, events.visit_id, id_offset
"""
# Visits that do not say rightly whether they are their visitor's only one of the day.
_MISTAKEN = """
site_id = :site AND id >= :since AND id < :until AND is_only_visit_of_day = (visitor_id IN (
    SELECT visitor_id FROM visits WHERE site_id = :site AND id >= :since AND id < :until
    GROUP BY visitor_id HAVING count(*) > 1
))
"""


class Day(NamedTuple):
    """What is counted of a day: of all, by currency (times, amount), and by value (visitors, visits, views, events)."""

    total: Total
    takings: dict[str, tuple[int, int]]
    rows: dict[Fact, tuple[int, int, int, int]]


class Count(msgspec.Struct):
    """What is counted of a value. Visitors with several visits on that day are remembered, so that each counts once."""

    alone: int = 0
    several: set[int] = msgspec.field(default_factory=set)
    visits: int = 0
    pageviews: int = 0
    events: int = 0
    last: int | None = None

    def add_visit(self, visit: int, visitor: int, alone: bool) -> None:
        """Count a visit and its visitor, unless it is the visit that was counted last."""
        if visit == self.last:
            return
        self.last = visit
        self.visits += 1
        if alone:
            self.alone += 1
        else:
            self.several.add(visitor)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Visitors, visits, pageviews and events."""
        return (self.alone + len(self.several), self.visits, self.pageviews, self.events)


def count_day(conn: sqlite3.Connection, site: Site, day: int, choice: Choice) -> Day:
    """Count a site's day, from its visits and events; the pages on which visits ended, if it is settled.

    `choice` says which values are counted one by one.
    """
    over = day < weekly.settled(conn, site.number)
    span = (site.number, *ids_of_day(day, site.timezone))
    total, everybody = Total(), Count()
    takings: dict[str, tuple[int, int]] = {}
    counts: dict[Fact, Count] = {}
    for number, row in enumerate(conn.execute(_VISITS, span)):
        visitor, alone, duration, times, entry, exit, *words = row
        everybody.add_visit(number, visitor, alone)
        total.bounces += times == 1
        total.duration += duration
        pages: list[Fact] = [(Dimension.ENTRY, entry), (Dimension.EXIT, exit)] if entry is not None else []
        for dimension, word in chain(pages if over else pages[:1], of_visit(Origin(*words[:8]), Client(*words[8:]))):
            fact = (dimension, choice.place(dimension, word))
            count = counts.get(fact) or counts.setdefault(fact, Count())
            count.add_visit(number, visitor, alone)
    for count in counts.values():
        count.last = None
    total.visitors, total.visits, *_ = everybody.counts
    ready = Goals(goal for goal in goals.goals_of(conn, site.number) if goal.since <= day)
    for visit, visitor, alone, person, revenue, *words in conn.execute(EVENTS, span):
        kind, page = Kind(*words[:6]), Page(*words[6:])
        if kind.is_engagement:
            continue
        view = kind.type == "pageview"
        if not kind.excluded:
            total.events += 1
            total.pageviews += view
            total.strays += visit is None
            if revenue is not None:
                before = takings.get(kind.currency, (0, 0))
                takings[kind.currency] = (before[0] + 1, before[1] + revenue)
        for dimension, word in _facts(kind, page, ready, day, person):
            fact = (dimension, choice.place(dimension, word))
            count = counts.get(fact) or counts.setdefault(fact, Count())
            count.pageviews += view
            count.events += 1
            if visit is not None and dimension is not Dimension.PERSON:
                count.add_visit(visit, visitor, alone)
    return Day(total, takings, {fact: count.counts for fact, count in counts.items()})


def _facts(kind: Kind, page: Page, ready: Goals, day: int, person: int | None) -> Iterator[Fact]:
    if kind.excluded:
        yield Dimension.EXCLUDED, kind.excluded
        return
    yield from facts(kind, page, ready, day)
    if person is not None:
        yield Dimension.PERSON, person


def counted_day(conn: sqlite3.Connection, site: Site, day: int) -> Day:
    """What was counted of a site's day, as the store has it."""
    key = (site.number, day)
    columns = "visitors, visits, pageviews, events, bounces, duration_ms, sessionless_events"
    total = conn.execute(f"SELECT {columns} FROM daily_totals WHERE site_id = ? AND day = ?", key).fetchone()
    query = "SELECT currency, transactions, amount_minor FROM daily_revenue WHERE site_id = ? AND day = ?"
    takings = conn.execute(query, key)
    numbered = ", ".join(str(int(dimension)) for dimension in NUMBERED)
    rows = conn.execute(
        f"SELECT dimension, CASE WHEN dimension IN ({numbered}) OR value_id = {OTHER} THEN value_id ELSE value END,"
        " visitors, visits, pageviews, events"
        " FROM rollups LEFT JOIN dimension_values ON dimension_values.id = value_id"
        " WHERE site_id = ? AND period_days = 1 AND start_day = ?",
        key,
    )
    return Day(
        Total(*total) if total else Total(),
        {currency: (times, amount) for currency, times, amount in takings},
        {(Dimension(dimension), value): tuple(counts) for dimension, value, *counts in rows},
    )


def is_right(conn: sqlite3.Connection, site: Site, day: int) -> bool:
    """Whether what was counted of a site's day is what its visits and events say."""
    (mistaken,) = conn.execute(f"SELECT count(*) FROM visits WHERE {_MISTAKEN}", _span(site, day)).fetchone()
    if mistaken:
        return False
    # Which values came first nobody knows any more, but once it is known which were kept, all else follows.
    counted = counted_day(conn, site, day)
    kept: dict[Dimension, set[str | int]] = {}
    for dimension, value in counted.rows:
        kept.setdefault(dimension, set()).add(value)
    return count_day(conn, site, day, Choice(0, kept)) == counted


def _span(site: Site, day: int) -> dict[str, int]:
    since, until = ids_of_day(day, site.timezone)
    return {"site": site.number, "since": since, "until": until}


def recount(conn: sqlite3.Connection, site: Site, day: int) -> None:
    """Count a site's day anew, and have the store say so. Inside a transaction."""
    query = f"UPDATE visits SET is_only_visit_of_day = 1 - is_only_visit_of_day WHERE {_MISTAKEN}"
    conn.execute(query, _span(site, day))
    found = count_day(conn, site, day, Choice(max_values(conn)))
    weekly.forget(conn, site.number, day)
    if found.total != Total() or found.rows:
        query = "INSERT INTO daily_totals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        conn.execute(query, (site.number, day, *_numbers(found.total)))
    rows = [(site.number, day, currency, *told) for currency, told in found.takings.items()]
    insert(conn, "INSERT INTO daily_revenue (site_id, day, currency, transactions, amount_minor)", rows)
    put(conn, site.number, day, found.rows)
    weekly.add_up(conn, site.number, monday(day))


def _numbers(total: Total) -> tuple[int, ...]:
    return tuple(msgspec.structs.astuple(total))


def put(conn: sqlite3.Connection, site: int, day: int, rows: dict[Fact, tuple[int, int, int, int]]) -> None:
    """Write what was counted of a day, by value. Inside a transaction."""
    words = sorted({value for _, value in rows if isinstance(value, str)})
    insert(conn, "INSERT INTO dimension_values (value)", [(word,) for word in words], "ON CONFLICT DO NOTHING")
    query = "SELECT id FROM dimension_values WHERE value = ?"
    codes = {word: conn.execute(query, (word,)).fetchone()[0] for word in words}
    put = sorted(
        (site, 1, day, dimension, value if isinstance(value, int) else codes[value], *counts)
        for (dimension, value), counts in rows.items()
    )
    insert(conn, "INSERT INTO rollups", put)


def mark_all(conn: sqlite3.Connection, site: Site) -> int:
    """Have all days of a site counted anew. Returns how many."""
    with transaction(conn):
        counted = {day for (day,) in conn.execute("SELECT day FROM daily_totals WHERE site_id = ?", (site.number,))}
        rows = [(site.number, day) for day in {*counted, *events.days(conn, site)}]
        insert(conn, "INSERT INTO dirty_days (site_id, day)", rows, "ON CONFLICT DO NOTHING")
    return len(rows)
