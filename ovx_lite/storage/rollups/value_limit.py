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
_DAY = "site_id = ? AND period_days = 1 AND start_day = ? AND dimension = ?"
_MISSING = f"""
SELECT count(*) FROM json_each(?) AS candidates
WHERE NOT EXISTS (SELECT 1 FROM rollups WHERE {_DAY} AND value_id = candidates.value)
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


class _Values(msgspec.Struct, gc=False):
    """What is known of a dimension of a day: values that it keeps, and for how many more it has room.

    Unless `exact`, there may be more room: some of the known values may have been in the store before.
    """

    room: int
    exact: bool
    known: set[int] = msgspec.field(default_factory=set)


class KeptValues:
    """The values that the rollups of one site's day keep, as the writer needs to know it.

    `Rollups` owns it, fills it by asking, and drops it after a rollback and when somebody else has written. While a
    dimension is at most half full, a value is taken without a look at the file. Beyond that, each new one is looked up.
    """

    def __init__(self, conn: sqlite3.Connection, site: int, day: int, limit: int) -> None:
        self._conn = conn
        self._site_and_day = (site, day)
        self._limit = limit
        self._dimensions: dict[Dimension, _Values] = {}

    def place(self, dimension: Dimension, value: int) -> int:
        """Return the value under which a value is counted: itself if it is kept, or else `OTHER`."""
        values = self._dimensions.get(dimension) or self._load(dimension)
        if value in values.known:
            return value
        if values.room <= self._limit // 2:
            if not values.exact:
                self._look_closer(dimension, values)
            if self._has_row(dimension, value):
                values.known.add(value)
                return value
            if values.room <= 0:
                return OTHER
        values.room -= 1
        values.known.add(value)
        return value

    def is_full(self, dimension: Dimension) -> bool:
        """Whether a value that has never been seen anywhere would be counted under `OTHER`."""
        values = self._dimensions.get(dimension) or self._load(dimension)
        if not values.exact and values.room <= self._limit // 2:
            self._look_closer(dimension, values)
        return values.room <= 0

    def _load(self, dimension: Dimension) -> _Values:
        # What was counted under `OTHER` must not get a place of its own later that day.
        room = 0 if self._has_row(dimension, OTHER) else self._limit - self._count_rows(dimension)
        values = self._dimensions[dimension] = _Values(room, room <= self._limit // 2)
        return values

    def _look_closer(self, dimension: Dimension, values: _Values) -> None:
        """Find out exactly how much room there is."""
        known = msgspec.json.encode(list(values.known)).decode()
        (unwritten,) = self._conn.execute(_MISSING, (known, *self._site_and_day, dimension)).fetchone()
        values.room = self._limit - self._count_rows(dimension) - unwritten
        values.exact = True

    def _count_rows(self, dimension: Dimension) -> int:
        query = f"SELECT count(*) FROM rollups WHERE {_DAY}"
        return int(self._conn.execute(query, (*self._site_and_day, dimension)).fetchone()[0])

    def _has_row(self, dimension: Dimension, value: int) -> bool:
        query = f"SELECT 1 FROM rollups WHERE {_DAY} AND value_id = ?"
        return self._conn.execute(query, (*self._site_and_day, dimension, value)).fetchone() is not None


class Choice:
    """Which values a recount keeps: those that come first, or those that the store has."""

    def __init__(self, limit: int, known: Mapping[Dimension, Collection[str | int]] | None = None) -> None:
        """`limit` is how many it may choose for each dimension; it keeps those that are `known` besides."""
        self._room = dict.fromkeys(Dimension, limit)
        self._known = {dimension: set(known.get(dimension, ()) if known else ()) for dimension in Dimension}

    def place(self, dimension: Dimension, value: str | int) -> str | int:
        """Return the value under which a value is counted: itself if it is kept, or else `OTHER`."""
        known = self._known[dimension]
        if value in known or dimension in UNLIMITED:
            return value
        if self._room[dimension] <= 0:
            return OTHER
        self._room[dimension] -= 1
        known.add(value)
        return value
