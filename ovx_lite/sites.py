"""The sites as they are now: the latest snapshot of the registry, and each site's salt of the day."""

import secrets

from ovx_lite.clock import Clock
from ovx_lite.model import Registry, Site, local_day
from ovx_lite.store import registry, salts
from ovx_lite.store.db import Database


class Sites:
    """What the way of an event needs to know of sites, without asking the database each time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.registry = Registry()
        self._database = database
        self._clock = clock
        self._salts: dict[int, tuple[int, bytes]] = {}

    async def refresh(self) -> bool:
        """Take over what was changed, by whatever process. Returns whether there was anything."""
        if await self._database.read(registry.version) == self.registry.version:
            return False
        self.registry = await self._database.read(registry.load)
        self._salts = {number: salt for number, salt in self._salts.items() if number in self.registry.numbers}
        return True

    async def salt(self, site: Site) -> bytes:
        """The site's salt of its today; a new one after its midnight."""
        day = local_day(self._clock.now(), site.timezone)
        known = self._salts.get(site.number)
        if known is None or known[0] != day:
            salt = await self._database.write(salts.today, site.number, day, secrets.token_bytes(32))
            known = self._salts[site.number] = (day, salt)
        return known[1]
