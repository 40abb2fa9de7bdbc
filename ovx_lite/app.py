"""Connects the parts into one ASGI application."""

import asyncio
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from ovx_lite.auth import passwords
from ovx_lite.auth.rate_limit import RateLimiter
from ovx_lite.dialects import ENDPOINTS
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.hosts import dev_hosts, serve_hosts
from ovx_lite.emulator import fault_injection, live, routes, unmatched, webhook_receiver_routes
from ovx_lite.emulator.credentials import PASSWORD
from ovx_lite.emulator.emulator import Standin
from ovx_lite.emulator.host_check import is_refused
from ovx_lite.enrichment import user_agent
from ovx_lite.enrichment.geoip import open_country_data
from ovx_lite.http.paths import ControlCharacterRoute, has_control_character
from ovx_lite.services.disk_space import DiskSpace
from ovx_lite.services.group_commit import GroupCommitWriter
from ovx_lite.services.notifier import Notifier
from ovx_lite.services.rejected import RejectedEvents
from ovx_lite.services.scheduler import JOBS, measure_disk, run_periodically
from ovx_lite.services.services import Services
from ovx_lite.services.site_cache import SiteCache
from ovx_lite.services.webhook_sender import WebhookSender
from ovx_lite.storage import accounts, rate_limits
from ovx_lite.storage.connections import Database
from ovx_lite.storage.rollups import value_limit
from ovx_lite.storage.write.unit_of_work import open_unit_of_work
from ovx_lite.web.api import stats
from ovx_lite.web.api.health import Health
from ovx_lite.web.api.ingest import Api
from ovx_lite.web.api.metrics import Metrics
from ovx_lite.web.api.openapi import openapi
from ovx_lite.web.api.tracker_script import script
from ovx_lite.web.common import error_handlers, templating
from ovx_lite.web.common.context import Handler, RouteSpec, UiContext
from ovx_lite.web.common.csrf import CrossOriginProtection, FormOriginCheck, HostCheck, LoginRequired
from ovx_lite.web.common.live_visitors import LiveVisitors
from ovx_lite.web.common.sessions import Sessions
from ovx_lite.web.ui import (
    api_keys,
    auth,
    badge,
    deliveries,
    goals,
    onboarding,
    people,
    rejected_events,
    setup,
    sharing,
    sites,
    webhooks,
)
from ovx_lite.web.ui.dashboard import routes as dashboard
from ovx_lite.webhooks.client import WebhookClient
from ovx_lite.webhooks.ssrf import parse_networks

_API_ROUTES = stats.PUBLIC_ROUTES
_PUBLIC_ROUTES = (
    *sites.PUBLIC_ROUTES,
    *setup.PUBLIC_ROUTES,
    *auth.PUBLIC_ROUTES,
    *sharing.PUBLIC_ROUTES,
    *badge.PUBLIC_ROUTES,
)
_PROTECTED_ROUTES = (
    *(
        *auth.PROTECTED_ROUTES,
        *sites.PROTECTED_ROUTES,
        *dashboard.PROTECTED_ROUTES,
        *onboarding.PROTECTED_ROUTES,
        *api_keys.PROTECTED_ROUTES,
        *goals.PROTECTED_ROUTES,
    ),
    *(*webhooks.PROTECTED_ROUTES, *deliveries.PROTECTED_ROUTES, *people.PROTECTED_ROUTES, *sharing.PROTECTED_ROUTES),
    *rejected_events.PROTECTED_ROUTES,
)


class App:
    """The whole server, as an ASGI application: the ingestion endpoints first, then Starlette for all else."""

    def __init__(self, api: Api, services: Services, ui: UiContext, pages: Starlette, standin: Standin | None) -> None:
        self._api = api
        self._standin = standin
        self._services = services
        self._ui = ui
        self._pages = CrossOriginProtection(pages, ui.base_url)  # around all of it, also around what tells of faults
        self._prefix = ui.root + "/" if ui.root else ""
        self._jobs: list[asyncio.Task[None]] = []

    @classmethod
    async def open(
        cls, data_dir: Path, settings: Mapping[str, str], clock: Clock, standin: Standin | None = None
    ) -> "App":
        """Open the store and connect everything to it; as a stand-in, if that is given. Raises `ApiError`."""
        country_db = settings["country_db"]
        country_of = open_country_data(Path(country_db) if country_db else None)
        database = await Database.open(data_dir)
        rate_limiter, sites, disk = (
            RateLimiter(),
            SiteCache(database),
            DiskSpace(data_dir, int(settings["disk_reserve"])),
        )
        await measure_disk(disk)
        try:
            rate_limiter.restore(await database.read(rate_limits.load, clock.now_ms()))
            await sites.refresh()
            await database.write(value_limit.save_max_values, int(settings["rollup_values"]))
            unit_of_work = await database.write(open_unit_of_work, secrets.randbits(20))
            account = await database.read(accounts.load)
        except BaseException:
            await database.close()  # its threads would keep the process alive
            raise
        sender = WebhookSender(
            database, WebhookClient(parse_networks(settings["webhook_allow_net"]), clock.now_ms), clock
        )
        notifier = Notifier()
        writer = GroupCommitWriter(database, unit_of_work, rate_limiter, clock, sender.wake, notifier, disk)
        rejected = standin.missing if standin else RejectedEvents()
        stranger = standin.caller if standin else None
        api = Api(ENDPOINTS, sites, rate_limiter, writer, country_of, clock, standin or rejected, stranger)
        backup_dir = Path(settings["backup_dir"]) if settings["backup_dir"] else None
        services = Services(data_dir, backup_dir, database, sites, writer, rate_limiter, sender, clock, disk)
        ui = UiContext(
            services,
            notifier,
            api.body_reader,
            settings["base_url"].rstrip("/"),
            serve_hosts(settings) if standin is None else dev_hosts(settings),
            parse_networks(settings["webhook_allow_net"]),
            "" if account.password_hash else secrets.token_urlsafe(24),
            rejected,
            stranger,
            LiveVisitors(services, notifier),
        )
        if standin is not None:
            await standin.settle_in(services)
        status_handlers = {
            "/healthz": Health(database, writer, clock).handle,
            "/metrics": Metrics(api, services, ui.live_visitors).handle,
        }
        return cls(api, services, ui, _pages(ui, status_handlers, standin), standin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope.get("path", "")
        if self._prefix and f"{path}/".startswith(self._prefix):  # a proxy has passed it on as it came
            inner_path = path[len(self._prefix) - 1 :] or "/"
            if (
                inner_path != "/metrics"
            ):  # one path only: behind a proxy that strips the prefix, nobody blocks a second one
                path = scope["path"] = inner_path
        standin = self._standin
        if standin is not None and await is_refused(self._ui.hosts, scope, send):
            return  # here, pages of others could read everything
        route_match = None if has_control_character(path) else self._api.match(path)
        if standin is not None and route_match is None:
            await unmatched.perform(standin, self._pages, scope, receive, send)
        elif standin is not None and route_match is not None:
            await fault_injection.perform(standin, self._api, route_match, scope, receive, send)
        elif route_match is None:
            await self._pages(scope, receive, send)
        else:
            await self._api(route_match, scope, receive, send)

    @property
    def setup_path(self) -> str:
        """Where whoever has started the server sets it up; `""` if there is a password already."""
        token = "" if self._standin else self._ui.setup_token
        return f"/setup?token={token}" if token else ""

    async def preset_password(self, password: str) -> None:
        """Have this password from now on, as whoever starts the server says."""
        account = await self._services.database.read(accounts.load)
        if not account.password_hash or not await asyncio.to_thread(
            passwords.verify_password, password, account.password_hash
        ):
            await self._ui.set_password(password)
        self._ui.setup_token, self._ui.password_from_env = "", True

    def begin_shutdown(self) -> None:
        """Let nobody wait for news any longer, nor for a slow body or query, so that what is in flight ends."""
        self._ui.notifier.close()
        self._services.database.queries.stop()
        self._api.body_reader.shorten_timeouts()
        if self._standin is not None:
            self._standin.journal.wake()

    def start(self) -> None:
        """Begin with what the program does by itself."""
        self._services.sender.start()
        self._jobs = [asyncio.create_task(run_periodically(job, self._services)) for job in JOBS]
        self._jobs.append(asyncio.create_task(self._api.body_reader.enforce_timeouts()))
        self._jobs.append(asyncio.create_task(asyncio.to_thread(user_agent.warm_up)))
        if self._standin is not None:
            self._standin.start()
            if not self._ui.password_from_env:
                self._jobs.append(asyncio.create_task(self.preset_password(PASSWORD)))

    async def close(self) -> None:
        """Stop: all that was acknowledged, and all counts, are on disk at the end."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        async with AsyncExitStack() as stack:  # from the last to the first, also if one of them fails
            stack.push_async_callback(self._services.database.close)
            stack.push_async_callback(self._services.sender.close)
            stack.push_async_callback(self._services.sites.save_last_used)
            stack.push_async_callback(self._services.writer.close)
            if self._standin is not None:
                stack.push_async_callback(self._standin.close)


def _group_by_path(route_specs: Sequence[RouteSpec]) -> Iterator[tuple[str, Handler, list[str]]]:
    """Pages by their paths, each with all its methods, so that a wrong method is told of all that are right."""
    paths: dict[str, dict[str, Handler]] = {}
    for method, path, handler in route_specs:
        paths.setdefault(path, {})[method] = handler
    for path, methods in paths.items():
        yield (
            path,
            _dispatch_by_method({"HEAD": methods["GET"], **methods} if "GET" in methods else methods),
            list(methods),
        )


def _dispatch_by_method(methods: Mapping[str, Handler]) -> Handler:
    async def handle(request: Request) -> Response:
        return await methods[request.method](request)

    return handle


def _pages(ui: UiContext, status_handlers: Mapping[str, Handler], standin: Standin | None) -> Starlette:
    api_routes = (
        _API_ROUTES if standin is None else (*_API_ROUTES, *routes.OPEN, *webhook_receiver_routes.OPEN, *live.OPEN)
    )
    public_middleware = [Middleware(HostCheck), Middleware(FormOriginCheck), Middleware(Sessions)]
    login_middleware = [*public_middleware, Middleware(LoginRequired)]
    application = Starlette(
        routes=[
            ControlCharacterRoute(),
            *(Route(path, handler, methods=methods) for path, handler, methods in _group_by_path(api_routes)),
            *(
                Route(path, handler, methods=methods, middleware=public_middleware)
                for path, handler, methods in _group_by_path(_PUBLIC_ROUTES)
            ),
            *(
                Route(path, handler, methods=methods, middleware=login_middleware)
                for path, handler, methods in _group_by_path(_PROTECTED_ROUTES)
            ),
            *(Route(path, handler) for path, handler in status_handlers.items()),
            Route("/openapi.json", openapi),
            Route("/js/ovx.js", script),
            Mount("/static", StaticFiles(directory=templating.find_folder("static"))),
        ],
        exception_handlers={
            ApiError: error_handlers.on_api_error,
            HTTPException: error_handlers.on_http_exception,
            sqlite3.OperationalError: error_handlers.on_store_error,
            Exception: error_handlers.on_internal_error,
        },
    )
    application.router.redirect_slashes = False  # it would lead to the host of the request, not of the base URL
    application.state.ui = ui
    application.state.standin = standin
    return application
