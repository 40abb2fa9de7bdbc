"""Streams of active visitors: one count for all who listen, a bound on how many may, and none who do not read."""

import asyncio
import http.client
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from ovx_lite.app import App
from ovx_lite.domain.errors import Refused
from ovx_lite.storage.sqlite import open_store
from ovx_lite.web.common import live_visitors
from ovx_lite.web.common.live_visitors import LiveVisitors, Right
from tests.conftest import CHROME
from tests.support.in_process import during
from tests.support.metrics import samples
from tests.support.pages import Office
from tests.support.pages import office as office
from tests.support.sharing import link
from tests.support.store import Still, new_site


def metric(office: Office, name: str) -> float:
    return samples(office.server.send("/metrics", method="GET").body.decode())[name]


def test_an_event_is_counted_once_for_all_who_listen(office: Office) -> None:
    settings, key = office.site(id="listened")
    path = link(office.done(f"{settings}/sharing", {"password": ""}))
    with ExitStack() as stack:
        streams = []
        for _ in range(25):
            connection = stack.enter_context(
                closing(http.client.HTTPConnection("127.0.0.1", office.server.port, timeout=30))
            )
            connection.request("GET", f"{path}/live")
            streams.append(connection.getresponse())
        assert {stream.readline() for stream in streams} == {b'data: {"active": 0}\n'}
        assert metric(office, "ovx_live_listeners") == 25
        before, began = metric(office, "ovx_live_counts_total"), time.monotonic()
        for host in range(30):
            who = {"ip_address": f"203.0.113.{host}", "user_agent": CHROME}
            assert office.pageview(settings, key, **who).status == 201
        for stream in streams:
            told = b""
            while told != b'data: {"active": 30}\n':
                told = stream.readline()
                assert told, "the stream has ended"
        counts = metric(office, "ovx_live_counts_total") - before
        assert 1 <= counts <= 2 + time.monotonic() - began, "once a second at most, whatever comes and whoever listens"
    deadline = time.monotonic() + 20
    while metric(office, "ovx_live_listeners"):
        assert time.monotonic() < deadline, "who has hung up does not listen any more"
        time.sleep(0.05)


async def listening(live: LiveVisitors, site: int, link: str, told: list[Any], block: bool = False) -> None:
    """Listen until the task is cancelled; what is sent is told."""
    silence = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await silence.wait()
        return {}

    async def send(message: Any) -> None:
        told.append(message)
        if block and len(told) > 1:
            await silence.wait()

    async def holds() -> bool:
        return True

    scope = {"type": "http", "method": "GET", "asgi": {"spec_version": "2.3"}}
    await live.stream(site, Right(link, link, holds))(scope, receive, send)


@pytest.fixture
def site(tmp_path: Path) -> int:
    with closing(open_store(tmp_path)) as conn:
        return new_site(conn).number


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


def test_so_many_may_listen_and_no_more(tmp_path: Path, site: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, limit in (("MAX_LISTENERS", 5), ("MAX_PUBLIC_LISTENERS", 4), ("MAX_LISTENERS_OF_LINK", 3)):
        monkeypatch.setattr(live_visitors, name, limit)

    async def run(app: App) -> None:
        live = app.context.live
        async with AsyncExitStack() as stack:

            async def add(link: str) -> bool:
                before, told = live.listeners, list[Any]()
                task = asyncio.create_task(listening(live, site, link, told))
                stack.push_async_callback(asyncio.wait, [task])
                stack.callback(task.cancel)
                await until(lambda: task.done() or live.listeners > before)
                if not task.done():
                    return True
                refused = task.exception()
                assert isinstance(refused, Refused)
                assert (refused.status, bool(refused.retry_after), told) == (503, True, [])
                return False

            assert [await add("one") for _ in range(4)] == [True] * 3 + [False]
            assert [await add("other") for _ in range(2)] == [True, False]
            assert [await add("") for _ in range(2)] == [True, False]
        assert live.listeners == 0

    during(tmp_path, Still(), run)


def test_who_does_not_read_is_dropped(tmp_path: Path, site: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_visitors, "_SLOW_READER_TIMEOUT_S", 0.05)

    async def run(app: App) -> None:
        live, told = app.context.live, list[Any]()
        async with asyncio.timeout(20):
            await listening(live, site, "", told, block=True)
        assert [message["type"] for message in told] == ["http.response.start", "http.response.body"]
        assert told[1] == {"type": "http.response.body", "body": b'data: {"active": 0}\n\n', "more_body": True}
        assert live.listeners == 0

    during(tmp_path, Still(), run)


def test_one_who_comes_when_the_last_one_leaves_is_told(tmp_path: Path, site: int) -> None:
    async def run(app: App) -> None:
        live = app.context.live
        for _ in range(20):
            first, second = list[Any](), list[Any]()
            task = asyncio.create_task(listening(live, site, "", first))
            await until(lambda: len(first) > 1)  # noqa: B023 - at once
            task.cancel()
            other = asyncio.create_task(listening(live, site, "", second))
            await until(lambda: len(second) > 1 or other.done())  # noqa: B023 - at once
            assert not other.done()
            other.cancel()
            await asyncio.wait([task, other])

    during(tmp_path, Still(), run)
