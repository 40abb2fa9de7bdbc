"""Webhooks: their settings, and the events that each site sends to them."""

import sqlite3
from typing import Any, NamedTuple

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.goal_patterns import GoalMatcher
from ovx_lite.domain.models import Site, Webhook
from ovx_lite.storage.registry import all_sites
from ovx_lite.storage.registry_version import announce
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks.goals import goals_of
from ovx_lite.webhooks.message import MAX_WEBHOOKS_PER_SITE

_WEBHOOK_COLUMNS = (
    "id, public_id, site_id, url, event_names, spike_threshold, body_format, secret, previous_secret, rotated_at,"
    " is_enabled, disabled_reason, first_failed_at, failed_deliveries, created_at"
)


class SiteSubscriptions(NamedTuple):
    """The goals and enabled webhooks of a site. `events` are all events that at least one of these webhooks gets."""

    site: Site
    webhooks: tuple[Webhook, ...]
    events: frozenset[str]
    goals: GoalMatcher


def subscriptions_by_site(conn: sqlite3.Connection) -> dict[int, SiteSubscriptions]:
    """Return the subscriptions of all sites that have a goal or an enabled webhook, by site ID."""
    webhooks_by_site: dict[int, list[Webhook]] = {}
    for row in conn.execute(f"SELECT {_WEBHOOK_COLUMNS} FROM webhooks WHERE is_enabled ORDER BY id"):
        webhook = _webhook(row)
        webhooks_by_site.setdefault(webhook.site_id, []).append(webhook)
    site_ids = webhooks_by_site.keys() | {site_id for (site_id,) in conn.execute("SELECT DISTINCT site_id FROM goals")}
    sites = {site.id: site for site in all_sites(conn)} if site_ids else {}
    return {
        site_id: SiteSubscriptions(
            sites[site_id],
            tuple(webhooks_by_site.get(site_id, ())),
            frozenset(event for webhook in webhooks_by_site.get(site_id, ()) for event in webhook.events),
            GoalMatcher(goals_of(conn, site_id)),
        )
        for site_id in site_ids
    }


def add_webhook(conn: sqlite3.Connection, webhook: Webhook) -> Webhook:
    """Add a webhook, unless the store has it already. Return it with the `id` that the store assigns.

    Raises `ApiError` (`invalid_request`) if the site has the maximum number of webhooks (Ovyxa, Webhooks, Limits).
    """
    with transaction(conn):
        if conn.execute("SELECT 1 FROM webhooks WHERE public_id = ?", (webhook.public_id,)).fetchone():
            return find_webhook(conn, webhook.public_id)
        if len(webhooks_of(conn, webhook.site_id)) >= MAX_WEBHOOKS_PER_SITE:
            raise ApiError(
                "invalid_request",
                f"This site has {MAX_WEBHOOKS_PER_SITE} webhooks, the maximum: remove one first.",
            )
        row = _row(webhook)[1:]
        conn.execute(f"INSERT INTO webhooks ({_WEBHOOK_COLUMNS}) VALUES (NULL, {', '.join('?' * len(row))})", row)
        announce(conn)
        return find_webhook(conn, webhook.public_id)


def find_webhook(conn: sqlite3.Connection, public_id: str) -> Webhook:
    """Return the webhook with this public ID. Raises `ApiError` (`not_found`) if there is none."""
    row = conn.execute(f"SELECT {_WEBHOOK_COLUMNS} FROM webhooks WHERE public_id = ?", (public_id,)).fetchone()
    if row is None:
        raise ApiError("not_found", f"There is no webhook {public_id}: ovx-lite webhook list SITE shows the IDs.")
    return _webhook(row)


def webhooks_of(conn: sqlite3.Connection, site_id: int) -> list[Webhook]:
    """Return a site's webhooks, oldest first."""
    return [
        _webhook(row)
        for row in conn.execute(f"SELECT {_WEBHOOK_COLUMNS} FROM webhooks WHERE site_id = ? ORDER BY id", (site_id,))
    ]


def change_webhook(conn: sqlite3.Connection, webhook: Webhook) -> None:
    """Save a webhook's events, spike threshold and format. Raises `ApiError` (`not_found`) if it was removed.

    A spike that was reported before can be reported again, because the threshold may be another one.
    """
    with transaction(conn):
        find_webhook(conn, webhook.public_id)
        conn.execute(
            "UPDATE webhooks SET event_names = ?, spike_threshold = ?, body_format = ? WHERE public_id = ?",
            (" ".join(webhook.events), webhook.spike_threshold, webhook.format, webhook.public_id),
        )
        query = "DELETE FROM fired_alerts WHERE site_id = ? AND dedupe_key = ?"
        conn.execute(query, (webhook.site_id, f"spike {webhook.public_id}"))
        announce(conn)


def rotate(conn: sqlite3.Connection, public_id: str, secret: str, now_ms: int) -> Webhook:
    """Replace a webhook's secret, and return the webhook. The previous secret also signs for one more day."""
    with transaction(conn):
        find_webhook(conn, public_id)
        query = "UPDATE webhooks SET previous_secret = secret, secret = ?, rotated_at = ? WHERE public_id = ?"
        conn.execute(query, (secret, now_ms, public_id))
        announce(conn)
        return find_webhook(conn, public_id)


def enable(conn: sqlite3.Connection, public_id: str) -> Webhook:
    """Enable a webhook, and return it. It gets events from now on; skipped deliveries are not sent."""
    with transaction(conn):
        find_webhook(conn, public_id)
        conn.execute(
            "UPDATE webhooks SET is_enabled = 1, disabled_reason = '', first_failed_at = NULL, failed_deliveries = 0"
            " WHERE public_id = ?",
            (public_id,),
        )
        announce(conn)
        return find_webhook(conn, public_id)


def disable(conn: sqlite3.Connection, public_id: str) -> Webhook:
    """Disable a webhook, and return it. Its pending deliveries become `skipped`."""
    with transaction(conn):
        mark_disabled(conn, find_webhook(conn, public_id).id, "")
        return find_webhook(conn, public_id)


def mark_disabled(conn: sqlite3.Connection, webhook_id: int, reason: str) -> None:
    """Disable a webhook. `reason` is `""` if a person disabled it. Call this inside a transaction."""
    conn.execute("UPDATE webhooks SET is_enabled = 0, disabled_reason = ? WHERE id = ?", (reason, webhook_id))
    announce(conn)
    conn.execute(
        "UPDATE deliveries SET status = 'skipped' WHERE webhook_id = ? AND status = 'pending' AND lease_token IS NULL",
        (webhook_id,),
    )


def remove_webhook(conn: sqlite3.Connection, public_id: str) -> None:
    """Remove a webhook and its delivery log. Raises `ApiError` (`not_found`) if there is none."""
    with transaction(conn):
        webhook = find_webhook(conn, public_id)
        conn.execute("DELETE FROM webhooks WHERE id = ?", (webhook.id,))
        query = "DELETE FROM fired_alerts WHERE site_id = ? AND dedupe_key = ?"
        conn.execute(query, (webhook.site_id, f"spike {webhook.public_id}"))
        announce(conn)


def _webhook(row: tuple[Any, ...]) -> Webhook:
    values = dict(zip(Webhook.__struct_fields__, row, strict=True))
    converted = {"events": tuple(values["events"].split()), "enabled": bool(values["enabled"])}
    return Webhook(**values | converted)


def _row(webhook: Webhook) -> tuple[object, ...]:
    return (
        webhook.id,
        webhook.public_id,
        webhook.site_id,
        webhook.url,
        " ".join(webhook.events),
        webhook.spike_threshold,
        webhook.format,
        webhook.secret,
        webhook.previous_secret,
        webhook.rotated_at_ms,
        webhook.enabled,
        webhook.disabled_reason,
        webhook.failing_since_ms,
        webhook.failed_deliveries,
        webhook.created_at_ms,
    )


def all_secrets(conn: sqlite3.Connection) -> list[str]:
    """Return the secrets of all webhooks, including the previous ones."""
    rows = conn.execute("SELECT secret, previous_secret FROM webhooks").fetchall()
    return [secret for row in rows for secret in row if secret]
