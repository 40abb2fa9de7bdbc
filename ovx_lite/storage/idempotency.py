"""What was answered to requests with an Idempotency-Key (contract 2), for 24 hours."""

import sqlite3

import msgspec

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Reply

RETENTION_MS = 24 * 3600 * 1000
"""Milliseconds for which a repeat gets the first answer again."""


class IdempotencyKey(msgspec.Struct, frozen=True, gc=False):
    """What makes a request a repeat of another: its Idempotency-Key, and a digest of its path and body.

    Keys of callers with credentials and without are apart (`credential_class`: `key` or `public`), so that nobody
    without credentials can use up another's key.
    """

    key: str
    fingerprint: bytes
    credential_class: str = "key"


def find(conn: sqlite3.Connection, site_id: int, idempotency_key: IdempotencyKey, now_ms: int) -> Reply | None:
    """The answer to an earlier request of the same key and class of credentials, if there is one.

    Raises `ApiError` (`idempotency_conflict`) if that request was another one.
    """
    row = conn.execute(
        "SELECT request_hash, http_status, body FROM idempotent_responses "
        "WHERE site_id = ? AND credential_class = ? AND idempotency_key = ? AND created_at > ?",
        (site_id, idempotency_key.credential_class, idempotency_key.key, now_ms - RETENTION_MS),
    ).fetchone()
    if row is None:
        return None
    if row[0] != idempotency_key.fingerprint:
        raise ApiError(
            "idempotency_conflict",
            "This Idempotency-Key was used for another request within 24 hours: use a new key for a new request.",
            "Idempotency-Key",
        )
    return Reply(row[1], row[2], replayed=True)


def save(conn: sqlite3.Connection, site_id: int, idempotency_key: IdempotencyKey, reply: Reply, now_ms: int) -> None:
    """Remember an answer, in the transaction of what it answers to."""
    conn.execute(
        "INSERT OR REPLACE INTO idempotent_responses "
        "(site_id, credential_class, idempotency_key, request_hash, http_status, body, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            site_id,
            idempotency_key.credential_class,
            idempotency_key.key,
            idempotency_key.fingerprint,
            reply.status,
            reply.body,
            now_ms,
        ),
    )


def delete_expired(conn: sqlite3.Connection, now_ms: int, limit: int) -> int:
    """Delete up to `most` answers that are over 24 hours old. Returns how many. Inside a transaction."""
    return conn.execute(
        "DELETE FROM idempotent_responses WHERE (site_id, credential_class, idempotency_key) IN ("
        "SELECT site_id, credential_class, idempotency_key FROM idempotent_responses WHERE created_at <= ? LIMIT ?)",
        (now_ms - RETENTION_MS, limit),
    ).rowcount
