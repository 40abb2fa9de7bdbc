"""The sites and keys of the products' documentation, so that its examples run unchanged."""

import sqlite3
from collections.abc import Iterable

import msgspec

from ovx_lite.domain.errors import ApiError
from ovx_lite.services import factories
from ovx_lite.storage import registry

SITES = ("site_abc123", "your-site-id", "your-project-id", "your-project-key")
"""The site and project ids in the documentation."""

PUBLIC_KEY = "pk_live_xyz"
"""The public key of the first site."""

PASSWORD = "stand-in"  # noqa: S105 - it is public: documented and printed at the start
"""The password of the web pages."""

KEYS = ("YOUR_API_KEY", "oa_live_xxxxxxxxxxxx")
"""The API keys in the documentation. Each is valid for all `SITES`, with the tier `free`: its limit can be tested."""


def add_sites(conn: sqlite3.Connection, slugs: Iterable[str], now_ms: int) -> None:
    """Create the sites that do not exist yet."""
    for slug in slugs:
        try:
            registry.find_site(conn, slug)
        except ApiError:
            site = factories.site(slug, "UTC", now_ms)
            if slug == SITES[0]:
                site = msgspec.structs.replace(site, public_key=PUBLIC_KEY)
            registry.add_site(conn, site)
