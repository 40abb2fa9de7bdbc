"""`ovx-lite key`: the API keys of a site."""

from pathlib import Path
from typing import Any

import click

from ovx_lite.auth import api_keys
from ovx_lite.cli.common import as_json, data_dir, print_json, print_table, store
from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.clock import SystemClock
from ovx_lite.domain.models import ApiKey
from ovx_lite.services import factories
from ovx_lite.storage import registry


@click.group()
def key() -> None:
    """Add, list, revoke and rotate API keys."""


@key.command()
@click.argument("site")
@click.option("--label", default="", help="What it is for, to tell it from others.")
@click.option(
    "--tier",
    type=click.Choice(list(api_keys.TIERS)),
    default="enterprise",
    show_default=True,
    help="Events an hour: free 1,000, pro 10,000, enterprise no limit.",
)
@click.option("--hourly-limit", type=click.IntRange(1, 10**9), help="Events an hour, in place of the tier's.")
@data_dir
@as_json
def add(site: str, label: str, tier: str, hourly_limit: int | None, data_dir: Path, as_json: bool) -> None:
    """Add an API key to SITE. The key is shown only here."""
    conn = store(data_dir)
    key, secret = factories.key(registry.find_site(conn, site), label, tier, hourly_limit, SystemClock().now_ms())
    registry.add_api_key(conn, key)
    _print_secret(key, secret, as_json)


@key.command("list")
@click.argument("site")
@data_dir
@as_json
def list_(site: str, data_dir: Path, as_json: bool) -> None:
    """List the keys of SITE, without the keys themselves: those are not stored."""
    conn = store(data_dir)
    keys = [_shown(key) for key in registry.api_keys_of(conn, registry.find_site(conn, site))]
    if as_json:
        print_json(keys)
    else:
        print_table(keys, f"There is no key yet: ovx-lite key add {site}")


@key.command()
@click.argument("key_id")
@data_dir
@as_json
def revoke(key_id: str, data_dir: Path, as_json: bool) -> None:
    """Revoke a key: from the next second on it opens nothing."""
    revoked = registry.revoke_api_key(store(data_dir), key_id, SystemClock().now_ms())
    if as_json:
        print_json(_shown(revoked))
    else:
        click.echo(f"Revoked the key {key_id}.")


@key.command()
@click.argument("key_id")
@data_dir
@as_json
def rotate(key_id: str, data_dir: Path, as_json: bool) -> None:
    """Put a new key in the place of an old one, with the same id, tier and limit. The old one ends within a second."""
    _, secret, digest = api_keys.new_key()
    _print_secret(registry.replace_api_key(store(data_dir), key_id, digest), secret, as_json)


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
    click.echo(f"  key  {secret}  (keep it: it is not shown again)")


def _shown(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.public_id,
        "label": key.label,
        "tier": key.tier,
        "hourly_limit": api_keys.hourly_limit(key),
        "created": format_utc(key.created_at_ms),
        "last_used": None if key.last_used_at_ms is None else format_utc(key.last_used_at_ms),
        "revoked": None if key.revoked_at_ms is None else format_utc(key.revoked_at_ms),
    }
