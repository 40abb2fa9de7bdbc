"""The application in this process: requests to it, and its jobs."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ovx_lite.app import App
from ovx_lite.domain import config
from ovx_lite.domain.calendar import DAY_MS, HOUR_MS
from ovx_lite.services import scheduler
from tests.support.store import FrozenClock

HOUR, DAY = HOUR_MS, DAY_MS


async def post(app: App, key: str, idempotency_key: str = "", **fields: object) -> tuple[int, Any, dict[str, str]]:
    """Send a custom event of my-site to the application. Returns status, JSON and headers of the response."""
    body = {"site_id": "my-site", "event_name": "e", "url": "https://example.com/"} | fields
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    request_headers = [(b"authorization", f"Bearer {key}".encode())]
    if idempotency_key:
        request_headers.append((b"idempotency-key", idempotency_key.encode()))
    await app(
        {"type": "http", "method": "POST", "path": "/api/v1/events/custom", "headers": request_headers}, receive, send
    )
    response_headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    return messages[0]["status"], json.loads(messages[1]["body"]), response_headers


def run_app(data_dir: Path, clock: FrozenClock, action: Callable[[App], Awaitable[None]]) -> None:
    """Open the application on a store, run an action with it, and close it."""

    async def run() -> None:
        app = await App.open(data_dir, config.read(data_dir, {}, {}), clock)
        try:
            await action(app)
        finally:
            await app.close()

    asyncio.run(run())


async def run_every_job(app: App) -> None:
    for job in scheduler.JOBS:
        await job.run(app.services)
