"""What the numbers are: a query → its rows, from the rollups where they know, else from visits and events.

Everything is counted over the events that pass the filters, in the groups that the dimensions make: visits and visitors
are those of these events; a visitor counts once a day; an event that is in no visit is in no group of a visit's
dimension. So says docs/dashboard.md, and `tests/test_recount.py` counts again.
"""

import heapq
import sqlite3
from collections.abc import Collection, Iterable, Sequence

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import Period
from ovx_lite.stats.filters import TIMES, Filter, Test
from ovx_lite.stats.metrics import Counts
from ovx_lite.storage.read import rollup_queries
from ovx_lite.storage.read.filter_sql import Matching, needs_visit, of_visits
from ovx_lite.storage.read.from_clause import COUNTED, VIEW, columns_of, days, events
from ovx_lite.storage.read.from_clause import key as key_of
from ovx_lite.storage.read.rollup_queries import Rows
from ovx_lite.storage.webhooks.goals import goals_of

VIEWS = ("event:name", "pageview")
"""They are no events of their own, where events are shown."""

Groups = dict[tuple[str, ...], Counts]
"""What is counted, by what stands in the dimensions."""


def groups(
    conn: sqlite3.Connection,
    site: Site,
    period: Period,
    dimensions: Sequence[str] = (),
    filters: Sequence[Filter] = (),
    needs: Collection[str] = Counts._fields,
) -> Groups:
    """Count a period, by dimensions, of what passes filters: where there cannot be many groups. Raises `Refused`.

    `needs` are the counts that are asked for: the others may be 0.
    """
    return dict(rows(conn, site, period, dimensions, filters, needs))


def rows(
    conn: sqlite3.Connection,
    site: Site,
    period: Period,
    dimensions: Sequence[str] = (),
    filters: Sequence[Filter] = (),
    needs: Collection[str] = Counts._fields,
    exact: bool = False,
) -> Rows:
    """Count a period, by dimensions, of what passes filters, a group at a time, in no order. Raises `Refused`.

    `needs` are the counts that are asked for: the others may be 0. If it is to be `exact`, there is no group for all
    further values of a dimension (`kept_values.OTHER`).
    """
    if "event:goal" in dimensions:
        return _by_goal(conn, site, period, dimensions, filters, needs)
    known = None
    if not filters and not (exact and rollup_queries.has_other(conn, site, period, dimensions)):
        known = rollup_queries.groups(conn, site, period, dimensions, needs)
    return _from_events(conn, site, period, dimensions, filters) if known is None else known


def _from_events(
    conn: sqlite3.Connection, site: Site, period: Period, dimensions: Sequence[str], filters: Sequence[Filter]
) -> Rows:
    matching = Matching(conn, site.number)
    by_visits = (
        period.whole
        and of_visits(filters)
        and all(word.startswith("visit:") or word in TIMES[2:] for word in dimensions)
        and (needs_visit(filters) or any(word.startswith("visit:") for word in dimensions))
    )
    source = _visits if by_visits else _events
    sql = _group(source(matching, site, period, dimensions, filters), dimensions)
    empty = not dimensions
    for row in conn.execute(sql, matching.values):
        empty = False
        yield key_of(row[: len(dimensions)], dimensions), Counts(*row[len(dimensions) :])
    if empty:
        yield (), Counts()


def top(
    rows: Iterable[tuple[tuple[str, ...], Counts]], by: str, most: int
) -> tuple[list[tuple[tuple[str, ...], Counts]], int]:
    """The groups that have most of a count, at most so many; and how many groups there are. Holds no more of them."""
    total = 0

    def counting() -> Rows:
        nonlocal total
        for row in rows:
            total += 1
            yield row

    place = Counts._fields.index(by)
    return heapq.nsmallest(most, counting(), key=lambda row: (-row[1][place], row[0])), total


def _by_goal(
    conn: sqlite3.Connection,
    site: Site,
    period: Period,
    dimensions: Sequence[str],
    filters: Sequence[Filter],
    needs: Collection[str],
) -> Rows:
    """Count by goal: each on its own, since an event may meet several."""
    at, rest = dimensions.index("event:goal"), [word for word in dimensions if word != "event:goal"]
    known = None if filters or rest else rollup_queries.goals(conn, site, period, needs)
    if known is not None:
        yield from known
        return
    for goal in goals_of(conn, site.number):
        of_goal = rows(conn, site, period, rest, [*filters, Test("event:goal", "is", (goal.name,))])
        for key, counts in of_goal:
            if counts.events:
                yield (*key[:at], goal.name, *key[at:]), counts


def _visits(
    matching: Matching, site: Site, period: Period, dimensions: Sequence[str], filters: Sequence[Filter]
) -> str:
    """The visits that pass filters, a row each for each group."""
    told = columns_of(matching, dimensions)
    return f"""
        SELECT {told.named} day, v.visitor_id AS visitor_id, v.is_only_visit_of_day AS is_only_visit_of_day,
            v.id AS visit_id, v.events AS counted_events, v.pageviews AS pageviews, v.events AS visit_events,
            v.early_ms + v.elapsed_ms AS duration_ms
        FROM {days(matching, site, period)} CROSS JOIN visits AS v {told.joins}
        WHERE v.site_id = {matching.bind(site.number)} AND v.id >= low AND v.id < high AND {told.there}
            AND {matching.all(filters)}
    """


def _events(
    matching: Matching, site: Site, period: Period, dimensions: Sequence[str], filters: Sequence[Filter]
) -> str:
    """The visits of the events that pass filters, and these events; a row each for each group."""
    told = columns_of(matching, dimensions)
    return f"""
        SELECT {told.named} day, v.visitor_id AS visitor_id, v.is_only_visit_of_day AS is_only_visit_of_day,
            v.id AS visit_id, count(*) AS counted_events, sum({VIEW}) AS pageviews, v.events AS visit_events,
            v.early_ms + v.elapsed_ms AS duration_ms
        FROM {events(matching, site, period, COUNTED, filters, told.joins, dimensions)} AND {told.there}
        GROUP BY {told.keys} e.visit_id
    """


def _group(rows: str, dimensions: Sequence[str]) -> str:
    """Count rows of visits by what stands in the dimensions."""
    keys = ", ".join(f"d{number}" for number in range(len(dimensions)))
    # A visitor's only visit of a day needs no comparing with others.
    sums = """
        sum(coalesce(is_only_visit_of_day, 0))
            + count(DISTINCT CASE WHEN is_only_visit_of_day THEN NULL ELSE visitor_id << 15 | day END),
        count(visit_id), sum(pageviews), sum(counted_events), sum(CASE WHEN visit_events = 1 THEN 1 ELSE 0 END),
        sum(coalesce(duration_ms, 0))
    """
    if not dimensions:
        return f"SELECT {sums} FROM ({rows}) HAVING count(*) > 0"
    return f"SELECT {keys}, {sums} FROM ({rows}) GROUP BY {keys}"
