"""Sites and API keys."""

import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import ApiKey, Registry, Site
from ovx_lite.storage.engine import EventUpkeep
from ovx_lite.storage.read import events
from ovx_lite.storage.registry_version import announce, version
from ovx_lite.storage.sqlite import transaction

_SITE_COLUMNS = """
id, slug, name, domain, timezone, public_key, jwt_secret, monthly_limit, retention_days, created_at, identity_secret,
allowed_hosts, hourly_limit, hourly_events
"""
_KEY_COLUMNS = "public_id, site_id, label, tier, hourly_limit, key_hash, created_at, revoked_at, last_used_at"


def load(conn: sqlite3.Connection) -> Registry:
    """Return all sites and API keys, read in one transaction."""
    conn.execute("BEGIN")
    try:
        current_version = version(conn)
        sites = all_sites(conn)
        api_keys = [
            ApiKey(*row) for row in conn.execute(f"SELECT {_KEY_COLUMNS} FROM api_keys ORDER BY created_at, public_id")
        ]
    finally:
        conn.execute("ROLLBACK")
    return Registry(
        version=current_version,
        sites_by_slug=MappingProxyType({site.slug: site for site in sites}),
        sites_by_id=MappingProxyType({site.id: site for site in sites}),
        sites_by_public_key=MappingProxyType({site.public_key: site for site in sites}),
        api_keys_by_hash=MappingProxyType({api_key.key_hash: api_key for api_key in api_keys}),
    )


def all_sites(conn: sqlite3.Connection) -> list[Site]:
    """Return all sites, sorted by slug."""
    return [_site(row) for row in conn.execute(f"SELECT {_SITE_COLUMNS} FROM sites ORDER BY slug")]


def _site(row: tuple[Any, ...]) -> Site:
    site = Site(*row)
    return msgspec.structs.replace(site, allowed_hosts=tuple(str(site.allowed_hosts).split()))


def find_site(conn: sqlite3.Connection, slug: str) -> Site:
    """Return the site with this slug. Raises `ApiError` (`invalid_site_id`) if there is none."""
    row = conn.execute(f"SELECT {_SITE_COLUMNS} FROM sites WHERE slug = ?", (slug,)).fetchone()
    if row is None:
        slugs = [other for (other,) in conn.execute("SELECT slug FROM sites ORDER BY slug LIMIT 10")]
        hint = f"the sites are {', '.join(slugs)}" if slugs else f"add it with ovx-lite site add {slug}"
        raise ApiError("invalid_site_id", f"There is no site {slug}; {hint}.")
    return _site(row)


def add_site(conn: sqlite3.Connection, site: Site) -> Site:
    """Add a site and return it with the `id` that the store assigns. Raises `ApiError` if the slug is taken."""
    with transaction(conn):
        try:
            conn.execute(
                f"INSERT INTO sites ({_SITE_COLUMNS}) VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    site.slug,
                    site.name,
                    site.domain,
                    site.timezone,
                    site.public_key,
                    site.jwt_secret,
                    site.monthly_limit,
                    site.retention_days,
                    site.created_at_ms,
                    site.secret,
                    " ".join(site.allowed_hosts),
                    site.hourly_limit,
                    site.hourly_events,
                ),
            )
        except sqlite3.IntegrityError:
            message = f"The site {site.slug} already exists: choose another ID."
            raise ApiError("invalid_request", message, "id") from None
        announce(conn)
        return find_site(conn, site.slug)


def change_site(conn: sqlite3.Connection, site: Site) -> Site:
    """Save the fields of a site that can change, and return the site.

    Raises `ApiError` (`invalid_site_id`) if the site was removed, and (`invalid_request`) if it has events and another
    time zone: its events are already assigned to days.
    """
    settings = {
        "name": site.name,
        "domain": site.domain,
        "timezone": site.timezone,
        "monthly_limit": site.monthly_limit,
        "retention_days": site.retention_days,
        "allowed_hosts": " ".join(site.allowed_hosts),
        "hourly_limit": site.hourly_limit,
        "hourly_events": site.hourly_events,
    }
    with transaction(conn):
        if site.timezone != find_site(conn, site.slug).timezone and events.oldest_event_ms(conn, site.id) is not None:
            message = "A site that has events keeps its time zone: delete the site, or add another one."
            raise ApiError("invalid_request", message, "timezone")
        columns = ", ".join(f"{column} = ?" for column in settings)
        conn.execute(f"UPDATE sites SET {columns} WHERE id = ?", (*settings.values(), site.id))
        announce(conn)
        return find_site(conn, site.slug)


def remove_site(conn: sqlite3.Connection, upkeep: EventUpkeep, slug: str) -> int:
    """Remove a site with its API keys, events and all its other data. Return how many events it had."""
    with transaction(conn):
        site = find_site(conn, slug)
        deleted = upkeep.forget_site(conn, site.id)
        conn.execute("DELETE FROM idempotent_responses WHERE site_id = ?", (site.id,))
        for table in ("monthly_usage", "fired_alerts"):
            conn.execute(f"DELETE FROM {table} WHERE site_id = ?", (site.id,))
        conn.execute(
            "DELETE FROM rate_limit_counters WHERE principal IN (SELECT public_id FROM api_keys WHERE site_id = ?)",
            (site.id,),
        )
        conn.execute("DELETE FROM sites WHERE id = ?", (site.id,))
        announce(conn)
    return deleted


def replace_jwt_secret(conn: sqlite3.Connection, slug: str, jwt_secret: str) -> None:
    """Replace a site's JWT secret. JWTs that were signed with the old one are no longer valid."""
    with transaction(conn):
        find_site(conn, slug)
        conn.execute("UPDATE sites SET jwt_secret = ? WHERE slug = ?", (jwt_secret, slug))
        announce(conn)


def add_api_key(conn: sqlite3.Connection, api_key: ApiKey) -> bool:
    """Add an API key. Return whether it was added; `False` if the store has it already."""
    with transaction(conn):
        row = msgspec.structs.astuple(api_key)
        placeholders = ", ".join("?" * len(row))
        query = f"INSERT INTO api_keys ({_KEY_COLUMNS}) VALUES ({placeholders}) ON CONFLICT (public_id) DO NOTHING"
        row_count = conn.execute(query, row).rowcount
        announce(conn)
    return bool(row_count)


def find_api_key(conn: sqlite3.Connection, public_id: str) -> ApiKey:
    """Return the API key with this public ID. Raises `ApiError` (`not_found`) if there is none."""
    row = conn.execute(f"SELECT {_KEY_COLUMNS} FROM api_keys WHERE public_id = ?", (public_id,)).fetchone()
    if row is None:
        raise ApiError("not_found", f"There is no key {public_id}: ovx-lite key list SITE shows the IDs.")
    return ApiKey(*row)


def api_keys_of(conn: sqlite3.Connection, site: Site) -> list[ApiKey]:
    """Return a site's API keys, including revoked ones, oldest first."""
    rows = conn.execute(
        f"SELECT {_KEY_COLUMNS} FROM api_keys WHERE site_id = ? ORDER BY created_at, public_id", (site.id,)
    )
    return [ApiKey(*row) for row in rows]


def revoke_api_key(conn: sqlite3.Connection, public_id: str, now_ms: int) -> ApiKey:
    """Revoke an API key for good, and return it. Raises `ApiError` (`not_found`) if there is none."""
    with transaction(conn):
        find_api_key(conn, public_id)
        conn.execute(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?) WHERE public_id = ?", (now_ms, public_id)
        )
        announce(conn)
        return find_api_key(conn, public_id)


def replace_api_key(conn: sqlite3.Connection, public_id: str, key_hash: bytes) -> ApiKey:
    """Replace the secret of an API key, and return the key. The old secret is no longer valid.

    Raises `ApiError` (`not_found`) if there is no such key, and (`invalid_request`) if it is revoked.
    """
    with transaction(conn):
        if find_api_key(conn, public_id).revoked_at_ms is not None:
            raise ApiError("invalid_request", f"The key {public_id} is revoked: add a new one with ovx-lite key add.")
        conn.execute("UPDATE api_keys SET key_hash = ? WHERE public_id = ?", (key_hash, public_id))
        announce(conn)
        return find_api_key(conn, public_id)


def save_last_used(conn: sqlite3.Connection, last_used_at_ms: Mapping[str, int]) -> None:
    """Save when API keys were last used (Unix ms), by their public IDs."""
    with transaction(conn):
        conn.executemany(
            "UPDATE api_keys SET last_used_at = ? WHERE public_id = ?",
            [(used_at_ms, public_id) for public_id, used_at_ms in last_used_at_ms.items()],
        )
