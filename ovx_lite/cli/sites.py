"""`ovx-lite site`: the sites."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from ovx_lite.auth import api_keys
from ovx_lite.cli.common import as_json, data_dir, judged, print_json, print_table, store
from ovx_lite.domain import validators
from ovx_lite.domain.clock import SystemClock
from ovx_lite.domain.models import Site
from ovx_lite.services import factories
from ovx_lite.storage import registry


@click.group()
def site() -> None:
    """Add, change, list and remove sites."""


class _OrNone(click.IntRange):
    """A whole number, or `none`, which is 0."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return 0 if value == "none" else int(super().convert(value, param, ctx))


F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--name", help="What people call it; the id if left out."),
    click.option("--domain", help="Its host name, like example.com."),
    click.option(
        "--monthly-limit",
        type=_OrNone(1, 10**15),
        help="Events a month to be warned at, or none; more are taken all the same.",
    ),
    click.option(
        "--retention-days",
        type=_OrNone(1, 36_500),
        help="Delete its events after so many days; never if left out or none.",
    ),
    click.option(
        "--hourly-limit",
        type=_OrNone(1, 10**9),
        help=f"Requests per hour from one address without a key; {api_keys.PUBLIC_HOURLY_LIMIT:,} if left out or none.",
    ),
    click.option(
        "--hourly-events",
        type=_OrNone(1, 10**9),
        help="Events an hour that one address may send without a key; no limit if left out or none.",
    ),
    click.option(
        "--allowed-hosts",
        metavar="HOST,...",
        help="Whose pages may send events without a key, subdomains included; all if left out.",
    ),
)


def _options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@site.command()
@click.argument("id")
@click.option("--timezone", default="UTC", show_default=True, help="Where its days begin, like Europe/Paris; for good.")
@_options
@data_dir
@as_json
def add(id: str, timezone: str, data_dir: Path, as_json: bool, **given: Any) -> None:
    """Add a site under ID, which callers send as site_id.

    Prints what callers need. The JWT secret is shown only here.
    """
    judged("ID", validators.site_slug, id)
    judged("--timezone", validators.timezone, timezone)
    wanted = _with(factories.site(id, timezone, SystemClock().now_ms()), given)
    added = registry.add_site(store(data_dir, create=True), wanted)
    if as_json:
        print_json(_shown(added) | {"jwt_secret": added.jwt_secret})
        return
    click.echo(f"Added the site {id}.")
    click.echo(f"  public key  {added.public_key}")
    click.echo(f"  JWT secret  {added.jwt_secret}  (keep it: it is not shown again)")
    click.echo(f"Next: ovx-lite key add {id}")


@site.command()
@click.argument("id")
@_options
@data_dir
@as_json
def change(id: str, data_dir: Path, as_json: bool, **given: Any) -> None:
    """Change what is given of the site ID, and leave the rest. An empty text takes the domain or hosts away."""
    if all(value is None for value in given.values()):
        raise click.UsageError("Say what to change: see ovx-lite site change --help.")
    conn = store(data_dir)
    changed = registry.change_site(conn, _with(registry.find_site(conn, id), given))
    if as_json:
        print_json(_shown(changed))
    else:
        click.echo(f"Changed the site {id}.")


@site.command("list")
@data_dir
@as_json
def list_(data_dir: Path, as_json: bool) -> None:
    """List the sites."""
    sites = [_shown(site) for site in registry.load(store(data_dir)).sites_by_slug.values()]
    if as_json:
        print_json(sites)
    else:
        print_table(sites, "There is no site yet: ovx-lite site add ID")


@site.command()
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_dir
@as_json
def remove(id: str, yes: bool, data_dir: Path, as_json: bool) -> None:
    """Remove a site with its keys and all its events, for good."""
    conn = store(data_dir)
    registry.find_site(conn, id)
    if not yes and not as_json:
        click.confirm(f"Remove the site {id} with its keys and all its events, for good?", abort=True, err=True)
    events = registry.remove_site(conn, id)
    if as_json:
        print_json({"id": id, "removed": True, "events": events})
    else:
        click.echo(f"Removed the site {id} and its {events} events.")


def _with(site: Site, given: Mapping[str, Any]) -> Site:
    """The site with what the options say. Raises `click.BadParameter` for what makes no sense."""
    wanted = {name: None if value == 0 else value for name, value in given.items() if value is not None}
    if domain := wanted.get("domain"):
        wanted["domain"] = judged("--domain", validators.host, domain, "domain")
    if (told := given.get("allowed_hosts")) is not None:
        wanted["allowed_hosts"] = judged("--allowed-hosts", validators.hosts, told, "allowed_hosts")
    return msgspec.structs.replace(site, **wanted)


def _shown(site: Site) -> dict[str, Any]:
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
