"""The limit on the number of values that the rollups of a day keep for a dimension, so that nobody can flood them.

The values that arrive first are kept. A value that arrives when its dimension is full is counted as `OTHER` on that
day. So each value is counted in one place, and a rebuild with the same kept values has the same counts.
"""

import sqlite3
from collections.abc import Collection, Mapping

import msgspec

from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.sqlite import transaction

MAX_VALUES = 20_000
"""The default of the setting `--rollup-values`: values of a dimension that a site's day keeps."""

OTHER = 0
"""The value ID that stands for all values that are not kept. No text, goal or person has this ID."""

OTHER_LABEL = "(other)"
"""The text of `OTHER` in the dashboard and the API."""

UNLIMITED = frozenset({Dimension.GOAL})
"""The dimensions without a limit, because only the site's administrators add values."""

_SETTING = "rollup_values"
_DAY_AND_DIMENSION = "site_id = ? AND period_days = 1 AND start_day = ? AND dimension = ?"
_COUNT_UNWRITTEN = f"""
SELECT count(*) FROM json_each(?) AS cached
WHERE NOT EXISTS (SELECT 1 FROM rollups WHERE {_DAY_AND_DIMENSION} AND value_id = cached.value)
"""


def max_values(conn: sqlite3.Connection) -> int:
    """Return how many values of a dimension a site's day keeps. It is stored, so that commands use the same limit."""
    row = conn.execute("SELECT value FROM meta WHERE name = ?", (_SETTING,)).fetchone()
    return MAX_VALUES if row is None else int(row[0])


def save_max_values(conn: sqlite3.Connection, limit: int) -> None:
    """Store the number of values that a day keeps for a dimension. Days that are full already do not change."""
    if max_values(conn) != limit:
        with transaction(conn):
            conn.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_SETTING, limit))


class _ValueSet(msgspec.Struct, gc=False):
    """The cached values of one dimension of a day, and how many more values the day can keep.

    Unless `is_exact`, `remaining` may be too low: some of the cached values may have had a row before they were cached.
    """

    remaining: int
    is_exact: bool
    values: set[int] = msgspec.field(default_factory=set)


class DimensionValueLimits:
    """Decides, as events arrive, which values the rollups of one site's day keep.

    `RollupWriter` owns it, fills it by calling `assign`, and drops it after a rollback or a write by another process.
    Until a dimension is half full, a value is kept without reading the database. After that, each new value is looked
    up there.
    """

    def __init__(self, conn: sqlite3.Connection, site_id: int, day: int, limit: int) -> None:
        self._conn = conn
        self._site_and_day = (site_id, day)
        self._limit = limit
        self._value_sets: dict[Dimension, _ValueSet] = {}

    def assign(self, dimension: Dimension, value: int) -> int:
        """Return the value itself if the day keeps it, else `OTHER`."""
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
        """Return whether a value that the store does not have yet would be counted as `OTHER`."""
        value_set = self._value_sets.get(dimension) or self._load(dimension)
        if not value_set.is_exact and value_set.remaining <= self._limit // 2:
            self._count_exactly(dimension, value_set)
        return value_set.remaining <= 0

    def _load(self, dimension: Dimension) -> _ValueSet:
        # Once the day has a row for `OTHER`, it keeps no more values: a value counted there must not get its own row.
        remaining = 0 if self._has_row(dimension, OTHER) else self._limit - self._count_rows(dimension)
        value_set = self._value_sets[dimension] = _ValueSet(remaining, remaining <= self._limit // 2)
        return value_set

    def _count_exactly(self, dimension: Dimension, value_set: _ValueSet) -> None:
        """Set `remaining` to the exact number: the limit minus the day's rows and the cached values without a row."""
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
    """Decides which values a rebuild keeps: those that come first, or those that are stored."""

    def __init__(self, limit: int, stored_values: Mapping[Dimension, Collection[str | int]] | None = None) -> None:
        """`limit` is the number of values to keep for each dimension, in addition to `stored_values`."""
        self._remaining = dict.fromkeys(Dimension, limit)
        self._values = {
            dimension: set(stored_values.get(dimension, ()) if stored_values else ()) for dimension in Dimension
        }

    def assign(self, dimension: Dimension, value: str | int) -> str | int:
        """Return the value itself if the day keeps it, else `OTHER`."""
        values = self._values[dimension]
        if value in values or dimension in UNLIMITED:
            return value
        if self._remaining[dimension] <= 0:
            return OTHER
        self._remaining[dimension] -= 1
        values.add(value)
        return value
