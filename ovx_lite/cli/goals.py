"""`ovx-lite goal`: the goals of a site."""

from pathlib import Path
from typing import Any

import click

from ovx_lite.cli.common import (
    check_argument,
    data_dir_option,
    json_option,
    open_projected_store,
    print_json,
    print_table,
)
from ovx_lite.domain import validators
from ovx_lite.domain.clock import SystemClock
from ovx_lite.domain.models import Goal
from ovx_lite.services import factories
from ovx_lite.storage import registry, upkeep
from ovx_lite.storage.webhooks import goals


@click.group()
def goal() -> None:
    """Add, list and remove goals."""


@goal.command()
@click.argument("site")
@click.argument("name")
@click.option("--event", default="", metavar="EVENT_NAME", help="The goal is reached by an event of this name.")
@click.option(
    "--path",
    default="",
    metavar="PATTERN",
    help="The goal is reached by a pageview of this path: * within one segment, ** across segments.",
)
@data_dir_option
@json_option
def add(site: str, name: str, event: str, path: str, data_dir: Path, as_json: bool) -> None:
    """Add the goal NAME to SITE.

    It is reached by events of a name (--event) or by pageviews of a path (--path).
    """
    goal_name = check_argument("NAME", validators.short_text, name, "name")
    if bool(event) == bool(path):
        raise click.UsageError("Pass either --event EVENT_NAME or --path PATTERN.")
    if path:
        check_argument("--path", validators.path_pattern, path)
    else:
        check_argument("--event", validators.event_name, event)
    conn = open_projected_store(data_dir)
    goal_site = registry.find_site(conn, site)
    goal = factories.goal(goal_site, goal_name, event, path, SystemClock().now_ms())
    upkeep.add_goal(conn, goal, goal_site, goal.created_at_ms)
    if as_json:
        print_json(_as_dict(goal))
    else:
        click.echo(f"Added the goal {goal.public_id}: {goal.name}.")


@goal.command("list")
@click.argument("site")
@data_dir_option
@json_option
def list_(site: str, data_dir: Path, as_json: bool) -> None:
    """List the goals of SITE."""
    conn = open_projected_store(data_dir)
    rows = [_as_dict(goal) for goal in goals.goals_of(conn, registry.find_site(conn, site).id)]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, f"{site} has no goals yet. Add one with: ovx-lite goal add {site} NAME --path PATTERN")


@goal.command()
@click.argument("goal_id")
@data_dir_option
@json_option
def remove(goal_id: str, data_dir: Path, as_json: bool) -> None:
    """Remove a goal."""
    upkeep.remove_goal(open_projected_store(data_dir), goal_id)
    if as_json:
        print_json({"id": goal_id, "removed": True})
    else:
        click.echo(f"Removed the goal {goal_id}.")


def _as_dict(goal: Goal) -> dict[str, Any]:
    return {
        "id": goal.public_id,
        "name": goal.name,
        "event": goal.event_name or None,
        "path": goal.path_pattern or None,
    }
