"""A public endpoint's limit in events: `site change --hourly-events N`, off by default."""

import json
import signal
import time
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovx_lite.auth.api_keys import HOUR, Caller
from ovx_lite.auth.rate_limit import Limits
from ovx_lite.domain.errors import Refused
from tests.conftest import Answer, Server, Start, Store
from tests.support.limits import assert_limited, remaining, until
from tests.support.public import APEX, OVERCENTRIC, apex, fresh, overcentric
from tests.support.tokens import SITE, START


def batch(events: int, site: str = "ten", **first: object) -> dict[str, Any]:
    """A batch of so many events, the first of them with these fields."""
    event = {"type": "a", "url": "/"}
    return {"projectKey": site, "events": [event | first, *[event] * (events - 1)]}


@dataclass
class Limited:
    """A server behind a proxy; its site `ten` takes 10 events an hour from one address, `both` also 3 requests."""

    store: Store
    server: Server

    def send(self, body: object, address: str, path: str = APEX, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.send(path, body, None, {"X-Forwarded-For": address} | named)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, start: Start) -> Limited:
    store = Store(tmp_path_factory.mktemp("limited") / "data")
    store.site("ten", "--domain", "example.com", "--hourly-events", "10")
    store.site("both", "--domain", "example.com", "--hourly-events", "10", "--hourly-limit", "3")
    store.site("unlimited", "--domain", "example.com")
    return Limited(store, start(store, "--trusted-proxies", "127.0.0.1"))


def message(answer: Answer) -> str:
    return str(json.loads(answer.body)["error"]["message"])


def test_each_event_of_a_batch_counts(limited: Limited) -> None:
    address = fresh()
    answers = [limited.send(batch(4), address) for _ in range(3)]
    assert [(answer.status, remaining(answer)) for answer in answers] == [(200, 6), (200, 2), (429, 2)]
    assert_limited(answers[2])
    assert "10 events an hour" in message(answers[2])
    assert {answer.headers["ratelimit-limit"] for answer in answers} == {"10"}
    assert limited.send(batch(2), address).status == 200, "the refused batch did not count"
    assert limited.send(batch(1), address).status == 429
    assert limited.send(batch(4), fresh()).status == 200, "each address has a limit of its own"


@pytest.mark.parametrize(("path", "body"), [(APEX, apex("ten")), (OVERCENTRIC, overcentric("ten"))])
def test_single_events_count_too(limited: Limited, path: str, body: object) -> None:
    address = fresh()
    answers = [limited.send(body, address, path) for _ in range(11)]
    assert [answer.status for answer in answers] == [200] * 10 + [429]
    assert [remaining(answer) for answer in answers] == [*range(9, -1, -1), 0]
    assert_limited(answers[-1])


def test_both_endpoints_count_together(limited: Limited) -> None:
    address = fresh()
    assert remaining(limited.send(batch(6), address)) == 4
    assert remaining(limited.send(overcentric("ten"), address, OVERCENTRIC)) == 3


def test_a_batch_larger_than_the_limit_is_told_so(limited: Limited) -> None:
    answer = limited.send(batch(11), fresh())
    assert_limited(answer)
    assert "has 11 events" in message(answer)
    assert "the limit is 10 events an hour" in message(answer)
    assert "Send fewer at once" in message(answer)
    assert "Try again" not in message(answer), "it would be refused again"


def test_off_by_default_a_batch_is_one_request(limited: Limited) -> None:
    answer = limited.send(batch(1000, "unlimited"), fresh())
    assert (answer.status, answer.headers["ratelimit-limit"], remaining(answer)) == (200, "1000", 999)


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
def test_the_events_of_a_bad_batch_count(limited: Limited, counted: int, body: object) -> None:
    address = fresh()
    assert limited.send(body, address).status == 400
    assert remaining(limited.send(batch(1), address)) == 10 - counted - 1


def test_the_limit_is_checked_before_fields(limited: Limited) -> None:
    address = fresh()
    limited.send(batch(10), address)
    assert_limited(limited.send(batch(2, url="no url"), address))
    assert limited.send(b"no JSON", address).status == 400


def test_a_replay_does_not_count_and_has_no_limit(limited: Limited) -> None:
    address = fresh()
    answers = [limited.send(batch(4), address, Idempotency_Key=address) for _ in range(4)]
    assert [(answer.status, remaining(answer)) for answer in answers] == [(200, 6)] * 4
    assert limited.send(batch(6), address).status == 200
    again = limited.send(batch(4), address, Idempotency_Key=address)
    assert (again.status, again.headers["idempotency-replayed"]) == (200, "true")
    assert_limited(limited.send(batch(1), address))


def test_the_headers_tell_of_the_limit_that_is_reached_first(limited: Limited) -> None:
    address = fresh()
    told = []
    for events in (1, 8, 1, 1):
        answer = limited.send(batch(events, "both"), address)
        told.append((answer.status, answer.headers["ratelimit-limit"], remaining(answer)))
    # 2 more requests, 9 more events; 1 event is not enough for 8 more; 0 of each; and refused for the requests.
    assert told == [(200, "3", 2), (200, "10", 1), (200, "3", 0), (429, "3", 0)]
    assert "3 requests an hour" in message(answer)


def test_a_request_that_one_limit_refuses_counts_against_neither(limited: Limited) -> None:
    address = fresh()
    assert limited.send(batch(9, "both"), address).status == 200
    assert [limited.send(batch(2, "both"), address).status for _ in range(5)] == [429] * 5
    answer = limited.send(batch(1, "both"), address)
    assert (answer.status, remaining(answer)) == (200, 0)


def test_keys_are_not_limited_by_it(limited: Limited) -> None:
    key = limited.store.key("ten")
    event = {"type": "pageview", "url": "https://example.com/"}
    answer = limited.server.send("/api/v1/events/batch", {"site_id": "ten", "events": [event] * 20}, key)
    assert (answer.status, "ratelimit-limit" in answer.headers) == (201, False)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_forgets_no_event(store: Store, start: Start, how: int) -> None:
    store.site("ten", "--domain", "example.com", "--hourly-events", "10")
    server = start(store)
    assert remaining(server.send(APEX, batch(4))) == 6
    assert server.send(APEX, batch(3, url="no url")).status == 400
    time.sleep(2)  # a refused request's count is saved within a second
    server.stop(how)
    server = start(store)
    assert remaining(server.send(APEX, batch(2))) == 1
    assert_limited(server.send(APEX, batch(2)))


def test_it_is_set_changed_and_unset(limited: Limited) -> None:
    assert limited.store.site("new")["hourly_events"] is None
    assert limited.store.site("newer", "--hourly-events", "7")["hourly_events"] == 7
    changed = limited.store.call("site", "change", "new", "--domain", "example.com", "--hourly-events", "2")
    assert (changed["hourly_events"], changed["hourly_limit"]) == (2, None)
    address = fresh()
    until(lambda: limited.send(batch(3, "new"), address), lambda answer: answer.status == 429)
    listed = {site["id"]: site["hourly_events"] for site in limited.store.call("site", "list")}
    assert (listed["new"], listed["newer"], listed["unlimited"]) == (2, 7, None)
    assert limited.store.call("site", "change", "new", "--name", "New")["hourly_events"] == 2
    assert limited.store.call("site", "change", "new", "--hourly-events", "none")["hourly_events"] is None
    until(lambda: limited.send(batch(3, "new"), address), lambda answer: answer.status == 200)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "1000000001"])
def test_a_wrong_value_is_refused(limited: Limited, value: str) -> None:
    ran = limited.store.run("site", "change", "ten", "--hourly-events", value, "--json")
    assert (ran.status, ran.out, "--hourly-events" in ran.err) == (2, "", True)


CALLS = st.lists(st.tuples(st.sampled_from([0, 1, 59, 1800, 3599, 3600]), st.integers(1, 6)), min_size=1, max_size=25)


@given(st.integers(1, 6), st.integers(1, 12), CALLS)
def test_a_request_is_admitted_exactly_where_both_limits_have_room(most: int, most_events: int, calls: Any) -> None:
    limits, admitted, second = Limits(), list[tuple[int, int]](), START
    caller = Caller(SITE, "address", most, counts_requests=True, event_limit=most_events)
    for gap, events in calls:
        second += gap
        hour = [count for at, count in admitted if second - HOUR < at]
        if len(hour) < most and sum(hour) + events <= most_events:
            before = deepcopy(limits)
            limits.take(caller, events, second * 1000)
            before.take(caller, events, second * 1000)
            before.give_back(caller, events, second * 1000)
            assert before.standing(caller, second * 1000).remaining == min(most - len(hour), most_events - sum(hour))
            admitted.append((second, events))
        else:
            with pytest.raises(Refused) as refused:
                limits.take(caller, events, second * 1000)
            wait_s = refused.value.retry_after or 0
            assert 1 <= wait_s <= HOUR
        hour = [count for at, count in admitted if second - HOUR < at]
        assert limits.standing(caller, second * 1000).remaining == min(most - len(hour), most_events - sum(hour))
