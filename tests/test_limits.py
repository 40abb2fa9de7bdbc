"""Rate limits over HTTP: what counts, the response headers, and restarts."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass

import pytest

from ovx_lite.storage.sqlite import open_store, transaction
from tests.conftest import Response, Server, Start, Store
from tests.support.limits import add_keys, assert_limited, remaining, send_until
from tests.support.tokens import token

EVENTS = "/api/v1/events/"
EVENT = {"type": "pageview", "url": "app://a"}


TIERS = {"": None, "--tier free": "1000", "--tier pro": "10000", "--tier free --hourly-limit 2000": "2000"}


@dataclass
class RateLimitedServer:
    """A server, keys that may each send 5 events per hour, and one key for each of `TIERS`."""

    store: Store
    server: Server
    keys: Iterator[str]
    tiers: dict[str, str]
    jwt_secret: str


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, start: Start) -> RateLimitedServer:
    store = Store(tmp_path_factory.mktemp("limited") / "data")
    site = store.site()
    tiers = {options: store.key("my-site", *options.split()) for options in TIERS}
    keys = add_keys(store, 48)
    return RateLimitedServer(store, start(store), iter(keys), tiers, site["jwt_secret"])


@pytest.fixture
def server(limited: RateLimitedServer) -> Server:
    return limited.server


@pytest.fixture
def key(limited: RateLimitedServer) -> str:
    return next(limited.keys)


def send_once(server: Server, key: str, path: str = "app://a") -> Response:
    """Send a request whose Idempotency-Key is the API key."""
    body, headers = {"site_id": "my-site", "url": path}, {"Idempotency-Key": key}
    return server.send(EVENTS + "pageview", body, key, headers)


def test_the_sixth_of_five_events_an_hour_is_refused(server: Server, key: str) -> None:
    responses = [server.pageview(key) for _ in range(6)]
    assert [response.status for response in responses] == [201] * 5 + [429]
    assert [remaining(response) for response in responses] == [4, 3, 2, 1, 0, 0]
    assert_limited(responses[-1])


@pytest.mark.parametrize(
    ("status", "send"),
    [
        (201, Server.pageview),
        (201, lambda server, key: server.batch(key, EVENT, EVENT)),
        (400, lambda server, key: server.pageview(key, url="no")),
        (400, lambda server, key: server.custom(key, props=[])),
        (400, lambda server, key: server.send(EVENTS + "pageview", b"no JSON", key)),
        (400, lambda server, key: server.send(EVENTS + "pageview", {}, key, {"Idempotency-Key": "a b"})),
        (404, lambda server, key: server.pageview(key, site_id="no-site")),
        (405, lambda server, key: server.send(EVENTS + "pageview", key=key, method="GET")),
        (409, lambda server, key: send_once(server, key) and send_once(server, key, "app://b")),
        (413, lambda server, key: server.send(EVENTS + "pageview", b" " * 65537, key)),
        (429, lambda server, key: server.batch(key, *[EVENT] * 6)),
        (201, lambda server, key: send_once(server, key) and send_once(server, key)),
    ],
)
def test_every_response_has_the_rate_limit_headers(
    server: Server, key: str, status: int, send: Callable[[Server, str], Response]
) -> None:
    response = send(server, key)
    assert response.status == status
    assert response.headers["ratelimit-limit"] == "5"
    assert 0 <= remaining(response) <= 5
    assert 1 <= int(response.headers["ratelimit-reset"]) <= 3600


def test_each_event_of_a_batch_counts(server: Server, key: str) -> None:
    assert remaining(server.batch(key, EVENT, EVENT, EVENT)) == 2


def test_a_batch_larger_than_what_is_left_is_refused_whole_and_does_not_count(
    limited: RateLimitedServer, key: str
) -> None:
    assert limited.server.batch(key, EVENT, EVENT, EVENT).status == 201
    refused = limited.server.batch(key, *[{"type": "custom", "event_name": "never", "url": "app://a"}] * 3)
    assert_limited(refused)
    assert remaining(refused) == 2
    assert "never" not in {event["name"] for event in limited.store.events()}
    assert limited.server.batch(key, EVENT, EVENT).status == 201


@pytest.mark.parametrize(
    ("cost", "send"),
    [
        (1, lambda server, key: server.pageview(key, url="no")),
        (1, lambda server, key: server.pageview(key, url=5)),
        (1, lambda server, key: server.pageview(key, site_id="no-site")),
        (1, lambda server, key: server.custom(key, props=[])),
        (1, lambda server, key: server.send(EVENTS + "batch", {"site_id": "my-site", "events": []}, key)),
        (1, lambda server, key: server.send(EVENTS + "pageview", {}, key, {"Idempotency-Key": "a b"})),
        (3, lambda server, key: server.batch(key, EVENT, EVENT | {"url": "no"}, EVENT)),
        (3, lambda server, key: server.batch(key, EVENT, {}, EVENT)),
    ],
)
def test_an_invalid_request_counts(
    server: Server, key: str, cost: int, send: Callable[[Server, str], Response]
) -> None:
    response = send(server, key)
    assert 400 <= response.status < 500
    assert remaining(response) == 5 - cost


@pytest.mark.parametrize("fields", [{"url": "no"}, {"site_id": "no-site"}, {"props": []}])
def test_the_limit_is_checked_before_fields_site_and_props(server: Server, key: str, fields: dict[str, object]) -> None:
    server.batch(key, *[EVENT] * 5)
    assert_limited(server.custom(key, **fields))


def test_json_is_checked_before_the_limit(server: Server, key: str) -> None:
    server.batch(key, *[EVENT] * 5)
    assert server.send(EVENTS + "pageview", b"no JSON", key).error == (400, "invalid_request", None)


def test_a_replay_does_not_count(server: Server, key: str) -> None:
    assert [remaining(send_once(server, key)) for _ in range(8)] == [4] * 8
    assert remaining(server.pageview(key)) == 3


def test_a_replay_is_answered_even_at_the_limit(server: Server, key: str) -> None:
    first = send_once(server, key)
    server.batch(key, *[EVENT] * 4)
    again = send_once(server, key)
    assert (again.status, again.body, again.headers["idempotency-replayed"]) == (201, first.body, "true")
    assert_limited(server.pageview(key))
    assert_limited(send_once(server, key, "app://b"))  # a conflict is not a replay


def test_simultaneous_repeats_count_once_against_the_limit(limited: RateLimitedServer, key: str) -> None:
    limited.server.batch(key, *[EVENT] * 4)
    with ThreadPoolExecutor(3) as pool, closing(open_store(limited.store.path)) as conn:
        with transaction(conn):  # while this is open, nothing can be stored
            responses = [pool.submit(send_once, limited.server, key) for _ in range(3)]
            wait(responses, 0.5, FIRST_COMPLETED)
        assert [response.result().status for response in responses] == [201] * 3
    assert_limited(limited.server.pageview(key))


def test_each_key_has_its_own_limit(limited: RateLimitedServer, server: Server) -> None:
    one, other = next(limited.keys), next(limited.keys)
    server.batch(one, *[EVENT] * 5)
    assert remaining(server.pageview(other)) == 4


@pytest.mark.parametrize("options", TIERS)
def test_a_tier_has_its_limit(limited: RateLimitedServer, options: str) -> None:
    assert limited.server.pageview(limited.tiers[options]).headers.get("ratelimit-limit") == TIERS[options]


def wait_for_key(server: Server, key: str) -> Response:
    """Return the first response to a new key after the server has loaded it."""
    return send_until(lambda: server.pageview(key), lambda response: response.status == 201)


def test_a_jwt_has_no_limit(limited: RateLimitedServer) -> None:
    jwt = token(limited.jwt_secret, {"site_id": "my-site", "exp": int(time.time()) + 600})
    responses = [limited.server.batch(jwt, *[EVENT] * 5) for _ in range(3)]
    assert [(response.status, "ratelimit-limit" in response.headers) for response in responses] == [(201, False)] * 3


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_counts_survive_a_restart(store: Store, start: Start, signal_number: int) -> None:
    store.site()
    (key,) = add_keys(store, 1)
    server = start(store)
    assert remaining(send_once(server, key)) == 4
    assert remaining(server.batch(key, EVENT, EVENT)) == 2
    assert server.stop(signal_number) == (0 if signal_number == signal.SIGTERM else -signal_number)
    server = start(store)
    assert remaining(send_once(server, key)) == 2
    assert remaining(server.batch(key, EVENT, EVENT)) == 0
    assert_limited(server.pageview(key))


def test_counts_of_invalid_requests_survive_a_restart(store: Store, start: Start) -> None:
    store.site()
    (key,) = add_keys(store, 1)
    server = start(store)
    assert remaining(server.pageview(key, url="no")) == 4
    assert server.stop() == 0
    assert remaining(start(store).pageview(key)) == 3


def test_a_revoked_key_is_refused(limited: RateLimitedServer) -> None:
    added = limited.store.run("key", "add", "my-site", "--json").json
    wait_for_key(limited.server, added["key"])
    assert limited.store.run("key", "revoke", added["id"]).exit_status == 0
    send_until(lambda: limited.server.pageview(added["key"]), lambda response: response.status == 401)


def test_a_new_key_continues_the_count_of_the_rotated_one(limited: RateLimitedServer) -> None:
    added = limited.store.run("key", "add", "my-site", "--hourly-limit", "900", "--json").json
    before = remaining(wait_for_key(limited.server, added["key"]))
    rotated = limited.store.run("key", "rotate", added["id"], "--json").json
    assert (rotated["id"], rotated["hourly_limit"]) == (added["id"], 900)
    assert remaining(wait_for_key(limited.server, rotated["key"])) == before - 1
    assert limited.server.pageview(added["key"]).error == (401, "unauthorized", None)
