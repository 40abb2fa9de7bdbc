"""A sender of webhooks in this process, with a clock that tests set."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable

from ovx_lite.app import App
from ovx_lite.domain import config
from ovx_lite.storage.webhooks import delivery_log, subscriptions
from tests.conftest import Store
from tests.support.in_process import post
from tests.support.receiver import TIMEOUT_S, SettableClock, wait_until
from tests.support.store import NOW


async def close(app: App) -> None:
    """Close the application; if it does not end, the test fails instead of hanging."""
    try:
        await asyncio.wait_for(app.close(), TIMEOUT_S)
    except TimeoutError:
        await app.services.database.close()
        raise


class WebhookHarness:
    """A store with sites, goals and webhooks, and the application on it with a settable clock."""

    def __init__(self, store: Store, conn: sqlite3.Connection) -> None:
        self.store, self.conn, self.clock = store, conn, SettableClock(NOW)
        self.keys = {"my-site": self._add_site("my-site")}

    def _add_site(self, id: str) -> str:
        self.store.site(id)
        self.store.call("goal", "add", id, "Signup", "--event", "signup")
        return self.store.key(id)

    def add_webhook(self, url: str, site: str = "my-site") -> str:
        if site not in self.keys:
            self.keys[site] = self._add_site(site)
        return str(self.store.call("webhook", "add", site, url, "--on", "goal.completed")["id"])

    def webhook_state(self, id: str) -> tuple[bool, str]:
        """Return whether a webhook is enabled, and why not."""
        webhook = subscriptions.find_webhook(self.conn, id)
        return webhook.enabled, webhook.disabled_reason

    def deliveries(self, id: str = "") -> list[delivery_log.DeliveryRecord]:
        """Return the deliveries to one or all webhooks, oldest first."""
        return [delivery for delivery in delivery_log.of_site(self.conn, 1) if id in ("", delivery.webhook)][::-1]

    def statuses(self, id: str = "") -> str:
        return " ".join(delivery.status for delivery in self.deliveries(id))

    def run_app(self, action: Callable[[App], Awaitable[None]]) -> None:
        """Open the application on the store, run an action with it, and close it."""

        async def run() -> None:
            app = await App.open(self.store.path, config.read(self.store.path, {}), self.clock)
            app.start()
            self.clock.on_set = app.services.sender.wake
            try:
                await action(app)
            finally:
                await close(app)

        asyncio.run(run())

    async def meet_goal(self, app: App, site: str = "my-site", path: str = "") -> int:
        """Send an event that meets the goal, and return the status of the response."""
        url = f"https://example.com/{path}"
        return (await post(app, self.keys[site], event_name="signup", site_id=site, url=url))[0]

    async def wait_for_attempts(self, attempts: int) -> None:
        """Wait until this many attempts of the newest delivery are recorded."""
        await wait_until(
            lambda: self.deliveries()[-1].attempts == attempts or self.deliveries()[-1].status == "skipped"
        )

    async def exhaust_retries(self, app: App) -> None:
        """Send a message, and let all its attempts fail."""
        await self.meet_goal(app)
        for attempts in range(1, 5):
            await self.wait_for_attempts(attempts)
            self.clock.set(max(self.clock.current_ms, self.deliveries()[-1].next_attempt_at_ms))
