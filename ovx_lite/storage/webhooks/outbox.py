"""What is on its way to webhooks, who is sending it, and what comes of it."""

import sqlite3
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from ovx_lite.domain.models import COUNTER_BITS
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks.subscriptions import find_webhook, mark_disabled
from ovx_lite.webhooks.message import AttemptResult, build_body, next_step, signing_secrets
from ovx_lite.webhooks.triggers import sample_alert

LEASE_MS = 60_000
"""Milliseconds after which a delivery that somebody took and did not bring back is anybody's."""

DISABLE_AFTER_MS = 5 * 24 * 60 * 60 * 1000
"""Milliseconds without a success after which a webhook is given up, if `EXHAUSTED` deliveries failed in them."""

DISABLE_AFTER_FAILURES = 5


class ClaimedDelivery(NamedTuple):
    """A delivery that is ours to send until the lease ends."""

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
        """What the receiver knows it by, the same at every try."""
        return message_id(self.id)


class ClaimLimits(NamedTuple):
    """What may be claimed: none of webhooks that are `busy`, `most` in all, `most_slow` of those that are `slow`."""

    busy_webhook_ids: Collection[int]
    slow_webhook_ids: Collection[int]
    max_claims: int
    max_slow_claims: int


class ClaimBatch(NamedTuple):
    """What a turn brought: deliveries to send, when the next falls due (Unix ms), the webhooks that were given up.

    What is due already and finds no room is not told: there will be another turn when there is room.
    """

    claimed: list[ClaimedDelivery]
    next_attempt_at_ms: int | None
    disabled_webhooks: list[str]


def message_id(delivery_id: int) -> str:
    """The public name of the delivery stored under `number`."""
    return f"msg_{delivery_id:016x}"


# The earliest of each webhook that has any: from one to the next, without going through those that wait behind it.
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
    """Write down what came of tries, and claim deliveries that are due, as far as there is room. In one transaction.

    No more than one at a time is claimed of a webhook: so a crash repeats no more than that.
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
                break  # whoever ends first makes room
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
        delivery_id, lease_token, webhook_id, url, event, body, attempts, signing_secrets(now_ms, *secret_columns)
    )


def _record_outcome(conn: sqlite3.Connection, claim: ClaimedDelivery, outcome: AttemptResult, now_ms: int) -> str:
    """Write down what came of a try, if it was still ours. Returns the webhook's id if that gave it up, else `""`."""
    attempts = claim.attempts + 1
    decision = next_step(outcome, attempts, now_ms)
    changed = conn.execute(
        "UPDATE deliveries"
        " SET status = ?, attempts = ?, next_attempt_at = ?, lease_token = NULL, lease_expires_at = NULL"
        " WHERE id = ? AND lease_token = ?",
        (decision.status, attempts, decision.next_attempt_at_ms, claim.id, claim.lease_token),
    )
    if changed.rowcount == 0:
        return ""  # the webhook was removed, or the lease ran out, and it is somebody else's
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
        mark_disabled(conn, claim.webhook_id, "its receiver answered 410: it wants no more")
        return str(public_id)
    if failed_deliveries >= DISABLE_AFTER_FAILURES and now_ms - failing_since_ms >= DISABLE_AFTER_MS:
        mark_disabled(conn, claim.webhook_id, "nothing was delivered for 5 days")
        return str(public_id)
    return ""


def release_interrupted(conn: sqlite3.Connection, now_ms: int) -> int:
    """Give back what somebody was sending when the server ended; it is sent again at once. Returns how many."""
    with transaction(conn):
        return _release(conn, "lease_token IS NOT NULL", (), now_ms)


_RELEASE = """
UPDATE deliveries SET lease_token = NULL, lease_expires_at = NULL,
    status = CASE WHEN webhook_id IN (SELECT id FROM webhooks WHERE is_enabled) THEN status ELSE 'skipped' END
WHERE lease_token IS NOT NULL
"""


def _release(conn: sqlite3.Connection, condition: str, values: tuple[int, ...], now_ms: int) -> int:
    released = conn.execute(
        f"{_RELEASE} AND {condition} RETURNING id",
        values,
    ).fetchall()
    for (delivery_id,) in released:
        hint = "the server ended before the answer was written down: it is sent again"
        log_attempt(conn, delivery_id, AttemptResult(None, "interrupted", hint, started_at_ms=now_ms))
    return len(released)


def log_attempt(conn: sqlite3.Connection, delivery_id: int, outcome: AttemptResult) -> None:
    """Add a try to the log of a delivery. Inside a transaction."""
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
    """Put a sample of what a webhook is told of into the log. Raises `ApiError` if there is no such webhook.

    It counts as failed until it is delivered, so that nobody sends it, too, or again.
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
        return ClaimedDelivery(delivery_id, lease_token, webhook.id, webhook.url, event, payload, 0, secrets)


def finish_sample(conn: sqlite3.Connection, delivery: ClaimedDelivery, outcome: AttemptResult, now_ms: int) -> None:
    """Write down what came of a sample, which is not tried again, and says nothing against the webhook."""
    with transaction(conn):
        status = "failed" if outcome.error else "delivered"
        changed = conn.execute(
            "UPDATE deliveries SET status = ?, attempts = 1, next_attempt_at = ? WHERE id = ?",
            (status, now_ms, delivery.id),
        )
        if changed.rowcount:  # else the webhook was removed meanwhile, with its log
            log_attempt(conn, delivery.id, outcome)
