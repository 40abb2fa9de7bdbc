"""`ovx-lite person`: persons, whom events identify by your own ids."""

from pathlib import Path
from typing import Any

import click

from ovx_lite.cli.common import data_dir_option, json_option, open_projected_store, print_json, print_table, printable
from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.errors import ApiError
from ovx_lite.services import factories
from ovx_lite.storage import registry, upkeep
from ovx_lite.storage.engine import EventReader
from ovx_lite.storage.read.persons import PersonRecord
from ovx_lite.storage.read.reader import SqliteReader
from ovx_lite.storage.sqlite import truncate_wal

_EMPTY_LOG_TIMEOUT_S = 2


@click.group()
def person() -> None:
    """List, show and erase persons."""


@person.command("list")
@click.argument("site")
@data_dir_option
@json_option
def list_(site: str, data_dir: Path, as_json: bool) -> None:
    """List the persons of SITE, in the order in which events first identified them."""
    conn = open_projected_store(data_dir)
    people = SqliteReader(conn).persons(registry.find_site(conn, site).id)
    rows = [_as_dict(person) for person in sorted(people, key=lambda person: (person.created_at_ms, person.user_id))]
    if as_json:
        print_json(rows)
    else:
        table = [{name: row[name] for name in ("id", "name", "email", "first_named")} for row in rows]
        print_table(table, f"No event of {site} has identified a person yet.")


@person.command()
@click.argument("site")
@click.argument("person_id", metavar="PERSON")
@data_dir_option
@json_option
def show(site: str, person_id: str, data_dir: Path, as_json: bool) -> None:
    """Show what is stored about PERSON, which is your own id for them."""
    conn = open_projected_store(data_dir)
    site_id, reader = registry.find_site(conn, site).id, SqliteReader(conn)
    person = _find_person(reader, site_id, person_id)
    traces = reader.person_activity(site_id, person)
    fields = _as_dict(person) | {
        "visitors": traces.visitors,
        "visits": traces.visits,
        "events": traces.events,
        "first_event": None if traces.first_event_at_ms is None else format_utc(traces.first_event_at_ms),
        "last_event": None if traces.last_event_at_ms is None else format_utc(traces.last_event_at_ms),
    }
    if as_json:
        print_json(fields)
        return
    properties = fields.pop("properties")
    for name, value in [*fields.items(), *((f"  {name}", value) for name, value in properties.items())]:
        click.echo(f"{printable(name):<12}  {printable(value)}")


@person.command()
@click.argument("site")
@click.argument("person_id", metavar="PERSON")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@data_dir_option
@json_option
def erase(site: str, person_id: str, yes: bool, data_dir: Path, as_json: bool) -> None:
    """Erase PERSON.

    Their events stay, but belong to nobody. Backups from before still have the person.
    """
    conn = open_projected_store(data_dir)
    person_site = registry.find_site(conn, site)
    person = _find_person(SqliteReader(conn), person_site.id, person_id)
    if not yes and not as_json:
        click.confirm(f"Erase the person {person_id}? This cannot be undone.", abort=True, err=True)
    anonymized_events = upkeep.erase_person(conn, person_site, person, factories.random_visitor_ids())
    while upkeep.is_behind(conn):
        upkeep.catch_up(conn)
    if not truncate_wal(conn, _EMPTY_LOG_TIMEOUT_S):  # it still has the erased data
        click.echo(
            "Another process is reading the store, so the erased data is still in its write-ahead log (the -wal file). "
            "The server empties the log when that process has finished.",
            err=True,
        )
    if as_json:
        print_json({"id": person_id, "erased": True, "events": anonymized_events})
    else:
        click.echo(f"Erased the person {person_id}. {anonymized_events:,} events now belong to nobody.")


def _find_person(reader: EventReader, site_id: int, user_id: str) -> PersonRecord:
    person = reader.find_person(site_id, user_id)
    if person is None:
        raise ApiError("not_found", f"There is no person {user_id}: see ovx-lite person list SITE for the IDs.")
    return person


def _as_dict(person: PersonRecord) -> dict[str, Any]:
    return {
        "id": person.user_id,
        "name": person.traits.get("name"),
        "email": person.traits.get("email"),
        "properties": person.traits,
        "first_named": format_utc(person.created_at_ms),
    }
