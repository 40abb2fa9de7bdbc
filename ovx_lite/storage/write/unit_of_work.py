"""Storing events and finding alerts in the same transaction."""

import sqlite3
from typing import NamedTuple

from ovx_lite.storage.write.alerts import AlertEvaluator
from ovx_lite.storage.write.event_writer import EventWriter


class UnitOfWork(NamedTuple):
    """The event writer and the alerts of one connection. They share its transactions."""

    event_writer: EventWriter
    alerts: AlertEvaluator

    def begin(self) -> None:
        """Start a transaction: empty the caches if another process may have changed what they hold."""
        if self.event_writer.begin():
            self.alerts.reset()

    def flush(self) -> None:
        """Write everything that the transaction has added."""
        self.event_writer.flush()
        self.alerts.flush()

    def reset(self) -> None:
        """Empty the caches and drop what is not written. Call it after a failed transaction."""
        self.event_writer.reset()
        self.alerts.reset()


def open_unit_of_work(conn: sqlite3.Connection, counter: int) -> UnitOfWork:
    """Return a unit of work over a connection, for use in the calling thread. `counter` is that of `EventWriter`."""
    return UnitOfWork(EventWriter(conn, counter), AlertEvaluator(conn, counter))
