"""The seam between the ledger, which stays in SQLite, and the engine that holds what is derived from events.

An engine is one implementation of each protocol. SQLite is the only one: `projection.Projection`, `read.SqliteReader`
and the module `upkeep`.
"""

from collections.abc import Sequence
from typing import Protocol

from ovx_lite.storage.ledger.event_journal import JournalEvent


class EventWriter(Protocol):
    """Where the projector puts the events of the journal, a batch at a time: in visits, persons and counts.

    The journal's rows are deleted in the transaction in which `project` runs (`ledger.journal_drain`). If that
    transaction fails, or the process ends before its end, the same events come again, in the same order. SQLite takes
    part in the transaction, so it has forgotten the first attempt. An engine that does not take part must recognize
    events that it has, by their IDs. The transaction holds the store's write lock, so no request is accepted meanwhile:
    an engine that takes more than some milliseconds needs a drain that calls `project` before its transaction.

    Events refer to rows of the ledger's lookup tables, and may belong to sites that were removed meanwhile. When
    `project` has returned and the transaction has ended, an `EventReader` sees them.
    """

    def begin(self) -> bool:
        """Empty caches that may be outdated. Call it in each transaction, first. Return whether they were emptied."""

    def project(self, events: Sequence[JournalEvent]) -> None:
        """Write events, and what follows from them.

        Raises `sqlite3.IntegrityError` if the ID of one of them is taken by another event. The caller then rolls back.
        """

    def reset(self) -> None:
        """Empty the caches. Call it after a failed transaction, and after an `EventUpkeep` has changed events."""
