"""`ovx-lite check`: whether the store is intact."""

import sqlite3
import sys
from pathlib import Path

import click

from ovx_lite.cli.common import data_dir_option, json_option, print_json
from ovx_lite.domain.errors import ApiError
from ovx_lite.storage import integrity, registry, upkeep
from ovx_lite.storage.projection.projection import catch_up
from ovx_lite.storage.sqlite import STORE_FILE, open_store


@click.command()
@click.option("--rebuild", is_flag=True, help="First count everything again from the events.")
@data_dir_option
@json_option
def check(rebuild: bool, data_dir: Path, as_json: bool) -> None:
    """Verify that the store is intact and that all counts are right.

    The server may run at the same time. Exit status 1 if there are problems.
    """
    try:
        conn = open_store(data_dir, create=False)
    except ApiError as exc:
        if as_json and (data_dir / STORE_FILE).exists():
            print_json({"ok": False, "problems": [exc.message]})
        raise
    projection_problem = _project(conn)
    if rebuild:
        _rebuild_counts(conn)
    problems = upkeep.problems(conn) or projection_problem
    sizes = {} if problems else integrity.sizes(conn)
    if as_json:
        print_json({"ok": not problems, "problems": problems, **sizes})
    elif problems:
        click.echo("\n".join(problems))
    else:
        totals = ", ".join(f"{count:,} {unit}" for unit, count in sizes.items())
        click.echo(f"The store is intact: {totals}.")
    if any("--rebuild" not in problem for problem in problems):
        click.echo("The store is damaged: stop the server and restore a backup.", err=True)
    if problems:
        sys.exit(1)


def _project(conn: sqlite3.Connection) -> list[str]:
    """Project the events of the journal. Return a line of text if that fails because the store is damaged."""
    try:
        catch_up(conn)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as exc:
        return [f"the events of the journal cannot be counted: {exc}"]
    return []


def _rebuild_counts(conn: sqlite3.Connection) -> None:
    """Count all days of all sites again, a day per transaction, so that a server can write in between."""
    days = sum(upkeep.mark_all_dirty(conn, site) for site in registry.all_sites(conn))
    with click.progressbar(length=days, label="Counting", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        while upkeep.is_behind(conn):
            bar.update(upkeep.catch_up(conn))
