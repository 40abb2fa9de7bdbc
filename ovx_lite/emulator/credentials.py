"""The sites and keys of the products' documents, so that their examples run as they are."""

from ovx_lite.auth.api_keys import TIERS, Principal
from ovx_lite.domain.models import Site

SITES = ("site_abc123", "your-site-id", "your-project-id", "your-project-key")
"""The sites, and projects, that the documents speak of."""

PUBLIC_KEY = "pk_live_xyz"
"""The public key of the first of them."""

PASSWORD = "stand-in"  # noqa: S105 - everybody is to know it
"""That of the pages."""

KEYS = ("YOUR_API_KEY", "oa_live_xxxxxxxxxxxx")
"""The keys of the documents: they are good for each of these sites, and of tier free, so that its limit can be met."""


def caller(authorization: str, site: Site | None, any_key: bool) -> Principal | None:
    """Who calls with such a header, for that site; None where the usual ways are to be tried."""
    scheme, _, key = authorization.partition(" ")
    if site is None or scheme.lower() != "bearer" or not key.strip():
        return None
    if key in KEYS and (site.slug in SITES or any_key):
        return Principal(site, f"{key} {site.slug}", TIERS["free"])
    return Principal(site, "", None) if any_key else None
