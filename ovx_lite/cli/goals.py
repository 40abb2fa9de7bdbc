"""`ovx-lite goal`: what a site wants its visitors to do."""

from pathlib import Path
from typing import Any

import click

from ovx_lite.cli.common import as_json, data_dir, judged, print_json, print_table, store
from ovx_lite.domain import validators
from ovx_lite.domain.clock import SystemClock
from ovx_lite.domain.models import Goal
from ovx_lite.services import factories
from ovx_lite.storage import registry
from ovx_lite.storage.rollups import goal_backfill
from ovx_lite.storage.webhooks import goals


@click.group()
def goal() -> None:
    """Add, list and remove goals."""


@goal.command()
@click.argument("site")
@click.argument("name")
@click.option("--event", default="", metavar="EVENT_NAME", help="An event of this name meets it.")
@click.option(
    "--path",
    default="",
    metavar="PATTERN",
    help="A pageview of this path meets it; * stands for anything within one segment, ** across.",
)
@data_dir
@as_json
def add(site: str, name: str, event: str, path: str, data_dir: Path, as_json: bool) -> None:
    """Add the goal NAME to SITE, met by events of a name or by pageviews of a path."""
    told = judged("NAME", validators.short_text, name, "name")
    if bool(event) == bool(path):
        raise click.UsageError("Say what meets it: either --event EVENT_NAME or --path PATTERN.")
    if path:
        judged("--path", validators.path_pattern, path)
    else:
        judged("--event", validators.event_name, event)
    conn = store(data_dir)
    of = registry.find_site(conn, site)
    goal = factories.goal(of, told, event, path, SystemClock().now_ms())
    goal_backfill.add_goal(conn, goal, of, goal.created_at_ms)
    if as_json:
        print_json(_shown(goal))
    else:
        click.echo(f"Added the goal {goal.public_id}: {goal.name}.")


@goal.command("list")
@click.argument("site")
@data_dir
@as_json
def list_(site: str, data_dir: Path, as_json: bool) -> None:
    """List the goals of SITE."""
    conn = store(data_dir)
    found = [_shown(goal) for goal in goals.goals_of(conn, registry.find_site(conn, site).id)]
    if as_json:
        print_json(found)
    else:
        print_table(found, f"There is no goal yet: ovx-lite goal add {site} NAME --path PATTERN")


@goal.command()
@click.argument("goal_id")
@data_dir
@as_json
def remove(goal_id: str, data_dir: Path, as_json: bool) -> None:
    """Remove a goal."""
    goal_backfill.remove_goal(store(data_dir), goal_id)
    if as_json:
        print_json({"id": goal_id, "removed": True})
    else:
        click.echo(f"Removed the goal {goal_id}.")


def _shown(goal: Goal) -> dict[str, Any]:
    return {
        "id": goal.public_id,
        "name": goal.name,
        "event": goal.event_name or None,
        "path": goal.path_pattern or None,
    }
