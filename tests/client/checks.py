"""The tests of that program, with the emulator's fixture."""

import urllib.error
import urllib.request

import pytest

from ovx_lite.pytest_plugin import Ovx
from tests.client.client import Client


@pytest.fixture
def client(ovx: Ovx) -> Client:
    return Client(ovx.url, ovx.key, ovx.site, ovx.clock.advance)


def test_an_event_arrives(ovx: Ovx, client: Client) -> None:
    id = client.track("signup", plan="pro")
    (event,) = ovx.wait(1, name="signup")
    assert event["stored"]["id"] == id
    assert event["stored"]["props"] == {"plan": "pro"}


def test_client_waits_for_retry_after(ovx: Ovx, client: Client) -> None:
    ovx.fault(429, retry_after=30, times=2)
    before_ms = ovx.clock.now()
    client.track("signup")
    assert ovx.clock.now() >= before_ms + 60_000
    assert len(ovx.wait(1)) == 1


def test_a_lost_response_makes_no_second_event(ovx: Ovx, client: Client) -> None:
    ovx.fault(500, phase="after", times=1)
    ovx.fault(kind="reset", times=1)
    client.track("signup")
    assert [event["replayed"] for event in ovx.events(status="good")] == [True, False]


def test_a_real_limit_is_met(ovx: Ovx, client: Client) -> None:
    client.track("before")
    ovx.fault(429, retry_after=3600, times=1)
    client.track("after the hour")
    assert [event["name"] for event in ovx.events(status="good")] == ["after the hour", "before"]


def test_failed_wait_names_the_problem(ovx: Ovx) -> None:
    body, headers = b'{"site_id": "site_abc123", "event_name": "x"}', {"Authorization": f"Bearer {ovx.key}"}
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(urllib.request.Request(f"{ovx.url}/api/v1/events/custom", body, headers))
    with pytest.raises(AssertionError, match=r"0 of 1 events .*Missing required field: url"):
        ovx.wait(1, timeout=0.1)


@pytest.mark.parametrize("number", range(5))
def test_an_event_a_goal_a_failing_webhook_and_three_retries(ovx: Ovx, client: Client, number: int) -> None:
    ovx.goal("Sign-up", event="signup")
    webhook = ovx.hook(reply=[500, 500, 500, 200])
    client.track("signup", number=number)
    ovx.clock.advance("36m")
    requests = webhook.requests()
    assert [request["answered"] for request in requests] == [500, 500, 500, 200]
    assert all(all(request["signatures"].values()) for request in requests)
    assert ovx.deliveries()[0]["status"] == "delivered"


def test_a_trigger(ovx: Ovx) -> None:
    webhook = ovx.hook(events=["usage.threshold"])
    ovx.trigger("usage.threshold", {"threshold": 80, "usage": 80, "limit": 100, "period": "2026-11"})
    ovx.clock.advance(0)
    assert len(webhook.requests()) == 1
