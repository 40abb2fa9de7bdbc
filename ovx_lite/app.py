"""Connects the parts into one ASGI application."""

import asyncio
import re
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
from starlette.types import ASGIApp, Receive, Scope, Send

from ovx_lite.auth import passwords
from ovx_lite.auth.authenticator import Authenticator
from ovx_lite.auth.rate_limit import RateLimiter
from ovx_lite.dialects import ENDPOINTS
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.hosts import AllowedHosts, serve_hosts
from ovx_lite.enrichment import user_agent
from ovx_lite.enrichment.geoip import open_country_data
from ovx_lite.http.direct import DirectHandler
from ovx_lite.http.paths import ControlCharacterRoute, has_control_character
from ovx_lite.http.protocol import HttpProtocol
from ovx_lite.services.disk_space import DiskSpace
from ovx_lite.services.group_commit import GroupCommitWriter
from ovx_lite.services.notifier import Notifier
from ovx_lite.services.observer import RequestObserver
from ovx_lite.services.projector import Projector
from ovx_lite.services.rejected import RejectedEvents
from ovx_lite.services.scheduler import JOBS, measure_disk, run_periodically
from ovx_lite.services.services import Services
from ovx_lite.services.site_cache import SiteAuthenticator, SiteCache
from ovx_lite.services.webhook_sender import WebhookSender
from ovx_lite.storage import accounts, upkeep
from ovx_lite.storage.connections import Database
from ovx_lite.storage.ledger import event_journal, rate_limits
from ovx_lite.storage.ledger.ledger import open_ledger
from ovx_lite.storage.projection.projection import open_projection
from ovx_lite.storage.rollups import value_limit
from ovx_lite.web.api import ingest, stats
from ovx_lite.web.api.health import Health
from ovx_lite.web.api.ingest import Api
from ovx_lite.web.api.metrics import Metrics
from ovx_lite.web.api.openapi import openapi
from ovx_lite.web.api.tracker_script import script
from ovx_lite.web.common import context, error_handlers, templating
from ovx_lite.web.common.context import Handler, UiContext
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

_PUBLIC_PAGES = (
    *sites.PUBLIC_ROUTES,
    *setup.PUBLIC_ROUTES,
    *auth.PUBLIC_ROUTES,
    *sharing.PUBLIC_ROUTES,
    *badge.PUBLIC_ROUTES,
)
_SIGNED_IN_PAGES = (
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

_DIRECT_TARGET = re.compile(rb'(/[!"$&->@-~]{1,255})(?:\?([!"$-~]*))?')  # no `%` in the path, and no `#`
_MAX_DIRECT_HANDLERS = 1000


async def open_services(data_dir: Path, settings: Mapping[str, str], clock: Clock) -> Services:
    """Open the store and everything that works on it. Raises `ApiError`."""
    country_db = settings["country_db"]
    country_of = open_country_data(Path(country_db) if country_db else None)
    database = await Database.open(data_dir)
    async with AsyncExitStack() as on_error:
        on_error.push_async_callback(database.close)  # its threads would keep the process alive
        limits, disk = RateLimiter(), DiskSpace(data_dir, int(settings["disk_reserve"]))
        await measure_disk(disk)
        limits.restore(await database.read(rate_limits.load, clock.now_ms()))
        await database.write(value_limit.save_max_values, int(settings["rollup_values"]))
        ledger = await database.write(open_ledger, secrets.randbits(20))
        projection = await database.write(open_projection)
        projector = Projector(database, projection, await database.read(event_journal.event_count))
        sender = WebhookSender(
            database, WebhookClient(parse_networks(settings["webhook_allow_net"]), clock.now_ms), clock
        )
        notifier = Notifier()
        writer = GroupCommitWriter(
            database=database,
            ledger=ledger,
            projector=projector,
            rate_limiter=limits,
            clock=clock,
            wake_sender=sender.wake,
            notifier=notifier,
            disk=disk,
        )
        sites = SiteCache(database, writer.change)
        await sites.refresh()
        on_error.pop_all()
    return Services(
        data_dir=data_dir,
        backup_dir=Path(settings["backup_dir"]) if settings["backup_dir"] else None,
        database=database,
        sites=sites,
        writer=writer,
        projector=projector,
        upkeep=upkeep,
        rate_limiter=limits,
        sender=sender,
        clock=clock,
        disk=disk,
        notifier=notifier,
        rejected=RejectedEvents(),
        country_of=country_of,
    )


class App:
    """The whole server as an ASGI application.

    The ingestion endpoints (`api`) are tried first; everything else is Starlette's (`pages`).
    """

    http_protocol = HttpProtocol

    def __init__(
        self,
        services: Services,
        settings: Mapping[str, str],
        *,
        authenticator: Authenticator,
        observer: RequestObserver,
        hosts: AllowedHosts,
        setup_token: str = "",
        routes: Sequence[context.RouteSpec] = (),
    ) -> None:
        """Connect everything to the services.

        `hosts` are the host names that pages answer to. `setup_token` opens `/setup` until a password is set; with `""`
        it stays closed. `routes` are added to the public API.
        """
        self.services = services
        self.api = Api(
            endpoints=ENDPOINTS,
            sites=services.sites,
            rate_limiter=services.rate_limiter,
            writer=services.writer,
            country_of=services.country_of,
            clock=services.clock,
            authenticator=authenticator,
            observer=observer,
        )
        self.context = UiContext(
            services=services,
            notifier=services.notifier,
            body_reader=self.api.body_reader,
            base_url=settings["base_url"].rstrip("/"),
            hosts=hosts,
            webhook_networks=parse_networks(settings["webhook_allow_net"]),
            setup_token=setup_token,
            rejected_events=services.rejected,
            authenticator=authenticator,
            live_visitors=LiveVisitors(services, services.notifier),
        )
        # The protection is outermost, so that error pages have its headers, too.
        self.pages: ASGIApp = CrossOriginProtection(_pages(self.context, self.api, routes), self.context.base_url)
        self._prefix = self.context.root + "/" if self.context.root else ""
        self._direct_handlers: dict[bytes, DirectHandler] = {}
        self._jobs: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, data_dir: Path, settings: Mapping[str, str], clock: Clock) -> "App":
        """Open the store of a server and connect everything to it. Raises `ApiError`."""
        services = await open_services(data_dir, settings, clock)
        async with AsyncExitStack() as on_error:
            on_error.push_async_callback(services.database.close)
            has_password = bool((await services.database.read(accounts.load)).password_hash)
            app = cls(
                services,
                settings,
                authenticator=SiteAuthenticator(services.sites),
                observer=services.rejected,
                hosts=serve_hosts(settings),
                setup_token="" if has_password else secrets.token_urlsafe(24),
            )
            on_error.pop_all()
        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        endpoint = self.match(scope)
        if endpoint is None:
            await self.pages(scope, receive, send)
        else:
            await self.api(endpoint, scope, receive, send)

    def match(self, scope: Scope) -> ingest.RouteMatch | None:
        """Return the ingestion endpoint that a request is for; `None` if it is for a page or another API.

        Removes the path of the base URL from `scope["path"]`, so call it once a request.
        """
        path = scope["path"] = self._inner_path(scope.get("path", ""))
        return None if has_control_character(path) else self.api.match(path)

    def direct_handler(self, target: bytes) -> DirectHandler | None:
        """Return what answers requests to an ingestion endpoint without ASGI, or `None` if it is none.

        Paths with escaped characters go the ASGI way: no product's client sends them.
        """
        handler = self._direct_handlers.get(target)
        if handler is not None:
            return handler
        match = _DIRECT_TARGET.fullmatch(target)
        if match is None:
            return None
        handler = self.api.direct_handler(self._inner_path(match[1].decode()), match[2] or b"")
        if handler is not None and match[2] is None and len(self._direct_handlers) < _MAX_DIRECT_HANDLERS:
            self._direct_handlers[target] = handler
        return handler

    def _inner_path(self, path: str) -> str:
        """Return a path without the path of the base URL, which a proxy may not have removed."""
        if self._prefix and f"{path}/".startswith(self._prefix):
            inner = path[len(self._prefix) - 1 :] or "/"
            if inner != "/metrics":  # only one path, so that a proxy that strips the prefix has to block only one
                return inner
        return path

    @property
    def setup_path(self) -> str:
        """The path and token of the set-up page; `""` if there is nothing to set up."""
        token = self.context.setup_token
        return f"/setup?token={token}" if token else ""

    async def set_admin_password(self, password: str) -> None:
        """Set the password that the environment gives. If it is a new one, all sessions end."""
        account = await self.services.database.read(accounts.load)
        if not account.password_hash or not await asyncio.to_thread(
            passwords.verify_password, password, account.password_hash
        ):
            await self.context.set_password(password)
        self.context.setup_token, self.context.password_from_env = "", True

    def begin_shutdown(self) -> None:
        """End streams, long queries and slow bodies soon, so that the server need not wait for them."""
        self.context.notifier.close()
        self.services.database.queries.stop()
        self.api.body_reader.shorten_timeouts()

    def start(self) -> None:
        """Start the background jobs."""
        self.services.sender.start()
        self._jobs = [asyncio.create_task(run_periodically(job, self.services)) for job in JOBS]
        self._jobs.append(asyncio.create_task(self.services.projector.run()))
        self._jobs.append(asyncio.create_task(self.api.body_reader.enforce_timeouts()))
        self._jobs.append(asyncio.create_task(asyncio.to_thread(user_agent.warm_up)))

    async def close(self) -> None:
        """Stop the jobs and close the store. All acknowledged events and all counters are on disk afterwards."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        async with AsyncExitStack() as stack:  # runs from the last to the first, even if one of them fails
            stack.push_async_callback(self.services.database.close)
            stack.push_async_callback(self.services.sender.close)
            stack.push_async_callback(self.services.sites.save_last_used)
            stack.push_async_callback(self.services.projector.close)
            stack.push_async_callback(self.services.writer.close)


def _group_by_path(routes: Sequence[context.RouteSpec]) -> Iterator[tuple[str, Handler, list[str]]]:
    """Yield each path with a handler for all its methods, so that a 405 lists all methods in `Allow`."""
    paths: dict[str, dict[str, Handler]] = {}
    for method, path, handler in routes:
        paths.setdefault(path, {})[method] = handler
    for path, handlers in paths.items():
        with_head = {"HEAD": handlers["GET"], **handlers} if "GET" in handlers else handlers
        yield path, _dispatch_by_method(with_head), list(handlers)


def _dispatch_by_method(handlers: Mapping[str, Handler]) -> Handler:
    async def handle(request: Request) -> Response:
        return await handlers[request.method](request)

    return handle


def _pages(ui: UiContext, api: Api, routes: Sequence[context.RouteSpec]) -> Starlette:
    """Build everything but the ingestion endpoints; `routes` come in addition to the server's own."""
    public = [Middleware(HostCheck), Middleware(FormOriginCheck), Middleware(Sessions)]
    login_middleware = [*public, Middleware(LoginRequired)]
    health, metrics = (
        Health(ui.services.database, ui.services.writer, ui.services.clock),
        Metrics(api, ui.services, ui.live_visitors),
    )
    application = Starlette(
        routes=[
            ControlCharacterRoute(),
            *(
                Route(path, page, methods=methods)
                for path, page, methods in _group_by_path((*stats.PUBLIC_ROUTES, *routes))
            ),
            *(
                Route(path, page, methods=methods, middleware=public)
                for path, page, methods in _group_by_path(_PUBLIC_PAGES)
            ),
            *(
                Route(path, page, methods=methods, middleware=login_middleware)
                for path, page, methods in _group_by_path(_SIGNED_IN_PAGES)
            ),
            Route("/healthz", health.handle),
            Route("/metrics", metrics.handle),
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
    return application
