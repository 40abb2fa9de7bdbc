"""The outbox: claims deliveries that are due, and records the results of attempts.

A claimed delivery is leased to the process that sends it. If that process ends, the lease expires and another attempt
follows.
"""

import sqlite3
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from ovx_lite.domain.calendar import DAY_MS, MINUTE_MS
from ovx_lite.domain.models import COUNTER_BITS
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks.subscriptions import find_webhook, mark_disabled
from ovx_lite.webhooks.message import AttemptResult, build_body, next_step, signing_secrets
from ovx_lite.webhooks.triggers import sample_alert

LEASE_MS = MINUTE_MS
"""How long a claimed delivery belongs to the process that claimed it."""

DISABLE_AFTER_MS = 5 * DAY_MS
"""After this time without a success, a webhook is disabled if `DISABLE_AFTER_FAILURES` deliveries failed in it."""

DISABLE_AFTER_FAILURES = 5
"""Failed deliveries (after all their attempts) that disable a webhook, if they are not followed by a success."""


class ClaimedDelivery(NamedTuple):
    """A delivery that this process may send until its lease expires. `attempts` counts the earlier ones."""

    id: int
    lease_token: int
    webhook_id: int
    url: str
    event: str
    body: bytes
    attempts: int
    secrets: tuple[str, ...]

    @property
    def public_id(self) -> str:
        """Return the ID that the receiver gets as `webhook-id`, the same at every attempt."""
        return message_id(self.id)


class ClaimLimits(NamedTuple):
    """What a batch may claim: nothing from busy webhooks, `max_slow_claims` from slow ones, `max_claims` in all."""

    busy_webhook_ids: Collection[int]
    slow_webhook_ids: Collection[int]
    max_claims: int
    max_slow_claims: int


class ClaimBatch(NamedTuple):
    """The result of a claim: deliveries to send, and the public IDs of webhooks that were disabled.

    `next_attempt_at_ms` is when the next delivery is due (Unix ms). It ignores deliveries that are due now but exceed
    the limits, because the sender claims again when an attempt has ended.
    """

    claimed: list[ClaimedDelivery]
    next_attempt_at_ms: int | None
    disabled_webhooks: list[str]


def message_id(delivery_id: int) -> str:
    """Return the public ID of a delivery."""
    return f"msg_{delivery_id:016x}"


# The earliest pending delivery of each webhook. The recursion goes from webhook to webhook in the index, so it does not
# read the other pending deliveries.
_EARLIEST = """
WITH RECURSIVE waiting (webhook_id) AS (
    SELECT min(webhook_id) FROM deliveries WHERE status = 'pending' AND lease_token IS NULL
    UNION ALL
    SELECT (SELECT min(webhook_id) FROM deliveries
            WHERE status = 'pending' AND lease_token IS NULL AND webhook_id > waiting.webhook_id)
    FROM waiting WHERE webhook_id IS NOT NULL
)
SELECT webhook_id, (SELECT min(next_attempt_at) FROM deliveries
                 WHERE status = 'pending' AND lease_token IS NULL AND webhook_id = waiting.webhook_id) AS earliest
FROM waiting WHERE webhook_id IS NOT NULL ORDER BY earliest
"""
_CLAIM = """
UPDATE deliveries SET lease_token = ?, lease_expires_at = ? WHERE id = (
    SELECT id FROM deliveries
    WHERE status = 'pending' AND lease_token IS NULL AND webhook_id = ? ORDER BY next_attempt_at, id LIMIT 1
) RETURNING id, event_name, body, attempts
"""


def claim_batch(
    conn: sqlite3.Connection,
    outcomes: Sequence[tuple[ClaimedDelivery, AttemptResult]],
    limits: ClaimLimits,
    lease_token: int,
    now_ms: int,
) -> ClaimBatch:
    """Record the results of attempts, and claim deliveries that are due, within the limits. Uses one transaction.

    Claims at most one delivery of each webhook, so a crash repeats at most one message per webhook.
    """
    claimed: list[ClaimedDelivery] = []
    next_attempt_at_ms, slow_claims_left = None, limits.max_slow_claims
    with transaction(conn):
        disabled_webhooks = [
            public_id for claim, outcome in outcomes if (public_id := _record_outcome(conn, claim, outcome, now_ms))
        ]
        _release(conn, "lease_expires_at <= ?", (now_ms,), now_ms)
        for webhook_id, earliest_ms in conn.execute(_EARLIEST).fetchall():
            if webhook_id in limits.busy_webhook_ids:
                continue
            if earliest_ms > now_ms:
                next_attempt_at_ms = earliest_ms
                break
            if len(claimed) >= limits.max_claims:
                break  # the sender claims again when an attempt has ended
            if webhook_id in limits.slow_webhook_ids:
                if slow_claims_left <= 0:
                    continue
                slow_claims_left -= 1
            claimed.append(_claim(conn, webhook_id, lease_token, now_ms))
    return ClaimBatch(claimed, next_attempt_at_ms, disabled_webhooks)


def _claim(conn: sqlite3.Connection, webhook_id: int, lease_token: int, now_ms: int) -> ClaimedDelivery:
    delivery_id, event, body, attempts = conn.execute(_CLAIM, (lease_token, now_ms + LEASE_MS, webhook_id)).fetchone()
    query = "SELECT url, secret, previous_secret, rotated_at FROM webhooks WHERE id = ?"
    url, *secret_columns = conn.execute(query, (webhook_id,)).fetchone()
    return ClaimedDelivery(
        id=delivery_id,
        lease_token=lease_token,
        webhook_id=webhook_id,
        url=url,
        event=event,
        body=body,
        attempts=attempts,
        secrets=signing_secrets(now_ms, *secret_columns),
    )


def _record_outcome(conn: sqlite3.Connection, claim: ClaimedDelivery, outcome: AttemptResult, now_ms: int) -> str:
    """Record the result of an attempt, unless its lease has expired.

    Return the webhook's public ID if this attempt disabled it, otherwise `""`.
    """
    attempts = claim.attempts + 1
    decision = next_step(outcome, attempts, now_ms)
    cursor = conn.execute(
        "UPDATE deliveries"
        " SET status = ?, attempts = ?, next_attempt_at = ?, lease_token = NULL, lease_expires_at = NULL"
        " WHERE id = ? AND lease_token = ?",
        (decision.status, attempts, decision.next_attempt_at_ms, claim.id, claim.lease_token),
    )
    if cursor.rowcount == 0:
        return ""  # the webhook was removed, or the lease has expired and another process may have the delivery
    log_attempt(conn, claim.id, outcome)
    if not outcome.error:
        query = "UPDATE webhooks SET first_failed_at = NULL, failed_deliveries = 0 WHERE id = ?"
        conn.execute(query, (claim.webhook_id,))
        return ""
    row = conn.execute(
        "UPDATE webhooks"
        " SET first_failed_at = coalesce(first_failed_at, ?), failed_deliveries = failed_deliveries + ? WHERE id = ?"
        " RETURNING public_id, is_enabled, first_failed_at, failed_deliveries",
        (now_ms, decision.status == "failed", claim.webhook_id),
    ).fetchone()
    public_id, enabled, failing_since_ms, failed_deliveries = row
    if not enabled:
        conn.execute("UPDATE deliveries SET status = 'skipped' WHERE id = ? AND status = 'pending'", (claim.id,))
        return ""
    if decision.gone:
        mark_disabled(conn, claim.webhook_id, "its receiver answered 410 Gone")
        return str(public_id)
    if failed_deliveries >= DISABLE_AFTER_FAILURES and now_ms - failing_since_ms >= DISABLE_AFTER_MS:
        mark_disabled(conn, claim.webhook_id, "no delivery succeeded for 5 days")
        return str(public_id)
    return ""


def release_interrupted(conn: sqlite3.Connection, now_ms: int) -> int:
    """Release all leases after a crash, so that interrupted deliveries are sent again at once. Return how many."""
    with transaction(conn):
        return _release(conn, "lease_token IS NOT NULL", (), now_ms)


_RELEASE = """
UPDATE deliveries SET lease_token = NULL, lease_expires_at = NULL,
    status = CASE WHEN webhook_id IN (SELECT id FROM webhooks WHERE is_enabled) THEN status ELSE 'skipped' END
WHERE lease_token IS NOT NULL
"""


def _release(conn: sqlite3.Connection, condition: str, values: tuple[int, ...], now_ms: int) -> int:
    rows = conn.execute(f"{_RELEASE} AND {condition} RETURNING id", values).fetchall()
    for (delivery_id,) in rows:
        hint = "the server stopped before it recorded the response: the message is sent again"
        log_attempt(conn, delivery_id, AttemptResult(None, "interrupted", hint, started_at_ms=now_ms))
    return len(rows)


def log_attempt(conn: sqlite3.Connection, delivery_id: int, outcome: AttemptResult) -> None:
    """Add an attempt to the log of a delivery. Call this inside a transaction."""
    conn.execute(
        "INSERT INTO attempts"
        " (delivery_id, started_at, duration_ms, http_status, error_code, hint, request_headers, response_body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            delivery_id,
            outcome.started_at_ms,
            outcome.duration_ms,
            outcome.status,
            outcome.error,
            outcome.hint,
            msgspec.json.encode(outcome.headers).decode(),
            outcome.response_body,
        ),
    )


def insert_sample(conn: sqlite3.Connection, public_id: str, lease_token: int, now_ms: int) -> ClaimedDelivery:
    """Insert and claim a sample of the webhook's first event. Raises `ApiError` (`not_found`) if there is no webhook.

    Its status is `failed` until it is delivered, so that no other sender claims it and it is not sent again.
    """
    with transaction(conn):
        webhook = find_webhook(conn, public_id)
        (site_slug,) = conn.execute("SELECT slug FROM sites WHERE id = ?", (webhook.site_id,)).fetchone()
        secrets = signing_secrets(now_ms, webhook.secret, webhook.previous_secret, webhook.rotated_at_ms)
        event = webhook.events[0]
        payload = build_body(sample_alert(event, site_slug, now_ms), site_slug, webhook.format)
        delivery_id = now_ms << COUNTER_BITS | lease_token & (1 << COUNTER_BITS) - 1
        conn.execute(
            "INSERT INTO deliveries (id, webhook_id, event_name, body, status, attempts, next_attempt_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (delivery_id, webhook.id, event, payload, "failed", 0, now_ms),
        )
        return ClaimedDelivery(
            id=delivery_id,
            lease_token=lease_token,
            webhook_id=webhook.id,
            url=webhook.url,
            event=event,
            body=payload,
            attempts=0,
            secrets=secrets,
        )


def finish_sample(conn: sqlite3.Connection, delivery: ClaimedDelivery, outcome: AttemptResult, now_ms: int) -> None:
    """Record the result of a sample. A failed sample is not sent again, and does not count against the webhook."""
    with transaction(conn):
        status = "failed" if outcome.error else "delivered"
        cursor = conn.execute(
            "UPDATE deliveries SET status = ?, attempts = 1, next_attempt_at = ? WHERE id = ?",
            (status, now_ms, delivery.id),
        )
        if cursor.rowcount:  # otherwise the webhook was removed with its log
            log_attempt(conn, delivery.id, outcome)
