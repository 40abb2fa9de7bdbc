"""`ovx-lite webhook`: the webhooks of a site."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ovx_lite.cli.common import data_dir_option, json_option, print_json, print_table
from ovx_lite.domain import config
from ovx_lite.domain.clock import SystemClock
from ovx_lite.domain.models import Webhook
from ovx_lite.services import factories
from ovx_lite.services.webhook_sender import send_test
from ovx_lite.storage import registry
from ovx_lite.storage.sqlite import open_store
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
@click.option(
    "--on",
    "events",
    multiple=True,
    required=True,
    type=click.Choice(list(TRIGGERS)),
    help="What to send; repeat it for several triggers.",
)
@click.option(
    "--spike-above",
    type=click.IntRange(1, 10**9),
    help="The number of active visitors for realtime.spike, which needs it.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="The format of the messages; detected from URL by default, or else json.",
)
@data_dir_option
@json_option
def add(
    site: str,
    url: str,
    events: tuple[str, ...],
    spike_above: int | None,
    format_: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Add to SITE a webhook that sends to URL. The signing secret is shown only once."""
    if (spike_above is not None) != ("realtime.spike" in events):
        raise click.UsageError("--on realtime.spike and --spike-above N go together: pass both or neither.")
    conn = open_store(data_dir, create=False)
    webhook_site = registry.find_site(conn, site)
    asyncio.run(check_url(url, _allowed_networks(data_dir)))
    triggers = tuple(dict.fromkeys(events))
    new_webhook = factories.webhook(webhook_site, url, triggers, spike_above, format_ or "", SystemClock().now_ms())
    webhook = subscriptions.add_webhook(conn, new_webhook)
    _print_secret(webhook, as_json, f"Next: ovx-lite webhook test {webhook.public_id}")


@webhook.command("list")
@click.argument("site")
@data_dir_option
@json_option
def list_(site: str, data_dir: Path, as_json: bool) -> None:
    """List the webhooks of SITE, without their secrets."""
    conn = open_store(data_dir, create=False)
    rows = [_as_dict(webhook) for webhook in subscriptions.webhooks_of(conn, registry.find_site(conn, site).id)]
    if as_json:
        print_json(rows)
    else:
        table = [row | {"events": " ".join(row["events"])} for row in rows]
        hint = f"ovx-lite webhook add {site} URL --on goal.completed"
        print_table(table, f"{site} has no webhooks yet. Add one with: {hint}")


@webhook.command()
@click.argument("webhook_id")
@data_dir_option
@json_option
def test(webhook_id: str, data_dir: Path, as_json: bool) -> None:
    """Send a sample message to a webhook and print the response.

    Exit status 1 if the receiver did not accept it.
    """
    conn, clock = open_store(data_dir, create=False), SystemClock()
    delivery_id = asyncio.run(
        send_test(conn, webhook_id, WebhookClient(_allowed_networks(data_dir), clock.now_ms), clock)
    )
    delivery = delivery_log.find(conn, delivery_id)
    (attempt,) = delivery_log.attempts(conn, delivery.id)
    if as_json:
        print_json(
            {
                "id": delivery_id,
                "status": delivery.status,
                "attempt": attempt.to_json() | {"began": attempt.started_at_ms},
            }
        )
    else:
        click.echo(f"{delivery.url}: {attempt.status or 'no response'} after {attempt.duration_ms} ms.")
        if attempt.error:
            click.echo(f"{attempt.error}: {attempt.hint.removesuffix('.')}.", err=True)
    if attempt.error:
        raise click.exceptions.Exit(1)


@webhook.command("rotate-secret")
@click.argument("webhook_id")
@data_dir_option
@json_option
def rotate_secret(webhook_id: str, data_dir: Path, as_json: bool) -> None:
    """Replace the signing secret of a webhook. The new secret is shown only once.

    For 24 hours, standard signatures (webhook-signature) are made with both secrets.
    """
    conn = open_store(data_dir, create=False)
    webhook = subscriptions.rotate(conn, webhook_id, factories.new_webhook_secret(), SystemClock().now_ms())
    _print_secret(webhook, as_json, "For 24 hours, messages are also signed with the previous secret.")


@webhook.command()
@click.argument("webhook_id")
@data_dir_option
@json_option
def enable(webhook_id: str, data_dir: Path, as_json: bool) -> None:
    """Enable a webhook.

    It gets what happens from now on. What happened before can be sent with ovx-lite delivery redeliver.
    """
    _change_webhook(subscriptions.enable, open_store(data_dir, create=False), webhook_id, as_json)


@webhook.command()
@click.argument("webhook_id")
@data_dir_option
@json_option
def disable(webhook_id: str, data_dir: Path, as_json: bool) -> None:
    """Disable a webhook. Its pending deliveries are skipped."""
    _change_webhook(subscriptions.disable, open_store(data_dir, create=False), webhook_id, as_json)


@webhook.command()
@click.argument("webhook_id")
@data_dir_option
@json_option
def remove(webhook_id: str, data_dir: Path, as_json: bool) -> None:
    """Remove a webhook with its delivery log."""
    subscriptions.remove_webhook(open_store(data_dir, create=False), webhook_id)
    if as_json:
        print_json({"id": webhook_id, "removed": True})
    else:
        click.echo(f"Removed the webhook {webhook_id}.")


def _allowed_networks(data_dir: Path) -> list[Network]:
    return parse_networks(config.read(data_dir, {})["webhook_allow_net"])


def _change_webhook(
    change: Callable[[sqlite3.Connection, str], Webhook], conn: sqlite3.Connection, webhook_id: str, as_json: bool
) -> None:
    webhook = change(conn, webhook_id)
    if as_json:
        print_json(_as_dict(webhook))
    else:
        click.echo(f"The webhook {webhook_id} is {'enabled' if webhook.enabled else 'disabled'}.")


def _print_secret(webhook: Webhook, as_json: bool, next_step: str) -> None:
    if as_json:
        print_json(_as_dict(webhook) | {"secret": webhook.secret})
        return
    click.echo(f"{webhook.public_id} sends {', '.join(webhook.events)} to {webhook.url} as {webhook.format}.")
    click.echo(f"  secret  {webhook.secret}  (save it now: it is not shown again)")
    click.echo(next_step)


def _as_dict(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.public_id,
        "url": webhook.url,
        "events": list(webhook.events),
        "spike_above": webhook.spike_threshold,
        "format": webhook.format,
        "enabled": webhook.enabled,
        "disabled_because": webhook.disabled_reason or None,
    }
