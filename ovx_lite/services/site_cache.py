"""The sites as they are now: the latest snapshot of the registry, and each site's salt of the day."""

import secrets

from ovx_lite.auth import api_keys
from ovx_lite.auth.api_keys import Caller
from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.models import Registry, Site
from ovx_lite.storage import registry, registry_version, salts
from ovx_lite.storage.connections import Database

_NO_SALT = (-1, b"")


class Sites:
    """What the way of an event needs to know of sites, without asking the database each time."""

    def __init__(self, database: Database) -> None:
        self.registry = Registry()
        self._database = database
        self._callers: dict[str, Caller] = {}
        self._salts: dict[int, tuple[int, bytes]] = {}
        self.used: dict[str, int] = {}  # when (Unix ms) keys, by their ids, were used last, as far as it is not saved

    async def refresh(self) -> bool:
        """Take over what was changed, by whatever process. Returns whether there was anything."""
        if await self._database.read(registry_version.version) == self.registry.version:
            return False
        self.registry = await self._database.read(registry.load)
        self._callers = {}
        self._salts = {number: salt for number, salt in self._salts.items() if number in self.registry.numbers}
        return True

    def caller(self, authorization: str, now: int) -> Caller:
        """Who sent this `Authorization` header at `now` (Unix ms)? Raises `Refused` (`unauthorized`)."""
        caller = self._callers.get(authorization)
        if caller is None:
            caller = api_keys.identify(authorization, self.registry, now)
            # A key is good until the registry says otherwise; a JWT, which runs out, has no name.
            if caller.name and len(self._callers) < len(self.registry.keys):
                self._callers[authorization] = caller
        if caller.name:
            self.used[caller.name] = now
        return caller

    async def save_used(self) -> bool:
        """Write down when keys were used last. Returns whether any were."""
        used, self.used = self.used, {}
        try:
            if used:
                await self._database.write(registry.save_last_used, used)
        except BaseException:
            self.used = used | self.used
            raise
        return bool(used)

    def public(self, name: str) -> Site | None:
        """The site of that id or that public key, where no key is asked for."""
        return self.registry.sites.get(name) or self.registry.public_keys.get(name)

    def salt(self, site: Site, now: int) -> bytes | None:
        """The site's salt of its today, if it is known yet."""
        day, salt = self._salts.get(site.number, _NO_SALT)
        return salt if day == local_day(now, site.timezone) else None

    def forget_salts(self) -> None:
        """Look for the salts anew: they were deleted."""
        self._salts.clear()

    async def new_salt(self, site: Site, now: int) -> bytes:
        """The site's salt of its today, from the store; a new one after its midnight."""
        day = local_day(now, site.timezone)
        salt = await self._database.write(salts.today, site.number, day, secrets.token_bytes(32))
        self._salts[site.number] = (day, salt)
        return salt


class SiteAuthenticator:
    """Accepts the API keys and JWTs of the sites. The server's `Authenticator`."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    def authenticate(self, authorization: str, site_slug: str, now_ms: int) -> Caller:
        """Return the owner of the key or JWT, whichever site the request names. Raises `Refused` (`unauthorized`)."""
        return self._sites.caller(authorization, now_ms)

    async def refresh(self, site_slug: str) -> None:
        """Load sites and keys that another process has changed."""
        await self._sites.refresh()
