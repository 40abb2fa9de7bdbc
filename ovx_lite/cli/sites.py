"""`ovx-lite site`: the sites."""

import re
import secrets
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from ovx_lite.cli.common import as_json, data_dir, print_json, print_table, store
from ovx_lite.clock import SystemClock
from ovx_lite.model import Site
from ovx_lite.store import registry

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DOMAIN = re.compile(r"[^\s!-,/:-@\[-^`{-~.]+(?:\.[^\s!-,/:-@\[-^`{-~.]+)*")


@click.group()
def site() -> None:
    """Add, list and remove sites."""


@site.command()
@click.argument("id")
@click.option("--name", default="", help="What people call it; the id if left out.")
@click.option("--domain", default="", help="Its host name, like example.com.")
@click.option(
    "--monthly-limit",
    type=click.IntRange(1, 10**15),
    help="Events a month to be warned at; more are taken all the same.",
)
@click.option("--timezone", default="UTC", show_default=True, help="Where its days begin, like Europe/Paris.")
@click.option(
    "--retention-days", type=click.IntRange(1, 36_500), help="Delete its events after so many days; never if left out."
)
@data_dir
@as_json
def add(
    id: str,
    name: str,
    domain: str,
    monthly_limit: int | None,
    timezone: str,
    retention_days: int | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Add a site under ID, which callers send as site_id.

    Prints what callers need. The JWT secret is shown only here.
    """
    _check(id, domain, timezone)
    new = Site(
        0,
        id,
        name or id,
        domain.lower(),
        timezone,
        "pk_live_" + secrets.token_hex(12),
        secrets.token_urlsafe(32),
        monthly_limit,
        retention_days,
        SystemClock().now(),
    )
    added = registry.add_site(store(data_dir, create=True), new)
    if as_json:
        print_json(_shown(added) | {"jwt_secret": added.jwt_secret})
        return
    click.echo(f"Added the site {id}.")
    click.echo(f"  public key  {added.public_key}")
    click.echo(f"  JWT secret  {added.jwt_secret}  (keep it: it is not shown again)")
    click.echo(f"Next: ovx-lite key add {id}")


@site.command("list")
@data_dir
@as_json
def list_(data_dir: Path, as_json: bool) -> None:
    """List the sites."""
    sites = [_shown(site) for site in registry.load(store(data_dir)).sites.values()]
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


def _check(id: str, domain: str, timezone: str) -> None:
    if not _ID.fullmatch(id):
        raise click.BadParameter("use up to 64 letters, digits, dots, dashes and underscores.", param_hint="ID")
    if domain and not _DOMAIN.fullmatch(domain):
        raise click.BadParameter(f"{domain} is not a host name: give one like example.com.", param_hint="--domain")
    try:
        ZoneInfo(timezone)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise click.BadParameter(
            f"{timezone} is no time zone: give one like Europe/Paris.", param_hint="--timezone"
        ) from None
    except KeyError:
        raise click.BadParameter(
            f"{timezone} is no time zone: give one like Europe/Paris.", param_hint="--timezone"
        ) from None


def _shown(site: Site) -> dict[str, Any]:
    return {
        "id": site.id,
        "name": site.name,
        "domain": site.domain,
        "public_key": site.public_key,
        "timezone": site.timezone,
        "monthly_limit": site.monthly_limit,
        "retention_days": site.retention_days,
    }
