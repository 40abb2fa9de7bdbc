"""The ASGI application of `ovx-lite dev`: wraps the server's `App`."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from starlette.types import Receive, Scope, Send

from ovx_lite.app import App, open_services
from ovx_lite.domain.hosts import AllowedHosts
from ovx_lite.emulator import fault_injection, live, routes, unmatched, webhook_receiver_routes
from ovx_lite.emulator.authenticator import EmulatorAuthenticator
from ovx_lite.emulator.clock import ManualClock
from ovx_lite.emulator.credentials import PASSWORD
from ovx_lite.emulator.emulator import Emulator
from ovx_lite.emulator.host_check import emulator_hosts, reject_unknown_host
from ovx_lite.emulator.options import Options
from ovx_lite.emulator.protocol import BreakableProtocol

_ROUTES = (*routes.ROUTES, *webhook_receiver_routes.ROUTES, *live.ROUTES)


class EmulatorApp:
    """A server with the emulator around it.

    The server gets another authenticator, observer and routes. Requests pass the host check first, then the fault rules
    (ingestion endpoints), or the recording of requests that match no endpoint (everything else).
    """

    http_protocol = BreakableProtocol

    def __init__(self, app: App, emulator: Emulator, hosts: AllowedHosts) -> None:
        self._app = app
        self._emulator = emulator
        self._hosts = hosts
        self._has_password = False
        self._setting_password: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, data_dir: Path, settings: Mapping[str, str], clock: ManualClock, options: Options
    ) -> "EmulatorApp":
        """Open the store and connect everything to it. Raises `ApiError`."""
        services = await open_services(data_dir, settings, clock)
        async with AsyncExitStack() as on_error:
            on_error.push_async_callback(services.database.close)
            emulator, hosts = await Emulator.open(services, clock, options), emulator_hosts(settings)
            app = App(
                services,
                settings,
                authenticator=EmulatorAuthenticator(services.database, services.sites, clock, options.any_key),
                observer=emulator.observer,
                hosts=hosts,
                routes=_ROUTES,
            )
            on_error.pop_all()
        return cls(app, emulator, hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if await reject_unknown_host(self._hosts, scope, send):
            return
        scope.setdefault("state", {})["emulator"] = self._emulator  # see `routes.emulator_of`
        endpoint = self._app.match(scope)
        if endpoint is None:
            await unmatched.respond(self._emulator, self._app.pages, scope, receive, send)
        else:
            await fault_injection.respond(self._emulator, self._app.api, endpoint, scope, receive, send)

    @property
    def setup_path(self) -> str:
        """There is nothing to set up."""
        return ""

    async def set_admin_password(self, password: str) -> None:
        """Set the password that the environment gives, in place of the emulator's own."""
        self._has_password = True
        await self._app.set_admin_password(password)

    def begin_shutdown(self) -> None:
        """End streams, waiting requests and slow bodies soon, so that the server need not wait for them."""
        self._app.begin_shutdown()
        self._emulator.journal.notify()

    def start(self) -> None:
        """Start the background jobs and the forwarder."""
        self._app.start()
        self._emulator.start()
        if not self._has_password:
            self._setting_password = asyncio.create_task(self._app.set_admin_password(PASSWORD))

    async def close(self) -> None:
        """Stop the forwarder and the jobs, and close the store."""
        async with AsyncExitStack() as stack:  # callbacks run from last to first, even if one fails
            stack.push_async_callback(self._app.close)
            stack.push_async_callback(self._emulator.close)
            if self._setting_password is not None:
                self._setting_password.cancel()
                await asyncio.gather(self._setting_password, return_exceptions=True)
