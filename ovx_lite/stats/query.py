"""Parse the body of a query (docs/stats-api.md). Its form is that of Plausible's Stats API v2. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from ovx_lite.stats import date_ranges
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import (
    MAX_CONDITIONS,
    PROPS_PREFIX,
    TIME_DIMENSIONS,
    Condition,
    Filter,
    check_limits,
    conditions,
    invalid,
    one_of,
    parse_dimension,
    parse_filter,
)

METRICS = (
    *("visitors", "visits", "pageviews", "views_per_visit", "bounce_rate", "visit_duration", "events"),
    *("conversion_rate", "total_revenue", "average_revenue", "scroll_depth", "time_on_page"),
)
MAX_DIMENSIONS = 4
MAX_ROWS = 10_000
_PAGE_METRICS = ("scroll_depth", "time_on_page")
_KEYS = {
    *("site_id", "metrics", "date_range", "dimensions", "filters", "order_by", "limit", "offset", "pagination"),
    "include",
}
_COMPARISON_MODES = ("previous_period", "year_over_year", "custom")


class Query(msgspec.Struct, frozen=True):
    """A parsed query about a site. All filters must match.

    `order_by` has pairs of a metric or dimension and whether it is in descending order.
    """

    metrics: tuple[str, ...]
    date_range: DateRange
    dimensions: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    order_by: tuple[tuple[str, bool], ...] = ()
    limit: int = MAX_ROWS
    offset: int = 0
    comparison_range: DateRange | None = None
    total_rows: bool = False
    time_labels: bool = False


def parse(document: Any, timezone: str, now_ms: int, oldest_day: int | None) -> Query:
    """Parse the decoded JSON of a query. `oldest_day` is the day of the site's first event.

    Raises `ApiError` (`invalid_request`) with the field.
    """
    if not isinstance(document, dict):
        raise invalid("The query must be a JSON object with site_id, metrics and date_range.", None)
    for key in document:
        if key not in _KEYS:
            raise invalid(f"A query has no key {key[:60]}: use {', '.join(sorted(_KEYS))}.", key[:60])
    dimensions = tuple(
        parse_dimension(entry, f"dimensions[{index}]")
        for index, entry in _parse_list(document, "dimensions", MAX_DIMENSIONS)
    )
    if len(set(dimensions)) < len(dimensions) or sum(entry in TIME_DIMENSIONS for entry in dimensions) > 1:
        raise invalid("Send each dimension once, and at most one time dimension.", "dimensions")
    metrics = tuple(
        one_of(entry, METRICS, f"metrics[{index}]", "metric") for index, entry in _parse_list(document, "metrics", 20)
    )
    if not metrics or len(set(metrics)) < len(metrics):
        raise invalid(f"Send at least one metric, and each once: {', '.join(METRICS)}.", "metrics")
    filters = tuple(
        parse_filter(entry, f"filters[{index}]") for index, entry in _parse_list(document, "filters", MAX_CONDITIONS)
    )
    check_limits(filters, "filters")
    date_range = _parse_date_range(document.get("date_range"), "date_range", timezone, now_ms, oldest_day)
    include = _parse_include(document.get("include"))
    limit, offset = _parse_pagination(document)
    query = Query(
        metrics=metrics,
        date_range=date_range,
        dimensions=dimensions,
        filters=filters,
        order_by=_parse_order_by(document, metrics, dimensions),
        limit=limit,
        offset=offset,
        comparison_range=_parse_comparison(include, date_range, timezone, now_ms, oldest_day),
        total_rows=include.get("total_rows", False),
        time_labels=include.get("time_labels", False),
    )
    _check_combination(query)
    return query


def _parse_include(value: Any) -> dict[str, Any]:
    included = {} if value is None else value
    if not isinstance(included, dict) or not set(included) <= {"total_rows", "time_labels", "comparisons"}:
        message = (
            'include must be an object with total_rows, time_labels or comparisons, for example {"total_rows": true}.'
        )
        raise invalid(message, "include")
    for name in ("total_rows", "time_labels"):
        if not isinstance(included.get(name, False), bool):
            raise invalid(f"{name} must be true or false.", f"include.{name}")
    return included


def _check_combination(query: Query) -> None:
    """Raise `ApiError` if metrics, dimensions, filters and date range do not fit together."""
    used_dimensions = [*query.dimensions, *(condition.dimension for condition in conditions(query.filters))]
    goal_conditions = [
        condition
        for condition in query.filters
        if isinstance(condition, Condition) and condition.dimension == "event:goal"
    ]
    for index, metric in enumerate(query.metrics):
        field = f"metrics[{index}]"
        if metric in _PAGE_METRICS:
            if "event:page" not in used_dimensions:
                raise invalid(f"{metric} needs pages: add the dimension event:page, or a filter on it.", field)
            if any(
                dimension in ("event:name", "event:goal", "event:currency") or dimension.startswith(PROPS_PREFIX)
                for dimension in used_dimensions
            ):
                raise invalid(
                    f"{metric} works only with event:page and visit dimensions: remove the other event dimensions.",
                    field,
                )
        if metric == "conversion_rate":
            if "event:goal" not in query.dimensions and not goal_conditions:
                raise invalid("conversion_rate needs goals: add the dimension event:goal, or a filter on it.", field)
            if len(goal_conditions) < sum(
                condition.dimension == "event:goal" for condition in conditions(query.filters)
            ):
                raise invalid(
                    "conversion_rate does not work with event:goal within and, or, not: use a filter of its own.", field
                )
    by_clock = any(dimension in ("time:minute", "time:hour") for dimension in query.dimensions)
    longest_days = max(
        date_range.day_count for date_range in (query.date_range, query.comparison_range) if date_range is not None
    )
    if by_clock and longest_days > (2 if "time:minute" in query.dimensions else 93):
        raise invalid("Too many buckets: shorten the range, or use time:day.", "dimensions")


def _parse_list(document: Mapping[str, Any], key: str, max_length: int) -> list[tuple[int, Any]]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid(f"{key} must be a list: send it in brackets.", key)
    if len(value) > max_length:
        raise invalid(f"{key} has {len(value)} entries: at most {max_length} are allowed.", key)
    return list(enumerate(value))


def _parse_date_range(value: Any, field: str, timezone: str, now_ms: int, oldest_day: int | None) -> DateRange:
    if isinstance(value, str) and value in date_ranges.RANGE_NAMES:
        return date_ranges.from_name(value, now_ms, timezone, oldest_day)
    if isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value):
        try:
            return date_ranges.from_text(value[0][:40], value[1][:40], timezone)
        except ValueError as exc:
            raise invalid(str(exc), field) from None
    names = ", ".join(date_ranges.RANGE_NAMES)
    raise invalid(f'{field} must be one of {names}, or two dates such as ["2025-03-01", "2025-03-31"].', field)


def _parse_comparison(
    include: Mapping[str, Any], date_range: DateRange, timezone: str, now_ms: int, oldest_day: int | None
) -> DateRange | None:
    comparison = include.get("comparisons")
    if comparison is None:
        return None
    field = "include.comparisons"
    if not isinstance(comparison, dict):
        raise invalid('comparisons must be an object like {"mode": "previous_period"}.', field)
    mode = one_of(comparison.get("mode"), _COMPARISON_MODES, f"{field}.mode", "comparison")
    if mode == "custom":
        return _parse_date_range(comparison.get("date_range"), f"{field}.date_range", timezone, now_ms, oldest_day)
    if comparison.get("date_range") is not None:
        raise invalid('date_range is only for {"mode": "custom"}: leave it out.', f"{field}.date_range")
    if date_range.first_day < 366 and date_range.first_day - date_range.day_count < 0:
        raise invalid("The comparison would start before 1970: choose a later date_range.", field)
    return (
        date_ranges.previous_range(date_range, timezone)
        if mode == "previous_period"
        else date_ranges.previous_year_range(date_range, timezone)
    )


def _parse_order_by(
    document: Mapping[str, Any], metrics: tuple[str, ...], dimensions: tuple[str, ...]
) -> tuple[tuple[str, bool], ...]:
    order_by = []
    for index, entry in _parse_list(document, "order_by", 20):
        field = f"order_by[{index}]"
        if not isinstance(entry, list) or len(entry) != 2 or entry[1] not in ("asc", "desc"):
            raise invalid('An order must be a pair like ["visitors", "desc"].', field)
        name = "time:day" if entry[0] == "time" else entry[0]
        order_by.append(
            (one_of(name, (*metrics, *dimensions), field, "requested metric or dimension"), entry[1] == "desc")
        )
    if order_by:
        return tuple(order_by)
    time_order = tuple((dimension, False) for dimension in dimensions if dimension in TIME_DIMENSIONS)
    return time_order or ((metrics[0], True),)


def _parse_pagination(document: Mapping[str, Any]) -> tuple[int, int]:
    pagination = document.get("pagination")
    if pagination is not None and not isinstance(pagination, dict):
        raise invalid('pagination must be an object like {"limit": 100, "offset": 0}.', "pagination")
    limit, offset = MAX_ROWS, 0
    for section in (document, pagination or {}):
        limit = _parse_integer(section, "limit", limit, 1, MAX_ROWS)
        offset = _parse_integer(section, "offset", offset, 0, 10**9)
    return limit, offset


def _parse_integer(section: Mapping[str, Any], key: str, default: int, minimum: int, maximum: int) -> int:
    value = section.get(key)
    if value is None:
        return default
    if isinstance(value, float) and value.is_integer():  # in JSON, 5.0 is a whole number
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise invalid(f"{key} must be a whole number from {minimum} to {maximum}.", key)
    return value
