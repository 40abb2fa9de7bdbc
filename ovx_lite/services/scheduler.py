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

from ovx_lite.auth.rate_limit import Limits
from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Registry, Site
from ovx_lite.enrichment.geoip import CountryOf
from ovx_lite.services import backups
from ovx_lite.services.disk_space import MIB, DiskSpace, measure
from ovx_lite.services.group_commit import Ingest
from ovx_lite.services.notifier import News
from ovx_lite.services.rejected import Missing
from ovx_lite.services.site_cache import Sites
from ovx_lite.services.webhook_sender import Sender
from ovx_lite.storage import idempotency, rate_limits, retention, salts, sqlite
from ovx_lite.storage.connections import Database
from ovx_lite.storage.read import events
from ovx_lite.storage.rollups import finalize, goal_backfill
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.webhooks import delivery_log

_log = logging.getLogger("ovx_lite")
_PIECE = 5_000  # rows deleted in one go, so that no request waits long behind it


class Household(msgspec.Struct, frozen=True):
    """What the jobs look after, and what requests use. `backups` is the folder of the daily copies, None for none."""

    data_dir: Path
    backups: Path | None
    database: Database
    sites: Sites
    ingest: Ingest
    limits: Limits
    sender: Sender
    clock: Clock
    disk: DiskSpace
    notifier: News
    rejected: Missing
    country_of: CountryOf


class Job(NamedTuple):
    """A job: what it does, every how many seconds, and the function that makes one pass."""

    sentence: str
    seconds: float
    run: Callable[[Household], Awaitable[bool]]


async def refresh_sites(house: Household) -> bool:
    """Take over sites and keys that a command has changed, and look at what it may have put on its way."""
    changed = await house.sites.refresh()
    if changed:
        house.sender.wake()
    return changed


async def save_counts(house: Household) -> bool:
    """Save what refused requests counted against limits."""
    return await house.ingest.flush()


async def save_last_used(house: Household) -> bool:
    """Save when keys were used last."""
    return await house.sites.save_used()


async def watch_disk(house: Household) -> bool:
    """Measure the free space on the store's disk."""
    return await measure_disk(house.disk)


async def forget_salts(house: Household) -> bool:
    """Delete the salts of days that are over, also where nobody visits any more."""
    return await house.database.write(delete_old_salts, house.sites.registry, house.clock.now()) > 0


async def forget_answers(house: Household) -> bool:
    """Delete answers to idempotent requests after a day, and counts after their hour."""
    deleted = 0
    while piece := await house.database.write(delete_expired, house.clock.now()):  # others may write in between
        deleted += piece
    return deleted + house.limits.forget_old(house.clock.now()) > 0


async def empty_log(house: Household) -> bool:
    """Empty the write-ahead log, so that what was erased is nowhere; not while somebody reads what was before."""
    return await house.database.write(sqlite.empty_log)


async def forget_deliveries(house: Household) -> bool:
    """Delete from the log of deliveries what is past what it keeps, unless the clock is in doubt."""
    deleted = 0
    if await house.database.read(retention.find_hold, house.clock.now()):
        return False
    while piece := await house.database.write(delete_old_deliveries, house.clock.now()):
        deleted += piece
    return deleted > 0


async def retain(house: Household) -> bool:
    """Delete events that are older than their site wants to keep, unless the clock is in doubt."""
    deleted, now_ms = 0, house.clock.now()  # one time for all: the clock may jump meanwhile
    if hold := await house.database.write(retention.begin_run, now_ms):
        _log.warning(hold.message)
        return False
    for site in house.sites.registry.numbers.values():
        while day := await house.ingest.change(_prune_day, site, now_ms):  # others may write in between
            deleted += day
    return deleted > 0


async def count_anew(house: Household) -> bool:
    """Count anew the days that are to be: after an upgrade, a new goal, or when a person was erased."""
    counted = 0
    while await house.database.read(goal_backfill.is_behind):
        counted += await house.ingest.change(goal_backfill.catch_up)  # others may write in between
    return counted > 0


async def settle(house: Household) -> bool:
    """Count what one knows of a day when it is over."""
    settled = 0
    sites: Collection[Site] = house.sites.registry.numbers.values()
    while sites := await house.database.read(finalize.unsettled, sites, house.clock.now()):
        for site in sites:  # others may write in between
            settled += await house.ingest.change(finalize.settle, site, house.clock.now())
    return settled > 0


async def back_up(house: Household) -> bool:
    """Copy the store, once a day."""
    if house.backups is None:
        return False
    return await asyncio.to_thread(backups.back_up, house.data_dir, house.backups, house.clock.now())


JOBS = (
    Job("take over what commands have changed", 0.5, refresh_sites),
    Job("save the counts of refused requests", 1, save_counts),
    Job("measure the free space on the disk", 1, watch_disk),
    Job("save when keys were used last", 5, save_last_used),
    Job("count days anew", 1, count_anew),
    Job("count what is known of days that are over", 60, settle),
    Job("delete yesterday's salts", 60, forget_salts),
    Job("delete answers and counts that have expired", 60, forget_answers),
    Job("empty the write-ahead log", 60, empty_log),
    Job("delete old deliveries from the log", 60, forget_deliveries),
    Job("delete events past their retention", 3600, retain),
    Job("copy the store", 3600, back_up),
)


async def keep_running(job: Job, house: Household) -> None:
    """Run a job once a period, for ever."""
    while True:
        try:
            await job.run(house)
        except (sqlite3.OperationalError, Refused) as wrong:  # of a full disk, say: the sentence says all
            _log.error("could not %s: %s", job.sentence, wrong)
        except Exception:
            _log.exception("could not %s", job.sentence)
        await house.clock.sleep(job.seconds)


async def measure_disk(disk: DiskSpace) -> bool:
    """Measure the free space, in a thread, as a network disk may hang. Returns whether that changes what happens."""
    was_low = disk.is_low
    disk.update(await asyncio.to_thread(measure, disk.data_dir))
    if disk.is_low and not was_low:
        _log.error("events are refused: %s", disk.reason)
    elif was_low and not disk.is_low:
        _log.warning("events are accepted again: the disk has %s MiB free", (disk.free_bytes or 0) // MIB)
    return disk.is_low != was_low


def delete_old_salts(conn: sqlite3.Connection, registry: Registry, now: int) -> int:
    """Delete each site's salt unless it is of its today. Returns how many."""
    with transaction(conn):
        return sum(salts.forget(conn, site.number, local_day(now, site.timezone)) for site in registry.numbers.values())


def delete_expired(conn: sqlite3.Connection, now: int) -> int:
    """Delete what idempotency and limits need no more. Returns how many rows."""
    with transaction(conn):
        return idempotency.forget_old(conn, now, _PIECE) + rate_limits.forget_old(conn, now)


def delete_old_deliveries(conn: sqlite3.Connection, now: int) -> int:
    """Delete what the log of deliveries keeps no longer. Returns how many rows."""
    with transaction(conn):
        return delivery_log.forget_old(conn, now, _PIECE)


def prune(conn: sqlite3.Connection, registry: Registry, now: int) -> int:
    """Delete the events, and visits, of days before each site's retention. Returns how many events.

    Raises `Refused`, with nothing deleted, if the clock is in doubt and was not confirmed.
    """
    deleted = 0
    if hold := retention.begin_run(conn, now):
        due = retention.count_due(conn, now)
        raise Refused("unavailable", f"{hold.message} (that deletes {due:,} {'event' if due == 1 else 'events'}).")
    for site in registry.numbers.values():
        while day := _prune_day(conn, site, now):
            deleted += day
    return deleted


def _prune_day(conn: sqlite3.Connection, site: Site, now: int) -> int:
    """Delete the oldest day of a site, if it is before the site's retention. Returns how many events it had."""
    with transaction(conn):
        oldest = events.oldest(conn, site.number)
        if oldest is None or not retention.is_due(conn, site, now):
            return 0
        return events.forget_day(conn, site, local_day(oldest, site.timezone))
