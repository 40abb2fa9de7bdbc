"""What the writer keeps, as one: the log of events, and what there is to tell of them."""

import sqlite3
from typing import NamedTuple

from ovx_lite.storage.write.alerts import Watch
from ovx_lite.storage.write.event_writer import EventLog


class Books(NamedTuple):
    """What the writer keeps: the log of events, and what it has to tell of them. Over one connection."""

    log: EventLog
    watch: Watch

    def begin(self) -> None:
        """Begin a transaction's work: forget what another process may have changed."""
        if self.log.begin():
            self.watch.forget()

    def flush(self) -> None:
        """Write what was added and seen."""
        self.log.flush()
        self.watch.flush()

    def forget(self) -> None:
        """Drop what is remembered and what is not written: after a transaction that failed."""
        self.log.forget()
        self.watch.forget()


def open_books(conn: sqlite3.Connection, counter: int) -> Books:
    """The books over a connection, to be made in the thread that will use it; `counter` as for `EventLog`."""
    return Books(EventLog(conn, counter), Watch(conn, counter))
