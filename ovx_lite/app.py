"""Connects the parts into one ASGI application."""

import asyncio
import secrets
from collections.abc import Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from ovx_lite import agents
from ovx_lite.access import Limits
from ovx_lite.clock import Clock
from ovx_lite.delivery import Sender
from ovx_lite.dialects import ENDPOINTS
from ovx_lite.errors import Refused
from ovx_lite.geo import open_country_data
from ovx_lite.ingest import Ingest
from ovx_lite.outgoing import Outgoing
from ovx_lite.sites import Sites
from ovx_lite.store import usage
from ovx_lite.store.books import open_books
from ovx_lite.store.database import Database
from ovx_lite.targets import networks
from ovx_lite.upkeep import JOBS, Household, keep_running
from ovx_lite.web import answers, pages
from ovx_lite.web.api import Api
from ovx_lite.web.health import Health
from ovx_lite.web.openapi import openapi
from ovx_lite.web.script import script


class App:
    """The whole server, as an ASGI application: the ingestion endpoints first, then Starlette for all else."""

    def __init__(self, api: Api, ingest: Ingest, house: Household, pages: Starlette) -> None:
        self._api = api
        self._ingest = ingest
        self._house = house
        self._pages = pages
        self._jobs: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, data_dir: Path, settings: Mapping[str, str], clock: Clock) -> "App":
        """Open the store and connect everything to it. Raises `Refused` if that cannot be."""
        country_db = settings["country_db"]
        country_of = open_country_data(Path(country_db) if country_db else None)
        database = await Database.open(data_dir)
        limits, sites = Limits(), Sites(database)
        try:
            limits.restore(await database.read(usage.load, clock.now()))
            await sites.refresh()
            books = await database.write(open_books, secrets.randbits(20))
        except BaseException:
            await database.close()  # its threads would keep the process alive
            raise
        sender = Sender(database, Outgoing(networks(settings["webhook_allow_net"]), clock.now), clock)
        ingest = Ingest(database, books, limits, clock, sender.wake)
        api = Api(ENDPOINTS, sites, limits, ingest, country_of, clock)
        return cls(
            api,
            ingest,
            Household(
                data_dir,
                Path(settings["backup_dir"]) if settings["backup_dir"] else None,
                database,
                sites,
                ingest,
                limits,
                sender,
                clock,
            ),
            _pages(settings, Health(database, ingest, clock)),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        door = self._api.door(scope.get("path", ""))
        if door is not None:
            await self._api(door, scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    def start(self) -> None:
        """Begin with what the program does by itself."""
        self._house.sender.start()
        self._jobs = [asyncio.create_task(keep_running(job, self._house)) for job in JOBS]
        self._jobs.append(asyncio.create_task(self._api.bodies.watch()))
        self._jobs.append(asyncio.create_task(asyncio.to_thread(agents.warm)))

    async def close(self) -> None:
        """Stop: all that was acknowledged, and all counts, are on disk at the end."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self._ingest.close()
        await self._house.sender.close()
        await self._house.database.close()


def _pages(settings: Mapping[str, str], health: Health) -> Starlette:
    application = Starlette(
        routes=[
            Route("/", pages.home),
            Route("/healthz", health.answer),
            Route("/openapi.json", openapi),
            Route("/js/ovx.js", script),
            Mount("/static", StaticFiles(directory=pages.folder("static"))),
        ],
        exception_handlers={
            Refused: answers.on_refused,
            HTTPException: answers.on_http_exception,
            Exception: answers.on_fault,
        },
    )
    application.state.base_url = settings["base_url"].rstrip("/")
    return application
