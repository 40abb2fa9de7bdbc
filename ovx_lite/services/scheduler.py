"""What the program does by itself: `JOBS`, a sentence, a period and a function each.

A job is a plain function that makes one pass and says whether there was work. It is run at the start and then once
a period; one that fails is logged and runs again. (What is due to webhooks is not looked for once a period: see
`delivery`.)
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import NamedTuple

import msgspec

from ovx_lite.auth.rate_limit import RateLimiter
from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Registry, Site
from ovx_lite.enrichment.geoip import CountryLookup
from ovx_lite.services import backups
from ovx_lite.services.disk_space import MIB, DiskSpace, measure
from ovx_lite.services.group_commit import GroupCommitWriter
from ovx_lite.services.notifier import Notifier
from ovx_lite.services.rejected import RejectedEvents
from ovx_lite.services.site_cache import SiteCache
from ovx_lite.services.webhook_sender import WebhookSender
from ovx_lite.storage import idempotency, rate_limits, retention, salts, sqlite
from ovx_lite.storage.connections import Database
from ovx_lite.storage.read import events
from ovx_lite.storage.rollups import finalize, goal_backfill
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks import delivery_log

_log = logging.getLogger("ovx_lite")
_BATCH_SIZE = 5_000  # rows deleted in one go, so that no request waits long behind it


class Services(msgspec.Struct, frozen=True):
    """What the jobs look after, and what requests use. `backups` is the folder of the daily copies, None for none."""

    data_dir: Path
    backup_dir: Path | None
    database: Database
    sites: SiteCache
    writer: GroupCommitWriter
    rate_limiter: RateLimiter
    sender: WebhookSender
    clock: Clock
    disk: DiskSpace
    notifier: Notifier
    rejected: RejectedEvents
    country_of: CountryLookup


class Job(NamedTuple):
    """A job: what it does, every how many seconds, and the function that makes one pass."""

    description: str
    period_s: float
    run: Callable[[Services], Awaitable[bool]]


async def refresh_sites(services: Services) -> bool:
    """Take over sites and keys that a command has changed, and look at what it may have put on its way."""
    changed = await services.sites.refresh()
    if changed:
        services.sender.wake()
    return changed


async def save_rate_limit_counts(services: Services) -> bool:
    """Save what refused requests counted against limits."""
    return await services.writer.flush()


async def save_last_used(services: Services) -> bool:
    """Save when keys were used last."""
    return await services.sites.save_last_used()


async def check_disk_space(services: Services) -> bool:
    """Measure the free space on the store's disk."""
    return await measure_disk(services.disk)


async def expire_salts(services: Services) -> bool:
    """Delete the salts of days that are over, also where nobody visits any more."""
    return await services.database.write(delete_old_salts, services.sites.registry, services.clock.now_ms()) > 0


async def expire_idempotent_responses(services: Services) -> bool:
    """Delete answers to idempotent requests after a day, and counts after their hour."""
    deleted = 0
    while batch := await services.database.write(
        delete_expired_counts, services.clock.now_ms()
    ):  # others may write in between
        deleted += batch
    return deleted + services.rate_limiter.evict_idle(services.clock.now_ms()) > 0


async def empty_write_ahead_log(services: Services) -> bool:
    """Empty the write-ahead log, so that what was erased is nowhere; not while somebody reads what was before."""
    return await services.database.write(sqlite.truncate_wal)


async def expire_deliveries(services: Services) -> bool:
    """Delete from the log of deliveries what is past what it keeps, unless the clock is in doubt."""
    deleted = 0
    if await services.database.read(retention.find_hold, services.clock.now_ms()):
        return False
    while batch := await services.database.write(delete_old_deliveries, services.clock.now_ms()):
        deleted += batch
    return deleted > 0


async def apply_retention(services: Services) -> bool:
    """Delete events that are older than their site wants to keep, unless the clock is in doubt."""
    deleted, now_ms = 0, services.clock.now_ms()  # one time for all: the clock may jump meanwhile
    if hold := await services.database.write(retention.begin_run, now_ms):
        _log.warning(hold.message)
        return False
    for site in services.sites.registry.sites_by_id.values():
        while deleted_in_day := await services.writer.change(_prune_day, site, now_ms):  # others may write in between
            deleted += deleted_in_day
    return deleted > 0


async def rebuild_rollups(services: Services) -> bool:
    """Count anew the days that are to be: after an upgrade, a new goal, or when a person was erased."""
    counted = 0
    while await services.database.read(goal_backfill.is_behind):
        counted += await services.writer.change(goal_backfill.catch_up)  # others may write in between
    return counted > 0


async def finalize_days(services: Services) -> bool:
    """Count what one knows of a day when it is over."""
    finalized = 0
    sites: Collection[Site] = services.sites.registry.sites_by_id.values()
    while sites := await services.database.read(finalize.sites_to_finalize, sites, services.clock.now_ms()):
        for site in sites:  # others may write in between
            finalized += await services.writer.change(finalize.finalize_next_day, site, services.clock.now_ms())
    return finalized > 0


async def back_up(services: Services) -> bool:
    """Copy the store, once a day."""
    if services.backup_dir is None:
        return False
    return await asyncio.to_thread(backups.back_up, services.data_dir, services.backup_dir, services.clock.now_ms())


JOBS = (
    Job("take over what commands have changed", 0.5, refresh_sites),
    Job("save the counts of refused requests", 1, save_rate_limit_counts),
    Job("measure the free space on the disk", 1, check_disk_space),
    Job("save when keys were used last", 5, save_last_used),
    Job("count days anew", 1, rebuild_rollups),
    Job("count what is known of days that are over", 60, finalize_days),
    Job("delete yesterday's salts", 60, expire_salts),
    Job("delete answers and counts that have expired", 60, expire_idempotent_responses),
    Job("empty the write-ahead log", 60, empty_write_ahead_log),
    Job("delete old deliveries from the log", 60, expire_deliveries),
    Job("delete events past their retention", 3600, apply_retention),
    Job("copy the store", 3600, back_up),
)


async def run_periodically(job: Job, services: Services) -> None:
    """Run a job once a period, for ever."""
    while True:
        try:
            await job.run(services)
        except (sqlite3.OperationalError, ApiError) as exc:  # of a full disk, say: the sentence says all
            _log.error("could not %s: %s", job.description, exc)
        except Exception:
            _log.exception("could not %s", job.description)
        await services.clock.sleep(job.period_s)


async def measure_disk(disk: DiskSpace) -> bool:
    """Measure the free space, in a thread, as a network disk may hang. Returns whether that changes what happens."""
    was_low = disk.is_low
    disk.update(await asyncio.to_thread(measure, disk.data_dir))
    if disk.is_low and not was_low:
        _log.error("events are refused: %s", disk.reason)
    elif was_low and not disk.is_low:
        _log.warning("events are accepted again: the disk has %s MiB free", (disk.free_bytes or 0) // MIB)
    return disk.is_low != was_low


def delete_old_salts(conn: sqlite3.Connection, registry: Registry, now_ms: int) -> int:
    """Delete each site's salt unless it is of its today. Returns how many."""
    with transaction(conn):
        return sum(
            salts.delete_expired(conn, site.id, local_day(now_ms, site.timezone))
            for site in registry.sites_by_id.values()
        )


def delete_expired_counts(conn: sqlite3.Connection, now_ms: int) -> int:
    """Delete what idempotency and limits need no more. Returns how many rows."""
    with transaction(conn):
        return idempotency.delete_expired(conn, now_ms, _BATCH_SIZE) + rate_limits.delete_expired(conn, now_ms)


def delete_old_deliveries(conn: sqlite3.Connection, now_ms: int) -> int:
    """Delete what the log of deliveries keeps no longer. Returns how many rows."""
    with transaction(conn):
        return delivery_log.delete_expired(conn, now_ms, _BATCH_SIZE)


def prune(conn: sqlite3.Connection, registry: Registry, now_ms: int) -> int:
    """Delete the events, and visits, of days before each site's retention. Returns how many events.

    Raises `ApiError`, with nothing deleted, if the clock is in doubt and was not confirmed.
    """
    deleted = 0
    if hold := retention.begin_run(conn, now_ms):
        due_count = retention.count_due(conn, now_ms)
        raise ApiError(
            "unavailable", f"{hold.message} (that deletes {due_count:,} {'event' if due_count == 1 else 'events'})."
        )
    for site in registry.sites_by_id.values():
        while deleted_in_day := _prune_day(conn, site, now_ms):
            deleted += deleted_in_day
    return deleted


def _prune_day(conn: sqlite3.Connection, site: Site, now_ms: int) -> int:
    """Delete the oldest day of a site, if it is before the site's retention. Returns how many events it had."""
    with transaction(conn):
        oldest_ms = events.oldest_event_ms(conn, site.id)
        if oldest_ms is None or not retention.is_due(conn, site, now_ms):
            return 0
        return events.delete_day(conn, site, local_day(oldest_ms, site.timezone))
