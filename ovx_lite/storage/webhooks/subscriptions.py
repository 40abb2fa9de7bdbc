"""Webhooks as they are set up, and who listens to what."""

import sqlite3
from typing import Any, NamedTuple

from ovx_lite.domain.errors import Refused
from ovx_lite.domain.goal_patterns import Goals
from ovx_lite.domain.models import Site, Webhook
from ovx_lite.storage.registry import all_sites
from ovx_lite.storage.registry_version import announce
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks.goals import goals_of
from ovx_lite.webhooks.message import MOST_OF_A_SITE

_WEBHOOK = (
    "id, public_id, site_id, url, event_names, spike_threshold, body_format, secret, previous_secret, rotated_at,"
    " is_enabled, disabled_reason, first_failed_at, failed_deliveries, created_at"
)


class Listeners(NamedTuple):
    """What is to be looked for on a site: its goals; its enabled webhooks, and all that they want to hear of."""

    site: Site
    webhooks: tuple[Webhook, ...]
    events: frozenset[str]
    goals: Goals


def listeners(conn: sqlite3.Connection) -> dict[int, Listeners]:
    """Those sites, by number, that have a goal or an enabled webhook."""
    by_site: dict[int, list[Webhook]] = {}
    for row in conn.execute(f"SELECT {_WEBHOOK} FROM webhooks WHERE is_enabled ORDER BY id"):
        webhook = _webhook(row)
        by_site.setdefault(webhook.site, []).append(webhook)
    wanted = by_site.keys() | {site for (site,) in conn.execute("SELECT DISTINCT site_id FROM goals")}
    found = {site.number: site for site in all_sites(conn)} if wanted else {}
    return {
        number: Listeners(
            found[number],
            tuple(by_site.get(number, ())),
            frozenset(event for webhook in by_site.get(number, ()) for event in webhook.events),
            Goals(goals_of(conn, number)),
        )
        for number in wanted
    }


def add_webhook(conn: sqlite3.Connection, webhook: Webhook) -> Webhook:
    """Add a webhook, unless it was added before; its `number` is given by the store.

    Raises `Refused` if the site has as many as it may have.
    """
    with transaction(conn):
        if conn.execute("SELECT 1 FROM webhooks WHERE public_id = ?", (webhook.id,)).fetchone():
            return find_webhook(conn, webhook.id)
        if len(webhooks_of(conn, webhook.site)) >= MOST_OF_A_SITE:
            raise Refused(
                "invalid_request", f"The site has {MOST_OF_A_SITE} webhooks, as many as it may: remove one first."
            )
        row = _row(webhook)[1:]
        conn.execute(f"INSERT INTO webhooks ({_WEBHOOK}) VALUES (NULL, {', '.join('?' * len(row))})", row)
        announce(conn)
        return find_webhook(conn, webhook.id)


def find_webhook(conn: sqlite3.Connection, id: str) -> Webhook:
    """The webhook of that id. Raises `Refused` (`not_found`) if there is none."""
    row = conn.execute(f"SELECT {_WEBHOOK} FROM webhooks WHERE public_id = ?", (id,)).fetchone()
    if row is None:
        raise Refused("not_found", f"There is no webhook {id}: see ovx-lite webhook list SITE for the ids.")
    return _webhook(row)


def webhooks_of(conn: sqlite3.Connection, site: int) -> list[Webhook]:
    """A site's webhooks, oldest first."""
    return [
        _webhook(row) for row in conn.execute(f"SELECT {_WEBHOOK} FROM webhooks WHERE site_id = ? ORDER BY id", (site,))
    ]


def change_webhook(conn: sqlite3.Connection, webhook: Webhook) -> None:
    """Take over what a webhook is told of, and in which format. Raises `Refused` (`not_found`) if it was removed."""
    with transaction(conn):
        find_webhook(conn, webhook.id)
        conn.execute(
            "UPDATE webhooks SET event_names = ?, spike_threshold = ?, body_format = ? WHERE public_id = ?",
            (" ".join(webhook.events), webhook.spike_above, webhook.format, webhook.id),
        )
        query = "DELETE FROM fired_alerts WHERE site_id = ? AND dedupe_key = ?"
        conn.execute(query, (webhook.site, f"spike {webhook.id}"))
        announce(conn)


def rotate(conn: sqlite3.Connection, id: str, secret: str, now: int) -> Webhook:
    """Give a webhook a new secret at `now` (Unix ms); the one before signs for a day more."""
    with transaction(conn):
        find_webhook(conn, id)
        query = "UPDATE webhooks SET previous_secret = secret, secret = ?, rotated_at = ? WHERE public_id = ?"
        conn.execute(query, (secret, now, id))
        announce(conn)
        return find_webhook(conn, id)


def enable(conn: sqlite3.Connection, id: str) -> Webhook:
    """Send to a webhook again, beginning with what happens from now on."""
    with transaction(conn):
        find_webhook(conn, id)
        conn.execute(
            "UPDATE webhooks SET is_enabled = 1, disabled_reason = '', first_failed_at = NULL, failed_deliveries = 0"
            " WHERE public_id = ?",
            (id,),
        )
        announce(conn)
        return find_webhook(conn, id)


def disable(conn: sqlite3.Connection, id: str) -> Webhook:
    """Send nothing more to a webhook; what waits is skipped."""
    with transaction(conn):
        give_up(conn, find_webhook(conn, id).number, "")
        return find_webhook(conn, id)


def give_up(conn: sqlite3.Connection, number: int, why: str) -> None:
    """Disable a webhook, with the reason if nobody did it by hand. Inside a transaction."""
    conn.execute("UPDATE webhooks SET is_enabled = 0, disabled_reason = ? WHERE id = ?", (why, number))
    announce(conn)
    conn.execute(
        "UPDATE deliveries SET status = 'skipped' WHERE webhook_id = ? AND status = 'pending' AND lease_token IS NULL",
        (number,),
    )


def remove_webhook(conn: sqlite3.Connection, id: str) -> None:
    """Remove a webhook with its log."""
    with transaction(conn):
        webhook = find_webhook(conn, id)
        conn.execute("DELETE FROM webhooks WHERE id = ?", (webhook.number,))
        query = "DELETE FROM fired_alerts WHERE site_id = ? AND dedupe_key = ?"
        conn.execute(query, (webhook.site, f"spike {webhook.id}"))
        announce(conn)


def _webhook(row: tuple[Any, ...]) -> Webhook:
    values = dict(zip(Webhook.__struct_fields__, row, strict=True))
    told = {"events": tuple(values["events"].split()), "enabled": bool(values["enabled"])}
    return Webhook(**values | told)


def _row(webhook: Webhook) -> tuple[object, ...]:
    return (
        webhook.number,
        webhook.id,
        webhook.site,
        webhook.url,
        " ".join(webhook.events),
        webhook.spike_above,
        webhook.format,
        webhook.secret,
        webhook.old_secret,
        webhook.rotated,
        webhook.enabled,
        webhook.why,
        webhook.failing_since,
        webhook.exhausted,
        webhook.created,
    )


def all_secrets(conn: sqlite3.Connection) -> list[str]:
    """The secrets of all webhooks, those that gave way lately, too."""
    rows = conn.execute("SELECT secret, previous_secret FROM webhooks").fetchall()
    return [secret for row in rows for secret in row if secret]
