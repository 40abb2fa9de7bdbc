"""`ovx-lite webhook`: where to send what happens on a site."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ovx_lite.cli.common import as_json, data_dir, print_json, print_table, store
from ovx_lite.domain import config
from ovx_lite.domain.clock import SystemClock
from ovx_lite.domain.models import Webhook
from ovx_lite.services import factories
from ovx_lite.services.webhook_sender import send_test
from ovx_lite.storage import registry
from ovx_lite.storage.webhooks import delivery_log, subscriptions
from ovx_lite.webhooks.client import WebhookClient, check_url
from ovx_lite.webhooks.message import FORMATS
from ovx_lite.webhooks.ssrf import Network, parse_networks
from ovx_lite.webhooks.triggers import TRIGGERS


@click.group()
def webhook() -> None:
    """Add, list, test, enable, disable and remove webhooks."""


@webhook.command()
@click.argument("site")
@click.argument("url")
@click.option("--on", "events", multiple=True, required=True, type=click.Choice(list(TRIGGERS)), help="What to tell.")
@click.option(
    "--spike-above",
    type=click.IntRange(1, 10**9),
    help="How many active visitors are a spike; for realtime.spike, which needs it.",
)
@click.option(
    "--format", type=click.Choice(FORMATS), help="For whom to write it; by the URL's host if left out, else json."
)
@data_dir
@as_json
def add(
    site: str,
    url: str,
    events: tuple[str, ...],
    spike_above: int | None,
    format: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Add a webhook to SITE that sends to URL. The signing secret is shown only here."""
    if (spike_above is not None) != ("realtime.spike" in events):
        raise click.UsageError("--on realtime.spike and --spike-above N go together.")
    conn = store(data_dir)
    found = registry.find_site(conn, site)
    asyncio.run(check_url(url, _allowed(data_dir)))
    wanted = factories.webhook(
        found, url, tuple(dict.fromkeys(events)), spike_above, format or "", SystemClock().now_ms()
    )
    added = subscriptions.add_webhook(conn, wanted)
    _print_secret(added, as_json, f"Next: ovx-lite webhook test {added.public_id}")


@webhook.command("list")
@click.argument("site")
@data_dir
@as_json
def list_(site: str, data_dir: Path, as_json: bool) -> None:
    """List the webhooks of SITE, without their secrets."""
    conn = store(data_dir)
    found = [_shown(webhook) for webhook in subscriptions.webhooks_of(conn, registry.find_site(conn, site).id)]
    if as_json:
        print_json(found)
    else:
        rows = [shown | {"events": " ".join(shown["events"])} for shown in found]
        print_table(rows, f"There is no webhook yet: ovx-lite webhook add {site} URL --on goal.completed")


@webhook.command()
@click.argument("webhook_id")
@data_dir
@as_json
def test(webhook_id: str, data_dir: Path, as_json: bool) -> None:
    """Send a sample to a webhook now, and show what was answered. Exit status 1 if it was not taken."""
    conn, clock = store(data_dir), SystemClock()
    id = asyncio.run(send_test(conn, webhook_id, WebhookClient(_allowed(data_dir), clock.now_ms), clock))
    delivery = delivery_log.find(conn, id)
    (attempt,) = delivery_log.attempts(conn, delivery.id)
    if as_json:
        print_json(
            {"id": id, "status": delivery.status, "attempt": attempt.to_json() | {"began": attempt.started_at_ms}}
        )
    else:
        click.echo(f"{delivery.url} answered {attempt.status or 'nothing'} after {attempt.duration_ms} ms.")
        if attempt.error:
            click.echo(f"{attempt.error}: {attempt.hint.removesuffix('.')}.", err=True)
    if attempt.error:
        raise click.exceptions.Exit(1)


@webhook.command("rotate-secret")
@click.argument("webhook_id")
@data_dir
@as_json
def rotate_secret(webhook_id: str, data_dir: Path, as_json: bool) -> None:
    """Give a webhook a new secret, shown only here. For a day, the standard signature is made with the old one, too."""
    rotated = subscriptions.rotate(store(data_dir), webhook_id, factories.new_webhook_secret(), SystemClock().now_ms())
    _print_secret(rotated, as_json, "The one before it signs along for 24 hours.")


@webhook.command()
@click.argument("webhook_id")
@data_dir
@as_json
def enable(webhook_id: str, data_dir: Path, as_json: bool) -> None:
    """Send to a webhook again: what happens from now on; the rest can be redelivered."""
    _print_changed(subscriptions.enable, store(data_dir), webhook_id, as_json)


@webhook.command()
@click.argument("webhook_id")
@data_dir
@as_json
def disable(webhook_id: str, data_dir: Path, as_json: bool) -> None:
    """Send nothing more to a webhook; what waits is skipped."""
    _print_changed(subscriptions.disable, store(data_dir), webhook_id, as_json)


@webhook.command()
@click.argument("webhook_id")
@data_dir
@as_json
def remove(webhook_id: str, data_dir: Path, as_json: bool) -> None:
    """Remove a webhook with its log."""
    subscriptions.remove_webhook(store(data_dir), webhook_id)
    if as_json:
        print_json({"id": webhook_id, "removed": True})
    else:
        click.echo(f"Removed the webhook {webhook_id}.")


def _allowed(data_dir: Path) -> list[Network]:
    return parse_networks(config.read(data_dir, {})["webhook_allow_net"])


def _print_changed(
    change: Callable[[sqlite3.Connection, str], Webhook], conn: sqlite3.Connection, id: str, as_json: bool
) -> None:
    changed = change(conn, id)
    if as_json:
        print_json(_shown(changed))
    else:
        click.echo(f"The webhook {id} is {'enabled' if changed.enabled else 'disabled'}.")


def _print_secret(webhook: Webhook, as_json: bool, then: str) -> None:
    if as_json:
        print_json(_shown(webhook) | {"secret": webhook.secret})
        return
    click.echo(f"{webhook.public_id} sends {', '.join(webhook.events)} to {webhook.url} as {webhook.format}.")
    click.echo(f"  secret  {webhook.secret}  (keep it: it is not shown again)")
    click.echo(then)


def _shown(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.public_id,
        "url": webhook.url,
        "events": list(webhook.events),
        "spike_above": webhook.spike_threshold,
        "format": webhook.format,
        "enabled": webhook.enabled,
        "disabled_because": webhook.disabled_reason or None,
    }
