"""`ovx-lite prune`: retention."""

from pathlib import Path

import click

from ovx_lite.cli.common import data_dir_option, json_option, open_projected_store, print_json
from ovx_lite.domain.clock import SystemClock
from ovx_lite.services.retention import prune as prune_events
from ovx_lite.storage import registry, retention, upkeep


@click.command()
@click.option("--yes", is_flag=True, help="Confirm that the clock is right, and delete.")
@data_dir_option
@json_option
def prune(yes: bool, data_dir: Path, as_json: bool) -> None:
    """Delete events that are older than their site's retention.

    The server does this every hour. Nothing is deleted while the clock is more than a day away from the last run,
    because the clock may be wrong. --yes confirms the clock, also for the server.
    """
    conn, now_ms = open_projected_store(data_dir), SystemClock().now_ms()
    if yes:
        retention.confirm(conn, now_ms)
    deleted_events = prune_events(conn, upkeep, registry.load(conn), now_ms)
    if as_json:
        print_json({"events": deleted_events})
    else:
        click.echo(f"Deleted {deleted_events:,} events.")
