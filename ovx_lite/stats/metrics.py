"""From what was counted to what is answered: metrics, order, pages ("Stats API v2"). Pure."""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain import money
from ovx_lite.stats.query import Query

GroupKey = tuple[str, ...]
MetricValue = float | int | None | dict[str, Any]


class Counts(NamedTuple):
    """What is counted of a group; `duration` in milliseconds. Bounces are of the visits."""

    visitors: int = 0
    visits: int = 0
    pageviews: int = 0
    events: int = 0
    bounces: int = 0
    duration_ms: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Those of both together, where nobody is in both."""
        return Counts(*map(sum, zip(self, other, strict=True)))


class MetricInputs(NamedTuple):
    """What is known of a group of what was asked for.

    `everybody` is how many visitors a conversion rate is of; `money` is by currency: how often, and how much in minor
    units; seconds on a page, and how far it was scrolled, in percent.
    """

    counts: Counts = Counts()
    total_visitors: int = 0
    revenue_by_currency: Mapping[str, tuple[int, int]] = {}
    time_on_page_s: float | None = None
    scroll_percent: float | None = None


def compute_metric(name: str, inputs: MetricInputs) -> MetricValue:
    """A metric of a group: a number, an amount of money, or None where there is nothing to tell."""
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
    value = inputs.scroll_percent if name == "scroll_depth" else inputs.time_on_page_s
    return None if value is None else round(value, 2)


def _ratio(numerator: float, denominator: int) -> float | None:
    return round(numerator / denominator, 2) if denominator else None


def _revenue_value(inputs: MetricInputs, average: bool) -> MetricValue:
    """An amount of the only currency; None if there are several, as they do not add up."""
    if len(inputs.revenue_by_currency) != 1:
        return None
    ((currency, (transactions, amount_minor)),) = inputs.revenue_by_currency.items()
    text = money.format_amount(round(amount_minor / transactions) if average else amount_minor, currency)
    return {"value": msgspec.Raw(text.encode()), "currency": currency, "long": f"{currency} {text}"}


class _Descending(str):
    """A string that sorts before those that are less."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


def rows(
    query: Query, groups: Iterable[tuple[GroupKey, MetricInputs]]
) -> tuple[list[tuple[GroupKey, list[MetricValue]]], int]:
    """The rows that are asked for, in the order that is asked for, and how many there are in all.

    Of the groups it holds no more than come before the last row that is asked for.
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
    """The metrics of a group that are asked for."""
    return [compute_metric(name, inputs) for name in query.metrics]


def _sort_key(query: Query, row: tuple[GroupKey, list[MetricValue]]) -> tuple[Any, ...]:
    """What a row is sorted by: the order that is asked for, and then the dimensions."""
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
    """By how many percent a metric has changed; None where that says nothing."""
    if isinstance(value, dict) or isinstance(previous_value, dict) or value is None or previous_value is None:
        return None
    if previous_value == 0:
        return 0.0 if value == 0 else 100.0
    return round(100 * (value - previous_value) / previous_value, 2)


def mixed_currency_warnings(query: Query) -> dict[str, Any]:
    """Warnings, by metrics, that amounts of several currencies do not add up."""
    message = "There are several currencies: add the dimension event:currency, or a filter on it."
    revenue_metrics = [name for name in query.metrics if name.endswith("_revenue")]
    return {name: {"code": "mixed_currencies", "warning": message} for name in revenue_metrics}
