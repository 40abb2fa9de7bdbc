"""Responses to requests with an Idempotency-Key, kept for 24 hours (docs/api/README.md, Idempotency)."""

import sqlite3
from collections.abc import Iterable
from itertools import chain

import msgspec

from ovx_lite.domain.calendar import DAY_MS
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Reply
from ovx_lite.storage.sqlite import batches, insert

RETENTION_MS = DAY_MS
"""How long a repeated request gets the first response again."""

# CROSS JOIN makes SQLite look up each key; for a condition with IN, it would read the whole table.
_SELECT_RESPONSES = """
WITH keys (site_id, credential_class, idempotency_key) AS (VALUES {})
SELECT responses.site_id, responses.credential_class, responses.idempotency_key, request_hash, http_status, body
FROM keys CROSS JOIN idempotent_responses AS responses ON responses.site_id = keys.site_id
    AND responses.credential_class = keys.credential_class AND responses.idempotency_key = keys.idempotency_key
WHERE created_at > ?
"""
_INSERT_RESPONSES = """
INSERT OR REPLACE INTO idempotent_responses (
    site_id, credential_class, idempotency_key, request_hash, http_status, body, created_at
)
"""
_BATCH_SIZES = (64, 8, 1)

_ResponseKey = tuple[int, str, str]  # site ID, credential class and Idempotency-Key


class IdempotencyKey(msgspec.Struct, frozen=True, gc=False):
    """The Idempotency-Key of a request, and a hash of its path and body.

    A request repeats another one if both are equal. Keys of requests with credentials (`credential_class` is `key`) and
    without (`public`) are separate, so that nobody without credentials can occupy a key of someone who has them.
    """

    key: str
    request_hash: bytes
    credential_class: str = "key"


class IdempotentResponses:
    """The responses to earlier requests that one group of requests needs, and those that it adds.

    In the group's transaction, call `look_up` with all its keys, then `find` and `save` for each request, then `flush`.
    """

    def __init__(self, conn: sqlite3.Connection, now_ms: int) -> None:
        self._conn = conn
        self._now_ms = now_ms
        self._stored: dict[_ResponseKey, tuple[bytes, Reply]] = {}
        self._new_rows: list[tuple[object, ...]] = []

    def look_up(self, keys: Iterable[tuple[int, IdempotencyKey | None]]) -> None:
        """Read the responses that are stored for these keys of sites."""
        response_keys = [_response_key(site_id, key) for site_id, key in keys if key is not None]
        for row_count, batch in batches(response_keys, _BATCH_SIZES):
            rows = self._conn.execute(
                _SELECT_RESPONSES.format(", ".join(["(?, ?, ?)"] * row_count)),
                [*chain.from_iterable(batch), self._now_ms - RETENTION_MS],
            )
            for site_id, credential_class, key, request_hash, status, body in rows:
                self._stored[site_id, credential_class, key] = (request_hash, Reply(status, body))

    def find(self, site_id: int, idempotency_key: IdempotencyKey) -> Reply | None:
        """Return the response to an earlier request with the same key and credential class; `None` if there is none.

        Raises `ApiError` (`idempotency_conflict`) if that request had another path or body.
        """
        earlier = self._stored.get(_response_key(site_id, idempotency_key))
        if earlier is None:
            return None
        request_hash, reply = earlier
        if request_hash != idempotency_key.request_hash:
            raise ApiError(
                "idempotency_conflict",
                "This Idempotency-Key was used for another request in the last 24 hours: "
                "use a new key for a new request.",
                "Idempotency-Key",
            )
        return Reply(reply.status, reply.body, replayed=True)

    def save(self, site_id: int, idempotency_key: IdempotencyKey, reply: Reply) -> None:
        """Save a response, at the next `flush`."""
        response_key = _response_key(site_id, idempotency_key)
        self._stored[response_key] = (idempotency_key.request_hash, reply)
        self._new_rows.append((*response_key, idempotency_key.request_hash, reply.status, reply.body, self._now_ms))

    def flush(self) -> None:
        """Write the saved responses."""
        insert(self._conn, _INSERT_RESPONSES, self._new_rows)


def _response_key(site_id: int, idempotency_key: IdempotencyKey) -> _ResponseKey:
    return (site_id, idempotency_key.credential_class, idempotency_key.key)


def delete_expired(conn: sqlite3.Connection, now_ms: int, limit: int) -> int:
    """Delete at most `limit` responses that are over 24 hours old. Return how many. Call this inside a transaction."""
    return conn.execute(
        "DELETE FROM idempotent_responses WHERE (site_id, credential_class, idempotency_key) IN ("
        "SELECT site_id, credential_class, idempotency_key FROM idempotent_responses WHERE created_at <= ? LIMIT ?)",
        (now_ms - RETENTION_MS, limit),
    ).rowcount
