"""How long and how far pages were looked at, where browsers told."""

import sqlite3
from collections.abc import Sequence

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import Period
from ovx_lite.stats.filters import Filter
from ovx_lite.storage.read.filter_sql import Matching
from ovx_lite.storage.read.from_clause import ENGAGEMENT, columns_of, events, key

_DAY = 86_400_000

Looks = dict[tuple[str, ...], tuple[float, float | None]]
"""By what stands in the dimensions: seconds on a page, and how far it was scrolled, in percent."""


def looks(
    conn: sqlite3.Connection, site: Site, period: Period, dimensions: Sequence[str], filters: Sequence[Filter] = ()
) -> Looks:
    """How long and how far pages were looked at, by dimensions, where their visitors' browsers told. Raises `Refused`.

    Of each visit, all the time that it was on a page, and the farthest that it scrolled there.
    """
    matching = Matching(conn, site.number)
    columns = columns_of(matching, dimensions)
    joins = f"JOIN pages AS p ON p.id = e.page_id {columns.joins}"
    names = "".join(f"d{number}, " for number in range(len(dimensions)))
    sql = f"""
        SELECT {names} total(ms) / count(*) / 1000, avg(scroll) FROM (
            SELECT {columns.named} sum({_number("ms", _DAY)}) AS ms, max({_number("scroll", 100)}) AS scroll
            FROM {events(matching, site, period, ENGAGEMENT, filters, joins, dimensions)}
                AND v.id IS NOT NULL AND {columns.there}
            GROUP BY {columns.keys} e.visit_id, p.path
        ) {f"GROUP BY {names.rstrip(', ')}" if names else "HAVING count(*) > 0"}
    """
    return {key(told, dimensions): (mean, scroll) for *told, mean, scroll in conn.execute(sql, matching.values)}


def _number(prop: str, most: int) -> str:
    """A property that is to be a number from 0 to `most`; callers may have sent anything."""
    value = f"min(max(e.props ->> '$.{prop}', 0), {most})"
    return f"CASE WHEN json_type(e.props, '$.{prop}') IN ('integer', 'real') THEN {value} END"
