"""What a dashboard shows of a date range: totals, a series, top lists and revenue."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from ovx_lite.stats.metrics import Counts


class TopList(msgspec.Struct, frozen=True):
    """The values of a dimension with their counts, mostly of visitors, and the number of all values."""

    rows: Sequence[tuple[str, int]] = ()
    total: int = 0


class RangeSummary(NamedTuple):
    """The counts of a date range.

    `series` has the counts of each bucket of time that has any, and `top_lists` the values with the most visitors, by
    dimension. `revenue` maps a currency to the number of transactions and their sum in minor units, most transactions
    first. `is_stale` says that days of the range are being counted again.
    """

    totals: Counts
    series: Mapping[str, Counts]
    top_lists: Mapping[str, TopList]
    revenue: Mapping[str, tuple[int, int]]
    is_stale: bool
