"""Sites and keys."""

import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Key, Registry, Site
from ovx_lite.storage.read import events, persons
from ovx_lite.storage.registry_version import announce, version
from ovx_lite.storage.sqlite import transaction

_SITE = """
id, slug, name, domain, timezone, public_key, jwt_secret, monthly_limit, retention_days, created_at, identity_secret,
allowed_hosts, hourly_limit, hourly_events
"""
_KEY = "public_id, site_id, label, tier, hourly_limit, key_hash, created_at, revoked_at, last_used_at"


def load(conn: sqlite3.Connection) -> Registry:
    """All sites and keys, as of one moment."""
    conn.execute("BEGIN")
    try:
        at = version(conn)
        sites = all_sites(conn)
        keys = [Key(*row) for row in conn.execute(f"SELECT {_KEY} FROM api_keys ORDER BY created_at, public_id")]
    finally:
        conn.execute("ROLLBACK")
    return Registry(
        at,
        MappingProxyType({site.id: site for site in sites}),
        MappingProxyType({site.number: site for site in sites}),
        MappingProxyType({site.public_key: site for site in sites}),
        MappingProxyType({key.digest: key for key in keys}),
    )


def all_sites(conn: sqlite3.Connection) -> list[Site]:
    """All sites, by their ids."""
    return [_site(row) for row in conn.execute(f"SELECT {_SITE} FROM sites ORDER BY slug")]


def _site(row: tuple[Any, ...]) -> Site:
    site = Site(*row)
    return msgspec.structs.replace(site, allowed_hosts=tuple(str(site.allowed_hosts).split()))


def find_site(conn: sqlite3.Connection, id: str) -> Site:
    """The site of that id; raises `Refused` (`invalid_site_id`) if there is none."""
    row = conn.execute(f"SELECT {_SITE} FROM sites WHERE slug = ?", (id,)).fetchone()
    if row is None:
        known = [name for (name,) in conn.execute("SELECT slug FROM sites ORDER BY slug LIMIT 10")]
        hint = f"the sites are {', '.join(known)}" if known else f"there is none yet: ovx-lite site add {id}"
        raise Refused("invalid_site_id", f"There is no site {id}; {hint}.")
    return _site(row)


def add_site(conn: sqlite3.Connection, site: Site) -> Site:
    """Add a site; its `number` is given by the store. Raises `Refused` if the id is taken."""
    with transaction(conn):
        try:
            conn.execute(
                f"INSERT INTO sites ({_SITE}) VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    site.id,
                    site.name,
                    site.domain,
                    site.timezone,
                    site.public_key,
                    site.jwt_secret,
                    site.monthly_limit,
                    site.retention_days,
                    site.created,
                    site.secret,
                    " ".join(site.allowed_hosts),
                    site.hourly_limit,
                    site.hourly_events,
                ),
            )
        except sqlite3.IntegrityError:
            raise Refused("invalid_request", f"There is a site {site.id} already: choose another id.", "id") from None
        announce(conn)
        return find_site(conn, site.id)


def change_site(conn: sqlite3.Connection, site: Site) -> Site:
    """Take over what can be changed of a site. Raises `Refused` (`invalid_site_id`) if it was removed."""
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
        if site.timezone != find_site(conn, site.id).timezone and events.oldest(conn, site.number) is not None:
            message = "The days of a site with events stay as they are: delete it, or add another."
            raise Refused("invalid_request", message, "timezone")
        columns = ", ".join(f"{column} = ?" for column in settings)
        conn.execute(f"UPDATE sites SET {columns} WHERE id = ?", (*settings.values(), site.number))
        announce(conn)
        return find_site(conn, site.id)


def remove_site(conn: sqlite3.Connection, id: str) -> int:
    """Remove a site with its keys, events and all that is known of it. Returns how many events there were."""
    with transaction(conn):
        site = find_site(conn, id)
        deleted = events.forget_all(conn, site.number)
        persons.forget_all(conn, site.number)
        conn.execute("DELETE FROM idempotent_responses WHERE site_id = ?", (site.number,))
        for table in ("monthly_usage", "fired_alerts"):
            conn.execute(f"DELETE FROM {table} WHERE site_id = ?", (site.number,))
        conn.execute(
            "DELETE FROM rate_limit_counters WHERE principal IN (SELECT public_id FROM api_keys WHERE site_id = ?)",
            (site.number,),
        )
        conn.execute("DELETE FROM sites WHERE id = ?", (site.number,))
        announce(conn)
    return deleted


def replace_jwt_secret(conn: sqlite3.Connection, id: str, secret: str) -> None:
    """Give a site another JWT secret; JWTs that were signed with the old one end."""
    with transaction(conn):
        find_site(conn, id)
        conn.execute("UPDATE sites SET jwt_secret = ? WHERE slug = ?", (secret, id))
        announce(conn)


def add_key(conn: sqlite3.Connection, key: Key) -> bool:
    """Add a key, unless it was added before. Returns whether it was not."""
    with transaction(conn):
        row = msgspec.structs.astuple(key)
        places = ", ".join("?" * len(row))
        query = f"INSERT INTO api_keys ({_KEY}) VALUES ({places}) ON CONFLICT (public_id) DO NOTHING"
        added = conn.execute(query, row).rowcount
        announce(conn)
    return bool(added)


def find_key(conn: sqlite3.Connection, id: str) -> Key:
    """The key of that id; raises `Refused` (`not_found`) if there is none."""
    row = conn.execute(f"SELECT {_KEY} FROM api_keys WHERE public_id = ?", (id,)).fetchone()
    if row is None:
        raise Refused("not_found", f"There is no key {id}: see ovx-lite key list SITE for the ids.")
    return Key(*row)


def keys_of(conn: sqlite3.Connection, site: Site) -> list[Key]:
    """A site's keys, oldest first, revoked ones too."""
    rows = conn.execute(f"SELECT {_KEY} FROM api_keys WHERE site_id = ? ORDER BY created_at, public_id", (site.number,))
    return [Key(*row) for row in rows]


def revoke_key(conn: sqlite3.Connection, id: str, now: int) -> Key:
    """Revoke a key for good. Returns it; raises `Refused` (`not_found`) if there is none."""
    with transaction(conn):
        find_key(conn, id)
        conn.execute("UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?) WHERE public_id = ?", (now, id))
        announce(conn)
        return find_key(conn, id)


def replace_key(conn: sqlite3.Connection, id: str, digest: bytes) -> Key:
    """Give a key a new secret; the old one ends. Raises `Refused` if there is no such key or it is revoked."""
    with transaction(conn):
        if find_key(conn, id).revoked is not None:
            raise Refused("invalid_request", f"The key {id} is revoked: add a new one with ovx-lite key add.")
        conn.execute("UPDATE api_keys SET key_hash = ? WHERE public_id = ?", (digest, id))
        announce(conn)
        return find_key(conn, id)


def save_last_used(conn: sqlite3.Connection, used: Mapping[str, int]) -> None:
    """Write down when keys, by their ids, were used last (Unix ms)."""
    with transaction(conn):
        conn.executemany(
            "UPDATE api_keys SET last_used_at = ? WHERE public_id = ?", [(at, id) for id, at in used.items()]
        )
