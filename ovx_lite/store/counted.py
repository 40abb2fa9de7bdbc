"""What the rollups know of a period, in a few milliseconds, whatever the number of events."""

import heapq
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from operator import neg

import msgspec

from ovx_lite.filters import TIMES
from ovx_lite.model import Site
from ovx_lite.periods import Period, blocks, label
from ovx_lite.results import Counts
from ovx_lite.store import sums
from ovx_lite.store.dimensions import Dimension
from ovx_lite.store.goals import goals_of

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

Found = dict[tuple[str, ...], Counts]
"""By what stands in the dimensions, what is counted there; 0 for what rollups do not count."""

COUNTS = "visitors, visits, pageviews, events"
_SUMS = ", ".join(f"sum({column}) AS {column}" for column in COUNTS.split(", "))
_BLOCKS = """
(SELECT value ->> 0 AS block_span, value ->> 1 AS block FROM json_each(:blocks)) CROSS JOIN rollups
ON site = :site AND span = block_span AND begins = block AND dimension = :dimension
"""


def is_known(conn: sqlite3.Connection, site: Site, period: Period) -> bool:
    """Whether all days of a period are counted."""
    query = "SELECT 1 FROM stale WHERE site = ? AND day >= ? AND day <= ? LIMIT 1"
    return period.whole and conn.execute(query, (site.number, period.first, period.last)).fetchone() is None


def days(conn: sqlite3.Connection, site: Site, period: Period) -> dict[int, Counts]:
    """What is counted of each day of a period; without those that have nothing."""
    query = f"SELECT day, {COUNTS}, bounces, duration FROM days WHERE site = ? AND day >= ? AND day <= ?"
    rows = conn.execute(query, (site.number, period.first, period.last))
    return {day: Counts(*counts) for day, *counts in rows}


def top(
    conn: sqlite3.Connection, site: Site, period: Period, dimension: Dimension, most: int, by: str = "visitors"
) -> tuple[list[tuple[str, int]], int]:
    """The words of a dimension that have most of a count, with it; and how many words there are."""
    found = _added_up(conn, site, period, dimension, by)
    query = "SELECT id, word FROM words WHERE id IN (SELECT value FROM json_each(?))"
    rows = [(word, found[id]) for id, word in conn.execute(query, (_most(found, most),))]
    return sorted(rows, key=lambda row: (-row[1], row[0])), len(found)


def _most(found: Mapping[int, int], most: int) -> str:
    """The values that have most of a count, as JSON."""
    ranked = heapq.nsmallest(most, zip(map(neg, found.values()), found, strict=True))
    return msgspec.json.encode([value for _, value in ranked]).decode()


def _added_up(conn: sqlite3.Connection, site: Site, period: Period, dimension: Dimension, by: str) -> dict[int, int]:
    """A count of each value of a dimension, by the value's number.

    SQLite sorts to group, a dict does not: so each stretch of days is told in one row, and added up here.
    """
    query = f"""
        SELECT (SELECT json_array(json_group_array(value), json_group_array({by})) FROM rollups
            WHERE site = :site AND span = block_span AND begins = block AND dimension = :dimension)
        FROM (SELECT value ->> 0 AS block_span, value ->> 1 AS block FROM json_each(:blocks))
    """
    found: dict[int, int] = {}
    for (told,) in conn.execute(query, _bind(conn, site, period, dimension)):
        for value, count in zip(*_COLUMNS.decode(told), strict=True):
            found[value] = found.get(value, 0) + count
    return found


def _bind(
    conn: sqlite3.Connection, site: Site, period: Period, dimension: Dimension, by_day: bool = False
) -> dict[str, object]:
    settled = 0 if by_day or dimension is Dimension.PERSON else sums.settled(conn, site.number)
    stretches = list(blocks(period, settled))
    told = msgspec.json.encode(stretches).decode()
    return {"site": site.number, "blocks": told, "dimension": int(dimension)}


def groups(
    conn: sqlite3.Connection, site: Site, period: Period, dimensions: Sequence[str], needs: Collection[str]
) -> Found | None:
    """Count a period by dimensions; None if the rollups do not know all that it `needs` (counts' names)."""
    rest = [word for word in dimensions if word not in TIMES]
    if any(word in TIMES[:2] for word in dimensions) or not is_known(conn, site, period):
        return None
    if not rest:
        found: Found = {} if dimensions else {(): Counts()}
        for day, counts in days(conn, site, period).items():
            if dimensions and not counts.events:
                continue  # nothing but what is excluded
            _count(found, tuple(label(day, word.removeprefix("time:")) for word in dimensions), counts)
        return found
    if len(rest) > 1 or rest[0] not in DIMENSIONS or not _has(rest[0], needs):
        return None
    if rest[0] == "visit:exit_page" and period.last >= sums.settled(conn, site.number):
        return None
    dimension, by_day = DIMENSIONS[rest[0]], len(dimensions) > 1
    query = f"""
        SELECT begins, word, {COUNTS} FROM (
            SELECT {"begins" if by_day else "0 AS begins"}, value, {_SUMS} FROM {_BLOCKS} GROUP BY 1, value
        ) JOIN words ON words.id = value
    """
    found = {}
    for day, word, *counts in conn.execute(query, _bind(conn, site, period, dimension, by_day)):
        key = tuple(label(day, one.removeprefix("time:")) if one in TIMES else word for one in dimensions)
        _count(found, key, Counts(*counts))
    return found


def _count(found: Found, key: tuple[str, ...], counts: Counts) -> None:
    found[key] = found[key].plus(counts) if key in found else counts


def _has(dimension: str, needs: Collection[str]) -> bool:
    """Whether rollups count all that is needed of a dimension."""
    return set(needs) <= ({"visitors", "visits"} if dimension.startswith("visit:") else set(COUNTS.split(", ")))


def goals(conn: sqlite3.Connection, site: Site, period: Period, needs: Collection[str]) -> Found | None:
    """Count a period by goals, by their names; None if not all of it is counted yet, or rollups do not count it."""
    known = {goal.number: goal for goal in goals_of(conn, site.number)}
    counted = all(goal.since <= period.first for goal in known.values())
    if not counted or not _has("event:goal", needs) or not is_known(conn, site, period):
        return None
    query = f"SELECT value, {_SUMS} FROM {_BLOCKS} GROUP BY value"
    rows = conn.execute(query, _bind(conn, site, period, Dimension.GOAL))
    return {(known[value].name,): Counts(*counts) for value, *counts in rows if value in known}


def takings(conn: sqlite3.Connection, site: Site, period: Period) -> dict[str, tuple[int, int]]:
    """The revenue of a period by currency: how often, and how much in minor units."""
    query = """
        SELECT currency, sum(times), sum(amount) FROM takings WHERE site = ? AND day >= ? AND day <= ?
        GROUP BY currency ORDER BY sum(times) DESC, currency
    """
    rows = conn.execute(query, (site.number, period.first, period.last))
    return {currency: (times, amount) for currency, times, amount in rows}


def persons(conn: sqlite3.Connection, site: Site, period: Period, most: int) -> tuple[list[tuple[int, str, int]], int]:
    """Those whom most events of a period named: number, id, events; and how many were named."""
    found = _added_up(conn, site, period, Dimension.PERSON, "events")
    query = "SELECT number, id FROM persons WHERE number IN (SELECT value FROM json_each(?))"
    rows = [(number, id, found[number]) for number, id in conn.execute(query, (_most(found, most),))]
    return sorted(rows, key=lambda row: (-row[2], row[1])), len(found)
