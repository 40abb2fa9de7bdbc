"""Revenue, by dimensions and currency."""

import sqlite3
from collections.abc import Sequence

from ovx_lite.filters import Filter, Test
from ovx_lite.model import Site
from ovx_lite.periods import Period
from ovx_lite.store.goals import goals_of
from ovx_lite.store.matching import Matching
from ovx_lite.store.selection import COUNTED, columns_of, events, key

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
    joins = f"JOIN kinds ON kinds.id = e.kind {columns.joins}"
    sql = f"""
        SELECT {columns.keys} kinds.currency, count(*), sum(e.revenue)
        FROM {events(matching, site, period, COUNTED, filters, joins, dimensions, "currency <> ''")}
            AND e.revenue IS NOT NULL AND {columns.there}
        GROUP BY {columns.keys} kinds.currency
    """
    for *told, currency, times, amount in conn.execute(sql, matching.values):
        found.setdefault(key(told, dimensions), {})[currency] = (times, amount)
    return found
