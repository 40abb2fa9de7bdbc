"""Forward mode: what the stand-in accepts goes on to another API, here a second stand-in on loopback."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulator import Stage, stage

CUSTOM = "/api/v1/events/custom"
EVENT = {"site_id": "site_abc123", "url": "https://example.com/pricing", "event_name": "signup"}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("real")) as found:
        yield found


@pytest.fixture(scope="module")
def forwarding(real: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("dev"), "--forward", real.url) as found:
        yield found


@pytest.fixture
def dev(forwarding: Stage, real: Stage) -> Stage:
    for one in (forwarding, real):
        assert one.call("POST", "/_dev/reset").status == 200
    return forwarding


def until(dev: Stage, is_there: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The journal once it is so."""
    end = time.monotonic() + 15
    while not is_there(found := dev.events()):
        assert time.monotonic() < end, found
        time.sleep(0.01)
    return found


def test_both_answers_are_kept(dev: Stage, real: Stage) -> None:
    headers = {"Idempotency-Key": "once", "User-Agent": "mine/1"}
    assert dev.send(CUSTOM, EVENT, headers=headers).status == 201
    (entry,) = until(dev, lambda found: found[0]["forwarded"] is not None)
    (arrived,) = real.events()
    assert entry["answer"]["body"]["event_id"] == entry["stored"]["id"]
    assert entry["forwarded"]["status"] == 201
    assert entry["forwarded"]["body"]["event_id"] == arrived["stored"]["id"]
    assert (entry["forwarded"]["url"], entry["problems"]) == (real.url, [])
    assert arrived["request"]["body"] == EVENT
    told = arrived["request"]["headers"]
    assert (told["authorization"], told["idempotency-key"], told["user-agent"]) == ("Bearer …", "once", "mine/1")
    assert dev.send(CUSTOM, EVENT, headers=headers).headers["idempotency-replayed"] == "true"
    assert dev.send(CUSTOM, {"site_id": "site_abc123"}).status == 400
    dev.send(CUSTOM, EVENT | {"event_name": "last"})
    until(dev, lambda found: found[0]["forwarded"] is not None)
    assert [one["name"] for one in real.events()] == ["last", "signup"]


def test_what_is_answered_otherwise_is_said(dev: Stage, real: Stage) -> None:
    assert dev.send(CUSTOM, EVENT | {"site_id": "mine"}, "a real key").status == 201
    (entry,) = until(dev, lambda found: found[0]["forwarded"] is not None)
    assert entry["forwarded"]["body"]["error"]["code"] == "unauthorized"
    message = f"{real.url} answered 401, but the emulator answered 201."
    assert entry["problems"] == [{"code": "forwarded", "message": message, "field": ""}]


def test_each_event_of_a_batch_has_the_answer(dev: Stage) -> None:
    views = [{"type": "pageview", "url": f"https://example.com/{n}"} for n in range(3)]
    assert dev.call("POST", "/api/events", {"projectKey": "pk_live_xyz", "userId": "u", "events": views}).status == 200
    found = until(dev, lambda found: all(one["forwarded"] for one in found))
    assert [one["forwarded"]["body"] for one in found] == [{"received": 3}] * 3


def test_a_product_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        with stage(tmp_path, "--forward", f"http://127.0.0.1:{taken.getsockname()[1]}/") as dev:
            assert dev.send(CUSTOM, EVENT).status == 201
            (entry,) = until(dev, lambda found: found[0]["forwarded"] is not None)
    assert entry["forwarded"]["status"] is None
    assert "did not answer" in entry["problems"][0]["message"]


@pytest.mark.parametrize("url", ["api.ovyxa.com", "ftp://example.com", "https://", "https://a@b", "https://a?b"])
def test_wrong_urls(tmp_path: Path, url: str) -> None:
    with stage(tmp_path, "--forward", url, wait=False) as refused:
        assert refused.process.wait(20) == 2
        assert "such as https://api.ovyxa.com" in refused.log()


def test_two_that_forward_to_each_other(dev: Stage, tmp_path: Path) -> None:
    with stage(tmp_path, "--forward", dev.url) as other:
        other.send(CUSTOM, EVENT)
        until(other, lambda found: found[0]["forwarded"] is not None)
    assert [one["forwarded"] for one in dev.events()] == [None]
