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
WITH RECURSIVE waiting (webhook) AS (
    SELECT min(webhook) FROM deliveries WHERE status = 'pending' AND token IS NULL
    UNION ALL
    SELECT (SELECT min(webhook) FROM deliveries
            WHERE status = 'pending' AND token IS NULL AND webhook > waiting.webhook)
    FROM waiting WHERE webhook IS NOT NULL
)
SELECT webhook, (SELECT min(due) FROM deliveries
                 WHERE status = 'pending' AND token IS NULL AND webhook = waiting.webhook) AS earliest
FROM waiting WHERE webhook IS NOT NULL ORDER BY earliest
"""
_CLAIM = """
UPDATE deliveries SET token = ?, lease = ? WHERE number = (
    SELECT number FROM deliveries
    WHERE status = 'pending' AND token IS NULL AND webhook = ? ORDER BY due, number LIMIT 1
) RETURNING number, event, body, tries
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
        _free(conn, "lease <= ?", (now,), now)
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
    query = "SELECT url, secret, old_secret, rotated FROM webhooks WHERE number = ?"
    url, *told = conn.execute(query, (webhook,)).fetchone()
    return Claimed(number, token, webhook, url, event, body, tries, secrets_at(now, *told))


def _settle(conn: sqlite3.Connection, claim: Claimed, outcome: Outcome, now: int) -> str:
    """Write down what came of a try, if it was still ours. Returns the webhook's id if that gave it up, else `""`."""
    tries = claim.tries + 1
    then = after(outcome, tries, now)
    changed = conn.execute(
        "UPDATE deliveries SET status = ?, tries = ?, due = ?, token = NULL, lease = NULL"
        " WHERE number = ? AND token = ?",
        (then.status, tries, then.due, claim.number, claim.token),
    )
    if changed.rowcount == 0:
        return ""  # the webhook was removed, or the lease ran out, and it is somebody else's
    log(conn, claim.number, outcome)
    if not outcome.error:
        conn.execute("UPDATE webhooks SET failing_since = NULL, exhausted = 0 WHERE number = ?", (claim.webhook,))
        return ""
    row = conn.execute(
        "UPDATE webhooks SET failing_since = coalesce(failing_since, ?), exhausted = exhausted + ? WHERE number = ?"
        " RETURNING id, enabled, failing_since, exhausted",
        (now, then.status == "failed", claim.webhook),
    ).fetchone()
    id, enabled, failing_since, exhausted = row
    if not enabled:
        conn.execute(
            "UPDATE deliveries SET status = 'skipped' WHERE number = ? AND status = 'pending'", (claim.number,)
        )
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
        return _free(conn, "token IS NOT NULL", (), now)


_FREE = """
UPDATE deliveries SET token = NULL, lease = NULL,
    status = CASE WHEN webhook IN (SELECT number FROM webhooks WHERE enabled) THEN status ELSE 'skipped' END
WHERE token IS NOT NULL
"""


def _free(conn: sqlite3.Connection, which: str, values: tuple[int, ...], now: int) -> int:
    freed = conn.execute(
        f"{_FREE} AND {which} RETURNING number",
        values,
    ).fetchall()
    for (number,) in freed:
        words = "the server ended before the answer was written down: it is sent again"
        log(conn, number, Outcome(None, "interrupted", words, began=now))
    return len(freed)


def log(conn: sqlite3.Connection, number: int, outcome: Outcome) -> None:
    """Add a try to the log of a delivery. Inside a transaction."""
    conn.execute(
        "INSERT INTO attempts (delivery, began, took, status, error, words, headers, answer)"
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
        (site,) = conn.execute("SELECT id FROM sites WHERE number = ?", (webhook.site,)).fetchone()
        secrets = secrets_at(now, webhook.secret, webhook.old_secret, webhook.rotated)
        event = webhook.events[0]
        made = body(sample(event, site, now), site, webhook.format)
        number = now << COUNTER_BITS | token & (1 << COUNTER_BITS) - 1
        conn.execute(
            "INSERT INTO deliveries (number, webhook, event, body, status, tries, due) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, webhook.number, event, made, "failed", 0, now),
        )
        return Claimed(number, token, webhook.number, webhook.url, event, made, 0, secrets)


def end_sample(conn: sqlite3.Connection, claimed: Claimed, outcome: Outcome, now: int) -> None:
    """Write down what came of a sample, which is not tried again, and says nothing against the webhook."""
    with transaction(conn):
        status = "failed" if outcome.error else "delivered"
        changed = conn.execute(
            "UPDATE deliveries SET status = ?, tries = 1, due = ? WHERE number = ?", (status, now, claimed.number)
        )
        if changed.rowcount:  # else the webhook was removed meanwhile, with its log
            log(conn, claimed.number, outcome)
