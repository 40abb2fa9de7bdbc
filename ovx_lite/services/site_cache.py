"""A cache of the sites, their API keys, and each site's salt of the day."""

import secrets
from collections.abc import Awaitable, Callable

from ovx_lite.auth import api_keys
from ovx_lite.auth.api_keys import Principal
from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.models import Registry, Site
from ovx_lite.storage import registry, registry_version, salts
from ovx_lite.storage.connections import Database

_NO_SALT = (-1, b"")

ChangeStore = Callable[..., Awaitable[bytes]]


class SiteCache:
    """What the ingestion needs to know about sites, without asking the database for each request.

    `registry` is the latest snapshot of sites and keys. `refresh` replaces it, twice a second and when a key or site is
    unknown. `_principals` (by `Authorization` header) lives as long as that snapshot. `_salts` (day and salt, by site)
    keeps a salt until the site's midnight; `evict_salts` drops all of them.
    """

    def __init__(self, database: Database, change: ChangeStore) -> None:
        """`change` runs a function that changes stored events, when all accepted events are projected."""
        self.registry = Registry()
        self._database = database
        self._change = change
        self._principals: dict[str, Principal] = {}
        self._salts: dict[int, tuple[int, bytes]] = {}
        # When API keys, by public ID, were last used (Unix ms), as far as that is not saved yet.
        self.last_used_ms: dict[str, int] = {}

    async def refresh(self) -> bool:
        """Load sites and keys again if any process has changed them. Returns whether one has."""
        if await self._database.read(registry_version.version) == self.registry.version:
            return False
        self.registry = await self._database.read(registry.load)
        self._principals = {}
        self._salts = {site_id: salt for site_id, salt in self._salts.items() if site_id in self.registry.sites_by_id}
        return True

    def authenticate(self, authorization: str, now_ms: int) -> Principal:
        """Return who sent this `Authorization` header. Raises `ApiError` (`unauthorized`)."""
        principal = self._principals.get(authorization)
        if principal is None:
            principal = api_keys.authenticate(authorization, self.registry, now_ms)
            # A key is valid until the registry changes. A JWT expires, and has no rate-limit key.
            if principal.rate_limit_key and len(self._principals) < len(self.registry.api_keys_by_hash):
                self._principals[authorization] = principal
        if principal.rate_limit_key:
            self.last_used_ms[principal.rate_limit_key] = now_ms
        return principal

    async def save_last_used(self) -> bool:
        """Save when keys were last used. Returns whether any were used since the last call."""
        last_used_ms, self.last_used_ms = self.last_used_ms, {}
        try:
            if last_used_ms:
                await self._database.write(registry.save_last_used, last_used_ms)
        except BaseException:
            self.last_used_ms = last_used_ms | self.last_used_ms
            raise
        return bool(last_used_ms)

    def find_public(self, site_ref: str) -> Site | None:
        """Return the site with this slug or public key, as public endpoints name it; `None` if there is none."""
        return self.registry.sites_by_slug.get(site_ref) or self.registry.sites_by_public_key.get(site_ref)

    def cached_salt(self, site: Site, now_ms: int) -> bytes | None:
        """Return the salt of the site's current day, if it is in the cache."""
        day, salt = self._salts.get(site.id, _NO_SALT)
        return salt if day == local_day(now_ms, site.timezone) else None

    def evict_salts(self) -> None:
        """Forget all salts, because they were deleted from the store."""
        self._salts.clear()

    async def load_salt(self, site: Site, now_ms: int) -> bytes:
        """Return the salt of the site's current day from the store, which creates one for each day."""
        day = local_day(now_ms, site.timezone)
        salt = await self._database.read(salts.find, site.id, day)
        if salt is None:
            salt = await self._change(salts.of_day, site.id, day, secrets.token_bytes(32))
        self._salts[site.id] = (day, salt)
        return salt


class SiteAuthenticator:
    """Accepts the API keys and JWTs of the sites. The server's `Authenticator`."""

    def __init__(self, sites: SiteCache) -> None:
        self._sites = sites

    def authenticate(self, authorization: str, site_ref: str, now_ms: int) -> Principal:
        """Return the owner of the key or JWT, whichever site the request names. Raises `ApiError` (`unauthorized`)."""
        return self._sites.authenticate(authorization, now_ms)

    async def refresh(self, site_ref: str) -> None:
        """Load sites and keys that another process has changed."""
        await self._sites.refresh()
