"""What the rollups know of a period, in a few milliseconds, whatever the number of events."""

import heapq
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from operator import neg

import msgspec

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import Period, blocks, label
from ovx_lite.stats.filters import TIMES
from ovx_lite.stats.metrics import Counts
from ovx_lite.storage.read.from_clause import DAY_UNITS, key
from ovx_lite.storage.rollups import weekly
from ovx_lite.storage.rollups.dimensions import NUMBERED, Dimension
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
"""The dimensions of queries that rollups have."""

_COLUMNS = msgspec.json.Decoder(tuple[list[int], list[int]])

Rows = Iterator[tuple[tuple[str, ...], Counts]]
"""What stands in the dimensions, each once, and what is counted there; 0 for what rollups do not count."""

_VALUES_TOGETHER = 1 << 18
"""Values of a dimension that are added up at a time: a long period may have very many, and memory is small."""

_ALL_NUMBERS = (-1 << 63, (1 << 63) - 1)

COUNTS = "visitors, visits, pageviews, events"
_SUMS = ", ".join(f"sum({column}) AS {column}" for column in COUNTS.split(", "))
_BLOCKS = """
(SELECT value ->> 0 AS block_days, value ->> 1 AS block_start FROM json_each(:blocks)) CROSS JOIN rollups
ON site_id = :site AND period_days = block_days AND start_day = block_start AND dimension = :dimension
    AND value_id BETWEEN :low AND :high
"""
_WORD = f"""
CASE WHEN value_id = {OTHER} THEN '{OTHER_LABEL}'
    ELSE (SELECT value FROM dimension_values WHERE id = value_id) END
"""


def is_known(conn: sqlite3.Connection, site: Site, period: Period) -> bool:
    """Whether all days of a period are counted."""
    query = "SELECT 1 FROM dirty_days WHERE site_id = ? AND day >= ? AND day <= ? LIMIT 1"
    return period.whole and conn.execute(query, (site.number, period.first, period.last)).fetchone() is None


def days(conn: sqlite3.Connection, site: Site, period: Period) -> dict[int, Counts]:
    """What is counted of each day of a period; without those that have nothing."""
    query = f"SELECT day, {COUNTS}, bounces, duration_ms FROM daily_totals WHERE site_id = ? AND day >= ? AND day <= ?"
    rows = conn.execute(query, (site.number, period.first, period.last))
    return {day: Counts(*counts) for day, *counts in rows}


def top(
    conn: sqlite3.Connection, site: Site, period: Period, dimension: Dimension, most: int, by: str = "visitors"
) -> tuple[list[tuple[str, int]], int]:
    """The words of a dimension that have most of a count, with it; and how many words there are."""
    best, total = _most(conn, site, period, dimension, most, by)
    query = f"SELECT value_id, {_WORD} FROM (SELECT value AS value_id FROM json_each(?))"
    rows = [(word, best[value]) for value, word in conn.execute(query, (_json(list(best)),))]
    return sorted(rows, key=lambda row: (-row[1], row[0])), total


def _most(
    conn: sqlite3.Connection, site: Site, period: Period, dimension: Dimension, most: int, by: str
) -> tuple[dict[int, int], int]:
    """The values that have most of a count, with it; and how many values there are."""
    best: list[tuple[int, int]] = []
    total = 0
    for counts in _added_up(conn, site, period, dimension, by):
        total += len(counts)
        best = heapq.nsmallest(most, chain(best, zip(map(neg, counts.values()), counts, strict=True)))
    return {value: -count for count, value in best}, total


def _added_up(
    conn: sqlite3.Connection, site: Site, period: Period, dimension: Dimension, by: str
) -> Iterator[dict[int, int]]:
    """A count of each value of a dimension, by the value's number, some values at a time.

    SQLite sorts to group, a dict does not: so each stretch of days is told in one row, and added up here.
    """
    query = f"""
        SELECT (SELECT json_array(json_group_array(value_id), json_group_array({by})) FROM rollups
            WHERE site_id = :site AND period_days = block_days AND start_day = block_start
                AND dimension = :dimension AND value_id BETWEEN :low AND :high)
        FROM (SELECT value ->> 0 AS block_days, value ->> 1 AS block_start FROM json_each(:blocks))
    """
    bound = _bind(conn, site, period, dimension)
    for low, high in _ranges(conn, dimension):
        found: dict[int, int] = {}
        for (told,) in conn.execute(query, {**bound, "low": low, "high": high}):
            for value, count in zip(*_COLUMNS.decode(told), strict=True):
                found[value] = found.get(value, 0) + count
        yield found


def _ranges(conn: sqlite3.Connection, dimension: Dimension) -> Iterator[tuple[int, int]]:
    """The numbers that values of a dimension can have, in ranges of not too many values."""
    if dimension in NUMBERED:  # goals are few, and persons are asked for of a few days
        return iter([_ALL_NUMBERS])
    last = int(conn.execute("SELECT coalesce(max(id), 0) FROM dimension_values").fetchone()[0])
    return ((low, low + _VALUES_TOGETHER - 1) for low in range(0, last + 1, _VALUES_TOGETHER))


def _json(values: list[int]) -> str:
    return msgspec.json.encode(values).decode()


def has_other(conn: sqlite3.Connection, site: Site, period: Period, dimensions: Sequence[str]) -> bool:
    """Whether some values of these dimensions were not counted one by one, in all of a period."""
    return any(
        conn.execute(
            f"SELECT 1 FROM {_BLOCKS} LIMIT 1",
            {**_bind(conn, site, period, DIMENSIONS[word]), "low": OTHER, "high": OTHER},
        ).fetchone()
        for word in dimensions
        if word in DIMENSIONS
    )


def _bind(
    conn: sqlite3.Connection, site: Site, period: Period, dimension: Dimension, by_day: bool = False
) -> dict[str, object]:
    settled = 0 if by_day or dimension is Dimension.PERSON else weekly.settled(conn, site.number)
    stretches = list(blocks(period, settled))
    told = msgspec.json.encode(stretches).decode()
    return {"site": site.number, "blocks": told, "dimension": int(dimension)}


def groups(
    conn: sqlite3.Connection, site: Site, period: Period, dimensions: Sequence[str], needs: Collection[str]
) -> Rows | None:
    """Count a period by dimensions; None if the rollups do not know all that it `needs` (counts' names)."""
    rest = [word for word in dimensions if word not in TIMES]
    if any(word in TIMES[:2] for word in dimensions) or not is_known(conn, site, period):
        return None
    if not rest:
        return iter(_by_time(conn, site, period, dimensions).items())
    if len(rest) > 1 or rest[0] not in DIMENSIONS or not _has(rest[0], needs):
        return None
    if rest[0] == "visit:exit_page" and period.last >= weekly.settled(conn, site.number):
        return None
    return _by_value(conn, site, period, dimensions, DIMENSIONS[rest[0]])


def _by_time(
    conn: sqlite3.Connection, site: Site, period: Period, dimensions: Sequence[str]
) -> dict[tuple[str, ...], Counts]:
    found: dict[tuple[str, ...], Counts] = {} if dimensions else {(): Counts()}
    for day, counts in days(conn, site, period).items():
        if dimensions and not counts.events:
            continue  # nothing but what is excluded
        key = tuple(label(day, word.removeprefix("time:")) for word in dimensions)
        found[key] = found[key].plus(counts) if key in found else counts
    return found


def _by_value(
    conn: sqlite3.Connection, site: Site, period: Period, dimensions: Sequence[str], dimension: Dimension
) -> Rows:
    """Count a period by what stands in a dimension, and by time, too, if that is among the dimensions."""
    columns = [DAY_UNITS[word].format("start_day") if word in TIMES else "value_id" for word in dimensions]
    query = f"""
        SELECT {", ".join("first_day" if word in TIMES else _WORD for word in dimensions)}, {COUNTS} FROM (
            SELECT {"".join(f"{column} AS first_day, " for column in columns if column != "value_id")} value_id, {_SUMS}
            FROM {_BLOCKS} GROUP BY {", ".join(columns)}
        )
    """
    bound = _bind(conn, site, period, dimension, len(dimensions) > 1)
    for low, high in _ranges(conn, dimension):
        for row in conn.execute(query, {**bound, "low": low, "high": high}):
            yield key(row[: len(dimensions)], dimensions), Counts(*row[len(dimensions) :])


def _has(dimension: str, needs: Collection[str]) -> bool:
    """Whether rollups count all that is needed of a dimension."""
    return set(needs) <= ({"visitors", "visits"} if dimension.startswith("visit:") else set(COUNTS.split(", ")))


def goals(conn: sqlite3.Connection, site: Site, period: Period, needs: Collection[str]) -> Rows | None:
    """Count a period by goals, by their names; None if not all of it is counted yet, or rollups do not count it."""
    known = {goal.number: goal for goal in goals_of(conn, site.number)}
    counted = all(goal.since <= period.first for goal in known.values())
    if not counted or not _has("event:goal", needs) or not is_known(conn, site, period):
        return None
    query = f"SELECT value_id, {_SUMS} FROM {_BLOCKS} GROUP BY value_id"
    low, high = _ALL_NUMBERS
    rows = conn.execute(query, {**_bind(conn, site, period, Dimension.GOAL), "low": low, "high": high})
    return (((known[value].name,), Counts(*counts)) for value, *counts in rows if value in known)


def takings(conn: sqlite3.Connection, site: Site, period: Period) -> dict[str, tuple[int, int]]:
    """The revenue of a period by currency: how often, and how much in minor units."""
    query = """
        SELECT currency, sum(transactions), sum(amount_minor) FROM daily_revenue
        WHERE site_id = ? AND day >= ? AND day <= ?
        GROUP BY currency ORDER BY sum(transactions) DESC, currency
    """
    rows = conn.execute(query, (site.number, period.first, period.last))
    return {currency: (times, amount) for currency, times, amount in rows}


def persons(conn: sqlite3.Connection, site: Site, period: Period, most: int) -> tuple[list[tuple[int, str, int]], int]:
    """Those whom most events of a period named: number, id, events; and how many were named.

    `OTHER` stands for those who are not counted one by one.
    """
    best, total = _most(conn, site, period, Dimension.PERSON, most, "events")
    query = "SELECT id, external_id FROM persons WHERE id IN (SELECT value FROM json_each(?))"
    rows = [(number, id, best[number]) for number, id in conn.execute(query, (_json(list(best)),))]
    if OTHER in best:
        rows.append((OTHER, OTHER_LABEL, best[OTHER]))
    return sorted(rows, key=lambda row: (-row[2], row[1])), total
