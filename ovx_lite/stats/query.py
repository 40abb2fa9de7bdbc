"""What one asks of the numbers: the body of a query, checked ("Stats API v2", in its shape). Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from ovx_lite.stats import date_ranges
from ovx_lite.stats.date_ranges import Period
from ovx_lite.stats.filters import (
    MOST_TESTS,
    PROPS,
    TIMES,
    Filter,
    Test,
    check_number,
    dimension_of,
    filter_of,
    one_of,
    tests,
    wrong,
)

METRICS = (
    *("visitors", "visits", "pageviews", "views_per_visit", "bounce_rate", "visit_duration", "events"),
    *("conversion_rate", "total_revenue", "average_revenue", "scroll_depth", "time_on_page"),
)
MOST_DIMENSIONS = 4
MOST_ROWS = 10_000
_OF_PAGES = ("scroll_depth", "time_on_page")
_KEYS = {
    *("site_id", "metrics", "date_range", "dimensions", "filters", "order_by", "limit", "offset", "pagination"),
    "include",
}
_MODES = ("previous_period", "year_over_year", "custom")


class Query(msgspec.Struct, frozen=True):
    """What is asked of a site. `order` names metrics and dimensions, each with whether the greatest come first.

    Filters are all to be so. `compared` is the period to compare with.
    """

    metrics: tuple[str, ...]
    period: Period
    dimensions: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    order: tuple[tuple[str, bool], ...] = ()
    limit: int = MOST_ROWS
    offset: int = 0
    compared: Period | None = None
    total_rows: bool = False
    time_labels: bool = False


def parse(document: Any, timezone: str, now: int, oldest: int | None) -> Query:
    """The body of a query, as JSON → what it asks. `now` is Unix ms, `oldest` the day of the site's first event.

    Raises `Refused` (`invalid_request`) with the field.
    """
    if not isinstance(document, dict):
        raise wrong("The query is no JSON object: send one with site_id, metrics and date_range.", None)
    for key in document:
        if key not in _KEYS:
            raise wrong(f"A query has no {key[:60]}: there are {', '.join(sorted(_KEYS))}.", key[:60])
    dimensions = tuple(
        dimension_of(told, f"dimensions[{n}]") for n, told in _list(document, "dimensions", MOST_DIMENSIONS)
    )
    if len(set(dimensions)) < len(dimensions) or sum(told in TIMES for told in dimensions) > 1:
        raise wrong("Ask for each dimension once, and for one of time at most.", "dimensions")
    metrics = tuple(one_of(told, METRICS, f"metrics[{n}]", "metric") for n, told in _list(document, "metrics", 20))
    if not metrics or len(set(metrics)) < len(metrics):
        raise wrong(f"Ask for at least one metric, and each once: {', '.join(METRICS)}.", "metrics")
    told = _list(document, "filters", MOST_TESTS)
    filters = tuple(filter_of(one, f"filters[{n}]") for n, one in told)
    check_number(filters, "filters")
    period = _period(document.get("date_range"), "date_range", timezone, now, oldest)
    include = _included(document.get("include"))
    limit, offset = _page(document)
    query = Query(
        metrics,
        period,
        dimensions,
        filters,
        _order(document, metrics, dimensions),
        limit,
        offset,
        _compared(include, period, timezone, now, oldest),
        include.get("total_rows", False),
        include.get("time_labels", False),
    )
    _check(query)
    return query


def _included(told: Any) -> dict[str, Any]:
    included = {} if told is None else told
    if not isinstance(included, dict) or not set(included) <= {"total_rows", "time_labels", "comparisons"}:
        message = 'include is an object with total_rows, time_labels, comparisons, like {"total_rows": true}.'
        raise wrong(message, "include")
    for name in ("total_rows", "time_labels"):
        if not isinstance(included.get(name, False), bool):
            raise wrong(f"{name} is true or false.", f"include.{name}")
    return included


def _check(query: Query) -> None:
    """Whether all that is asked goes together."""
    asked = [*query.dimensions, *(test.dimension for test in tests(query.filters))]
    goals = [test for test in query.filters if isinstance(test, Test) and test.dimension == "event:goal"]
    for number, metric in enumerate(query.metrics):
        field = f"metrics[{number}]"
        if metric in _OF_PAGES:
            if "event:page" not in asked:
                raise wrong(f"{metric} is of pages: add the dimension event:page, or a filter on it.", field)
            if any(word in ("event:name", "event:goal", "event:currency") or word.startswith(PROPS) for word in asked):
                raise wrong(f"{metric} knows pages and visits alone: leave out other dimensions of events.", field)
        if metric == "conversion_rate":
            if "event:goal" not in query.dimensions and not goals:
                raise wrong("conversion_rate is of goals: add the dimension event:goal, or a filter on it.", field)
            if len(goals) < sum(test.dimension == "event:goal" for test in tests(query.filters)):
                raise wrong("conversion_rate takes filters on event:goal alone, not within and, or, not.", field)
    hours = any(word in ("time:minute", "time:hour") for word in query.dimensions)
    longest = max(period.days for period in (query.period, query.compared) if period is not None)
    if hours and longest > (2 if "time:minute" in query.dimensions else 93):
        raise wrong("That are too many minutes or hours: ask for less time, or for time:day.", "dimensions")


def _list(document: Mapping[str, Any], key: str, most: int) -> list[tuple[int, Any]]:
    told = document.get(key)
    if told is None:
        return []
    if not isinstance(told, list):
        raise wrong(f"{key} is no list: send one in brackets.", key)
    if len(told) > most:
        raise wrong(f"{key} has {len(told)} entries: at most {most} are taken.", key)
    return list(enumerate(told))


def _period(told: Any, field: str, timezone: str, now: int, oldest: int | None) -> Period:
    if isinstance(told, str) and told in date_ranges.WORDS:
        return date_ranges.named(told, now, timezone, oldest)
    if isinstance(told, list) and len(told) == 2 and all(isinstance(one, str) for one in told):
        try:
            return date_ranges.between(told[0][:40], told[1][:40], timezone)
        except ValueError as reason:
            raise wrong(str(reason), field) from None
    known = ", ".join(date_ranges.WORDS)
    raise wrong(f'{field} is one of {known}, or two dates: ["2025-03-01", "2025-03-31"].', field)


def _compared(include: Mapping[str, Any], period: Period, timezone: str, now: int, oldest: int | None) -> Period | None:
    told = include.get("comparisons")
    if told is None:
        return None
    field = "include.comparisons"
    if not isinstance(told, dict):
        raise wrong('comparisons is an object like {"mode": "previous_period"}.', field)
    mode = one_of(told.get("mode"), _MODES, f"{field}.mode", "comparison")
    if mode == "custom":
        return _period(told.get("date_range"), f"{field}.date_range", timezone, now, oldest)
    if told.get("date_range") is not None:
        raise wrong('date_range goes with {"mode": "custom"}: leave it out.', f"{field}.date_range")
    if period.first < 366 and period.first - period.days < 0:
        raise wrong("There is no time before this period to compare with.", field)
    return (
        date_ranges.before(period, timezone) if mode == "previous_period" else date_ranges.year_before(period, timezone)
    )


def _order(
    document: Mapping[str, Any], metrics: tuple[str, ...], dimensions: tuple[str, ...]
) -> tuple[tuple[str, bool], ...]:
    order = []
    for number, told in _list(document, "order_by", 20):
        field = f"order_by[{number}]"
        if not isinstance(told, list) or len(told) != 2 or told[1] not in ("asc", "desc"):
            raise wrong('An order is a pair like ["visitors", "desc"].', field)
        name = "time:day" if told[0] == "time" else told[0]
        order.append(
            (one_of(name, (*metrics, *dimensions), field, "metric or dimension that is asked for"), told[1] == "desc")
        )
    if order:
        return tuple(order)
    of_time = tuple((word, False) for word in dimensions if word in TIMES)
    return of_time or ((metrics[0], True),)


def _page(document: Mapping[str, Any]) -> tuple[int, int]:
    told = document.get("pagination")
    if told is not None and not isinstance(told, dict):
        raise wrong('pagination is an object like {"limit": 100, "offset": 0}.', "pagination")
    limit, offset = MOST_ROWS, 0
    for place in (document, told or {}):
        limit = _whole(place, "limit", limit, 1, MOST_ROWS)
        offset = _whole(place, "offset", offset, 0, 10**9)
    return limit, offset


def _whole(told: Mapping[str, Any], key: str, usual: int, least: int, most: int) -> int:
    value = told.get(key)
    if value is None:
        return usual
    if isinstance(value, float) and value.is_integer():  # to JSON, 5.0 is a whole number
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise wrong(f"{key} is a whole number from {least} to {most}.", key)
    return value
