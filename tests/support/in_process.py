"""The application in this process: its jobs, what is posted to it, and its days."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ovx_lite.app import App
from ovx_lite.domain import config
from ovx_lite.services import scheduler
from tests.support.store import MINUTE, Still

HOUR, DAY = 60 * MINUTE, 24 * 60 * MINUTE


async def post(app: App, key: str, repeat: str = "", **fields: object) -> tuple[int, Any, dict[str, str]]:
    """Send a custom event of my-site to the application in this process: status, JSON and headers of the answer."""
    body = {"site_id": "my-site", "event_name": "e", "url": "https://example.com/"} | fields
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {key}".encode())]
    if repeat:
        headers.append((b"idempotency-key", repeat.encode()))
    await app({"type": "http", "method": "POST", "path": "/api/v1/events/custom", "headers": headers}, receive, send)
    named = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], json.loads(sent[1]["body"]), named


def during(data_dir: Path, clock: Still, do: Callable[[App], Awaitable[None]]) -> None:
    """Open the application on a store, do something with it, and close it."""

    async def run() -> None:
        app = await App.open(data_dir, config.read(data_dir, {}, {}), clock)
        try:
            await do(app)
        finally:
            await app.close()

    asyncio.run(run())


async def every_job(app: App) -> None:
    for job in scheduler.JOBS:
        await job.run(app.services)
