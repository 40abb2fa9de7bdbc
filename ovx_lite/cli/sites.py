"""`ovx-lite site`: sites."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from ovx_lite.auth import api_keys
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
from ovx_lite.domain.models import Site
from ovx_lite.services import factories
from ovx_lite.storage import registry, upkeep
from ovx_lite.storage.projection.projection import catch_up
from ovx_lite.storage.sqlite import open_store


@click.group()
def site() -> None:
    """Add, change, list and remove sites."""


class _LimitType(click.IntRange):
    """A whole number, or `none`, which is converted to 0."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return 0 if value == "none" else int(super().convert(value, param, ctx))


F = TypeVar("F", bound=Callable[..., Any])

_SITE_OPTIONS = (
    click.option("--name", help="The name in the web pages; the default is the id."),
    click.option("--domain", help="The host name, for example example.com."),
    click.option(
        "--monthly-limit",
        type=_LimitType(1, 10**15),
        help="Events per month for the usage.threshold webhook, or none (the default). Further events are accepted.",
    ),
    click.option(
        "--retention-days",
        type=_LimitType(1, 36_500),
        help="Delete events after this many days, or none (the default) to keep them.",
    ),
    click.option(
        "--hourly-limit",
        type=_LimitType(1, 10**9),
        help="Requests per hour and IP address without an API key; "
        f"none for the default, {api_keys.PUBLIC_HOURLY_LIMIT:,}.",
    ),
    click.option(
        "--hourly-events",
        type=_LimitType(1, 10**9),
        help="Events per hour and IP address without an API key, or none (the default).",
    ),
    click.option(
        "--allowed-hosts",
        metavar="HOST,...",
        help="Hosts whose pages may send events without an API key, with their subdomains; all by default.",
    ),
)


def _site_options(command: F) -> F:
    for option in reversed(_SITE_OPTIONS):
        command = option(command)
    return command


@site.command()
@click.argument("id")
@click.option(
    "--timezone",
    default="UTC",
    show_default=True,
    help="Where a day begins, for example Europe/Paris. It cannot be changed later.",
)
@_site_options
@data_dir_option
@json_option
def add(id: str, timezone: str, data_dir: Path, as_json: bool, **options: Any) -> None:
    """Add a site. Events name it by its ID, as site_id.

    Prints the public key and the JWT secret. The secret is shown only once.
    """
    check_argument("ID", validators.site_slug, id)
    check_argument("--timezone", validators.timezone, timezone)
    new_site = _apply_options(factories.site(id, timezone, SystemClock().now_ms()), options)
    site = registry.add_site(open_store(data_dir, create=True), new_site)
    if as_json:
        print_json(_as_dict(site) | {"jwt_secret": site.jwt_secret})
        return
    click.echo(f"Added the site {id}.")
    click.echo(f"  public key  {site.public_key}")
    click.echo(f"  JWT secret  {site.jwt_secret}  (save it now: it is not shown again)")
    click.echo(f"Next: ovx-lite key add {id}")


@site.command()
@click.argument("id")
@_site_options
@data_dir_option
@json_option
def change(id: str, data_dir: Path, as_json: bool, **options: Any) -> None:
    """Change the given options of the site ID.

    The others stay as they are. An empty value removes the domain or the allowed hosts.
    """
    if all(value is None for value in options.values()):
        raise click.UsageError("Pass at least one option to change: see ovx-lite site change --help.")
    conn = open_projected_store(data_dir)
    site = registry.change_site(conn, _apply_options(registry.find_site(conn, id), options))
    if as_json:
        print_json(_as_dict(site))
    else:
        click.echo(f"Changed the site {id}.")


@site.command("list")
@data_dir_option
@json_option
def list_(data_dir: Path, as_json: bool) -> None:
    """List all sites."""
    rows = [_as_dict(site) for site in registry.load(open_projected_store(data_dir)).sites_by_slug.values()]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, "There are no sites yet. Add one with: ovx-lite site add ID")


@site.command()
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@data_dir_option
@json_option
def remove(id: str, yes: bool, data_dir: Path, as_json: bool) -> None:
    """Delete the site ID with its API keys and all its events."""
    conn = open_projected_store(data_dir)
    registry.find_site(conn, id)
    if not yes and not as_json:
        click.confirm(f"Delete the site {id}, its API keys and all its events?", abort=True, err=True)
        catch_up(conn)  # events may have arrived meanwhile
    deleted_events = registry.remove_site(conn, upkeep, id)
    if as_json:
        print_json({"id": id, "removed": True, "events": deleted_events})
    else:
        click.echo(f"Deleted the site {id} and its {deleted_events:,} events.")


def _apply_options(site: Site, options: Mapping[str, Any]) -> Site:
    """Return the site with the options that are not `None`. Raises `click.BadParameter` for an invalid host."""
    changes = {name: None if value == 0 else value for name, value in options.items() if value is not None}
    if domain := changes.get("domain"):
        changes["domain"] = check_argument("--domain", validators.host, domain, "domain")
    if (hosts := options.get("allowed_hosts")) is not None:
        changes["allowed_hosts"] = check_argument("--allowed-hosts", validators.hosts, hosts, "allowed_hosts")
    return msgspec.structs.replace(site, **changes)


def _as_dict(site: Site) -> dict[str, Any]:
    return {
        "id": site.slug,
        "name": site.name,
        "domain": site.domain,
        "public_key": site.public_key,
        "timezone": site.timezone,
        "monthly_limit": site.monthly_limit,
        "retention_days": site.retention_days,
        "hourly_limit": site.hourly_limit,
        "hourly_events": site.hourly_events,
        "allowed_hosts": list(site.allowed_hosts),
    }
