"""Adding up visitors by value of dimensions, in little memory, however many values there are."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

_VALUES_IN_MEMORY = 100_000
_SCHEMA = """
CREATE TABLE totals (
    dimension TEXT NOT NULL,
    value     TEXT NOT NULL,
    visitors  INTEGER NOT NULL,
    PRIMARY KEY (dimension, value)
) WITHOUT ROWID
"""
_ADD = """
INSERT INTO totals VALUES (?, ?, ?) ON CONFLICT (dimension, value) DO UPDATE SET visitors = visitors + excluded.visitors
"""


class VisitorTotals:
    """Adds up visitors by value. Close it after use.

    With more than `_VALUES_IN_MEMORY` values, it moves them to a temporary database on disk, which SQLite deletes.
    """

    def __init__(self, dimensions: Collection[str]) -> None:
        self._counts: dict[str, Counter[str]] = {dimension: Counter() for dimension in dimensions}
        self._database: sqlite3.Connection | None = None

    def add(self, visitors: Mapping[str, Counter[str]]) -> int:
        """Add visitors by dimension and value. Return the number of values that were given."""
        for dimension, counts in visitors.items():
            self._counts[dimension].update(counts)
        if sum(map(len, self._counts.values())) > _VALUES_IN_MEMORY:
            self._flush()
        return sum(map(len, visitors.values()))

    def rows(self, dimension: str) -> Iterator[tuple[str, int]]:
        """Yield the values of a dimension, each once, with their visitors."""
        if self._database is None:
            yield from self._counts[dimension].items()
            return
        self._flush()
        yield from self._database.execute("SELECT value, visitors FROM totals WHERE dimension = ?", (dimension,))

    def _flush(self) -> None:
        if self._database is None:
            self._database = sqlite3.connect("", isolation_level=None)
            self._database.execute("PRAGMA cache_size = -8192")
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute(_SCHEMA)
        self._database.execute("BEGIN")
        for dimension, counts in self._counts.items():
            rows = ((dimension, value, count) for value, count in sorted(counts.items()))
            self._database.executemany(_ADD, rows)
            counts.clear()
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Drop the temporary database."""
        if self._database is not None:
            self._database.close()
