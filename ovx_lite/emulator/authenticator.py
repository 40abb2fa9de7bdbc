"""Who calls the emulator: it also accepts the keys of the documentation or, with `--any-key`, every key."""

from ovx_lite.auth.api_keys import TIERS, Principal
from ovx_lite.domain import validators
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import ApiError, no_such_site
from ovx_lite.emulator import credentials
from ovx_lite.services.site_cache import SiteCache
from ovx_lite.storage.connections import Database


class EmulatorAuthenticator:
    """The emulator's `Authenticator`.

    With `any_key`, it accepts every key for every site, and `refresh` creates the site that a request names.
    """

    def __init__(self, database: Database, sites: SiteCache, clock: Clock, any_key: bool) -> None:
        self._database = database
        self._sites = sites
        self._clock = clock
        self._any_key = any_key

    def authenticate(self, authorization: str, site_ref: str, now_ms: int) -> Principal:
        """Return the caller. Raises `ApiError`, also for a site that `refresh` would create.

        A request that names no site or an unknown one counts as one for the first site: its body may be invalid, and
        then its errors are of more use to the developer than a rejected key.
        """
        if self._can_create(site_ref):
            raise no_such_site("site")
        site = self._sites.find_public(site_ref) or self._sites.find_public(credentials.SITES[0])
        scheme, _, key = authorization.partition(" ")
        if site is not None and scheme.lower() == "bearer" and key.strip():
            if key in credentials.KEYS and (site.slug in credentials.SITES or self._any_key):
                return Principal(site, f"{key} {site.slug}", TIERS["free"])
            if self._any_key:
                return Principal(site, "", None)
        return self._sites.authenticate(authorization, now_ms)

    async def refresh(self, site_ref: str) -> None:
        """Load what another process has changed, and create the site that a request names, if `any_key` allows it."""
        if self._can_create(site_ref):
            await self._database.write(credentials.add_sites, [site_ref], self._clock.now_ms())
        await self._sites.refresh()

    def _can_create(self, site_ref: str) -> bool:
        return self._any_key and self._sites.find_public(site_ref) is None and _is_valid(site_ref)


def _is_valid(site_ref: str) -> bool:
    try:
        return bool(validators.site_slug(site_ref))
    except ApiError:
        return False
