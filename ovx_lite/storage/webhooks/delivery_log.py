"""The log of deliveries: what was sent to webhooks, and what came of it."""

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import COUNTER_BITS
from ovx_lite.storage.registry_version import announce
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks.outbox import message_id

MAX_LOGGED_PER_WEBHOOK = 1000
"""Deliveries of a webhook that the log keeps (those on their way not counted)."""

RETENTION_MS = 30 * 24 * 60 * 60 * 1000
"""Milliseconds that the log keeps a delivery."""

STATUSES = ("pending", "delivered", "failed", "throttled", "skipped")


def parse_public_id(public_id: str) -> int:
    """The delivery of that name. Raises `ApiError` (`not_found`) for what is no such name."""
    prefix, _, digits = public_id.partition("_")
    try:
        if prefix == "msg" and 0 < (delivery_id := int(digits, 16)) < 1 << 63:
            return delivery_id
    except ValueError:
        pass
    raise _no_such_delivery(public_id)


class DeliveryRecord(NamedTuple):
    """A delivery in the log; `due` in Unix milliseconds."""

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
        """Its public name."""
        return message_id(self.id)

    @property
    def created_at_ms(self) -> int:
        """When it was put on its way (Unix ms)."""
        return self.id >> COUNTER_BITS

    def to_json(self) -> dict[str, Any]:
        """It as JSON, without its body."""
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
    """A try in the log: as `webhooks.Outcome` has it."""

    started_at_ms: int
    duration_ms: int
    status: int | None
    error: str
    hint: str
    headers: dict[str, str]
    response_body: str

    def to_json(self) -> dict[str, Any]:
        """It as JSON."""
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
    """A site's deliveries, newest first; of one status, if that is given."""
    query = _SELECT_DELIVERIES + "WHERE site_id = ? AND ? IN ('', status) ORDER BY deliveries.id DESC"
    return map(DeliveryRecord._make, conn.execute(query, (site_id, status)))


class DeliveryFilter(NamedTuple):
    """Which deliveries to show: of one status, one webhook, one event; `""` for all."""

    status: str = ""
    webhook: str = ""
    event: str = ""


# The rows of a site's few webhooks are found first, and sorted by their numbers alone; the rest is read of a page.
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
    """The latest deliveries of a site with a number under `before`, newest first, at most so many."""
    values = (site_id, filters.webhook, before_id, filters.status, filters.event, limit)
    return list(map(DeliveryRecord._make, conn.execute(_SELECT_PAGE, values)))


def counts(conn: sqlite3.Connection, site_id: int) -> dict[str, dict[str, int]]:
    """How many deliveries each webhook of a site has in the log, by its id and their status."""
    query = """
        SELECT public_id, status, count(*) FROM deliveries JOIN webhooks ON webhooks.id = webhook_id
        WHERE site_id = ? GROUP BY 1, 2
    """
    counts_by_webhook: dict[str, dict[str, int]] = {}
    for webhook, status, count in conn.execute(query, (site_id,)):
        counts_by_webhook.setdefault(webhook, {})[status] = count
    return counts_by_webhook


def find(conn: sqlite3.Connection, public_id: str) -> DeliveryRecord:
    """The delivery of that id. Raises `ApiError` (`not_found`) if there is none."""
    row = conn.execute(_SELECT_DELIVERIES + "WHERE deliveries.id = ?", (parse_public_id(public_id),)).fetchone()
    if row is None:
        raise _no_such_delivery(public_id)
    return DeliveryRecord._make(row)


def find_of_site(conn: sqlite3.Connection, site_id: int, public_id: str) -> DeliveryRecord:
    """The delivery of that id, of this site. Raises `ApiError` (`not_found`) if it has none."""
    row = conn.execute(
        _SELECT_DELIVERIES + "WHERE deliveries.id = ? AND site_id = ?", (parse_public_id(public_id), site_id)
    ).fetchone()
    if row is None:
        raise _no_such_delivery(public_id)
    return DeliveryRecord._make(row)


def attempts(conn: sqlite3.Connection, delivery_id: int) -> list[Attempt]:
    """The tries of a delivery, oldest first."""
    query = """
        SELECT started_at, duration_ms, http_status, error_code, hint, request_headers, response_body
        FROM attempts WHERE delivery_id = ? ORDER BY id
    """
    rows = conn.execute(query, (delivery_id,))
    return [
        Attempt(started_at_ms, duration_ms, status, error, hint, msgspec.json.decode(headers), response_body)
        for started_at_ms, duration_ms, status, error, hint, headers, response_body in rows
    ]


def _no_such_delivery(public_id: str) -> ApiError:
    return ApiError("not_found", f"There is no delivery {public_id}: see ovx-lite delivery list SITE for the ids.")


def redeliver(conn: sqlite3.Connection, public_id: str, now_ms: int) -> None:
    """Put a delivery on its way once more, with all its tries. Raises `ApiError` if its webhook is disabled."""
    with transaction(conn):
        delivery = find(conn, public_id)
        row = conn.execute("SELECT is_enabled FROM webhooks WHERE public_id = ?", (delivery.webhook,)).fetchone()
        if not row[0]:
            message = f"The webhook {delivery.webhook} is disabled: ovx-lite webhook enable {delivery.webhook} first."
            raise ApiError("invalid_request", message)
        changed = conn.execute(
            "UPDATE deliveries SET status = 'pending', attempts = 0, next_attempt_at = ?"
            " WHERE id = ? AND lease_token IS NULL",
            (now_ms, delivery.id),
        )
        if changed.rowcount == 0:
            raise ApiError("invalid_request", f"The delivery {public_id} is being sent just now: see what comes of it.")
        announce(conn)


def redeliver_failed(conn: sqlite3.Connection, site_id: int, since_ms: int, now_ms: int) -> int:
    """Put all that failed or was skipped since a time (Unix ms) on its way again. Returns how many.

    Those of disabled webhooks stay, and what was throttled: all at once, it would be what the limit is to prevent.
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
    """Delete from the log what is older than it keeps, up to so many rows at once. Returns how many.

    Inside a transaction.
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
    """A try of a delivery, at a time (Unix ms), and what the delivery `became`."""

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
    """The number of the latest try; 0 if there was none."""
    return int(conn.execute("SELECT coalesce(max(id), 0) FROM attempts").fetchone()[0])


def attempts_after(conn: sqlite3.Connection, attempt_id: int) -> list[AttemptRecord]:
    """The tries after one, in their order."""
    query = """
        SELECT delivery_id, started_at, http_status, error_code,
            iif(lead(1) OVER (PARTITION BY delivery_id ORDER BY attempts.id), 'pending', status), event_name, public_id
        FROM attempts JOIN deliveries ON deliveries.id = delivery_id JOIN webhooks ON webhooks.id = webhook_id
        WHERE attempts.id > ? ORDER BY attempts.id
    """
    return [
        AttemptRecord(message_id(delivery_id), *values) for delivery_id, *values in conn.execute(query, (attempt_id,))
    ]
