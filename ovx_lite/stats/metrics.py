"""From what was counted to what is answered: metrics, order, pages ("Stats API v2"). Pure."""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain import money
from ovx_lite.stats.query import Query

Key = tuple[str, ...]
Value = float | int | None | dict[str, Any]


class Counts(NamedTuple):
    """What is counted of a group; `duration` in milliseconds. Bounces are of the visits."""

    visitors: int = 0
    visits: int = 0
    pageviews: int = 0
    events: int = 0
    bounces: int = 0
    duration: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Those of both together, where nobody is in both."""
        return Counts(*map(sum, zip(self, other, strict=True)))


class Numbers(NamedTuple):
    """What is known of a group of what was asked for.

    `everybody` is how many visitors a conversion rate is of; `money` is by currency: how often, and how much in minor
    units; seconds on a page, and how far it was scrolled, in percent.
    """

    counts: Counts = Counts()
    everybody: int = 0
    money: Mapping[str, tuple[int, int]] = {}
    seconds: float | None = None
    scroll: float | None = None


def metric(name: str, numbers: Numbers) -> Value:
    """A metric of a group: a number, an amount of money, or None where there is nothing to tell."""
    counts = numbers.counts
    if name in ("visitors", "visits", "pageviews", "events"):
        return int(getattr(counts, name))
    if name == "views_per_visit":
        return _round(counts.pageviews, counts.visits)
    if name == "bounce_rate":
        return _round(100 * counts.bounces, counts.visits)
    if name == "visit_duration":
        return _round(counts.duration / 1000, counts.visits)
    if name == "conversion_rate":
        return _round(100 * counts.visitors, numbers.everybody)
    if name in ("total_revenue", "average_revenue"):
        return _amount(numbers, name == "average_revenue")
    told = numbers.scroll if name == "scroll_depth" else numbers.seconds
    return None if told is None else round(told, 2)


def _round(of: float, by: int) -> float | None:
    return round(of / by, 2) if by else None


def _amount(numbers: Numbers, average: bool) -> Value:
    """An amount of the only currency; None if there are several, as they do not add up."""
    if len(numbers.money) != 1:
        return None
    ((currency, (times, amount)),) = numbers.money.items()
    told = money.decimal(round(amount / times) if average else amount, currency)
    return {"value": msgspec.Raw(told.encode()), "currency": currency, "long": f"{currency} {told}"}


class _Descending(str):
    """A string that sorts before those that are less."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


def rows(query: Query, groups: Iterable[tuple[Key, Numbers]]) -> tuple[list[tuple[Key, list[Value]]], int]:
    """The rows that are asked for, in the order that is asked for, and how many there are in all.

    Of the groups it holds no more than come before the last row that is asked for.
    """
    total = 0

    def all_rows() -> Iterator[tuple[Key, list[Value]]]:
        nonlocal total
        for key, numbers in groups:
            total += 1
            yield key, metrics(query, numbers)

    best = heapq.nsmallest(query.offset + query.limit, all_rows(), key=lambda row: _place(query, row))
    return best[query.offset :], total


def metrics(query: Query, numbers: Numbers) -> list[Value]:
    """The metrics of a group that are asked for."""
    return [metric(name, numbers) for name in query.metrics]


def _place(query: Query, row: tuple[Key, list[Value]]) -> tuple[Any, ...]:
    """What a row is sorted by: the order that is asked for, and then the dimensions."""
    key, values = row
    place: list[Any] = []
    for name, greatest_first in query.order:
        if name in query.dimensions:
            word = key[query.dimensions.index(name)]
            place.append(_Descending(word) if greatest_first else word)
        else:
            number = _number(values[query.metrics.index(name)])
            place.append(-number if greatest_first else number)
    return (*place, key)


def _number(value: Value) -> float:
    if isinstance(value, dict):
        return float(bytes(value["value"]))
    return float("-inf") if value is None else value


def change(now: Value, before: Value) -> float | None:
    """By how many percent a metric has changed; None where that says nothing."""
    if isinstance(now, dict) or isinstance(before, dict) or now is None or before is None:
        return None
    if before == 0:
        return 0.0 if now == 0 else 100.0
    return round(100 * (now - before) / before, 2)


def mixed(query: Query) -> dict[str, Any]:
    """Warnings, by metrics, that amounts of several currencies do not add up."""
    message = "There are several currencies: add the dimension event:currency, or a filter on it."
    asked = [name for name in query.metrics if name.endswith("_revenue")]
    return {name: {"code": "mixed_currencies", "warning": message} for name in asked}
