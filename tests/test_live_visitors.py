"""Streams of active visitors: one count for all listeners, a limit on listeners, and dropping slow ones."""

import asyncio
import http.client
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from ovx_lite.app import App
from ovx_lite.domain.errors import ApiError
from ovx_lite.storage.sqlite import open_store
from ovx_lite.web.common import live_visitors, server_sent_events
from ovx_lite.web.common.live_visitors import ListenGrant, LiveVisitors
from tests.conftest import CHROME
from tests.support.in_process import run_app
from tests.support.metrics import samples
from tests.support.pages import AdminSession
from tests.support.pages import admin as admin
from tests.support.sharing import link
from tests.support.store import FrozenClock, new_site


def metric(admin: AdminSession, name: str) -> float:
    return samples(admin.server.send("/metrics", method="GET").body.decode())[name]


def test_an_event_triggers_one_count_for_all_listeners(admin: AdminSession) -> None:
    settings, key = admin.add_site(id="listened")
    path = link(admin.submit(f"{settings}/sharing", {"password": ""}))
    with ExitStack() as stack:
        streams = []
        for _ in range(25):
            connection = stack.enter_context(
                closing(http.client.HTTPConnection("127.0.0.1", admin.server.port, timeout=30))
            )
            connection.request("GET", f"{path}/live")
            streams.append(connection.getresponse())
        assert {stream.readline() for stream in streams} == {b'data: {"active": 0}\n'}
        assert metric(admin, "ovx_live_listeners") == 25
        counts_before, started_at_s = metric(admin, "ovx_live_counts_total"), time.monotonic()
        for host in range(30):
            visitor = {"ip_address": f"203.0.113.{host}", "user_agent": CHROME}
            assert admin.pageview(settings, key, **visitor).status == 201
        for stream in streams:
            line = b""
            while line != b'data: {"active": 30}\n':
                line = stream.readline()
                assert line, "the stream ended early"
        counts = metric(admin, "ovx_live_counts_total") - counts_before
        assert 1 <= counts <= 2 + time.monotonic() - started_at_s, (
            "at most one count per second, however many events and listeners"
        )
    deadline_s = time.monotonic() + 20
    while metric(admin, "ovx_live_listeners"):
        assert time.monotonic() < deadline_s, "a disconnected client still counts as a listener"
        time.sleep(0.05)


async def listen(live: LiveVisitors, site_id: int, link: str, messages: list[Any], block: bool = False) -> None:
    """Listen until the task is cancelled; append the sent messages to `messages`."""
    never = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await never.wait()
        return {}

    async def send(message: Any) -> None:
        messages.append(message)
        if block and len(messages) > 1:
            await never.wait()

    async def holds() -> bool:
        return True

    scope = {"type": "http", "method": "GET", "asgi": {"spec_version": "2.3"}}
    await live.stream(site_id, ListenGrant(link, link, holds))(scope, receive, send)


@pytest.fixture
def site_id(tmp_path: Path) -> int:
    with closing(open_store(tmp_path)) as conn:
        return new_site(conn).id


async def wait_until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def test_the_number_of_listeners_is_limited(tmp_path: Path, site_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, limit in (("MAX_LISTENERS", 5), ("MAX_PUBLIC_LISTENERS", 4), ("MAX_LISTENERS_OF_LINK", 3)):
        monkeypatch.setattr(live_visitors, name, limit)

    async def run(app: App) -> None:
        live = app.context.live_visitors
        async with AsyncExitStack() as stack:

            async def add(link: str) -> bool:
                count_before, messages = live.listeners, list[Any]()
                task = asyncio.create_task(listen(live, site_id, link, messages))
                stack.push_async_callback(asyncio.wait, [task])
                stack.callback(task.cancel)
                await wait_until(lambda: task.done() or live.listeners > count_before)
                if not task.done():
                    return True
                exc = task.exception()
                assert isinstance(exc, ApiError)
                assert (exc.status, bool(exc.retry_after_s), messages) == (503, True, [])
                return False

            assert [await add("one") for _ in range(4)] == [True] * 3 + [False]
            assert [await add("other") for _ in range(2)] == [True, False]
            assert [await add("") for _ in range(2)] == [True, False]
        assert live.listeners == 0

    run_app(tmp_path, FrozenClock(), run)


def test_a_listener_that_does_not_read_is_dropped(
    tmp_path: Path, site_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_sent_events, "SEND_TIMEOUT_S", 0.05)

    async def run(app: App) -> None:
        live, messages = app.context.live_visitors, list[Any]()
        async with asyncio.timeout(20):
            await listen(live, site_id, "", messages, block=True)
        assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
        assert messages[1] == {"type": "http.response.body", "body": b'data: {"active": 0}\n\n', "more_body": True}
        assert live.listeners == 0

    run_app(tmp_path, FrozenClock(), run)


def test_a_listener_who_joins_as_the_last_one_leaves_is_served(tmp_path: Path, site_id: int) -> None:
    async def run(app: App) -> None:
        live = app.context.live_visitors
        for _ in range(20):
            first_messages, second_messages = list[Any](), list[Any]()
            task = asyncio.create_task(listen(live, site_id, "", first_messages))
            await wait_until(lambda: len(first_messages) > 1)  # noqa: B023 - at once
            task.cancel()
            second_task = asyncio.create_task(listen(live, site_id, "", second_messages))
            await wait_until(lambda: len(second_messages) > 1 or second_task.done())  # noqa: B023 - at once
            assert not second_task.done()
            second_task.cancel()
            await asyncio.wait([task, second_task])

    run_app(tmp_path, FrozenClock(), run)
