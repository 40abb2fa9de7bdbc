"""`ovx-lite person`: those whom callers named."""

from pathlib import Path
from typing import Any

import click

from ovx_lite.cli.common import as_json, data_dir, print_json, print_table, printable, store
from ovx_lite.domain.calendar import format_utc
from ovx_lite.services import factories
from ovx_lite.storage import registry
from ovx_lite.storage.read import persons
from ovx_lite.storage.read.persons import PersonRecord
from ovx_lite.storage.rollups import goal_backfill
from ovx_lite.storage.sqlite import truncate_wal


@click.group()
def person() -> None:
    """List, show and erase persons: those whom events named."""


@person.command("list")
@click.argument("site")
@data_dir
@as_json
def list_(site: str, data_dir: Path, as_json: bool) -> None:
    """List the persons of SITE, in the order in which they were first named."""
    conn = store(data_dir)
    found = [_shown(person) for person in persons.of_site(conn, registry.find_site(conn, site).id)]
    if as_json:
        print_json(found)
    else:
        rows = [{name: row[name] for name in ("id", "name", "email", "first_named")} for row in found]
        print_table(rows, f"Nobody was named on {site} yet.")


@person.command()
@click.argument("site")
@click.argument("person_id", metavar="PERSON")
@data_dir
@as_json
def show(site: str, person_id: str, data_dir: Path, as_json: bool) -> None:
    """Show what is known of PERSON, by the id that events name them with."""
    conn = store(data_dir)
    number = registry.find_site(conn, site).id
    found = persons.find(conn, number, person_id)
    traces = persons.activity(conn, number, found)
    shown = _shown(found) | {
        "visitors": traces.visitors,
        "visits": traces.visits,
        "events": traces.events,
        "first_event": None if traces.first_event_at_ms is None else format_utc(traces.first_event_at_ms),
        "last_event": None if traces.last_event_at_ms is None else format_utc(traces.last_event_at_ms),
    }
    if as_json:
        print_json(shown)
        return
    properties = shown.pop("properties")
    for name, value in [*shown.items(), *((f"  {name}", value) for name, value in properties.items())]:
        click.echo(f"{printable(name):<12}  {printable(value)}")


@person.command()
@click.argument("site")
@click.argument("person_id", metavar="PERSON")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_dir
@as_json
def erase(site: str, person_id: str, yes: bool, data_dir: Path, as_json: bool) -> None:
    """Forget PERSON for good. Their events stay, as nobody's; backups made before still know them."""
    conn = store(data_dir)
    of = registry.find_site(conn, site)
    found = persons.find(conn, of.id, person_id)
    if not yes and not as_json:
        click.confirm(f"Erase the person {person_id} for good?", abort=True, err=True)
    untied = persons.erase(conn, of, found, factories.random_visitor_ids())
    while goal_backfill.is_behind(conn):
        goal_backfill.catch_up(conn)
    if not truncate_wal(conn, 2):  # what was erased is still in there
        click.echo(
            "Somebody reads the store, so what was erased is still in its write-ahead log (its -wal file): the server "
            "empties that once they have ended.",
            err=True,
        )
    if as_json:
        print_json({"id": person_id, "erased": True, "events": untied})
    else:
        click.echo(f"Erased the person {person_id}; {untied:,} events are nobody's now.")


def _shown(person: PersonRecord) -> dict[str, Any]:
    return {
        "id": person.user_id,
        "name": person.traits.get("name"),
        "email": person.traits.get("email"),
        "properties": person.traits,
        "first_named": format_utc(person.created_at_ms),
    }
