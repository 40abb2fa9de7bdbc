"""`ovx-lite delivery`: the log of what was sent to webhooks. `ovx-lite verify`: whether a request is one of these."""

from pathlib import Path
from typing import BinaryIO

import click

from ovx_lite.cli.common import as_json, data_dir, print_json, print_table, printable, store
from ovx_lite.dialects.fields import timestamp
from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.clock import SystemClock
from ovx_lite.storage import registry
from ovx_lite.storage.webhooks import delivery_log, subscriptions
from ovx_lite.storage.webhooks.delivery_log import Attempt
from ovx_lite.webhooks.message import parse_saved_request, signing_secrets, verify_signatures


@click.group()
def delivery() -> None:
    """See what was sent to webhooks, and send it again."""


@delivery.command("list")
@click.argument("site")
@click.option("--status", type=click.Choice(delivery_log.STATUSES), help="Only these.")
@data_dir
@as_json
def list_(site: str, status: str | None, data_dir: Path, as_json: bool) -> None:
    """List what was sent to the webhooks of SITE, newest first."""
    conn = store(data_dir)
    found = [logged.to_json() for logged in delivery_log.of_site(conn, registry.find_site(conn, site).id, status or "")]
    if as_json:
        print_json(found)
    else:
        print_table(found, "There is no such delivery.")


@delivery.command()
@click.argument("delivery_id")
@data_dir
@as_json
def show(delivery_id: str, data_dir: Path, as_json: bool) -> None:
    """Show a delivery with its body and every try: the request, the answer, and what to do about it."""
    conn = store(data_dir)
    logged = delivery_log.find(conn, delivery_id)
    tries = delivery_log.attempts(conn, logged.id)
    body = logged.body.decode()
    if as_json:
        print_json(logged.to_json() | {"body": body, "attempts": [attempt.to_json() for attempt in tries]})
        return
    for name, value in logged.to_json().items():
        click.echo(f"{name:<8}  {printable(value)}")
    click.echo(f"{'body':<8}  {printable(body)}")
    for number, attempt in enumerate(tries, 1):
        _print_attempt(number, attempt)


def _print_attempt(number: int, attempt: Attempt) -> None:
    click.echo(
        f"\nTry {number}, {format_utc(attempt.started_at_ms)}, {attempt.duration_ms} ms: {attempt.status or attempt.error}"
    )
    if attempt.hint:
        click.echo(f"  {printable(attempt.hint)}")
    for name, value in attempt.headers.items():
        click.echo(f"  > {name}: {printable(value)}")
    for line in attempt.response_body.splitlines():
        click.echo(f"  < {printable(line)}")


@delivery.command()
@click.argument("delivery_id", required=False)
@click.option("--site", help="All of this site that failed or was skipped, but of disabled webhooks.")
@click.option("--failed-since", metavar="TIME", help="Since then: ISO 8601, like 2026-11-21 or 2026-11-21T08:00:00Z.")
@data_dir
@as_json
def redeliver(
    delivery_id: str | None, site: str | None, failed_since: str | None, data_dir: Path, as_json: bool
) -> None:
    """Send a delivery again, whatever became of it, or all that failed since a time."""
    if (delivery_id is None) != (failed_since is not None) or (site is None) != (failed_since is None):
        raise click.UsageError("Say what to send again: DELIVERY_ID, or --site SITE --failed-since TIME.")
    conn, now = store(data_dir), SystemClock().now_ms()
    if delivery_id is not None:
        delivery_log.redeliver(conn, delivery_id, now)
        count = 1
    else:
        assert site is not None, "checked above"
        since = timestamp(failed_since, now, "--failed-since", "ISO 8601")
        count = delivery_log.redeliver_failed(conn, registry.find_site(conn, site).id, since, now)
    if as_json:
        print_json({"redelivered": count})
    else:
        click.echo(f"{count} put on their way again; the server sends them within a second.")


@click.command()
@click.argument("request", type=click.File("rb"))
@click.option("--webhook", "webhook_id", help="Check with this webhook's secrets.")
@click.option("--secret", envvar="OVX_WEBHOOK_SECRET", help="Check with this secret (or OVX_WEBHOOK_SECRET).")
@data_dir
@as_json
def verify(request: BinaryIO, webhook_id: str | None, secret: str | None, data_dir: Path, as_json: bool) -> None:
    """Check the signatures of a saved webhook REQUEST: headers, an empty line, and the body; - for stdin.

    Exit status 1 if one is wrong, or none is there. (A secret that was rotated makes the standard signature alone.)
    """
    if (webhook_id is None) == (secret is None):
        raise click.UsageError("Say whose secret to check with: --webhook WEBHOOK_ID or --secret SECRET.")
    if secret is not None:
        secrets: tuple[str, ...] = (secret,)
    else:
        found = subscriptions.find_webhook(store(data_dir), str(webhook_id))
        secrets = signing_secrets(SystemClock().now_ms(), found.secret, found.previous_secret, found.rotated_at_ms)
    headers, body = parse_saved_request(request.read())
    result = verify_signatures(headers, body, secrets)
    if as_json:
        print_json(result)
    else:
        for name, good in result.items():
            click.echo(f"{name}: {'right' if good else 'not there' if good is None else 'WRONG'}")
    if False in result.values() or True not in result.values():
        raise click.exceptions.Exit(1)
