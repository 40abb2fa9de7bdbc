"""`ovx-lite key`: the API keys of a site."""

from pathlib import Path
from typing import Any

import click

from ovx_lite.auth import api_keys
from ovx_lite.cli.common import data_dir_option, json_option, print_json, print_table
from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.clock import SystemClock
from ovx_lite.domain.models import ApiKey
from ovx_lite.services import factories
from ovx_lite.storage import registry
from ovx_lite.storage.sqlite import open_store


@click.group()
def key() -> None:
    """Add, list, revoke and rotate API keys."""


@key.command()
@click.argument("site")
@click.option("--label", default="", help="A note that says what the key is for.")
@click.option(
    "--tier",
    type=click.Choice(list(api_keys.TIERS)),
    default="enterprise",
    show_default=True,
    help="Events per hour: free 1,000, pro 10,000, enterprise no limit.",
)
@click.option("--hourly-limit", type=click.IntRange(1, 10**9), help="Events per hour, in place of the tier's.")
@data_dir_option
@json_option
def add(site: str, label: str, tier: str, hourly_limit: int | None, data_dir: Path, as_json: bool) -> None:
    """Add an API key to SITE. The key is shown only once."""
    conn = open_store(data_dir, create=False)
    key, secret = factories.key(registry.find_site(conn, site), label, tier, hourly_limit, SystemClock().now_ms())
    registry.add_api_key(conn, key)
    _print_secret(key, secret, as_json)


@key.command("list")
@click.argument("site")
@data_dir_option
@json_option
def list_(site: str, data_dir: Path, as_json: bool) -> None:
    """List the API keys of SITE.

    The secrets are not shown, because they are not stored.
    """
    conn = open_store(data_dir, create=False)
    rows = [_as_dict(key) for key in registry.api_keys_of(conn, registry.find_site(conn, site))]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, f"{site} has no API keys yet. Add one with: ovx-lite key add {site}")


@key.command()
@click.argument("key_id")
@data_dir_option
@json_option
def revoke(key_id: str, data_dir: Path, as_json: bool) -> None:
    """Revoke an API key. It stops working within a second."""
    key = registry.revoke_api_key(open_store(data_dir, create=False), key_id, SystemClock().now_ms())
    if as_json:
        print_json(_as_dict(key))
    else:
        click.echo(f"Revoked the API key {key_id}.")


@key.command()
@click.argument("key_id")
@data_dir_option
@json_option
def rotate(key_id: str, data_dir: Path, as_json: bool) -> None:
    """Replace an API key by a new one. The new key is shown only once.

    It has the same id, tier and limit. The old key stops working within a second.
    """
    _, secret, digest = api_keys.new_key()
    _print_secret(registry.replace_api_key(open_store(data_dir, create=False), key_id, digest), secret, as_json)


def _print_secret(key: ApiKey, secret: str, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "id": key.public_id,
                "key": secret,
                "label": key.label,
                "tier": key.tier,
                "hourly_limit": api_keys.hourly_limit(key),
            }
        )
        return
    click.echo(f"  id   {key.public_id}")
    click.echo(f"  key  {secret}  (save it now: it is not shown again)")


def _as_dict(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.public_id,
        "label": key.label,
        "tier": key.tier,
        "hourly_limit": api_keys.hourly_limit(key),
        "created": format_utc(key.created_at_ms),
        "last_used": None if key.last_used_at_ms is None else format_utc(key.last_used_at_ms),
        "revoked": None if key.revoked_at_ms is None else format_utc(key.revoked_at_ms),
    }
