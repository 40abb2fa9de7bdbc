"""Responses to requests with an Idempotency-Key, kept for 24 hours (docs/api/README.md, Idempotency)."""

import sqlite3

import msgspec

from ovx_lite.domain.calendar import DAY_MS
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Reply

RETENTION_MS = DAY_MS
"""How long a repeated request gets the first response again."""


class IdempotencyKey(msgspec.Struct, frozen=True, gc=False):
    """The Idempotency-Key of a request, and a hash of its path and body.

    A request repeats another one if both are equal. Keys of requests with credentials (`credential_class` is `key`) and
    without (`public`) are separate, so that nobody without credentials can occupy a key of someone who has them.
    """

    key: str
    request_hash: bytes
    credential_class: str = "key"


def find(conn: sqlite3.Connection, site_id: int, idempotency_key: IdempotencyKey, now_ms: int) -> Reply | None:
    """Return the response to an earlier request with the same key and credential class; `None` if there is none.

    Raises `ApiError` (`idempotency_conflict`) if that request had another path or body.
    """
    row = conn.execute(
        "SELECT request_hash, http_status, body FROM idempotent_responses "
        "WHERE site_id = ? AND credential_class = ? AND idempotency_key = ? AND created_at > ?",
        (site_id, idempotency_key.credential_class, idempotency_key.key, now_ms - RETENTION_MS),
    ).fetchone()
    if row is None:
        return None
    if row[0] != idempotency_key.request_hash:
        raise ApiError(
            "idempotency_conflict",
            "This Idempotency-Key was used for another request in the last 24 hours: use a new key for a new request.",
            "Idempotency-Key",
        )
    return Reply(row[1], row[2], replayed=True)


def save(conn: sqlite3.Connection, site_id: int, idempotency_key: IdempotencyKey, reply: Reply, now_ms: int) -> None:
    """Save a response. Call this in the transaction that stores the request's events."""
    conn.execute(
        "INSERT OR REPLACE INTO idempotent_responses "
        "(site_id, credential_class, idempotency_key, request_hash, http_status, body, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            site_id,
            idempotency_key.credential_class,
            idempotency_key.key,
            idempotency_key.request_hash,
            reply.status,
            reply.body,
            now_ms,
        ),
    )


def delete_expired(conn: sqlite3.Connection, now_ms: int, limit: int) -> int:
    """Delete at most `limit` responses that are over 24 hours old. Return how many. Call this inside a transaction."""
    return conn.execute(
        "DELETE FROM idempotent_responses WHERE (site_id, credential_class, idempotency_key) IN ("
        "SELECT site_id, credential_class, idempotency_key FROM idempotent_responses WHERE created_at <= ? LIMIT ?)",
        (now_ms - RETENTION_MS, limit),
    ).rowcount
