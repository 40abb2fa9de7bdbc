"""Forward mode: the emulator forwards accepted requests to another API, here a second emulator."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulator import EmulatorProcess, run_emulator

CUSTOM = "/api/v1/events/custom"
EVENT = {"site_id": "site_abc123", "url": "https://example.com/pricing", "event_name": "signup"}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with run_emulator(tmp_path_factory.mktemp("real")) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def forwarding(real: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with run_emulator(tmp_path_factory.mktemp("dev"), "--forward", real.url) as emulator:
        yield emulator


@pytest.fixture
def dev(forwarding: EmulatorProcess, real: EmulatorProcess) -> EmulatorProcess:
    for emulator in (forwarding, real):
        assert emulator.call("POST", "/_dev/reset").status == 200
    return forwarding


def wait_for_journal(dev: EmulatorProcess, condition: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """Return the journal as soon as it meets the condition."""
    deadline_s = time.monotonic() + 15
    while not condition(entries := dev.events()):
        assert time.monotonic() < deadline_s, entries
        time.sleep(0.01)
    return entries


def test_both_responses_are_recorded(dev: EmulatorProcess, real: EmulatorProcess) -> None:
    headers = {"Idempotency-Key": "once", "User-Agent": "mine/1"}
    assert dev.send(CUSTOM, EVENT, headers=headers).status == 201
    (entry,) = wait_for_journal(dev, lambda entries: entries[0]["forwarded"] is not None)
    (arrived,) = real.events()
    assert entry["answer"]["body"]["event_id"] == entry["stored"]["id"]
    assert entry["forwarded"]["status"] == 201
    assert entry["forwarded"]["body"]["event_id"] == arrived["stored"]["id"]
    assert (entry["forwarded"]["url"], entry["problems"]) == (real.url, [])
    assert arrived["request"]["body"] == EVENT
    forwarded_headers = arrived["request"]["headers"]
    assert (
        forwarded_headers["authorization"],
        forwarded_headers["idempotency-key"],
        forwarded_headers["user-agent"],
    ) == ("Bearer …", "once", "mine/1")
    assert dev.send(CUSTOM, EVENT, headers=headers).headers["idempotency-replayed"] == "true"
    assert dev.send(CUSTOM, {"site_id": "site_abc123"}).status == 400
    dev.send(CUSTOM, EVENT | {"event_name": "last"})
    wait_for_journal(dev, lambda entries: entries[0]["forwarded"] is not None)
    assert [event["name"] for event in real.events()] == ["last", "signup"]


def test_a_different_answer_is_reported(dev: EmulatorProcess, real: EmulatorProcess) -> None:
    assert dev.send(CUSTOM, EVENT | {"site_id": "mine"}, "a real key").status == 201
    (entry,) = wait_for_journal(dev, lambda entries: entries[0]["forwarded"] is not None)
    assert entry["forwarded"]["body"]["error"]["code"] == "unauthorized"
    message = f"{real.url} answered 401, but the emulator answered 201."
    assert entry["problems"] == [{"code": "forwarded", "message": message, "field": ""}]


def test_each_event_of_a_batch_has_the_forwarded_response(dev: EmulatorProcess) -> None:
    views = [{"type": "pageview", "url": f"https://example.com/{n}"} for n in range(3)]
    assert dev.call("POST", "/api/events", {"projectKey": "pk_live_xyz", "userId": "u", "events": views}).status == 200
    entries = wait_for_journal(dev, lambda entries: all(entry["forwarded"] for entry in entries))
    assert [entry["forwarded"]["body"] for entry in entries] == [{"received": 3}] * 3


def test_an_unreachable_target_is_reported(tmp_path: Path) -> None:
    with socket.socket() as closed_socket:
        closed_socket.bind(("127.0.0.1", 0))  # nothing listens on this port
        with run_emulator(tmp_path, "--forward", f"http://127.0.0.1:{closed_socket.getsockname()[1]}/") as dev:
            assert dev.send(CUSTOM, EVENT).status == 201
            (entry,) = wait_for_journal(dev, lambda entries: entries[0]["forwarded"] is not None)
    assert entry["forwarded"]["status"] is None
    assert "did not answer" in entry["problems"][0]["message"]


@pytest.mark.parametrize("url", ["api.ovyxa.com", "ftp://example.com", "https://", "https://a@b", "https://a?b"])
def test_invalid_urls_are_refused(tmp_path: Path, url: str) -> None:
    with run_emulator(tmp_path, "--forward", url, wait=False) as refused:
        assert refused.process.wait(20) == 2
        assert "such as https://api.ovyxa.com" in refused.read_log()


def test_two_emulators_forwarding_to_each_other_do_not_loop(dev: EmulatorProcess, tmp_path: Path) -> None:
    with run_emulator(tmp_path, "--forward", dev.url) as other:
        other.send(CUSTOM, EVENT)
        wait_for_journal(other, lambda entries: entries[0]["forwarded"] is not None)
    assert [event["forwarded"] for event in dev.events()] == [None]
