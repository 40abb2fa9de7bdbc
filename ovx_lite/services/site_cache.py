"""The sites as they are now: the latest snapshot of the registry, and each site's salt of the day."""

import secrets

from ovx_lite.auth import api_keys
from ovx_lite.auth.api_keys import Principal
from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.models import Registry, Site
from ovx_lite.storage import registry, registry_version, salts
from ovx_lite.storage.connections import Database

_NO_SALT = (-1, b"")


class SiteCache:
    """What the way of an event needs to know of sites, without asking the database each time."""

    def __init__(self, database: Database) -> None:
        self.registry = Registry()
        self._database = database
        self._principals: dict[str, Principal] = {}
        self._salts: dict[int, tuple[int, bytes]] = {}
        self.last_used_ms: dict[
            str, int
        ] = {}  # when (Unix ms) keys, by their ids, were used last, as far as it is not saved

    async def refresh(self) -> bool:
        """Take over what was changed, by whatever process. Returns whether there was anything."""
        if await self._database.read(registry_version.version) == self.registry.version:
            return False
        self.registry = await self._database.read(registry.load)
        self._principals = {}
        self._salts = {site_id: salt for site_id, salt in self._salts.items() if site_id in self.registry.sites_by_id}
        return True

    def authenticate(self, authorization: str, now_ms: int) -> Principal:
        """Who sent this `Authorization` header at `now` (Unix ms)? Raises `ApiError` (`unauthorized`)."""
        principal = self._principals.get(authorization)
        if principal is None:
            principal = api_keys.authenticate(authorization, self.registry, now_ms)
            # A key is good until the registry says otherwise; a JWT, which runs out, has no name.
            if principal.rate_limit_key and len(self._principals) < len(self.registry.api_keys_by_hash):
                self._principals[authorization] = principal
        if principal.rate_limit_key:
            self.last_used_ms[principal.rate_limit_key] = now_ms
        return principal

    async def save_last_used(self) -> bool:
        """Write down when keys were used last. Returns whether any were."""
        last_used_ms, self.last_used_ms = self.last_used_ms, {}
        try:
            if last_used_ms:
                await self._database.write(registry.save_last_used, last_used_ms)
        except BaseException:
            self.last_used_ms = last_used_ms | self.last_used_ms
            raise
        return bool(last_used_ms)

    def find_public(self, site_ref: str) -> Site | None:
        """The site of that id or that public key, where no key is asked for."""
        return self.registry.sites_by_slug.get(site_ref) or self.registry.sites_by_public_key.get(site_ref)

    def cached_salt(self, site: Site, now_ms: int) -> bytes | None:
        """The site's salt of its today, if it is known yet."""
        day, salt = self._salts.get(site.id, _NO_SALT)
        return salt if day == local_day(now_ms, site.timezone) else None

    def evict_salts(self) -> None:
        """Look for the salts anew: they were deleted."""
        self._salts.clear()

    async def load_salt(self, site: Site, now_ms: int) -> bytes:
        """The site's salt of its today, from the store; a new one after its midnight."""
        day = local_day(now_ms, site.timezone)
        salt = await self._database.write(salts.of_day, site.id, day, secrets.token_bytes(32))
        self._salts[site.id] = (day, salt)
        return salt


class SiteAuthenticator:
    """Accepts the API keys and JWTs of the sites. The server's `Authenticator`."""

    def __init__(self, sites: SiteCache) -> None:
        self._sites = sites

    def authenticate(self, authorization: str, site_slug: str, now_ms: int) -> Principal:
        """Return the owner of the key or JWT, whichever site the request names. Raises `ApiError` (`unauthorized`)."""
        return self._sites.authenticate(authorization, now_ms)

    async def refresh(self, site_slug: str) -> None:
        """Load sites and keys that another process has changed."""
        await self._sites.refresh()
