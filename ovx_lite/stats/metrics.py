"""Compute the metrics of counted groups, and sort and page the rows (docs/stats-api.md, `metrics`). Pure."""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain import money
from ovx_lite.stats.query import Query

GroupKey = tuple[str, ...]
MetricValue = float | int | None | dict[str, Any]


class Counts(NamedTuple):
    """The counts of a group. `bounces` are visits, and `duration_ms` is the total of all visits."""

    visitors: int = 0
    visits: int = 0
    pageviews: int = 0
    events: int = 0
    bounces: int = 0
    duration_ms: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Return the sums. They are correct only if no visitor and no visit is in both."""
        return Counts(*map(sum, zip(self, other, strict=True)))


class MetricInputs(NamedTuple):
    """The values from which the metrics of a group are computed.

    A conversion rate is the share of `total_visitors`. `revenue_by_currency` has pairs of the number of transactions
    and their sum in minor units. `scroll_percent` is how far visitors scrolled.
    """

    counts: Counts = Counts()
    total_visitors: int = 0
    revenue_by_currency: Mapping[str, tuple[int, int]] = {}
    time_on_page_s: float | None = None
    scroll_percent: float | None = None


def compute_metric(name: str, inputs: MetricInputs) -> MetricValue:
    """Return a metric of a group: a number, an amount of money, or None if it is undefined, as with no visits."""
    counts = inputs.counts
    if name in ("visitors", "visits", "pageviews", "events"):
        return int(getattr(counts, name))
    if name == "views_per_visit":
        return _ratio(counts.pageviews, counts.visits)
    if name == "bounce_rate":
        return _ratio(100 * counts.bounces, counts.visits)
    if name == "visit_duration":
        return _ratio(counts.duration_ms / 1000, counts.visits)
    if name == "conversion_rate":
        return _ratio(100 * counts.visitors, inputs.total_visitors)
    if name in ("total_revenue", "average_revenue"):
        return _revenue_value(inputs, name == "average_revenue")
    value = {"scroll_depth": inputs.scroll_percent, "time_on_page": inputs.time_on_page_s}[name]
    return None if value is None else round(value, 2)


def _ratio(numerator: float, denominator: int) -> float | None:
    return round(numerator / denominator, 2) if denominator else None


def _revenue_value(inputs: MetricInputs, average: bool) -> MetricValue:
    """Return the revenue if it is in one currency; None otherwise, because currencies do not add up."""
    if len(inputs.revenue_by_currency) != 1:
        return None
    ((currency, (transactions, amount_minor)),) = inputs.revenue_by_currency.items()
    text = money.format_amount(round(amount_minor / transactions) if average else amount_minor, currency)
    return {"value": msgspec.Raw(text.encode()), "currency": currency, "long": f"{currency} {text}"}


class _Descending(str):
    """A string that sorts in descending order."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


def rows(
    query: Query, groups: Iterable[tuple[GroupKey, MetricInputs]]
) -> tuple[list[tuple[GroupKey, list[MetricValue]]], int]:
    """Return the rows of the requested page in the requested order, and the number of all rows.

    It holds at most `offset + limit` rows in memory, however many groups there are.
    """
    total = 0

    def all_rows() -> Iterator[tuple[GroupKey, list[MetricValue]]]:
        nonlocal total
        for key, inputs in groups:
            total += 1
            yield key, compute_metrics(query, inputs)

    best = heapq.nsmallest(query.offset + query.limit, all_rows(), key=lambda row: _sort_key(query, row))
    return best[query.offset :], total


def compute_metrics(query: Query, inputs: MetricInputs) -> list[MetricValue]:
    """Return the requested metrics of a group, in their order."""
    return [compute_metric(name, inputs) for name in query.metrics]


def _sort_key(query: Query, row: tuple[GroupKey, list[MetricValue]]) -> tuple[Any, ...]:
    """Return the sort key of a row: the requested order, and then the dimensions."""
    key, values = row
    sort_key: list[Any] = []
    for name, greatest_first in query.order_by:
        if name in query.dimensions:
            text = key[query.dimensions.index(name)]
            sort_key.append(_Descending(text) if greatest_first else text)
        else:
            number = _sort_number(values[query.metrics.index(name)])
            sort_key.append(-number if greatest_first else number)
    return (*sort_key, key)


def _sort_number(value: MetricValue) -> float:
    if isinstance(value, dict):
        return float(bytes(value["value"]))
    return float("-inf") if value is None else value


def percent_change(value: MetricValue, previous_value: MetricValue) -> float | None:
    """Return the change of a metric in percent, 100 for a change from 0; None for revenue and missing values."""
    if isinstance(value, dict) or isinstance(previous_value, dict) or value is None or previous_value is None:
        return None
    if previous_value == 0:
        return 0.0 if value == 0 else 100.0
    return round(100 * (value - previous_value) / previous_value, 2)


def mixed_currency_warnings(query: Query) -> dict[str, Any]:
    """Return, for each requested revenue metric, a warning that amounts of several currencies do not add up."""
    message = "There are several currencies: add the dimension event:currency, or a filter on it."
    revenue_metrics = [name for name in query.metrics if name.endswith("_revenue")]
    return {name: {"code": "mixed_currencies", "warning": message} for name in revenue_metrics}
