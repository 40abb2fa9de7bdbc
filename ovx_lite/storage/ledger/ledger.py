"""Writing a group of requests to the ledger in one transaction."""

import itertools
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ovx_lite.domain.errors import ApiError, detached, no_such_site, unavailable
from ovx_lite.domain.models import Event, Reply, public_event_id
from ovx_lite.storage import registry_version
from ovx_lite.storage.ledger import event_journal, rate_limits
from ovx_lite.storage.ledger.alerts import AlertEvaluator
from ovx_lite.storage.ledger.event_journal import JournalEvent
from ovx_lite.storage.ledger.idempotency import IdempotencyKey, IdempotentResponses
from ovx_lite.storage.ledger.lookup_tables import EncodedEvents, LookupTables
from ovx_lite.storage.sqlite import transaction

MAX_CACHED_ROWS = 100_000
"""How many rows of a lookup table are cached. Above that, the caches are emptied and filled again."""

_log = logging.getLogger("ovx_lite")

# What SQLite, its Python binding and msgspec raise for values that they cannot store.
_VALUE_ERRORS = (sqlite3.Error, ValueError, OverflowError)

WriteResult = Reply | Exception
RateLimitCounts = Mapping[tuple[str, int], int]
"""Counts to save, by rate-limit key and Unix second."""


class WriteRequest(msgspec.Struct, frozen=True):
    """Events of one site that are stored together or not at all, and how to build the response from their IDs.

    `effects`, if it is not `None`, gets descriptions of what followed: goals that were reached, messages to webhooks.
    """

    site_id: int
    events: list[Event]
    build_response: Callable[[list[str]], Reply]
    idempotency_key: IdempotencyKey | None = None
    effects: list[str] | None = None


class LedgerEntry:
    """A request, prepared for the ledger outside of its transaction: its events are encoded, its response is built.

    A request with an Idempotency-Key has no `reply` yet, because it may have been answered before. `cache_version` is
    that of the ledger's caches with which the events were encoded. When they are outdated, the request is prepared
    again.
    """

    __slots__ = ("cache_version", "encoded", "reply", "request")

    def __init__(self, request: WriteRequest, encoded: EncodedEvents, cache_version: int) -> None:
        self.request = request
        self.encoded = encoded
        self.cache_version = cache_version
        self.reply = None if request.idempotency_key is not None else self.build_reply()

    def build_reply(self) -> Reply:
        """Return the response, with the public IDs of the events."""
        return self.request.build_response([public_event_id(event.id) for event in self.encoded.events])


class Ledger:
    """The caches with which one connection writes to the ledger. `write_group` uses it, in the connection's thread.

    `prepare` may be called in another thread. That leaves little for the transaction: two threads that both run Python
    wait for each other, which took half as long again as the work itself.

    `begin` empties the caches when sites, keys, goals or webhooks have changed. After a failed transaction, call
    `reset`.
    """

    def __init__(self, conn: sqlite3.Connection, counter: int) -> None:
        """`counter` is the first value of the counter that makes the IDs of events in one millisecond distinct.

        Any value works, but a random one makes clashes with the IDs of another process unlikely.
        """
        self._conn = conn
        self._registry_version = -1
        self._cache_version = 0
        self._id_counters = itertools.count(counter)  # `next` of it is safe in two threads
        self._lookup_tables = LookupTables(conn)
        self._site_ids: set[int] = set()
        self._journal_events: list[JournalEvent] = []
        self.alerts = AlertEvaluator(conn, counter)

    def prepare(self, request: WriteRequest) -> LedgerEntry:
        """Encode the events of a request, as far as the caches have their texts, and build its response."""
        cache_version = self._cache_version  # before the caches are read: they may be emptied meanwhile
        encoded = self._lookup_tables.encode(request.site_id, request.events, self._id_counters)
        return LedgerEntry(request, encoded, cache_version)

    def begin(self) -> None:
        """Empty the caches if they may be outdated or are too large. Call it at the start of each transaction."""
        version = registry_version.version(self._conn)
        if version != self._registry_version or len(self._lookup_tables) > MAX_CACHED_ROWS:
            self.reset()
            self._registry_version = version

    def add(self, entry: LedgerEntry) -> LedgerEntry:
        """Add the events of a request to the journal, at the next `flush`. Return the entry, or one that replaces it.

        Raises `ApiError` (`invalid_site_id`), and adds none of them, if the site was removed in the meantime.
        """
        site_id = entry.request.site_id
        if site_id not in self._site_ids:
            if self._conn.execute("SELECT 1 FROM sites WHERE id = ?", (site_id,)).fetchone() is None:
                raise no_such_site()
            self._site_ids.add(site_id)
        if entry.cache_version != self._cache_version:
            entry = self.prepare(entry.request)
        self._journal_events += self._lookup_tables.complete(entry.encoded)
        return entry

    def flush(self) -> None:
        """Write the events, and what the alerts have queued."""
        event_journal.append(self._conn, self._journal_events)
        self._journal_events.clear()
        self.alerts.flush()

    def reset(self) -> None:
        """Empty the caches, and drop what is not written yet."""
        self._cache_version += 1
        self._registry_version = -1
        self._lookup_tables.reset()
        self._site_ids.clear()
        self._journal_events.clear()
        self.alerts.reset()


def open_ledger(conn: sqlite3.Connection, counter: int) -> Ledger:
    """Return a `Ledger` over a connection, for use in the calling thread. `counter` is that of `Ledger`."""
    return Ledger(conn, counter)


def write_group(
    conn: sqlite3.Connection, ledger: Ledger, group: Sequence[LedgerEntry], counts: RateLimitCounts, now_ms: int
) -> list[WriteResult]:
    """Write a group in one transaction. If a value cannot be stored, write each request alone, so that only one fails.

    Returns the result of each request. Raises `sqlite3.OperationalError` if the store cannot be written; then nothing
    was stored.
    """
    try:
        return _write_in_transaction(conn, ledger, group, counts, now_ms)
    except sqlite3.OperationalError:
        raise
    except _VALUE_ERRORS:
        _log.exception("a group of %d requests could not be stored together; storing each alone", len(group))
    _write_in_transaction(conn, ledger, [], counts, now_ms)
    results: list[WriteResult] = []
    for entry in group:
        try:
            results += _write_in_transaction(conn, ledger, [entry], {}, now_ms)
        except sqlite3.OperationalError as exc:
            # The requests before this one are stored. This one and those after it are answered with 503.
            _log.error("the store cannot be written: %s", exc)
            return results + [unavailable("The store cannot be written now") for _ in group[len(results) :]]
        except _VALUE_ERRORS as exc:
            results.append(exc)
    try:
        return results
    finally:
        del results  # the tracebacks of its exceptions hold this frame


def _write_in_transaction(
    conn: sqlite3.Connection, ledger: Ledger, group: Sequence[LedgerEntry], counts: RateLimitCounts, now_ms: int
) -> list[WriteResult]:
    results: list[WriteResult] = []
    try:
        with transaction(conn):
            ledger.begin()
            responses = IdempotentResponses(conn, now_ms)
            responses.look_up((entry.request.site_id, entry.request.idempotency_key) for entry in group)
            for entry in group:
                try:
                    results.append(_write_entry(ledger, responses, entry, now_ms))
                except ApiError as exc:
                    results.append(detached(exc))
            ledger.flush()
            responses.flush()
            rate_limits.save(conn, counts)
    except BaseException:
        ledger.reset()
        raise
    return results


def _write_entry(ledger: Ledger, responses: IdempotentResponses, entry: LedgerEntry, now_ms: int) -> Reply:
    request = entry.request
    idempotency_key = request.idempotency_key
    if idempotency_key is not None:
        earlier_reply = responses.find(request.site_id, idempotency_key)
        if earlier_reply is not None:
            return earlier_reply
    entry = ledger.add(entry)
    if request.events:
        ledger.alerts.evaluate(request.site_id, request.events, now_ms, request.effects)
    reply = entry.build_reply() if entry.reply is None else entry.reply
    if idempotency_key is not None:
        responses.save(request.site_id, idempotency_key, reply)
    return reply
