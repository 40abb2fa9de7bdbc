"""Creates a store with a year of made-up traffic."""

from collections.abc import Callable
from pathlib import Path

from ovx_lite.emulator.demo_loader import load_traffic
from ovx_lite.emulator.demo_traffic import Shape
from ovx_lite.services import factories
from ovx_lite.storage import registry
from ovx_lite.storage.sqlite import open_store

SITE = "bench"
_SEED = 7


def fill(folder: Path, now_ms: int, days: int, shape: Shape, on_day: Callable[[int], None] = lambda day: None) -> None:
    """Fill a new store with `days` days of traffic up to `now_ms`; `on_day` is called after each day."""
    conn = open_store(folder)
    try:
        conn.execute("PRAGMA synchronous = OFF")  # the store is discarded in the end
        site = registry.add_site(conn, factories.site(SITE, "Europe/Paris", now_ms))
        load_traffic(conn, site, _SEED, days, shape, now_ms, on_day)
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        conn.close()
