"""The stand-in as a whole: what it knows, and what can be done with it."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from ovx_lite.auth.api_keys import Principal
from ovx_lite.domain import validators
from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.errors import ApiError, no_such_site
from ovx_lite.domain.models import Site
from ovx_lite.emulator import credentials
from ovx_lite.emulator.clock import TurnedClock
from ovx_lite.emulator.demo_loader import fill
from ovx_lite.emulator.demo_traffic import SMALL
from ovx_lite.emulator.fault_rules import PRESENT, Faults, Rule
from ovx_lite.emulator.forwarder import Relay
from ovx_lite.emulator.journal import Journal
from ovx_lite.emulator.journal_entries import told
from ovx_lite.emulator.protocol import BreakableProtocol
from ovx_lite.emulator.webhook_receiver import Hooks
from ovx_lite.services import factories
from ovx_lite.services.observer import RequestOutcome
from ovx_lite.services.rejected import RejectedEvents
from ovx_lite.services.scheduler import JOBS, back_up
from ovx_lite.services.services import Services
from ovx_lite.storage import registry, reset, retention, sqlite
from ovx_lite.storage.read import events
from ovx_lite.storage.reset import Baseline
from ovx_lite.storage.webhooks import delivery_log
from ovx_lite.webhooks.triggers import TRIGGERS, Alert, sample_alert


class Options(NamedTuple):
    """How a stand-in is to be.

    `seed` is of what is made up, and of what fails by chance; `rules` are the faults at the start; `demo` days of
    traffic there are, 0 for none; `forward` is where what is accepted goes on to, `""` for nowhere; `throwaway` says
    that the store is deleted at the end, so that nothing need be safe on disk.
    """

    seed: int
    any_key: bool
    rules: list[Rule]
    demo: int
    forward: str
    throwaway: bool


class Standin:
    """What `ovx-lite dev` has beside a server."""

    wants_all = True
    protocol = BreakableProtocol

    def __init__(self, clock: TurnedClock, options: Options) -> None:
        self.clock = clock
        self._options = options
        self.journal = Journal()
        self.missing = RejectedEvents()
        self.faults = Faults(options.seed)
        self.faults.put(options.rules)
        self.hooks = Hooks()
        self._relay = Relay(options.forward, self.journal.amend) if options.forward else None
        self._relaying: asyncio.Task[None] | None = None
        self._turning = asyncio.Lock()
        self._house: Services | None = None
        self._kept = Baseline(frozenset(), frozenset())

    @property
    def house(self) -> Services:
        """The server that it is part of."""
        assert self._house is not None, "it was settled in"
        return self._house

    async def settle_in(self, house: Services) -> None:
        """Have the documents' sites in a server's store, and remember what is there at the start."""
        self._house = house
        if self._options.throwaway:
            await house.database.write(sqlite.do_not_sync)
        await house.database.write(_add_sites, credentials.SITES, self.clock.now_ms())
        self._kept = await house.database.read(reset.read_baseline)
        await house.writer.change(_fill, self._options, self.clock.now_ms())
        await house.database.write(retention.confirm, self.clock.now_ms())  # this clock is turned on purpose
        await house.sites.refresh()

    def start(self) -> None:
        """Begin to send on what is to be forwarded."""
        if self._relay is not None:
            self._relaying = asyncio.create_task(self._relay.run())

    async def close(self) -> None:
        """Send nothing on any longer."""
        if self._relaying is not None:
            self._relaying.cancel()
            await asyncio.wait([self._relaying])

    def record(self, verdict: RequestOutcome) -> None:
        """Take note of what came of a request."""
        if verdict.error is not None or any(event.event_type.excluded for event in verdict.events):
            self.missing.record(verdict)
        if verdict.method == "OPTIONS":
            return
        numbers = self.journal.put(told(verdict, PRESENT.get()))
        if self._relay is not None:
            self._relay.take(verdict, numbers)

    async def caller(self, authorization: str, name: str) -> Principal | None:
        """Who calls with such a header for a site of that name; None where the usual ways are to be tried."""
        sites = self.house.sites
        site = sites.find_public(name or credentials.SITES[0])  # a body that is wrong may not say for whom it is
        if site is None and self._options.any_key and _may_be(name):
            await self.house.database.write(_add_sites, [name], self.clock.now_ms())
            await sites.refresh()
            site = sites.find_public(name)
        return credentials.caller(authorization, site or sites.find_public(credentials.SITES[0]), self._options.any_key)

    def site(self, name: str) -> Site:
        """The site of that name, or that public key; the first, if none is named. Raises `ApiError`."""
        found = self.house.sites.find_public(name or credentials.SITES[0])
        if found is None:
            raise no_such_site("site")
        return found

    async def reset(self) -> None:
        """Back to the start: events, deliveries, faults, clock and limits; sites and keys stay."""
        async with self._turning:
            self.clock.reset()
            self.faults.put(self._options.rules)
            self.hooks.clear()
            await self.house.writer.change(_begin_again, self._kept, self._options, self.clock.now_ms())
            self.house.rate_limiter.clear()
            self.house.sites.evict_salts()
            await self.house.sites.refresh()
            self.house.sender.wake()
            self.journal.clear()

    async def turn(self, until: Callable[[int], int]) -> dict[str, Any]:
        """Put the clock forward, and do all that falls due until then, in its order.

        `until` says of the time that it is (Unix ms) until when; it may raise `ApiError`. Returns what the time is, what
        was tried, and the jobs that had work.
        """
        async with self._turning:
            last = await self.house.database.read(delivery_log.last_attempt_id)
            self.clock.hold()  # so that a try takes no time, and the next falls due to the minute
            try:
                jobs = await self._live_until(until(self.clock.now_ms()))
            finally:
                self.clock.release()
            tried = await self.house.database.read(delivery_log.attempts_after, last)
            shown = [one.to_json() for one in tried]
            return {"now": format_utc(self.clock.now_ms()), "tried": shown, "jobs": jobs}

    async def _live_until(self, to: int) -> list[str]:
        sender = self.house.sender
        await sender.wait_idle()
        while sender.next_attempt_at_ms is not None and sender.next_attempt_at_ms <= to:
            self.clock.turn(sender.next_attempt_at_ms)
            await sender.wait_idle()
        self.clock.turn(to)
        await sender.wait_idle()
        await self.house.database.write(retention.confirm, to)
        return [job.description for job in JOBS if job.run is not back_up and await job.run(self.house)]

    async def trigger(self, site: Site, event: str, data: object) -> list[str]:
        """Tell a site's webhooks of something, as the real outbox does. Returns in words what is on its way."""
        if event not in TRIGGERS:
            raise ApiError("invalid_request", f"event is one of {', '.join(TRIGGERS)}.", "event")
        if data is not None and not isinstance(data, dict):
            raise ApiError("invalid_request", "data is an object; without it a sample is sent.", "data")
        alert: Alert = sample_alert(event, site.slug, self.clock.now_ms())
        return await self.house.writer.enqueue_alert(site.id, alert if data is None else alert._replace(data=data))

    async def deliveries(self, site: Site) -> list[dict[str, Any]]:
        """A site's log of deliveries, the latest first."""
        return await self.house.database.read(_deliveries, site)


def _may_be(name: str) -> bool:
    try:
        return bool(validators.site_slug(name))
    except ApiError:
        return False


def _add_sites(conn: sqlite3.Connection, names: Sequence[str], now: int) -> None:
    """Add sites of these names, unless they are there."""
    for name in names:
        try:
            registry.find_site(conn, name)
        except ApiError:
            site = factories.site(name, "UTC", now)
            if name == credentials.SITES[0]:
                site = msgspec.structs.replace(site, public_key=credentials.PUBLIC_KEY)
            registry.add_site(conn, site)


def _begin_again(conn: sqlite3.Connection, kept: Baseline, options: Options, now: int) -> None:
    reset.reset(conn, kept)
    _fill(conn, options, now)


def _fill(conn: sqlite3.Connection, options: Options, now: int) -> None:
    """Give the first site its made-up traffic, if there is to be any, and none is there from an earlier time."""
    site = registry.find_site(conn, credentials.SITES[0])
    if options.demo and events.oldest_event_ms(conn, site.id) is None:
        fill(conn, site, options.seed, options.demo, SMALL, now)


def _deliveries(conn: sqlite3.Connection, site: Site) -> list[dict[str, Any]]:
    found = list(delivery_log.of_site(conn, site.id))
    tries = {one.id: [attempt.to_json() for attempt in delivery_log.attempts(conn, one.id)] for one in found}
    return [one.to_json() | {"body": msgspec.Raw(one.body), "attempts": tries[one.id]} for one in found]
