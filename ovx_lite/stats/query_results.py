"""The response to a query of the Stats API. Its structure is that of Plausible's (docs/stats-api.md). Pure."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ovx_lite.stats import date_ranges, metrics
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import TIME_DIMENSIONS
from ovx_lite.stats.metrics import GroupKey, MetricInputs
from ovx_lite.stats.query import Query

LoadGroups = Callable[[DateRange], Iterable[tuple[GroupKey, MetricInputs]]]
"""Returns the groups of a query in a date range, with the inputs for their metrics."""


def build(query: Query, timezone: str, load_groups: LoadGroups) -> dict[str, Any]:
    """Return the results of a query and their metadata, ready for JSON. Raises what `load_groups` raises."""
    has_mixed_currencies = False

    def groups() -> Iterator[tuple[GroupKey, MetricInputs]]:
        nonlocal has_mixed_currencies
        for key, inputs in load_groups(query.date_range):
            has_mixed_currencies = has_mixed_currencies or len(inputs.revenue_by_currency) > 1
            yield key, inputs

    rows, total = metrics.rows(query, groups())
    results = [{"metrics": values, "dimensions": list(key)} for key, values in rows]
    meta: dict[str, Any] = {}
    if has_mixed_currencies:
        meta["metric_warnings"] = metrics.mixed_currency_warnings(query)
    if query.total_rows:
        meta["total_rows"] = total
    if query.comparison_range is not None:
        _add_comparison(query, query.comparison_range, timezone, load_groups, results)
    return {"results": results, "meta": meta}


def _add_comparison(
    query: Query, comparison_range: DateRange, timezone: str, load_groups: LoadGroups, results: list[dict[str, Any]]
) -> None:
    """Add to each row the metrics of the comparison range and the change in percent.

    A bucket of time is compared with the bucket at the same position in the comparison range.
    """
    empty_metrics = metrics.compute_metrics(query, MetricInputs())
    time_dimension = next((dimension for dimension in query.dimensions if dimension in TIME_DIMENSIONS), "")
    earlier_by_current = dict[str, str]()
    if time_dimension:
        current_labels, earlier_labels = (
            date_ranges.bucket_labels(date_range, time_dimension, timezone)
            for date_range in (query.date_range, comparison_range)
        )
        earlier_by_current = dict(zip(current_labels, earlier_labels, strict=False))
    keys = [
        tuple(
            earlier_by_current.get(value, "") if dimension == time_dimension else value
            for dimension, value in zip(query.dimensions, row["dimensions"], strict=True)
        )
        for row in results
    ]
    wanted_keys = set(keys)
    earlier_metrics = {
        key: metrics.compute_metrics(query, inputs)
        for key, inputs in load_groups(comparison_range)
        if key in wanted_keys
    }
    for key, row in zip(keys, results, strict=True):
        earlier_values = earlier_metrics.get(key, empty_metrics)
        change = [
            metrics.percent_change(current, earlier)
            for current, earlier in zip(row["metrics"], earlier_values, strict=True)
        ]
        row["comparison"] = {"dimensions": list(key), "metrics": earlier_values, "change": change}
