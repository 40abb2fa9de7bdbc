"""What is on its way to webhooks, who is sending it, and what comes of it."""

import sqlite3
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from ovx_lite.domain.models import COUNTER_BITS
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks.subscriptions import find_webhook, give_up
from ovx_lite.webhooks.message import Outcome, after, body, secrets_at
from ovx_lite.webhooks.triggers import sample

LEASE = 60_000
"""Milliseconds after which a delivery that somebody took and did not bring back is anybody's."""

PATIENCE = 5 * 24 * 60 * 60 * 1000
"""Milliseconds without a success after which a webhook is given up, if `EXHAUSTED` deliveries failed in them."""

EXHAUSTED = 5


class Claimed(NamedTuple):
    """A delivery that is ours to send until the lease ends."""

    number: int
    token: int
    webhook: int
    url: str
    event: str
    body: bytes
    tries: int
    secrets: tuple[str, ...]

    @property
    def id(self) -> str:
        """What the receiver knows it by, the same at every try."""
        return message_id(self.number)


class Room(NamedTuple):
    """What may be claimed: none of webhooks that are `busy`, `most` in all, `most_slow` of those that are `slow`."""

    busy: Collection[int]
    slow: Collection[int]
    most: int
    most_slow: int


class Turn(NamedTuple):
    """What a turn brought: deliveries to send, when the next falls due (Unix ms), the webhooks that were given up.

    What is due already and finds no room is not told: there will be another turn when there is room.
    """

    claimed: list[Claimed]
    due: int | None
    given_up: list[str]


def message_id(number: int) -> str:
    """The public name of the delivery stored under `number`."""
    return f"msg_{number:016x}"


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


def take_turn(
    conn: sqlite3.Connection, outcomes: Sequence[tuple[Claimed, Outcome]], room: Room, token: int, now: int
) -> Turn:
    """Write down what came of tries, and claim deliveries that are due, as far as there is room. In one transaction.

    No more than one at a time is claimed of a webhook: so a crash repeats no more than that.
    """
    claimed: list[Claimed] = []
    due, most_slow = None, room.most_slow
    with transaction(conn):
        given_up = [id for claim, outcome in outcomes if (id := _settle(conn, claim, outcome, now))]
        _free(conn, "lease_expires_at <= ?", (now,), now)
        for webhook, earliest in conn.execute(_EARLIEST).fetchall():
            if webhook in room.busy:
                continue
            if earliest > now:
                due = earliest
                break
            if len(claimed) >= room.most:
                break  # whoever ends first makes room
            if webhook in room.slow:
                if most_slow <= 0:
                    continue
                most_slow -= 1
            claimed.append(_claim(conn, webhook, token, now))
    return Turn(claimed, due, given_up)


def _claim(conn: sqlite3.Connection, webhook: int, token: int, now: int) -> Claimed:
    number, event, body, tries = conn.execute(_CLAIM, (token, now + LEASE, webhook)).fetchone()
    query = "SELECT url, secret, previous_secret, rotated_at FROM webhooks WHERE id = ?"
    url, *told = conn.execute(query, (webhook,)).fetchone()
    return Claimed(number, token, webhook, url, event, body, tries, secrets_at(now, *told))


def _settle(conn: sqlite3.Connection, claim: Claimed, outcome: Outcome, now: int) -> str:
    """Write down what came of a try, if it was still ours. Returns the webhook's id if that gave it up, else `""`."""
    tries = claim.tries + 1
    then = after(outcome, tries, now)
    changed = conn.execute(
        "UPDATE deliveries"
        " SET status = ?, attempts = ?, next_attempt_at = ?, lease_token = NULL, lease_expires_at = NULL"
        " WHERE id = ? AND lease_token = ?",
        (then.status, tries, then.due, claim.number, claim.token),
    )
    if changed.rowcount == 0:
        return ""  # the webhook was removed, or the lease ran out, and it is somebody else's
    log(conn, claim.number, outcome)
    if not outcome.error:
        query = "UPDATE webhooks SET first_failed_at = NULL, failed_deliveries = 0 WHERE id = ?"
        conn.execute(query, (claim.webhook,))
        return ""
    row = conn.execute(
        "UPDATE webhooks"
        " SET first_failed_at = coalesce(first_failed_at, ?), failed_deliveries = failed_deliveries + ? WHERE id = ?"
        " RETURNING public_id, is_enabled, first_failed_at, failed_deliveries",
        (now, then.status == "failed", claim.webhook),
    ).fetchone()
    id, enabled, failing_since, exhausted = row
    if not enabled:
        conn.execute("UPDATE deliveries SET status = 'skipped' WHERE id = ? AND status = 'pending'", (claim.number,))
        return ""
    if then.gone:
        give_up(conn, claim.webhook, "its receiver answered 410: it wants no more")
        return str(id)
    if exhausted >= EXHAUSTED and now - failing_since >= PATIENCE:
        give_up(conn, claim.webhook, "nothing was delivered for 5 days")
        return str(id)
    return ""


def free_interrupted(conn: sqlite3.Connection, now: int) -> int:
    """Give back what somebody was sending when the server ended; it is sent again at once. Returns how many."""
    with transaction(conn):
        return _free(conn, "lease_token IS NOT NULL", (), now)


_FREE = """
UPDATE deliveries SET lease_token = NULL, lease_expires_at = NULL,
    status = CASE WHEN webhook_id IN (SELECT id FROM webhooks WHERE is_enabled) THEN status ELSE 'skipped' END
WHERE lease_token IS NOT NULL
"""


def _free(conn: sqlite3.Connection, which: str, values: tuple[int, ...], now: int) -> int:
    freed = conn.execute(
        f"{_FREE} AND {which} RETURNING id",
        values,
    ).fetchall()
    for (number,) in freed:
        words = "the server ended before the answer was written down: it is sent again"
        log(conn, number, Outcome(None, "interrupted", words, began=now))
    return len(freed)


def log(conn: sqlite3.Connection, number: int, outcome: Outcome) -> None:
    """Add a try to the log of a delivery. Inside a transaction."""
    conn.execute(
        "INSERT INTO attempts"
        " (delivery_id, started_at, duration_ms, http_status, error_code, hint, request_headers, response_body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            outcome.began,
            outcome.took,
            outcome.status,
            outcome.error,
            outcome.words,
            msgspec.json.encode(outcome.headers).decode(),
            outcome.answer,
        ),
    )


def put_sample(conn: sqlite3.Connection, webhook_id: str, token: int, now: int) -> Claimed:
    """Put a sample of what a webhook is told of into the log. Raises `Refused` if there is no such webhook.

    It counts as failed until it is delivered, so that nobody sends it, too, or again.
    """
    with transaction(conn):
        webhook = find_webhook(conn, webhook_id)
        (site,) = conn.execute("SELECT slug FROM sites WHERE id = ?", (webhook.site,)).fetchone()
        secrets = secrets_at(now, webhook.secret, webhook.old_secret, webhook.rotated)
        event = webhook.events[0]
        made = body(sample(event, site, now), site, webhook.format)
        number = now << COUNTER_BITS | token & (1 << COUNTER_BITS) - 1
        conn.execute(
            "INSERT INTO deliveries (id, webhook_id, event_name, body, status, attempts, next_attempt_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, webhook.number, event, made, "failed", 0, now),
        )
        return Claimed(number, token, webhook.number, webhook.url, event, made, 0, secrets)


def end_sample(conn: sqlite3.Connection, claimed: Claimed, outcome: Outcome, now: int) -> None:
    """Write down what came of a sample, which is not tried again, and says nothing against the webhook."""
    with transaction(conn):
        status = "failed" if outcome.error else "delivered"
        changed = conn.execute(
            "UPDATE deliveries SET status = ?, attempts = 1, next_attempt_at = ? WHERE id = ?",
            (status, now, claimed.number),
        )
        if changed.rowcount:  # else the webhook was removed meanwhile, with its log
            log(conn, claimed.number, outcome)
