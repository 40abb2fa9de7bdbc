"""Counts from the rollups, which take a few milliseconds, whatever the number of events."""

import heapq
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from operator import neg

import msgspec

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange, format_day_bucket, rollup_blocks
from ovx_lite.stats.filters import TIME_DIMENSIONS
from ovx_lite.stats.metrics import Counts
from ovx_lite.storage.read.from_clause import DAY_UNITS, group_key
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import ID_DIMENSIONS, Dimension
from ovx_lite.storage.rollups.value_limit import OTHER, OTHER_LABEL
from ovx_lite.storage.webhooks.goals import goals_of

DIMENSIONS = {
    "event:page": Dimension.PAGE,
    "event:hostname": Dimension.HOST,
    "event:name": Dimension.NAME,
    "visit:entry_page": Dimension.ENTRY,
    "visit:exit_page": Dimension.EXIT,
    "visit:source": Dimension.SOURCE,
    "visit:channel": Dimension.CHANNEL,
    "visit:referrer": Dimension.REFERRER,
    "visit:utm_source": Dimension.UTM_SOURCE,
    "visit:utm_medium": Dimension.UTM_MEDIUM,
    "visit:utm_campaign": Dimension.UTM_CAMPAIGN,
    "visit:utm_content": Dimension.UTM_CONTENT,
    "visit:utm_term": Dimension.UTM_TERM,
    "visit:device": Dimension.DEVICE,
    "visit:browser": Dimension.BROWSER,
    "visit:os": Dimension.OS,
    "visit:country": Dimension.COUNTRY,
}
"""The query dimensions that rollups have."""

_decode_columns = msgspec.json.Decoder(tuple[list[int], list[int]])

Rows = Iterator[tuple[tuple[str, ...], Counts]]
"""The values of the dimensions, each combination once, and its counts. Counts that rollups do not have are 0."""

_VALUES_PER_BATCH = 1 << 18
"""How many values of a dimension are added up at once. A long date range may have too many values for the memory."""

_ALL_IDS = (-1 << 63, (1 << 63) - 1)

COUNTS = "visitors, visits, pageviews, events"
_SUMS = ", ".join(f"sum({column}) AS {column}" for column in COUNTS.split(", "))
_BLOCKS = """
(SELECT value ->> 0 AS block_days, value ->> 1 AS block_start FROM json_each(:blocks)) CROSS JOIN rollups
ON site_id = :site_id AND period_days = block_days AND start_day = block_start AND dimension = :dimension
    AND value_id BETWEEN :low AND :high
"""
_VALUE_TEXT = f"""
CASE WHEN value_id = {OTHER} THEN '{OTHER_LABEL}'
    ELSE (SELECT value FROM dimension_values WHERE id = value_id) END
"""


def is_complete(conn: sqlite3.Connection, site: Site, date_range: DateRange) -> bool:
    """Return whether the rollups can answer for a date range: it has whole days only, and none of them is dirty."""
    query = "SELECT 1 FROM dirty_days WHERE site_id = ? AND day >= ? AND day <= ? LIMIT 1"
    return (
        date_range.whole_days
        and conn.execute(query, (site.id, date_range.first_day, date_range.last_day)).fetchone() is None
    )


def day_counts(conn: sqlite3.Connection, site: Site, date_range: DateRange) -> dict[int, Counts]:
    """Return the counts of each day of a date range that has any."""
    query = f"SELECT day, {COUNTS}, bounces, duration_ms FROM daily_totals WHERE site_id = ? AND day >= ? AND day <= ?"
    rows = conn.execute(query, (site.id, date_range.first_day, date_range.last_day))
    return {day: Counts(*counts) for day, *counts in rows}


def top(
    conn: sqlite3.Connection,
    site: Site,
    date_range: DateRange,
    dimension: Dimension,
    limit: int,
    count_name: str = "visitors",
) -> tuple[list[tuple[str, int]], int]:
    """Return the values of a dimension with the highest count, each with the count, and the number of all values."""
    best, total = _top_values(conn, site, date_range, dimension=dimension, limit=limit, count_name=count_name)
    query = f"SELECT value_id, {_VALUE_TEXT} FROM (SELECT value AS value_id FROM json_each(?))"
    rows = [(text, best[value]) for value, text in conn.execute(query, (_json(list(best)),))]
    return sorted(rows, key=lambda row: (-row[1], row[0])), total


def _top_values(
    conn: sqlite3.Connection, site: Site, date_range: DateRange, dimension: Dimension, limit: int, count_name: str
) -> tuple[dict[int, int], int]:
    """Return the same as `top`, unordered, with value IDs in place of values."""
    best: list[tuple[int, int]] = []
    total = 0
    for counts in _value_counts(conn, site, date_range, dimension, count_name):
        total += len(counts)
        best = heapq.nsmallest(limit, chain(best, zip(map(neg, counts.values()), counts, strict=True)))
    return {value: -count for count, value in best}, total


def _value_counts(
    conn: sqlite3.Connection, site: Site, date_range: DateRange, dimension: Dimension, count_name: str
) -> Iterator[dict[int, int]]:
    """Yield one count of each value of a dimension, by value ID, in batches of values.

    SQLite would sort the rows to group them. So it only writes each block of days into one row, and a dict sums them.
    """
    query = f"""
        SELECT (SELECT json_array(json_group_array(value_id), json_group_array({count_name})) FROM rollups
            WHERE site_id = :site_id AND period_days = block_days AND start_day = block_start
                AND dimension = :dimension AND value_id BETWEEN :low AND :high)
        FROM (SELECT value ->> 0 AS block_days, value ->> 1 AS block_start FROM json_each(:blocks))
    """
    params = _params(conn, site, date_range, dimension)
    for low, high in _ranges(conn, dimension):
        counts: dict[int, int] = {}
        for (encoded,) in conn.execute(query, {**params, "low": low, "high": high}):
            for value, count in zip(*_decode_columns.decode(encoded), strict=True):
                counts[value] = counts.get(value, 0) + count
        yield counts


def _ranges(conn: sqlite3.Connection, dimension: Dimension) -> Iterator[tuple[int, int]]:
    """Return ranges (first and last) of the value IDs of a dimension, with at most `_VALUES_PER_BATCH` values each."""
    if dimension in ID_DIMENSIONS:  # there are few goals, and persons are only queried for a few days
        return iter([_ALL_IDS])
    last = int(conn.execute("SELECT coalesce(max(id), 0) FROM dimension_values").fetchone()[0])
    return ((low, low + _VALUES_PER_BATCH - 1) for low in range(0, last + 1, _VALUES_PER_BATCH))


def _json(values: list[int]) -> str:
    return msgspec.json.encode(values).decode()


def has_other(conn: sqlite3.Connection, site: Site, date_range: DateRange, dimensions: Sequence[str]) -> bool:
    """Return whether some values of these dimensions were counted as `OTHER` on any day of a date range."""
    return any(
        conn.execute(
            f"SELECT 1 FROM {_BLOCKS} LIMIT 1",
            {**_params(conn, site, date_range, DIMENSIONS[dimension]), "low": OTHER, "high": OTHER},
        ).fetchone()
        for dimension in dimensions
        if dimension in DIMENSIONS
    )


def _params(
    conn: sqlite3.Connection, site: Site, date_range: DateRange, dimension: Dimension, by_day: bool = False
) -> dict[str, object]:
    finalized_before_day = 0 if by_day or dimension is Dimension.PERSON else weekly.finalized_before_day(conn, site.id)
    blocks = list(rollup_blocks(date_range, finalized_before_day))
    return {"site_id": site.id, "blocks": msgspec.json.encode(blocks).decode(), "dimension": int(dimension)}


def groups(
    conn: sqlite3.Connection, site: Site, date_range: DateRange, dimensions: Sequence[str], needs: Collection[str]
) -> Rows | None:
    """Return the counts of a date range by dimensions; None if the rollups lack a dimension, a day or a needed count.

    `needs` are the names of the needed counts.
    """
    value_dimensions = [dimension for dimension in dimensions if dimension not in TIME_DIMENSIONS]
    if any(dimension in TIME_DIMENSIONS[:2] for dimension in dimensions) or not is_complete(conn, site, date_range):
        return None
    if not value_dimensions:
        return iter(_by_time(conn, site, date_range, dimensions).items())
    if len(value_dimensions) > 1 or value_dimensions[0] not in DIMENSIONS or not _can_count(value_dimensions[0], needs):
        return None
    if value_dimensions[0] == "visit:exit_page" and date_range.last_day >= weekly.finalized_before_day(conn, site.id):
        return None
    return _by_value(conn, site, date_range, dimensions, DIMENSIONS[value_dimensions[0]])


def _by_time(
    conn: sqlite3.Connection, site: Site, date_range: DateRange, dimensions: Sequence[str]
) -> dict[tuple[str, ...], Counts]:
    counts_by_key: dict[tuple[str, ...], Counts] = {} if dimensions else {(): Counts()}
    for day, counts in day_counts(conn, site, date_range).items():
        if dimensions and not counts.events:
            continue  # such a day has no counted events, for example only excluded ones
        key = tuple(format_day_bucket(day, dimension.removeprefix("time:")) for dimension in dimensions)
        counts_by_key[key] = counts_by_key[key].plus(counts) if key in counts_by_key else counts
    return counts_by_key


def _by_value(
    conn: sqlite3.Connection, site: Site, date_range: DateRange, dimensions: Sequence[str], dimension: Dimension
) -> Rows:
    """Yield the counts of a date range by a dimension of values, and by time too if `dimensions` has it."""
    columns = [DAY_UNITS[name].format("start_day") if name in TIME_DIMENSIONS else "value_id" for name in dimensions]
    key_columns = ", ".join("first_day" if name in TIME_DIMENSIONS else _VALUE_TEXT for name in dimensions)
    query = f"""
        SELECT {key_columns}, {COUNTS} FROM (
            SELECT {"".join(f"{column} AS first_day, " for column in columns if column != "value_id")} value_id, {_SUMS}
            FROM {_BLOCKS} GROUP BY {", ".join(columns)}
        )
    """
    params = _params(conn, site, date_range, dimension, len(dimensions) > 1)
    for low, high in _ranges(conn, dimension):
        for row in conn.execute(query, {**params, "low": low, "high": high}):
            yield group_key(row[: len(dimensions)], dimensions), Counts(*row[len(dimensions) :])


def _can_count(dimension: str, needs: Collection[str]) -> bool:
    """Return whether rollups have all needed counts of a dimension."""
    return set(needs) <= ({"visitors", "visits"} if dimension.startswith("visit:") else set(COUNTS.split(", ")))


def goals(conn: sqlite3.Connection, site: Site, date_range: DateRange, needs: Collection[str]) -> Rows | None:
    """Return the counts of a date range by name of the goal; None if the rollups lack a day or a needed count."""
    goals_by_id = {goal.id: goal for goal in goals_of(conn, site.id)}
    is_counted = all(goal.counted_from_day <= date_range.first_day for goal in goals_by_id.values())
    if not is_counted or not _can_count("event:goal", needs) or not is_complete(conn, site, date_range):
        return None
    query = f"SELECT value_id, {_SUMS} FROM {_BLOCKS} GROUP BY value_id"
    low, high = _ALL_IDS
    rows = conn.execute(query, {**_params(conn, site, date_range, Dimension.GOAL), "low": low, "high": high})
    return (((goals_by_id[value].name,), Counts(*counts)) for value, *counts in rows if value in goals_by_id)


def revenue_by_currency(conn: sqlite3.Connection, site: Site, date_range: DateRange) -> dict[str, tuple[int, int]]:
    """Return transactions and the amount (minor units) of a date range by currency, most transactions first."""
    query = """
        SELECT currency, sum(transactions), sum(amount_minor) FROM daily_revenue
        WHERE site_id = ? AND day >= ? AND day <= ?
        GROUP BY currency ORDER BY sum(transactions) DESC, currency
    """
    rows = conn.execute(query, (site.id, date_range.first_day, date_range.last_day))
    return {currency: (transactions, amount_minor) for currency, transactions, amount_minor in rows}


def persons(
    conn: sqlite3.Connection, site: Site, date_range: DateRange, limit: int
) -> tuple[list[tuple[int, str, int]], int]:
    """Return the persons with most events in a date range, and the number of all persons with events.

    Each is a tuple of the ID in the store, the caller's ID, and the events. Persons beyond the limit of values that a
    day keeps are counted together as `OTHER`.
    """
    best, total = _top_values(conn, site, date_range, dimension=Dimension.PERSON, limit=limit, count_name="events")
    query = "SELECT id, external_id FROM persons WHERE id IN (SELECT value FROM json_each(?))"
    rows = [(person_id, user_id, best[person_id]) for person_id, user_id in conn.execute(query, (_json(list(best)),))]
    if OTHER in best:
        rows.append((OTHER, OTHER_LABEL, best[OTHER]))
    return sorted(rows, key=lambda row: (-row[2], row[1])), total
