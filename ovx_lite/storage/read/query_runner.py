"""A query → its answer, in the shape of Plausible's ("Stats API v2")."""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from ovx_lite.domain.models import Site
from ovx_lite.stats import date_ranges, metrics
from ovx_lite.stats.date_ranges import Period
from ovx_lite.stats.filters import TIMES, Test
from ovx_lite.stats.metrics import Counts, Key, Numbers
from ovx_lite.stats.query import Query
from ovx_lite.storage.read import engagement, event_queries, revenue

_NEEDS = {
    "views_per_visit": ("pageviews", "visits"),
    "bounce_rate": ("bounces", "visits"),
    "visit_duration": ("duration", "visits"),
    "conversion_rate": ("visitors",),
}


def answer(conn: sqlite3.Connection, site: Site, query: Query) -> dict[str, Any]:
    """What is asked of a site, as JSON: `results`, and `meta`. Raises `Refused`."""
    mixed = False

    def groups() -> Iterator[tuple[Key, Numbers]]:
        nonlocal mixed
        for key, told in numbers(conn, site, query, query.period):
            mixed = mixed or len(told.money) > 1
            yield key, told

    rows, total = metrics.rows(query, groups())
    told = [{"metrics": values, "dimensions": list(key)} for key, values in rows]
    meta: dict[str, Any] = {}
    if mixed:
        meta["metric_warnings"] = metrics.mixed(query)
    if query.total_rows:
        meta["total_rows"] = total
    if query.compared is not None:
        _compare(conn, site, query, told)
    return {"results": told, "meta": meta}


def _compare(conn: sqlite3.Connection, site: Site, query: Query, told: list[dict[str, Any]]) -> None:
    """Put beside each row what it was in the period compared with; of times, the one at the same place in it."""
    assert query.compared is not None, "there is something to compare with"
    nothing = metrics.metrics(query, Numbers())
    times = next((word for word in query.dimensions if word in TIMES), "")
    then = dict[str, str]()
    if times:
        now, earlier = (date_ranges.labels(one, times, site.timezone) for one in (query.period, query.compared))
        then = dict(zip(now, earlier, strict=False))
    keys = [
        tuple(
            then.get(word, "") if name == times else word
            for name, word in zip(query.dimensions, row["dimensions"], strict=True)
        )
        for row in told
    ]
    wanted = set(keys)
    before = numbers(conn, site, query, query.compared)
    known = {key: metrics.metrics(query, counted) for key, counted in before if key in wanted}
    for key, row in zip(keys, told, strict=True):
        was = known.get(key, nothing)
        change = [metrics.change(now, before) for now, before in zip(row["metrics"], was, strict=True)]
        row["comparison"] = {"dimensions": list(key), "metrics": was, "change": change}


def numbers(conn: sqlite3.Connection, site: Site, query: Query, period: Period) -> Iterator[tuple[Key, Numbers]]:
    """What is known of each group that a query asks for, in a period, a group at a time. Raises `Refused`."""
    needs = {need for name in query.metrics for need in _NEEDS.get(name, (name,)) if need in Counts._fields}
    asked = (query.dimensions, query.filters)
    money, looks = revenue.Money(), engagement.Looks()
    if "total_revenue" in query.metrics or "average_revenue" in query.metrics:
        money = revenue.takings(conn, site, period, *asked)
    if "time_on_page" in query.metrics or "scroll_depth" in query.metrics:
        looks = engagement.looks(conn, site, period, *asked)
    everybody = _everybody(conn, site, query, period) if "conversion_rate" in query.metrics else None
    exact = bool(money or looks)  # what these are of is to have its own group
    for key, counts in event_queries.rows(conn, site, period, *asked, needs or {"visitors"}, exact):
        seconds, scroll = looks.get(key, (None, None))
        yield key, Numbers(counts, everybody(key) if everybody else 0, money.pop(key, {}), seconds, scroll)
    for key, purses in money.items():
        yield key, Numbers(money=purses)


def _everybody(conn: sqlite3.Connection, site: Site, query: Query, period: Period) -> Callable[[Key], int]:
    """How many visitors there were whether they met a goal or not; by time, where one asks by time."""
    filters = tuple(one for one in query.filters if not (isinstance(one, Test) and one.dimension == "event:goal"))
    times = [word for word in query.dimensions if word in TIMES]
    found = event_queries.groups(conn, site, period, times, filters, {"visitors"})
    places = [query.dimensions.index(word) for word in times]

    def everybody(key: Key) -> int:
        counts = found.get(tuple(key[at] for at in places))
        return counts.visitors if counts else 0

    return everybody
