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
SELECT deliveries.number, webhooks.id, url, event, body, status, tries, due
FROM deliveries JOIN webhooks ON webhooks.number = deliveries.webhook
"""


def of_site(conn: sqlite3.Connection, site: int, status: str = "") -> Iterator[Logged]:
    """A site's deliveries, newest first; of one status, if that is given."""
    query = _LOGGED + "WHERE webhooks.site = ? AND ? IN ('', status) ORDER BY deliveries.number DESC"
    return map(Logged._make, conn.execute(query, (site, status)))


class Filter(NamedTuple):
    """Which deliveries to show: of one status, one webhook, one event; `""` for all."""

    status: str = ""
    webhook: str = ""
    event: str = ""


# The rows of a site's few webhooks are found first, and sorted by their numbers alone; the rest is read of a page.
_PAGE = f"""
{_LOGGED} WHERE deliveries.number IN (
    SELECT number FROM deliveries WHERE webhook IN (SELECT number FROM webhooks WHERE site = ? AND ? IN ('', id))
        AND number < ? AND ? IN ('', status) AND ? IN ('', event)
    ORDER BY number DESC LIMIT ?
) ORDER BY deliveries.number DESC
"""


def page(conn: sqlite3.Connection, site: int, which: Filter, before: int, most: int) -> list[Logged]:
    """The latest deliveries of a site with a number under `before`, newest first, at most so many."""
    values = (site, which.webhook, before, which.status, which.event, most)
    return list(map(Logged._make, conn.execute(_PAGE, values)))


def counts(conn: sqlite3.Connection, site: int) -> dict[str, dict[str, int]]:
    """How many deliveries each webhook of a site has in the log, by its id and their status."""
    query = """
        SELECT webhooks.id, status, count(*) FROM deliveries JOIN webhooks ON webhooks.number = deliveries.webhook
        WHERE webhooks.site = ? GROUP BY 1, 2
    """
    found: dict[str, dict[str, int]] = {}
    for webhook, status, count in conn.execute(query, (site,)):
        found.setdefault(webhook, {})[status] = count
    return found


def find(conn: sqlite3.Connection, id: str) -> Logged:
    """The delivery of that id. Raises `Refused` (`not_found`) if there is none."""
    row = conn.execute(_LOGGED + "WHERE deliveries.number = ?", (number_of(id),)).fetchone()
    if row is None:
        raise _no_such(id)
    return Logged._make(row)


def find_of(conn: sqlite3.Connection, site: int, id: str) -> Logged:
    """The delivery of that id, of this site. Raises `Refused` (`not_found`) if it has none."""
    row = conn.execute(_LOGGED + "WHERE deliveries.number = ? AND site = ?", (number_of(id), site)).fetchone()
    if row is None:
        raise _no_such(id)
    return Logged._make(row)


def attempts(conn: sqlite3.Connection, number: int) -> list[Attempt]:
    """The tries of a delivery, oldest first."""
    rows = conn.execute(
        "SELECT began, took, status, error, words, headers, answer FROM attempts WHERE delivery = ? ORDER BY number",
        (number,),
    )
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
        row = conn.execute("SELECT enabled FROM webhooks WHERE id = ?", (delivery.webhook,)).fetchone()
        if not row[0]:
            message = f"The webhook {delivery.webhook} is disabled: ovx-lite webhook enable {delivery.webhook} first."
            raise Refused("invalid_request", message)
        changed = conn.execute(
            "UPDATE deliveries SET status = 'pending', tries = 0, due = ? WHERE number = ? AND token IS NULL",
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
            "UPDATE deliveries SET status = 'pending', tries = 0, due = ? WHERE due >= ? AND token IS NULL"
            " AND status IN ('failed', 'skipped')"
            " AND webhook IN (SELECT number FROM webhooks WHERE site = ? AND enabled)",
            (now, since, site),
        ).rowcount


def forget_old(conn: sqlite3.Connection, now: int, most: int) -> int:
    """Delete from the log what is older than it keeps, up to so many rows at once. Returns how many.

    Inside a transaction.
    """
    deleted = conn.execute(
        "DELETE FROM deliveries WHERE number IN (SELECT number FROM deliveries WHERE number < ?"
        " AND status <> 'pending' LIMIT ?)",
        (now - KEPT_FOR << COUNTER_BITS, most),
    ).rowcount
    for (webhook,) in conn.execute("SELECT number FROM webhooks").fetchall():
        query = (
            "SELECT number FROM deliveries WHERE webhook = ? AND status <> 'pending'"
            " ORDER BY number DESC LIMIT 1 OFFSET ?"
        )
        last = conn.execute(query, (webhook, MOST_KEPT)).fetchone()
        if last is not None:
            deleted += conn.execute(
                "DELETE FROM deliveries WHERE number IN (SELECT number FROM deliveries WHERE webhook = ?"
                " AND number <= ? AND status <> 'pending' LIMIT ?)",
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
    return int(conn.execute("SELECT coalesce(max(number), 0) FROM attempts").fetchone()[0])


def tries_after(conn: sqlite3.Connection, number: int) -> list[Tried]:
    """The tries after one, in their order."""
    query = """
        SELECT delivery, began, attempts.status, error, iif(lead(1) OVER (PARTITION BY delivery
            ORDER BY attempts.number), 'pending', deliveries.status), event, webhooks.id
        FROM attempts JOIN deliveries ON deliveries.number = delivery JOIN webhooks ON webhooks.number = webhook
        WHERE attempts.number > ? ORDER BY attempts.number
    """
    return [Tried(message_id(delivery), *told) for delivery, *told in conn.execute(query, (number,))]
