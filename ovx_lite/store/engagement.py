"""How long and how far pages were looked at, where browsers told."""

import sqlite3
from collections.abc import Sequence

from ovx_lite.filters import Filter
from ovx_lite.model import Site
from ovx_lite.periods import Period
from ovx_lite.store.matching import Matching
from ovx_lite.store.selection import ENGAGEMENT, columns_of, events, key

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
    joins = f"JOIN pages AS p ON p.id = e.page {columns.joins}"
    sql = f"""
        SELECT {columns.named} e.visit, p.path, sum({_number("ms", _DAY)}), max({_number("scroll", 100)})
        FROM {events(matching, site, period, ENGAGEMENT, filters, joins, dimensions)}
            AND v.id IS NOT NULL AND {columns.there}
        GROUP BY {columns.keys} e.visit, p.path
    """
    found: dict[tuple[str, ...], list[tuple[float | None, float | None]]] = {}
    for *told, _, _, ms, scroll in conn.execute(sql, matching.values):
        found.setdefault(key(told, dimensions), []).append((ms, scroll))
    return {key: _mean(told) for key, told in found.items()}


def _number(prop: str, most: int) -> str:
    """A property that is to be a number from 0 to `most`; callers may have sent anything."""
    value = f"min(max(e.props ->> '$.{prop}', 0), {most})"
    return f"CASE WHEN json_type(e.props, '$.{prop}') IN ('integer', 'real') THEN {value} END"


def _mean(told: list[tuple[float | None, float | None]]) -> tuple[float, float | None]:
    scrolls = [scroll for _, scroll in told if scroll is not None]
    return sum(ms or 0 for ms, _ in told) / len(told) / 1000, sum(scrolls) / len(scrolls) if scrolls else None
