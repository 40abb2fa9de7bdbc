"""The state of the emulator, and what its endpoints do with it."""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.errors import ApiError, no_such_site
from ovx_lite.domain.models import Site
from ovx_lite.emulator import credentials
from ovx_lite.emulator.clock import ManualClock
from ovx_lite.emulator.demo_loader import load_traffic
from ovx_lite.emulator.demo_traffic import SMALL
from ovx_lite.emulator.fault_rules import FaultRules
from ovx_lite.emulator.forwarder import Forwarder
from ovx_lite.emulator.journal import Journal
from ovx_lite.emulator.observer import JournalObserver
from ovx_lite.emulator.options import Options
from ovx_lite.emulator.webhook_receiver import WebhookReceiver
from ovx_lite.services.scheduler import JOBS, back_up
from ovx_lite.services.services import Services
from ovx_lite.storage import registry, reset, retention, sqlite
from ovx_lite.storage.read.reader import SqliteReader
from ovx_lite.storage.reset import Baseline
from ovx_lite.storage.webhooks import delivery_log
from ovx_lite.webhooks.triggers import TRIGGERS, Alert, sample_alert


class Emulator:
    """What `ovx-lite dev` has in addition to a server: a journal, fault rules, a webhook receiver and a forwarder.

    All of it is in memory, and starts anew with the process.
    """

    def __init__(self, services: Services, clock: ManualClock, options: Options, initial: Baseline) -> None:
        """`initial` is what `reset` does not delete."""
        self.services = services
        self.clock = clock
        self.journal = Journal()
        self.faults = FaultRules(options.seed, options.fault_rules)
        self.webhook_receiver = WebhookReceiver()
        self._options = options
        self._initial = initial
        self._forwarder = Forwarder(options.forward_url, self.journal.amend) if options.forward_url else None
        self._forwarding: asyncio.Task[None] | None = None
        self.observer = JournalObserver(self.journal, services.rejected, self._forwarder)
        self._clock_lock = asyncio.Lock()  # held while the clock is moved

    @classmethod
    async def open(cls, services: Services, clock: ManualClock, options: Options) -> "Emulator":
        """Add the sites of the documentation and the generated traffic to the store. Raises `ApiError`."""
        if options.temporary:
            await services.database.write(sqlite.do_not_sync)
        await services.database.write(credentials.add_sites, credentials.SITES, clock.now_ms())
        initial = await services.database.read(reset.read_baseline)
        await services.writer.change(_add_demo_traffic, options, clock.now_ms())
        await services.database.write(retention.confirm, clock.now_ms())  # this clock jumps on purpose
        await services.sites.refresh()
        return cls(services, clock, options, initial)

    def start(self) -> None:
        """Start forwarding."""
        if self._forwarder is not None:
            self._forwarding = asyncio.create_task(self._forwarder.run())

    async def close(self) -> None:
        """Stop forwarding."""
        if self._forwarding is not None:
            self._forwarding.cancel()
            await asyncio.wait([self._forwarding])

    def site(self, slug: str) -> Site:
        """Return the site with this id or public key, the first site for `""`. Raises `ApiError`."""
        site = self.services.sites.find_public(slug or credentials.SITES[0])
        if site is None:
            raise no_such_site("site")
        return site

    async def reset(self) -> None:
        """Go back to the initial state: events, deliveries, faults, clock and limits. Sites and keys stay."""
        async with self._clock_lock:
            self.clock.reset()
            self.faults.replace(self._options.fault_rules)
            self.webhook_receiver.clear()
            await self.services.writer.change(_reset, self._initial, self._options, self.clock.now_ms())
            self.services.rate_limiter.clear()
            self.services.sites.evict_salts()
            await self.services.sites.refresh()
            self.services.sender.wake()
            self.journal.clear()

    async def move_clock(self, target_ms: Callable[[int], int]) -> dict[str, Any]:
        """Move the clock forward, and do everything that falls due until then, in order.

        `target_ms` returns the time to move to (Unix ms) for the current time; it may raise `ApiError`. Returns the new
        time, the delivery attempts that were made, and the jobs that had work, as JSON.
        """
        async with self._clock_lock:
            last_attempt = await self.services.database.read(delivery_log.last_attempt_id)
            self.clock.stop()  # so that an attempt takes no time, and the next one falls due to the minute
            try:
                jobs = await self._run_until(target_ms(self.clock.now_ms()))
            finally:
                self.clock.resume()
            attempts = await self.services.database.read(delivery_log.attempts_after, last_attempt)
            tried = [attempt.to_json() for attempt in attempts]
            return {"now": format_utc(self.clock.now_ms()), "tried": tried, "jobs": jobs}

    async def _run_until(self, target_ms: int) -> list[str]:
        sender = self.services.sender
        await sender.wait_idle()
        while sender.next_attempt_at_ms is not None and sender.next_attempt_at_ms <= target_ms:
            self.clock.move_to(sender.next_attempt_at_ms)
            await sender.wait_idle()
        self.clock.move_to(target_ms)
        await sender.wait_idle()
        await self.services.database.write(retention.confirm, target_ms)
        return [job.description for job in JOBS if job.run is not back_up and await job.run(self.services)]

    async def trigger(self, site: Site, event: str, data: object) -> list[str]:
        """Send a message to a site's webhooks, through the outbox. Returns a description of each message.

        Without `data`, it is a sample. Raises `ApiError`.
        """
        if event not in TRIGGERS:
            raise ApiError("invalid_request", f"`event` must be one of {', '.join(TRIGGERS)}.", "event")
        if data is not None and not isinstance(data, dict):
            raise ApiError("invalid_request", "`data` must be an object. Leave it out to send a sample.", "data")
        alert: Alert = sample_alert(event, site.slug, self.clock.now_ms())
        return await self.services.writer.enqueue_alert(site.id, alert if data is None else alert._replace(data=data))

    async def deliveries(self, site: Site) -> list[dict[str, Any]]:
        """Return a site's delivery log as JSON, the latest first."""
        return await self.services.database.read(_deliveries, site)


def _reset(conn: sqlite3.Connection, initial: Baseline, options: Options, now_ms: int) -> None:
    reset.reset(conn, initial)
    _add_demo_traffic(conn, options, now_ms)


def _add_demo_traffic(conn: sqlite3.Connection, options: Options, now_ms: int) -> None:
    """Generate traffic for the first site, unless it has events from an earlier run."""
    site = registry.find_site(conn, credentials.SITES[0])
    if options.demo_days and SqliteReader(conn).oldest_event_ms(site.id) is None:
        load_traffic(conn, site, options.seed, options.demo_days, SMALL, now_ms)


def _deliveries(conn: sqlite3.Connection, site: Site) -> list[dict[str, Any]]:
    rows = []
    for delivery in delivery_log.of_site(conn, site.id):
        attempts = [attempt.to_json() for attempt in delivery_log.attempts(conn, delivery.id)]
        rows.append(delivery.to_json() | {"body": msgspec.Raw(delivery.body), "attempts": attempts})
    return rows
