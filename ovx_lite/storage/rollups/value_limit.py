"""Which values of a dimension the rollups of a day keep: a limited number, so that nobody can flood them.

The values that come first are kept. A value that comes when its dimension is full is counted under `OTHER`, and stays
there for that day: so each event is counted in one place, and a recount with the same kept values agrees with it.
"""

import sqlite3
from collections.abc import Collection, Mapping

import msgspec

from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.sqlite import transaction

MAX_VALUES = 20_000
"""How many values of a dimension a site's day keeps, unless a setting says otherwise."""

OTHER = 0
"""The value that stands for all values that are not kept. No word, goal or person has this number."""

OTHER_LABEL = "(other)"
"""How `OTHER` is shown."""

UNLIMITED = frozenset({Dimension.GOAL})
"""Dimensions of which all values are kept: only those who look after the site add any."""

_SETTING = "rollup_values"
_DAY_AND_DIMENSION = "site_id = ? AND period_days = 1 AND start_day = ? AND dimension = ?"
_COUNT_UNWRITTEN = f"""
SELECT count(*) FROM json_each(?) AS candidates
WHERE NOT EXISTS (SELECT 1 FROM rollups WHERE {_DAY_AND_DIMENSION} AND value_id = candidates.value)
"""


def max_values(conn: sqlite3.Connection) -> int:
    """Return how many values of a dimension a site's day keeps. It stands in the store, for the commands, too."""
    row = conn.execute("SELECT value FROM meta WHERE name = ?", (_SETTING,)).fetchone()
    return MAX_VALUES if row is None else int(row[0])


def save_max_values(conn: sqlite3.Connection, limit: int) -> None:
    """Have days keep so many values from now on. Days that are full stay as they are."""
    if max_values(conn) != limit:
        with transaction(conn):
            conn.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_SETTING, limit))


class _ValueSet(msgspec.Struct, gc=False):
    """What is known of a dimension of a day: values that it keeps, and for how many more it has room.

    Unless `exact`, there may be more room: some of the known values may have been in the store before.
    """

    remaining: int
    is_exact: bool
    values: set[int] = msgspec.field(default_factory=set)


class DimensionValueLimits:
    """The values that the rollups of one site's day keep, as the writer needs to know it.

    `Rollups` owns it, fills it by asking, and drops it after a rollback and when somebody else has written. While a
    dimension is at most half full, a value is taken without a look at the file. Beyond that, each new one is looked up.
    """

    def __init__(self, conn: sqlite3.Connection, site_id: int, day: int, limit: int) -> None:
        self._conn = conn
        self._site_and_day = (site_id, day)
        self._limit = limit
        self._value_sets: dict[Dimension, _ValueSet] = {}

    def assign(self, dimension: Dimension, value: int) -> int:
        """Return the value under which a value is counted: itself if it is kept, or else `OTHER`."""
        value_set = self._value_sets.get(dimension) or self._load(dimension)
        if value in value_set.values:
            return value
        if value_set.remaining <= self._limit // 2:
            if not value_set.is_exact:
                self._count_exactly(dimension, value_set)
            if self._has_row(dimension, value):
                value_set.values.add(value)
                return value
            if value_set.remaining <= 0:
                return OTHER
        value_set.remaining -= 1
        value_set.values.add(value)
        return value

    def is_full(self, dimension: Dimension) -> bool:
        """Whether a value that has never been seen anywhere would be counted under `OTHER`."""
        value_set = self._value_sets.get(dimension) or self._load(dimension)
        if not value_set.is_exact and value_set.remaining <= self._limit // 2:
            self._count_exactly(dimension, value_set)
        return value_set.remaining <= 0

    def _load(self, dimension: Dimension) -> _ValueSet:
        # What was counted under `OTHER` must not get a place of its own later that day.
        remaining = 0 if self._has_row(dimension, OTHER) else self._limit - self._count_rows(dimension)
        value_set = self._value_sets[dimension] = _ValueSet(remaining, remaining <= self._limit // 2)
        return value_set

    def _count_exactly(self, dimension: Dimension, value_set: _ValueSet) -> None:
        """Find out exactly how much room there is."""
        values_json = msgspec.json.encode(list(value_set.values)).decode()
        (unwritten,) = self._conn.execute(_COUNT_UNWRITTEN, (values_json, *self._site_and_day, dimension)).fetchone()
        value_set.remaining = self._limit - self._count_rows(dimension) - unwritten
        value_set.is_exact = True

    def _count_rows(self, dimension: Dimension) -> int:
        query = f"SELECT count(*) FROM rollups WHERE {_DAY_AND_DIMENSION}"
        return int(self._conn.execute(query, (*self._site_and_day, dimension)).fetchone()[0])

    def _has_row(self, dimension: Dimension, value: int) -> bool:
        query = f"SELECT 1 FROM rollups WHERE {_DAY_AND_DIMENSION} AND value_id = ?"
        return self._conn.execute(query, (*self._site_and_day, dimension, value)).fetchone() is not None


class ValueSelector:
    """Which values a recount keeps: those that come first, or those that the store has."""

    def __init__(self, limit: int, stored_values: Mapping[Dimension, Collection[str | int]] | None = None) -> None:
        """`limit` is how many it may choose for each dimension; it keeps those that are `known` besides."""
        self._remaining = dict.fromkeys(Dimension, limit)
        self._values = {
            dimension: set(stored_values.get(dimension, ()) if stored_values else ()) for dimension in Dimension
        }

    def assign(self, dimension: Dimension, value: str | int) -> str | int:
        """Return the value under which a value is counted: itself if it is kept, or else `OTHER`."""
        values = self._values[dimension]
        if value in values or dimension in UNLIMITED:
            return value
        if self._remaining[dimension] <= 0:
            return OTHER
        self._remaining[dimension] -= 1
        values.add(value)
        return value
