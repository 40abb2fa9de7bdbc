"""Recurring jobs: the table `JOBS`, the loop that runs them, and the short jobs themselves.

A job is a plain function that makes one pass and returns whether there was work. Each runs at the start and then once a
period. A job that fails is logged and runs again. (Webhook deliveries are not polled: see `webhook_sender`.)
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import NamedTuple

from ovx_lite.domain.calendar import HOUR_S, local_day
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Site
from ovx_lite.services import backups
from ovx_lite.services.disk_space import MIB, DiskSpace, measure
from ovx_lite.services.retention import apply_retention
from ovx_lite.services.services import Services
from ovx_lite.storage import retention, salts, sqlite
from ovx_lite.storage.ledger import idempotency, rate_limits
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks import delivery_log

_log = logging.getLogger("ovx_lite")
_BATCH_SIZE = 5_000  # rows to delete in one transaction, so that no request waits long behind it


class Job(NamedTuple):
    """A recurring job. `description` completes "could not …" in the log; `run` makes one pass."""

    description: str
    period_s: float
    run: Callable[[Services], Awaitable[bool]]


async def refresh_sites(services: Services) -> bool:
    """Reload sites and keys if a command has changed them, and look for deliveries that it has queued."""
    changed = await services.sites.refresh()
    if changed:
        services.sender.wake()
    return changed


async def save_rate_limit_counts(services: Services) -> bool:
    """Save the rate-limit counts that no stored request has saved, such as those of rejected requests."""
    return await services.writer.flush()


async def save_last_used(services: Services) -> bool:
    """Save when API keys were last used."""
    return await services.sites.save_last_used()


async def check_disk_space(services: Services) -> bool:
    """Measure the free space on the store's disk."""
    return await measure_disk(services.disk)


async def expire_salts(services: Services) -> bool:
    """Delete the salts of past days, also of sites that get no more visits."""
    sites, now_ms = services.sites.registry.sites_by_id.values(), services.clock.now_ms()
    if not await services.database.read(salts.have_expired, sites, now_ms):
        return False
    return await services.writer.change(delete_old_salts, sites, now_ms) > 0


async def expire_idempotent_responses(services: Services) -> bool:
    """Delete idempotent responses after a day, and rate-limit counts after an hour."""
    deleted = 0
    while batch := await services.database.write(delete_expired_counts, services.clock.now_ms()):
        deleted += batch  # others may write between two batches
    return deleted + services.rate_limiter.evict_idle(services.clock.now_ms()) > 0


async def checkpoint(services: Services) -> bool:
    """Move the write-ahead log into the store's file, so that no commit has to. Nobody notices it."""
    await services.database.checkpoint()
    return False


async def empty_write_ahead_log(services: Services) -> bool:
    """Empty the write-ahead log, so that erased data is not left there. Does nothing while somebody reads from it."""
    return await services.database.write(sqlite.truncate_wal)


async def expire_deliveries(services: Services) -> bool:
    """Delete old deliveries from the delivery log, unless retention is on hold."""
    deleted = 0
    if await services.database.read(retention.find_hold, services.clock.now_ms()):
        return False
    while batch := await services.database.write(delete_old_deliveries, services.clock.now_ms()):
        deleted += batch
    return deleted > 0


async def rebuild_rollups(services: Services) -> bool:
    """Count days again that need it: after an upgrade, for a new goal, or because a person was erased."""
    counted = 0
    while await services.database.read(services.upkeep.is_behind):
        counted += await services.writer.change(services.upkeep.catch_up)  # others may write in between
    return counted > 0


async def finalize_days(services: Services) -> bool:
    """Count what is only certain once a day is over, such as exit pages."""
    finalized = 0
    sites: Collection[Site] = services.sites.registry.sites_by_id.values()
    while sites := await services.database.read(services.upkeep.sites_to_finalize, sites, services.clock.now_ms()):
        for site in sites:  # others may write in between
            finalized += await services.writer.change(services.upkeep.finalize_next_day, site, services.clock.now_ms())
    return finalized > 0


async def back_up(services: Services) -> bool:
    """Copy the store once a day, if there is a folder for copies."""
    if services.backup_dir is None:
        return False
    return await asyncio.to_thread(backups.back_up, services.data_dir, services.backup_dir, services.clock.now_ms())


JOBS = (
    Job("reload sites and keys", 0.5, refresh_sites),
    Job("save the rate-limit counts", 1, save_rate_limit_counts),
    Job("move the write-ahead log into the store's file", 1, checkpoint),
    Job("measure the free space on the disk", 1, check_disk_space),
    Job("save when API keys were last used", 5, save_last_used),
    Job("count days again", 1, rebuild_rollups),
    Job("finalize the counts of past days", 60, finalize_days),
    Job("delete the salts of past days", 60, expire_salts),
    Job("delete expired idempotent responses and rate-limit counts", 60, expire_idempotent_responses),
    Job("empty the write-ahead log", 60, empty_write_ahead_log),
    Job("delete old deliveries from the log", 60, expire_deliveries),
    Job("delete events past their retention", HOUR_S, apply_retention),
    Job("back up the store", HOUR_S, back_up),
)


async def run_periodically(job: Job, services: Services) -> None:
    """Run a job once a period, for ever."""
    while True:
        try:
            await job.run(services)
        except (sqlite3.OperationalError, ApiError) as exc:  # a full disk, for example: needs no traceback
            _log.error("could not %s: %s", job.description, exc)
        except Exception:
            _log.exception("could not %s", job.description)
        await services.clock.sleep(job.period_s)


async def measure_disk(disk: DiskSpace) -> bool:
    """Measure the free space, and log when events begin or cease to be rejected. Returns whether that changed.

    It measures in a thread, because a network disk may hang.
    """
    was_low = disk.is_low
    disk.update(await asyncio.to_thread(measure, disk.data_dir))
    if disk.is_low and not was_low:
        _log.error("events are rejected: %s", disk.reason)
    elif was_low and not disk.is_low:
        _log.warning("events are accepted again: the disk has %s MiB free", (disk.free_bytes or 0) // MIB)
    return disk.is_low != was_low


def delete_old_salts(conn: sqlite3.Connection, sites: Iterable[Site], now_ms: int) -> int:
    """Delete all salts except that of each site's current day. Returns how many."""
    with transaction(conn):
        return sum(salts.delete_expired(conn, site.id, local_day(now_ms, site.timezone)) for site in sites)


def delete_expired_counts(conn: sqlite3.Connection, now_ms: int) -> int:
    """Delete a batch of expired idempotent responses, and expired rate-limit counts. Returns the number of rows."""
    with transaction(conn):
        return idempotency.delete_expired(conn, now_ms, _BATCH_SIZE) + rate_limits.delete_expired(conn, now_ms)


def delete_old_deliveries(conn: sqlite3.Connection, now_ms: int) -> int:
    """Delete a batch of deliveries that are past the log's retention. Returns the number of rows."""
    with transaction(conn):
        return delivery_log.delete_expired(conn, now_ms, _BATCH_SIZE)
