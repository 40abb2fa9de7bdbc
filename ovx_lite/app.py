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
from ovx_lite.auth.rate_limit import Limits
from ovx_lite.dialects import ENDPOINTS
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.hosts import dev_hosts, serve_hosts
from ovx_lite.emulator import fault_injection, live, routes, unmatched, webhook_receiver_routes
from ovx_lite.emulator.credentials import PASSWORD
from ovx_lite.emulator.emulator import Standin
from ovx_lite.emulator.host_check import is_refused
from ovx_lite.enrichment import user_agent
from ovx_lite.enrichment.geoip import open_country_data
from ovx_lite.http.paths import ControlCharacters, has_control_character
from ovx_lite.services.disk_space import DiskSpace
from ovx_lite.services.group_commit import Ingest
from ovx_lite.services.notifier import News
from ovx_lite.services.rejected import Missing
from ovx_lite.services.scheduler import JOBS, Household, keep_running, measure_disk
from ovx_lite.services.site_cache import Sites
from ovx_lite.services.webhook_sender import Sender
from ovx_lite.storage import accounts, rate_limits
from ovx_lite.storage.connections import Database
from ovx_lite.storage.rollups import value_limit
from ovx_lite.storage.write.unit_of_work import open_books
from ovx_lite.web.api import stats
from ovx_lite.web.api.health import Health
from ovx_lite.web.api.ingest import Api
from ovx_lite.web.api.metrics import Metrics
from ovx_lite.web.api.openapi import openapi
from ovx_lite.web.api.tracker_script import script
from ovx_lite.web.common import error_handlers, templating
from ovx_lite.web.common.context import Desk, Door, Page
from ovx_lite.web.common.csrf import FormOrigin, Guard, KnownHost, SignedIn
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
from ovx_lite.webhooks.client import Outgoing
from ovx_lite.webhooks.ssrf import networks

_PROGRAMS = stats.OPEN
_OPEN = (*sites.OPEN, *setup.OPEN, *auth.OPEN, *sharing.OPEN, *badge.OPEN)
_SIGNED_IN = (
    *(
        *auth.SIGNED_IN,
        *sites.SIGNED_IN,
        *dashboard.SIGNED_IN,
        *onboarding.SIGNED_IN,
        *api_keys.SIGNED_IN,
        *goals.SIGNED_IN,
    ),
    *(*webhooks.SIGNED_IN, *deliveries.SIGNED_IN, *people.SIGNED_IN, *sharing.SIGNED_IN),
    *rejected_events.SIGNED_IN,
)


class App:
    """The whole server, as an ASGI application: the ingestion endpoints first, then Starlette for all else."""

    def __init__(self, api: Api, house: Household, desk: Desk, pages: Starlette, standin: Standin | None) -> None:
        self._api = api
        self._standin = standin
        self._house = house
        self._desk = desk
        self._pages = Guard(pages, desk.base_url)  # around all of it, also around what tells of faults
        self._prefix = desk.root + "/" if desk.root else ""
        self._jobs: list[asyncio.Task[None]] = []

    @classmethod
    async def open(
        cls, data_dir: Path, settings: Mapping[str, str], clock: Clock, standin: Standin | None = None
    ) -> "App":
        """Open the store and connect everything to it; as a stand-in, if that is given. Raises `Refused`."""
        country_db = settings["country_db"]
        country_of = open_country_data(Path(country_db) if country_db else None)
        database = await Database.open(data_dir)
        limits, sites, disk = Limits(), Sites(database), DiskSpace(data_dir, int(settings["disk_reserve"]))
        await measure_disk(disk)
        try:
            limits.restore(await database.read(rate_limits.load, clock.now()))
            await sites.refresh()
            await database.write(value_limit.save_max_values, int(settings["rollup_values"]))
            books = await database.write(open_books, secrets.randbits(20))
            known = await database.read(accounts.load)
        except BaseException:
            await database.close()  # its threads would keep the process alive
            raise
        sender = Sender(database, Outgoing(networks(settings["webhook_allow_net"]), clock.now), clock)
        news = News()
        ingest = Ingest(database, books, limits, clock, sender.wake, news, disk)
        missing = standin.missing if standin else Missing()
        stranger = standin.caller if standin else None
        api = Api(ENDPOINTS, sites, limits, ingest, country_of, clock, standin or missing, stranger)
        backups = Path(settings["backup_dir"]) if settings["backup_dir"] else None
        house = Household(data_dir, backups, database, sites, ingest, limits, sender, clock, disk)
        desk = Desk(
            house,
            news,
            api.bodies,
            settings["base_url"].rstrip("/"),
            serve_hosts(settings) if standin is None else dev_hosts(settings),
            networks(settings["webhook_allow_net"]),
            "" if known.password else secrets.token_urlsafe(24),
            missing,
            stranger,
            LiveVisitors(house, news),
        )
        if standin is not None:
            await standin.settle_in(house)
        asked = {"/healthz": Health(database, ingest, clock).answer, "/metrics": Metrics(api, house, desk.live).answer}
        return cls(api, house, desk, _pages(desk, asked, standin), standin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope.get("path", "")
        if self._prefix and f"{path}/".startswith(self._prefix):  # a proxy has passed it on as it came
            inner = path[len(self._prefix) - 1 :] or "/"
            if inner != "/metrics":  # one path only: behind a proxy that strips the prefix, nobody blocks a second one
                path = scope["path"] = inner
        standin = self._standin
        if standin is not None and await is_refused(self._desk.hosts, scope, send):
            return  # here, pages of others could read everything
        door = None if has_control_character(path) else self._api.door(path)
        if standin is not None and door is None:
            await unmatched.perform(standin, self._pages, scope, receive, send)
        elif standin is not None and door is not None:
            await fault_injection.perform(standin, self._api, door, scope, receive, send)
        elif door is None:
            await self._pages(scope, receive, send)
        else:
            await self._api(door, scope, receive, send)

    @property
    def setup_path(self) -> str:
        """Where whoever has started the server sets it up; `""` if there is a password already."""
        token = "" if self._standin else self._desk.setup_token
        return f"/setup?token={token}" if token else ""

    async def take_password(self, password: str) -> None:
        """Have this password from now on, as whoever starts the server says."""
        known = await self._house.database.read(accounts.load)
        if not known.password or not await asyncio.to_thread(passwords.is_right, password, known.password):
            await self._desk.set_password(password)
        self._desk.setup_token, self._desk.password_given = "", True

    def hurry(self) -> None:
        """Let nobody wait for news any longer, nor for a slow body or query, so that what is in flight ends."""
        self._desk.news.close()
        self._house.database.queries.stop()
        self._api.bodies.hurry()
        if self._standin is not None:
            self._standin.journal.wake()

    def start(self) -> None:
        """Begin with what the program does by itself."""
        self._house.sender.start()
        self._jobs = [asyncio.create_task(keep_running(job, self._house)) for job in JOBS]
        self._jobs.append(asyncio.create_task(self._api.bodies.watch()))
        self._jobs.append(asyncio.create_task(asyncio.to_thread(user_agent.warm)))
        if self._standin is not None:
            self._standin.start()
            if not self._desk.password_given:
                self._jobs.append(asyncio.create_task(self.take_password(PASSWORD)))

    async def close(self) -> None:
        """Stop: all that was acknowledged, and all counts, are on disk at the end."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        async with AsyncExitStack() as stack:  # from the last to the first, also if one of them fails
            stack.push_async_callback(self._house.database.close)
            stack.push_async_callback(self._house.sender.close)
            stack.push_async_callback(self._house.sites.save_used)
            stack.push_async_callback(self._house.ingest.close)
            if self._standin is not None:
                stack.push_async_callback(self._standin.close)


def _by_path(doors: Sequence[Door]) -> Iterator[tuple[str, Page, list[str]]]:
    """Pages by their paths, each with all its methods, so that a wrong method is told of all that are right."""
    paths: dict[str, dict[str, Page]] = {}
    for method, path, do in doors:
        paths.setdefault(path, {})[method] = do
    for path, methods in paths.items():
        yield path, _by_method({"HEAD": methods["GET"], **methods} if "GET" in methods else methods), list(methods)


def _by_method(methods: Mapping[str, Page]) -> Page:
    async def answer(request: Request) -> Response:
        return await methods[request.method](request)

    return answer


def _pages(desk: Desk, asked: Mapping[str, Page], standin: Standin | None) -> Starlette:
    programs = _PROGRAMS if standin is None else (*_PROGRAMS, *routes.OPEN, *webhook_receiver_routes.OPEN, *live.OPEN)
    opened = [Middleware(KnownHost), Middleware(FormOrigin), Middleware(Sessions)]
    signed_in = [*opened, Middleware(SignedIn)]
    application = Starlette(
        routes=[
            ControlCharacters(),
            *(Route(path, do, methods=methods) for path, do, methods in _by_path(programs)),
            *(Route(path, do, methods=methods, middleware=opened) for path, do, methods in _by_path(_OPEN)),
            *(Route(path, do, methods=methods, middleware=signed_in) for path, do, methods in _by_path(_SIGNED_IN)),
            *(Route(path, do) for path, do in asked.items()),
            Route("/openapi.json", openapi),
            Route("/js/ovx.js", script),
            Mount("/static", StaticFiles(directory=templating.folder("static"))),
        ],
        exception_handlers={
            Refused: error_handlers.on_refused,
            HTTPException: error_handlers.on_http_exception,
            sqlite3.OperationalError: error_handlers.on_store_error,
            Exception: error_handlers.on_fault,
        },
    )
    application.router.redirect_slashes = False  # it would lead to the host of the request, not of the base URL
    application.state.desk = desk
    application.state.standin = standin
    return application
