"""Storing many events at once, such as those of an access log, without the event journal."""

import itertools
import sqlite3
from collections.abc import Iterable

from ovx_lite.domain.models import Event
from ovx_lite.storage.ledger.lookup_tables import LookupTables
from ovx_lite.storage.projection.projection import Projection


class BulkWriter:
    """Stores events over one connection. In a transaction, call `begin`, then `add`; after a failed one, `reset`."""

    def __init__(self, conn: sqlite3.Connection, counter: int) -> None:
        """`counter` is the first value of the counter that makes the IDs of events in one millisecond distinct."""
        self._id_counters = itertools.count(counter)
        self._lookup_tables = LookupTables(conn)
        self._projection = Projection(conn)

    def begin(self) -> bool:
        """Empty the caches if another process has written or they are too large. Return whether they were emptied."""
        was_emptied = self._projection.begin()
        if was_emptied:
            self._lookup_tables.reset()
        return was_emptied

    def add(self, site_id: int, events: Iterable[Event]) -> None:
        """Store events of one site, with their visits and counts.

        Raises `sqlite3.IntegrityError` if an ID is taken by another process's event of the same millisecond.
        """
        encoded = self._lookup_tables.encode(site_id, events, self._id_counters)
        self._projection.project(self._lookup_tables.complete(encoded))

    def reset(self) -> None:
        """Empty the caches."""
        self._lookup_tables.reset()
        self._projection.reset()
