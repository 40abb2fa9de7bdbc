"""`ovx-lite delivery`: the delivery log of webhooks. `ovx-lite verify`: the signatures of a webhook request."""

from pathlib import Path
from typing import BinaryIO

import click

from ovx_lite.cli.common import data_dir_option, json_option, print_json, print_table, printable
from ovx_lite.dialects.fields import timestamp
from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.clock import SystemClock
from ovx_lite.storage import registry
from ovx_lite.storage.sqlite import open_store
from ovx_lite.storage.webhooks import delivery_log, subscriptions
from ovx_lite.storage.webhooks.delivery_log import Attempt
from ovx_lite.webhooks.message import parse_saved_request, signing_secrets, verify_signatures


@click.group()
def delivery() -> None:
    """Read the delivery log of webhooks, and send messages again."""


@delivery.command("list")
@click.argument("site")
@click.option("--status", type=click.Choice(delivery_log.STATUSES), help="Only deliveries with this status.")
@data_dir_option
@json_option
def list_(site: str, status: str | None, data_dir: Path, as_json: bool) -> None:
    """List the deliveries of SITE, newest first."""
    conn = open_store(data_dir, create=False)
    deliveries = delivery_log.of_site(conn, registry.find_site(conn, site).id, status or "")
    rows = [delivery.to_json() for delivery in deliveries]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, "There are no such deliveries.")


@delivery.command()
@click.argument("delivery_id")
@data_dir_option
@json_option
def show(delivery_id: str, data_dir: Path, as_json: bool) -> None:
    """Show a delivery: its message and each attempt.

    An attempt has the headers that were sent, the response, and a hint if it failed.
    """
    conn = open_store(data_dir, create=False)
    delivery = delivery_log.find(conn, delivery_id)
    attempts = delivery_log.attempts(conn, delivery.id)
    body = delivery.body.decode()
    if as_json:
        print_json(delivery.to_json() | {"body": body, "attempts": [attempt.to_json() for attempt in attempts]})
        return
    for name, value in delivery.to_json().items():
        click.echo(f"{name:<8}  {printable(value)}")
    click.echo(f"{'body':<8}  {printable(body)}")
    for number, attempt in enumerate(attempts, 1):
        _print_attempt(number, attempt)


def _print_attempt(number: int, attempt: Attempt) -> None:
    result = attempt.status or attempt.error
    click.echo(f"\nAttempt {number}, {format_utc(attempt.started_at_ms)}, {attempt.duration_ms} ms: {result}")
    if attempt.hint:
        click.echo(f"  {printable(attempt.hint)}")
    for name, value in attempt.headers.items():
        click.echo(f"  > {name}: {printable(value)}")
    for line in attempt.response_body.splitlines():
        click.echo(f"  < {printable(line)}")


@delivery.command()
@click.argument("delivery_id", required=False)
@click.option("--site", help="Send all deliveries of this site that failed or were skipped.")
@click.option(
    "--failed-since",
    metavar="TIME",
    help="Only with --site: since this time, for example 2026-11-21 or 2026-11-21T08:00:00Z.",
)
@data_dir_option
@json_option
def redeliver(
    delivery_id: str | None, site: str | None, failed_since: str | None, data_dir: Path, as_json: bool
) -> None:
    """Send deliveries again: one by its DELIVERY_ID, or all deliveries of a site that have failed since a given time.

    Deliveries of disabled webhooks are not sent.
    """
    if (delivery_id is None) != (failed_since is not None) or (site is None) != (failed_since is None):
        raise click.UsageError("Pass either DELIVERY_ID, or --site SITE and --failed-since TIME.")
    conn, now_ms = open_store(data_dir, create=False), SystemClock().now_ms()
    if delivery_id is not None:
        delivery_log.redeliver(conn, delivery_id, now_ms)
        count = 1
    else:
        assert site is not None, "checked above"
        since_ms = timestamp(failed_since, now_ms, "--failed-since", "ISO 8601")
        count = delivery_log.redeliver_failed(conn, registry.find_site(conn, site).id, since_ms, now_ms)
    if as_json:
        print_json({"redelivered": count})
    else:
        click.echo(f"Queued for sending: {count:,}. The server sends them within a second.")


@click.command()
@click.argument("request", type=click.File("rb"))
@click.option("--webhook", "webhook_id", help="Check with the secrets of this webhook.")
@click.option("--secret", envvar="OVX_WEBHOOK_SECRET", show_envvar=True, help="Check with this secret.")
@data_dir_option
@json_option
def verify(request: BinaryIO, webhook_id: str | None, secret: str | None, data_dir: Path, as_json: bool) -> None:
    """Check the signatures of a saved webhook request.

    REQUEST is a file with the headers, an empty line and the body; - is stdin. Exit status 1 if a signature is invalid,
    or if there is none. With a secret that was rotated, only webhook-signature is valid.
    """
    if (webhook_id is None) == (secret is None):
        raise click.UsageError("Pass either --webhook WEBHOOK_ID or --secret SECRET.")
    if secret is not None:
        secrets: tuple[str, ...] = (secret,)
    else:
        webhook = subscriptions.find_webhook(open_store(data_dir, create=False), str(webhook_id))
        secrets = signing_secrets(
            SystemClock().now_ms(), webhook.secret, webhook.previous_secret, webhook.rotated_at_ms
        )
    headers, body = parse_saved_request(request.read())
    results = verify_signatures(headers, body, secrets)
    if as_json:
        print_json(results)
    else:
        labels = {True: "valid", False: "INVALID", None: "missing"}
        for name, is_valid in results.items():
            click.echo(f"{name}: {labels[is_valid]}")
    if False in results.values() or True not in results.values():
        raise click.exceptions.Exit(1)
