"""A query → its answer, in the shape of Plausible's ("Stats API v2")."""

import sqlite3
from typing import Any

from ovx_lite import periods, results
from ovx_lite.filters import TIMES, Test
from ovx_lite.model import Site
from ovx_lite.periods import Period
from ovx_lite.queries import Query
from ovx_lite.results import Counts, Key, Numbers
from ovx_lite.store import engagement, revenue, stats

_NEEDS = {
    "views_per_visit": ("pageviews", "visits"),
    "bounce_rate": ("bounces", "visits"),
    "visit_duration": ("duration", "visits"),
    "conversion_rate": ("visitors",),
}


def answer(conn: sqlite3.Connection, site: Site, query: Query) -> dict[str, Any]:
    """What is asked of a site, as JSON: `results`, and `meta`. Raises `Refused`."""
    groups = numbers(conn, site, query, query.period)
    made = results.rows(query, groups)
    told = [{"metrics": values, "dimensions": list(key)} for key, values in results.cut(made, query)]
    meta: dict[str, Any] = {}
    if warnings := results.mixed(query, groups):
        meta["metric_warnings"] = warnings
    if query.total_rows:
        meta["total_rows"] = len(made)
    if query.compared is not None:
        _compare(told, query, numbers(conn, site, query, query.compared), site.timezone)
    return {"results": told, "meta": meta}


def _compare(told: list[dict[str, Any]], query: Query, before: dict[Key, Numbers], timezone: str) -> None:
    """Put beside each row what it was in the period compared with; of times, the one at the same place in it."""
    assert query.compared is not None, "there is something to compare with"
    known = dict(results.rows(query, before))
    nothing = [results.metric(name, Numbers()) for name in query.metrics]
    times = next((word for word in query.dimensions if word in TIMES), "")
    then = dict[str, str]()
    if times:
        now, earlier = (periods.labels(one, times, timezone) for one in (query.period, query.compared))
        then = dict(zip(now, earlier, strict=False))
    for row in told:
        key = tuple(
            then.get(word, "") if name == times else word
            for name, word in zip(query.dimensions, row["dimensions"], strict=True)
        )
        was = known.get(key, nothing)
        change = [results.change(now, before) for now, before in zip(row["metrics"], was, strict=True)]
        row["comparison"] = {"dimensions": list(key), "metrics": was, "change": change}


def numbers(conn: sqlite3.Connection, site: Site, query: Query, period: Period) -> dict[Key, Numbers]:
    """What is known of each group that a query asks for, in a period. Raises `Refused`."""
    needs = {need for name in query.metrics for need in _NEEDS.get(name, (name,)) if need in Counts._fields}
    asked = (query.dimensions, query.filters)
    found = {
        key: Numbers(counts) for key, counts in stats.groups(conn, site, period, *asked, needs or {"visitors"}).items()
    }
    if "conversion_rate" in query.metrics:
        everybody = _everybody(conn, site, query, period)
        found = {key: told._replace(everybody=everybody(key)) for key, told in found.items()}
    if "total_revenue" in query.metrics or "average_revenue" in query.metrics:
        for key, purses in revenue.takings(conn, site, period, *asked).items():
            found[key] = found.get(key, Numbers())._replace(money=purses)
    if "time_on_page" in query.metrics or "scroll_depth" in query.metrics:
        for key, (seconds, scroll) in engagement.looks(conn, site, period, *asked).items():
            if key in found:
                found[key] = found[key]._replace(seconds=seconds, scroll=scroll)
    return found


def _everybody(conn: sqlite3.Connection, site: Site, query: Query, period: Period) -> Any:
    """How many visitors there were whether they met a goal or not; by time, where one asks by time."""
    filters = tuple(one for one in query.filters if not (isinstance(one, Test) and one.dimension == "event:goal"))
    times = [word for word in query.dimensions if word in TIMES]
    found = stats.groups(conn, site, period, times, filters, {"visitors"})
    places = [query.dimensions.index(word) for word in times]

    def everybody(key: Key) -> int:
        counts = found.get(tuple(key[at] for at in places))
        return counts.visitors if counts else 0

    return everybody
