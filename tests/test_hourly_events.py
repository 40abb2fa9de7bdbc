"""The limit of events per address on public endpoints: `site change --hourly-events N`, off by default."""

import json
import signal
import time
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovx_lite.auth.api_keys import Principal
from ovx_lite.auth.rate_limit import RateLimiter
from ovx_lite.domain.calendar import HOUR_S
from ovx_lite.domain.errors import ApiError
from tests.conftest import Response, Server, Start, Store
from tests.support.limits import assert_limited, remaining, send_until
from tests.support.public import APEX, OVERCENTRIC, apex, new_address, overcentric
from tests.support.tokens import SITE, START_S


def batch(events: int, site: str = "ten", **first: object) -> dict[str, Any]:
    """Return a batch of events; `first` sets fields of the first one."""
    event = {"type": "a", "url": "/"}
    return {"projectKey": site, "events": [event | first, *[event] * (events - 1)]}


@dataclass
class RateLimitedServer:
    """A server behind a proxy. Site `ten` accepts 10 events per hour and address; `both` also limits requests to 3."""

    store: Store
    server: Server

    def send(self, body: object, address: str, path: str = APEX, **headers: str) -> Response:
        all_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.send(path, body, None, {"X-Forwarded-For": address} | all_headers)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, start: Start) -> RateLimitedServer:
    store = Store(tmp_path_factory.mktemp("limited") / "data")
    store.site("ten", "--domain", "example.com", "--hourly-events", "10")
    store.site("both", "--domain", "example.com", "--hourly-events", "10", "--hourly-limit", "3")
    store.site("unlimited", "--domain", "example.com")
    return RateLimitedServer(store, start(store, "--trusted-proxies", "127.0.0.1"))


def message(response: Response) -> str:
    return str(json.loads(response.body)["error"]["message"])


def test_each_event_of_a_batch_counts(limited: RateLimitedServer) -> None:
    address = new_address()
    responses = [limited.send(batch(4), address) for _ in range(3)]
    assert [(response.status, remaining(response)) for response in responses] == [(200, 6), (200, 2), (429, 2)]
    assert_limited(responses[2])
    assert "10 events an hour" in message(responses[2])
    assert {response.headers["ratelimit-limit"] for response in responses} == {"10"}
    assert limited.send(batch(2), address).status == 200, "the refused batch must not count"
    assert limited.send(batch(1), address).status == 429
    assert limited.send(batch(4), new_address()).status == 200, "each address must have its own limit"


@pytest.mark.parametrize(("path", "body"), [(APEX, apex("ten")), (OVERCENTRIC, overcentric("ten"))])
def test_single_events_count_too(limited: RateLimitedServer, path: str, body: object) -> None:
    address = new_address()
    responses = [limited.send(body, address, path) for _ in range(11)]
    assert [response.status for response in responses] == [200] * 10 + [429]
    assert [remaining(response) for response in responses] == [*range(9, -1, -1), 0]
    assert_limited(responses[-1])


def test_both_endpoints_count_together(limited: RateLimitedServer) -> None:
    address = new_address()
    assert remaining(limited.send(batch(6), address)) == 4
    assert remaining(limited.send(overcentric("ten"), address, OVERCENTRIC)) == 3


def test_a_batch_larger_than_the_limit_is_refused_with_advice(limited: RateLimitedServer) -> None:
    response = limited.send(batch(11), new_address())
    assert_limited(response)
    assert "has 11 events" in message(response)
    assert "the limit is 10 events an hour" in message(response)
    assert "Send fewer at once" in message(response)
    assert "Try again" not in message(response), "repeating the request would not help"


def test_by_default_a_batch_counts_as_one_request(limited: RateLimitedServer) -> None:
    response = limited.send(batch(1000, "unlimited"), new_address())
    assert (response.status, response.headers["ratelimit-limit"], remaining(response)) == (200, "1000", 999)


@pytest.mark.parametrize(
    ("counted", "body"),
    [
        (1, apex("ten", type=5)),
        (1, apex("ten", data=[])),
        (1, batch(0) | {"events": []}),
        (1, batch(0) | {"events": "many"}),
        (4, batch(4, url="no url")),
        (4, batch(4, type=5)),
        (4, batch(4, data=[])),
        (4, batch(3) | {"events": [*batch(3)["events"], 5]}),
    ],
)
def test_the_events_of_an_invalid_batch_count(limited: RateLimitedServer, counted: int, body: object) -> None:
    address = new_address()
    assert limited.send(body, address).status == 400
    assert remaining(limited.send(batch(1), address)) == 10 - counted - 1


def test_the_limit_is_checked_before_fields(limited: RateLimitedServer) -> None:
    address = new_address()
    limited.send(batch(10), address)
    assert_limited(limited.send(batch(2, url="no url"), address))
    assert limited.send(b"no JSON", address).status == 400


def test_a_replay_does_not_count_and_has_no_limit(limited: RateLimitedServer) -> None:
    address = new_address()
    responses = [limited.send(batch(4), address, Idempotency_Key=address) for _ in range(4)]
    assert [(response.status, remaining(response)) for response in responses] == [(200, 6)] * 4
    assert limited.send(batch(6), address).status == 200
    again = limited.send(batch(4), address, Idempotency_Key=address)
    assert (again.status, again.headers["idempotency-replayed"]) == (200, "true")
    assert_limited(limited.send(batch(1), address))


def test_the_headers_describe_the_limit_that_is_reached_first(limited: RateLimitedServer) -> None:
    address = new_address()
    results = []
    for events in (1, 8, 1, 1):
        response = limited.send(batch(events, "both"), address)
        results.append((response.status, response.headers["ratelimit-limit"], remaining(response)))
    # Remaining: 2 requests and 9 events; 1 event, too few for a batch of 8; 0 of each; then the request limit refuses.
    assert results == [(200, "3", 2), (200, "10", 1), (200, "3", 0), (429, "3", 0)]
    assert "3 requests an hour" in message(response)


def test_a_request_refused_by_one_limit_counts_against_neither(limited: RateLimitedServer) -> None:
    address = new_address()
    assert limited.send(batch(9, "both"), address).status == 200
    assert [limited.send(batch(2, "both"), address).status for _ in range(5)] == [429] * 5
    response = limited.send(batch(1, "both"), address)
    assert (response.status, remaining(response)) == (200, 0)


def test_requests_with_a_key_are_not_limited(limited: RateLimitedServer) -> None:
    key = limited.store.key("ten")
    event = {"type": "pageview", "url": "https://example.com/"}
    response = limited.server.send("/api/v1/events/batch", {"site_id": "ten", "events": [event] * 20}, key)
    assert (response.status, "ratelimit-limit" in response.headers) == (201, False)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_counted_events_survive_a_restart(store: Store, start: Start, signal_number: int) -> None:
    store.site("ten", "--domain", "example.com", "--hourly-events", "10")
    server = start(store)
    assert remaining(server.send(APEX, batch(4))) == 6
    assert server.send(APEX, batch(3, url="no url")).status == 400
    time.sleep(2)  # a refused request's count is saved within a second
    server.stop(signal_number)
    server = start(store)
    assert remaining(server.send(APEX, batch(2))) == 1
    assert_limited(server.send(APEX, batch(2)))


def test_the_limit_can_be_set_changed_and_removed(limited: RateLimitedServer) -> None:
    assert limited.store.site("new")["hourly_events"] is None
    assert limited.store.site("newer", "--hourly-events", "7")["hourly_events"] == 7
    changed = limited.store.call("site", "change", "new", "--domain", "example.com", "--hourly-events", "2")
    assert (changed["hourly_events"], changed["hourly_limit"]) == (2, None)
    address = new_address()
    send_until(lambda: limited.send(batch(3, "new"), address), lambda response: response.status == 429)
    listed = {site["id"]: site["hourly_events"] for site in limited.store.call("site", "list")}
    assert (listed["new"], listed["newer"], listed["unlimited"]) == (2, 7, None)
    assert limited.store.call("site", "change", "new", "--name", "New")["hourly_events"] == 2
    assert limited.store.call("site", "change", "new", "--hourly-events", "none")["hourly_events"] is None
    send_until(lambda: limited.send(batch(3, "new"), address), lambda response: response.status == 200)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "1000000001"])
def test_an_invalid_limit_is_refused(limited: RateLimitedServer, value: str) -> None:
    result = limited.store.run("site", "change", "ten", "--hourly-events", value, "--json")
    assert (result.exit_status, result.stdout, "--hourly-events" in result.stderr) == (2, "", True)


CALLS = st.lists(st.tuples(st.sampled_from([0, 1, 59, 1800, 3599, 3600]), st.integers(1, 6)), min_size=1, max_size=25)


@given(st.integers(1, 6), st.integers(1, 12), CALLS)
def test_a_request_is_admitted_exactly_when_both_limits_have_room(
    max_requests: int, max_events: int, calls: Any
) -> None:
    limiter, admitted, now_s = RateLimiter(), list[tuple[int, int]](), START_S
    principal = Principal(SITE, "address", max_requests, counts_requests=True, hourly_event_limit=max_events)
    for gap_s, events in calls:
        now_s += gap_s
        counts_in_hour = [count for admitted_at_s, count in admitted if now_s - HOUR_S < admitted_at_s]
        if len(counts_in_hour) < max_requests and sum(counts_in_hour) + events <= max_events:
            limiter_copy = deepcopy(limiter)
            limiter.consume(principal, events, now_s * 1000)
            limiter_copy.consume(principal, events, now_s * 1000)
            limiter_copy.refund(principal, events, now_s * 1000)
            assert limiter_copy.status(principal, now_s * 1000).remaining == min(
                max_requests - len(counts_in_hour), max_events - sum(counts_in_hour)
            )
            admitted.append((now_s, events))
        else:
            with pytest.raises(ApiError) as exc_info:
                limiter.consume(principal, events, now_s * 1000)
            wait_s = exc_info.value.retry_after_s or 0
            assert 1 <= wait_s <= HOUR_S
        counts_in_hour = [count for admitted_at_s, count in admitted if now_s - HOUR_S < admitted_at_s]
        assert limiter.status(principal, now_s * 1000).remaining == min(
            max_requests - len(counts_in_hour), max_events - sum(counts_in_hour)
        )
