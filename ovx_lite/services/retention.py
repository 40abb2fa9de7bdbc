"""Deleting events that are older than their site's retention, day by day. `storage.retention` says when to hold."""

import logging
import sqlite3

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Registry, Site
from ovx_lite.services.services import Services
from ovx_lite.storage import retention
from ovx_lite.storage.engine import EventUpkeep
from ovx_lite.storage.sqlite import transaction

_log = logging.getLogger("ovx_lite")


async def apply_retention(services: Services) -> bool:
    """Delete events that are past their site's retention. A job; it deletes nothing while retention is on hold."""
    deleted, now_ms = 0, services.clock.now_ms()  # the same time for all sites, because the clock may jump meanwhile
    if hold := await services.database.write(retention.begin_run, now_ms):
        _log.warning(hold.message)
        return False
    for site in services.sites.registry.sites_by_id.values():
        while deleted_in_day := await services.writer.change(_prune_day, services.upkeep, site, now_ms):
            deleted += deleted_in_day  # others may write between two days
    return deleted > 0


def prune(conn: sqlite3.Connection, upkeep: EventUpkeep, registry: Registry, now_ms: int) -> int:
    """Delete the events and visits of all days before each site's retention. Returns the number of events.

    Raises `ApiError` (`unavailable`), with nothing deleted, if retention is on hold.
    """
    deleted = 0
    if hold := retention.begin_run(conn, now_ms):
        due_count = retention.count_due(conn, now_ms)
        raise ApiError(
            "unavailable", f"{hold.message} (that deletes {due_count:,} {'event' if due_count == 1 else 'events'})."
        )
    for site in registry.sites_by_id.values():
        while deleted_in_day := _prune_day(conn, upkeep, site, now_ms):
            deleted += deleted_in_day
    return deleted


def _prune_day(conn: sqlite3.Connection, upkeep: EventUpkeep, site: Site, now_ms: int) -> int:
    """Delete the oldest day of a site if it is past the site's retention. Returns the number of events; 0 if not."""
    with transaction(conn):
        day = retention.find_due_day(conn, site, now_ms)
        return 0 if day is None else upkeep.forget_day(conn, site, day)
