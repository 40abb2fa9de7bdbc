"""The log of deliveries: what was sent to webhooks, and what came of it."""

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain.calendar import utc
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import COUNTER_BITS
from ovx_lite.storage.registry_version import announce
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks.outbox import message_id

MOST_KEPT = 1000
"""Deliveries of a webhook that the log keeps (those on their way not counted)."""

KEPT_FOR = 30 * 24 * 60 * 60 * 1000
"""Milliseconds that the log keeps a delivery."""

STATUSES = ("pending", "delivered", "failed", "throttled", "skipped")


def number_of(id: str) -> int:
    """The delivery of that name. Raises `Refused` (`not_found`) for what is no such name."""
    prefix, _, digits = id.partition("_")
    try:
        if prefix == "msg" and 0 < (number := int(digits, 16)) < 1 << 63:
            return number
    except ValueError:
        pass
    raise _no_such(id)


class Logged(NamedTuple):
    """A delivery in the log; `due` in Unix milliseconds."""

    number: int
    webhook: str
    url: str
    event: str
    body: bytes
    status: str
    tries: int
    due: int

    @property
    def id(self) -> str:
        """Its public name."""
        return message_id(self.number)

    @property
    def created(self) -> int:
        """When it was put on its way (Unix ms)."""
        return self.number >> COUNTER_BITS

    def shown(self) -> dict[str, Any]:
        """It as JSON, without its body."""
        return {
            "id": self.id,
            "created": utc(self.created),
            "webhook": self.webhook,
            "event": self.event,
            "status": self.status,
            "tries": self.tries,
            "next": utc(self.due) if self.status == "pending" else None,
            "url": self.url,
        }


class Attempt(NamedTuple):
    """A try in the log: as `webhooks.Outcome` has it."""

    began: int
    took: int
    status: int | None
    error: str
    words: str
    headers: dict[str, str]
    answer: str

    def shown(self) -> dict[str, Any]:
        """It as JSON."""
        return self._asdict() | {"began": utc(self.began)}


_LOGGED = """
SELECT deliveries.id, public_id, url, event_name, body, status, attempts, next_attempt_at
FROM deliveries JOIN webhooks ON webhooks.id = webhook_id
"""


def of_site(conn: sqlite3.Connection, site: int, status: str = "") -> Iterator[Logged]:
    """A site's deliveries, newest first; of one status, if that is given."""
    query = _LOGGED + "WHERE site_id = ? AND ? IN ('', status) ORDER BY deliveries.id DESC"
    return map(Logged._make, conn.execute(query, (site, status)))


class Filter(NamedTuple):
    """Which deliveries to show: of one status, one webhook, one event; `""` for all."""

    status: str = ""
    webhook: str = ""
    event: str = ""


# The rows of a site's few webhooks are found first, and sorted by their numbers alone; the rest is read of a page.
_PAGE = f"""
{_LOGGED} WHERE deliveries.id IN (
    SELECT id FROM deliveries
    WHERE webhook_id IN (SELECT id FROM webhooks WHERE site_id = ? AND ? IN ('', public_id))
        AND id < ? AND ? IN ('', status) AND ? IN ('', event_name)
    ORDER BY id DESC LIMIT ?
) ORDER BY deliveries.id DESC
"""


def page(conn: sqlite3.Connection, site: int, which: Filter, before: int, most: int) -> list[Logged]:
    """The latest deliveries of a site with a number under `before`, newest first, at most so many."""
    values = (site, which.webhook, before, which.status, which.event, most)
    return list(map(Logged._make, conn.execute(_PAGE, values)))


def counts(conn: sqlite3.Connection, site: int) -> dict[str, dict[str, int]]:
    """How many deliveries each webhook of a site has in the log, by its id and their status."""
    query = """
        SELECT public_id, status, count(*) FROM deliveries JOIN webhooks ON webhooks.id = webhook_id
        WHERE site_id = ? GROUP BY 1, 2
    """
    found: dict[str, dict[str, int]] = {}
    for webhook, status, count in conn.execute(query, (site,)):
        found.setdefault(webhook, {})[status] = count
    return found


def find(conn: sqlite3.Connection, id: str) -> Logged:
    """The delivery of that id. Raises `Refused` (`not_found`) if there is none."""
    row = conn.execute(_LOGGED + "WHERE deliveries.id = ?", (number_of(id),)).fetchone()
    if row is None:
        raise _no_such(id)
    return Logged._make(row)


def find_of(conn: sqlite3.Connection, site: int, id: str) -> Logged:
    """The delivery of that id, of this site. Raises `Refused` (`not_found`) if it has none."""
    row = conn.execute(_LOGGED + "WHERE deliveries.id = ? AND site_id = ?", (number_of(id), site)).fetchone()
    if row is None:
        raise _no_such(id)
    return Logged._make(row)


def attempts(conn: sqlite3.Connection, number: int) -> list[Attempt]:
    """The tries of a delivery, oldest first."""
    query = """
        SELECT started_at, duration_ms, http_status, error_code, hint, request_headers, response_body
        FROM attempts WHERE delivery_id = ? ORDER BY id
    """
    rows = conn.execute(query, (number,))
    return [
        Attempt(began, took, status, error, words, msgspec.json.decode(headers), answer)
        for began, took, status, error, words, headers, answer in rows
    ]


def _no_such(id: str) -> Refused:
    return Refused("not_found", f"There is no delivery {id}: see ovx-lite delivery list SITE for the ids.")


def send_again(conn: sqlite3.Connection, id: str, now: int) -> None:
    """Put a delivery on its way once more, with all its tries. Raises `Refused` if its webhook is disabled."""
    with transaction(conn):
        delivery = find(conn, id)
        row = conn.execute("SELECT is_enabled FROM webhooks WHERE public_id = ?", (delivery.webhook,)).fetchone()
        if not row[0]:
            message = f"The webhook {delivery.webhook} is disabled: ovx-lite webhook enable {delivery.webhook} first."
            raise Refused("invalid_request", message)
        changed = conn.execute(
            "UPDATE deliveries SET status = 'pending', attempts = 0, next_attempt_at = ?"
            " WHERE id = ? AND lease_token IS NULL",
            (now, delivery.number),
        )
        if changed.rowcount == 0:
            raise Refused("invalid_request", f"The delivery {id} is being sent just now: see what comes of it.")
        announce(conn)


def send_failed_again(conn: sqlite3.Connection, site: int, since: int, now: int) -> int:
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
            (now, since, site),
        ).rowcount


def forget_old(conn: sqlite3.Connection, now: int, most: int) -> int:
    """Delete from the log what is older than it keeps, up to so many rows at once. Returns how many.

    Inside a transaction.
    """
    deleted = conn.execute(
        "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE id < ? AND status <> 'pending' LIMIT ?)",
        (now - KEPT_FOR << COUNTER_BITS, most),
    ).rowcount
    for (webhook,) in conn.execute("SELECT id FROM webhooks").fetchall():
        query = (
            "SELECT id FROM deliveries WHERE webhook_id = ? AND status <> 'pending' ORDER BY id DESC LIMIT 1 OFFSET ?"
        )
        last = conn.execute(query, (webhook, MOST_KEPT)).fetchone()
        if last is not None:
            deleted += conn.execute(
                "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE webhook_id = ?"
                " AND id <= ? AND status <> 'pending' LIMIT ?)",
                (webhook, last[0], most),
            ).rowcount
    return deleted


class Tried(NamedTuple):
    """A try of a delivery, at a time (Unix ms), and what the delivery `became`."""

    delivery: str
    at: int
    status: int | None
    error: str
    became: str
    event: str
    webhook: str


def last_try(conn: sqlite3.Connection) -> int:
    """The number of the latest try; 0 if there was none."""
    return int(conn.execute("SELECT coalesce(max(id), 0) FROM attempts").fetchone()[0])


def tries_after(conn: sqlite3.Connection, number: int) -> list[Tried]:
    """The tries after one, in their order."""
    query = """
        SELECT delivery_id, started_at, http_status, error_code,
            iif(lead(1) OVER (PARTITION BY delivery_id ORDER BY attempts.id), 'pending', status), event_name, public_id
        FROM attempts JOIN deliveries ON deliveries.id = delivery_id JOIN webhooks ON webhooks.id = webhook_id
        WHERE attempts.id > ? ORDER BY attempts.id
    """
    return [Tried(message_id(delivery), *told) for delivery, *told in conn.execute(query, (number,))]
