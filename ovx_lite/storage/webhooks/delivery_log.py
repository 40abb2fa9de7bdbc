"""The delivery log: every delivery to a webhook, with its attempts."""

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain.calendar import DAY_MS, format_utc
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import COUNTER_BITS
from ovx_lite.storage.registry_version import announce
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks.outbox import message_id

MAX_LOGGED_PER_WEBHOOK = 1000
"""Deliveries that the log keeps for each webhook, besides the pending ones."""

RETENTION_MS = 30 * DAY_MS
"""How long the log keeps a delivery."""

STATUSES = ("pending", "delivered", "failed", "throttled", "skipped")


def parse_public_id(public_id: str) -> int:
    """Return the ID of a delivery from its public ID. Raises `ApiError` (`not_found`) if that is malformed."""
    prefix, _, digits = public_id.partition("_")
    try:
        if prefix == "msg" and 0 < (delivery_id := int(digits, 16)) < 1 << 63:
            return delivery_id
    except ValueError:
        pass
    raise _no_such_delivery(public_id)


class DeliveryRecord(NamedTuple):
    """A delivery in the log. `webhook` is the webhook's public ID."""

    id: int
    webhook: str
    url: str
    event: str
    body: bytes
    status: str
    attempts: int
    next_attempt_at_ms: int

    @property
    def public_id(self) -> str:
        """Return the public ID, which receivers get as `webhook-id`."""
        return message_id(self.id)

    @property
    def created_at_ms(self) -> int:
        """Return when the delivery was created (Unix ms)."""
        return self.id >> COUNTER_BITS

    def to_json(self) -> dict[str, Any]:
        """Return the delivery without its body, for JSON output."""
        return {
            "id": self.public_id,
            "created": format_utc(self.created_at_ms),
            "webhook": self.webhook,
            "event": self.event,
            "status": self.status,
            "tries": self.attempts,
            "next": format_utc(self.next_attempt_at_ms) if self.status == "pending" else None,
            "url": self.url,
        }


class Attempt(NamedTuple):
    """An attempt in the log. See `webhooks.message.AttemptResult` for its fields."""

    started_at_ms: int
    duration_ms: int
    status: int | None
    error: str
    hint: str
    headers: dict[str, str]
    response_body: str

    def to_json(self) -> dict[str, Any]:
        """Return the attempt for JSON output."""
        return {
            "began": format_utc(self.started_at_ms),
            "took": self.duration_ms,
            "status": self.status,
            "error": self.error,
            "words": self.hint,
            "headers": self.headers,
            "answer": self.response_body,
        }


_SELECT_DELIVERIES = """
SELECT deliveries.id, public_id, url, event_name, body, status, attempts, next_attempt_at
FROM deliveries JOIN webhooks ON webhooks.id = webhook_id
"""


def of_site(conn: sqlite3.Connection, site_id: int, status: str = "") -> Iterator[DeliveryRecord]:
    """Yield a site's deliveries, newest first; only those with `status` if it is not `""`."""
    query = _SELECT_DELIVERIES + "WHERE site_id = ? AND ? IN ('', status) ORDER BY deliveries.id DESC"
    return map(DeliveryRecord._make, conn.execute(query, (site_id, status)))


class DeliveryFilter(NamedTuple):
    """Which deliveries to show: those with this status, webhook and event; `""` means all."""

    status: str = ""
    webhook: str = ""
    event: str = ""


# The inner query sorts only the IDs of the site's deliveries. The other columns are read for one page only.
_SELECT_PAGE = f"""
{_SELECT_DELIVERIES} WHERE deliveries.id IN (
    SELECT id FROM deliveries
    WHERE webhook_id IN (SELECT id FROM webhooks WHERE site_id = ? AND ? IN ('', public_id))
        AND id < ? AND ? IN ('', status) AND ? IN ('', event_name)
    ORDER BY id DESC LIMIT ?
) ORDER BY deliveries.id DESC
"""


def page(
    conn: sqlite3.Connection, site_id: int, filters: DeliveryFilter, before_id: int, limit: int
) -> list[DeliveryRecord]:
    """Return at most `limit` of a site's deliveries with IDs less than `before_id`, newest first."""
    values = (site_id, filters.webhook, before_id, filters.status, filters.event, limit)
    return list(map(DeliveryRecord._make, conn.execute(_SELECT_PAGE, values)))


def counts(conn: sqlite3.Connection, site_id: int) -> dict[str, dict[str, int]]:
    """Count a site's deliveries in the log, by the webhook's public ID and by status."""
    query = """
        SELECT public_id, status, count(*) FROM deliveries JOIN webhooks ON webhooks.id = webhook_id
        WHERE site_id = ? GROUP BY 1, 2
    """
    counts_by_webhook: dict[str, dict[str, int]] = {}
    for webhook, status, count in conn.execute(query, (site_id,)):
        counts_by_webhook.setdefault(webhook, {})[status] = count
    return counts_by_webhook


def find(conn: sqlite3.Connection, public_id: str) -> DeliveryRecord:
    """Return the delivery with this public ID. Raises `ApiError` (`not_found`) if there is none."""
    row = conn.execute(_SELECT_DELIVERIES + "WHERE deliveries.id = ?", (parse_public_id(public_id),)).fetchone()
    if row is None:
        raise _no_such_delivery(public_id)
    return DeliveryRecord._make(row)


def find_of_site(conn: sqlite3.Connection, site_id: int, public_id: str) -> DeliveryRecord:
    """Return the site's delivery with this public ID. Raises `ApiError` (`not_found`) if the site has none."""
    row = conn.execute(
        _SELECT_DELIVERIES + "WHERE deliveries.id = ? AND site_id = ?", (parse_public_id(public_id), site_id)
    ).fetchone()
    if row is None:
        raise _no_such_delivery(public_id)
    return DeliveryRecord._make(row)


def attempts(conn: sqlite3.Connection, delivery_id: int) -> list[Attempt]:
    """Return the attempts of a delivery, oldest first."""
    query = """
        SELECT started_at, duration_ms, http_status, error_code, hint, request_headers, response_body
        FROM attempts WHERE delivery_id = ? ORDER BY id
    """
    rows = conn.execute(query, (delivery_id,))
    return [
        Attempt(
            started_at_ms=started_at_ms,
            duration_ms=duration_ms,
            status=status,
            error=error,
            hint=hint,
            headers=msgspec.json.decode(headers),
            response_body=response_body,
        )
        for started_at_ms, duration_ms, status, error, hint, headers, response_body in rows
    ]


def _no_such_delivery(public_id: str) -> ApiError:
    return ApiError("not_found", f"There is no delivery {public_id}: ovx-lite delivery list SITE shows the IDs.")


def redeliver(conn: sqlite3.Connection, public_id: str, now_ms: int) -> None:
    """Queue a delivery again, with a new series of attempts.

    Raises `ApiError`: `not_found` if there is no such delivery, `invalid_request` if its webhook is disabled or an
    attempt is running.
    """
    with transaction(conn):
        delivery = find(conn, public_id)
        row = conn.execute("SELECT is_enabled FROM webhooks WHERE public_id = ?", (delivery.webhook,)).fetchone()
        if not row[0]:
            message = (
                f"The webhook {delivery.webhook} is disabled: run ovx-lite webhook enable {delivery.webhook} first."
            )
            raise ApiError("invalid_request", message)
        cursor = conn.execute(
            "UPDATE deliveries SET status = 'pending', attempts = 0, next_attempt_at = ?"
            " WHERE id = ? AND lease_token IS NULL",
            (now_ms, delivery.id),
        )
        if cursor.rowcount == 0:
            raise ApiError("invalid_request", f"The delivery {public_id} is being sent now: wait for the result.")
        announce(conn)


def redeliver_failed(conn: sqlite3.Connection, site_id: int, since_ms: int, now_ms: int) -> int:
    """Queue a site's deliveries that failed or were skipped since a time (Unix ms) again. Return how many.

    Deliveries of disabled webhooks are left out. So are throttled ones, because sending all of them at once is what the
    limit prevents.
    """
    with transaction(conn):
        announce(conn)
        return conn.execute(
            "UPDATE deliveries SET status = 'pending', attempts = 0, next_attempt_at = ?"
            " WHERE next_attempt_at >= ? AND lease_token IS NULL"
            " AND status IN ('failed', 'skipped')"
            " AND webhook_id IN (SELECT id FROM webhooks WHERE site_id = ? AND is_enabled)",
            (now_ms, since_ms, site_id),
        ).rowcount


def delete_expired(conn: sqlite3.Connection, now_ms: int, limit: int) -> int:
    """Delete deliveries that are too old or too many, except pending ones. Return how many. Call inside a transaction.

    At most `limit` old deliveries are deleted, and at most `limit` surplus ones of each webhook.
    """
    deleted = conn.execute(
        "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE id < ? AND status <> 'pending' LIMIT ?)",
        (now_ms - RETENTION_MS << COUNTER_BITS, limit),
    ).rowcount
    for (webhook_id,) in conn.execute("SELECT id FROM webhooks").fetchall():
        query = (
            "SELECT id FROM deliveries WHERE webhook_id = ? AND status <> 'pending' ORDER BY id DESC LIMIT 1 OFFSET ?"
        )
        last_row = conn.execute(query, (webhook_id, MAX_LOGGED_PER_WEBHOOK)).fetchone()
        if last_row is not None:
            deleted += conn.execute(
                "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE webhook_id = ?"
                " AND id <= ? AND status <> 'pending' LIMIT ?)",
                (webhook_id, last_row[0], limit),
            ).rowcount
    return deleted


class AttemptRecord(NamedTuple):
    """An attempt for the emulator's API. `delivery_status` is the delivery's status after the attempt."""

    delivery: str
    started_at_ms: int
    status: int | None
    error: str
    delivery_status: str
    event: str
    webhook: str

    def to_json(self) -> dict[str, Any]:
        """The attempt as the emulator's API shows it."""
        return {
            "delivery": self.delivery,
            "at": format_utc(self.started_at_ms),
            "status": self.status,
            "error": self.error,
            "became": self.delivery_status,
            "event": self.event,
            "webhook": self.webhook,
        }


def last_attempt_id(conn: sqlite3.Connection) -> int:
    """Return the ID of the latest attempt; 0 if there is none."""
    return int(conn.execute("SELECT coalesce(max(id), 0) FROM attempts").fetchone()[0])


def attempts_after(conn: sqlite3.Connection, attempt_id: int) -> list[AttemptRecord]:
    """Return the attempts with IDs greater than `attempt_id`, oldest first."""
    query = """
        SELECT delivery_id, started_at, http_status, error_code,
            iif(lead(1) OVER (PARTITION BY delivery_id ORDER BY attempts.id), 'pending', status), event_name, public_id
        FROM attempts JOIN deliveries ON deliveries.id = delivery_id JOIN webhooks ON webhooks.id = webhook_id
        WHERE attempts.id > ? ORDER BY attempts.id
    """
    return [
        AttemptRecord(message_id(delivery_id), *values) for delivery_id, *values in conn.execute(query, (attempt_id,))
    ]
