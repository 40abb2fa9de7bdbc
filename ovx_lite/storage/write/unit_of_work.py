"""What the writer keeps, as one: the log of events, and what there is to tell of them."""

import sqlite3
from typing import NamedTuple

from ovx_lite.storage.write.alerts import AlertEvaluator
from ovx_lite.storage.write.event_writer import EventWriter


class UnitOfWork(NamedTuple):
    """What the writer keeps: the log of events, and what it has to tell of them. Over one connection."""

    event_writer: EventWriter
    alerts: AlertEvaluator

    def begin(self) -> None:
        """Begin a transaction's work: forget what another process may have changed."""
        if self.event_writer.begin():
            self.alerts.reset()

    def flush(self) -> None:
        """Write what was added and seen."""
        self.event_writer.flush()
        self.alerts.flush()

    def reset(self) -> None:
        """Drop what is remembered and what is not written: after a transaction that failed."""
        self.event_writer.reset()
        self.alerts.reset()


def open_unit_of_work(conn: sqlite3.Connection, counter: int) -> UnitOfWork:
    """The books over a connection, to be made in the thread that will use it; `counter` as for `EventLog`."""
    return UnitOfWork(EventWriter(conn, counter), AlertEvaluator(conn, counter))
