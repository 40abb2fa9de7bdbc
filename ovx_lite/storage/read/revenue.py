"""Revenue, by dimensions and currency."""

import sqlite3
from collections.abc import Mapping, Sequence

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import Period
from ovx_lite.stats.filters import Filter, Test
from ovx_lite.storage.read import rollup_queries
from ovx_lite.storage.read.filter_sql import Matching
from ovx_lite.storage.read.from_clause import COUNTED, columns_of, events, key
from ovx_lite.storage.webhooks.goals import goals_of

Money = dict[tuple[str, ...], dict[str, tuple[int, int]]]
"""By what stands in the dimensions and by currency: how often, and how much in minor units."""


def takings(
    conn: sqlite3.Connection, site: Site, period: Period, dimensions: Sequence[str], filters: Sequence[Filter] = ()
) -> Money:
    """The revenue of a period, by dimensions and currency, of what passes filters. Raises `Refused`."""
    found: Money = {}
    if "event:goal" in dimensions:
        at, rest = dimensions.index("event:goal"), [word for word in dimensions if word != "event:goal"]
        for goal in goals_of(conn, site.number):
            of_goal = takings(conn, site, period, rest, [*filters, Test("event:goal", "is", (goal.name,))])
            found |= {(*key[:at], goal.name, *key[at:]): told for key, told in of_goal.items()}
        return found
    matching = Matching(conn, site.number)
    columns = columns_of(matching, dimensions)
    joins = f"JOIN event_types ON event_types.id = e.event_type_id {columns.joins}"
    sql = f"""
        SELECT {columns.keys} event_types.currency, count(*), sum(e.revenue_minor)
        FROM {events(matching, site, period, COUNTED, filters, joins, dimensions, "currency <> ''")}
            AND e.revenue_minor IS NOT NULL AND {columns.there}
        GROUP BY {columns.keys} event_types.currency
    """
    for *told, currency, times, amount in conn.execute(sql, matching.values):
        found.setdefault(key(told, dimensions), {})[currency] = (times, amount)
    return found


def by_currency(
    conn: sqlite3.Connection, site: Site, period: Period, filters: Sequence[Filter]
) -> Mapping[str, tuple[int, int]]:
    """The revenue of a period by currency: how often, and how much in minor units. Raises `Refused`."""
    if not filters and rollup_queries.is_known(conn, site, period):
        return rollup_queries.takings(conn, site, period)
    # Of a site that takes nothing, nothing is looked for.
    if not conn.execute("SELECT 1 FROM daily_revenue WHERE site_id = ? LIMIT 1", (site.number,)).fetchone():
        return {}
    found = takings(conn, site, period, (), filters).get((), {})
    return dict(sorted(found.items(), key=lambda purse: (-purse[1][0], purse[0])))
