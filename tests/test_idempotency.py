"""Idempotency-Key: a request is executed once, however often it is sent."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest

from tests.conftest import Response, RunningSite, Server, Start, Store
from tests.support.tokens import token

EVENTS = "/api/v1/events/"
CUSTOM_EVENT = {"type": "custom", "url": "app://a"}
BODIES: dict[str, dict[str, object]] = {
    "pageview": {"site_id": "my-site", "url": "app://a/1"},
    "custom": {"site_id": "my-site", "url": "app://a/1", "event_name": "signup", "props": {"plan": "pro"}},
    "batch": {
        "site_id": "my-site",
        "events": [CUSTOM_EVENT | {"event_name": "first"}, CUSTOM_EVENT | {"event_name": "second"}],
    },
}


@pytest.fixture
def idempotency_key() -> str:
    """Return an Idempotency-Key that no other test uses."""
    return str(uuid4())


def send(server: Server, key: str, idempotency_key: str, path: str = "pageview", **fields: object) -> Response:
    return server.send(EVENTS + path, BODIES[path] | fields, key, {"Idempotency-Key": idempotency_key})


def assert_replayed(again: Response, first: Response) -> None:
    assert (first.status, "idempotency-replayed" in first.headers) == (201, False)
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]


def event_ids(response: Response) -> set[str]:
    return {response.json["event_id"]} if "event_id" in response.json else set(response.json["event_ids"])


def new_event_ids(running: RunningSite, before: set[str]) -> set[str]:
    """Return the ids of the events stored in addition to `before`."""
    return {event["id"] for event in running.store.events()} - before


@pytest.mark.parametrize("path", BODIES)
def test_a_repeated_request_gets_the_first_response(running: RunningSite, idempotency_key: str, path: str) -> None:
    first = send(running.server, running.key, idempotency_key, path)
    for _ in range(3):
        assert_replayed(send(running.server, running.key, idempotency_key, path), first)


def test_a_repeated_request_stores_nothing(running: RunningSite) -> None:
    before = new_event_ids(running, set())
    responses = [
        send(running.server, running.key, f"stored once {path}".replace(" ", "-"), path) for path in list(BODIES) * 3
    ]
    assert new_event_ids(running, before) == set().union(*map(event_ids, responses[:3]))


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_a_repeat_after_a_restart_gets_the_first_response(
    store: Store, start: Start, signal_number: int, idempotency_key: str
) -> None:
    key = jwt("my-site", store.site()["jwt_secret"])
    server = start(store)
    first = send(server, key, idempotency_key)
    server.stop(signal_number)
    assert_replayed(send(start(store), key, idempotency_key), first)
    assert [event["id"] for event in store.events()] == [first.json["event_id"]]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("pageview", {"url": "app://a/2"}),
        ("pageview", {"timestamp": 1_736_937_000_000}),
        ("pageview", {"unknown": 1}),
        ("custom", {}),
        ("batch", {}),
    ],
)
def test_the_same_key_with_another_request_is_a_conflict(
    running: RunningSite, idempotency_key: str, path: str, fields: dict[str, object]
) -> None:
    first = send(running.server, running.key, idempotency_key)
    response = send(running.server, running.key, idempotency_key, path, **fields)
    assert response.error[:2] == (409, "idempotency_conflict")
    assert "idempotency-replayed" not in response.headers
    assert_replayed(send(running.server, running.key, idempotency_key), first)


def test_the_same_body_to_another_path_is_a_conflict(running: RunningSite, idempotency_key: str) -> None:
    headers = {"Idempotency-Key": idempotency_key}
    assert running.server.send(EVENTS + "pageview", BODIES["custom"], running.key, headers).status == 201
    assert running.server.send(EVENTS + "custom", BODIES["custom"], running.key, headers).status == 409


def test_an_idempotency_key_belongs_to_one_site(store: Store, start: Start, idempotency_key: str) -> None:
    tokens = {site: jwt(site, store.site(site)["jwt_secret"]) for site in ("my-site", "other-site")}
    server = start(store)
    responses = {site: send(server, tokens[site], idempotency_key, site_id=site) for site in tokens}
    for site in tokens:
        assert_replayed(send(server, tokens[site], idempotency_key, site_id=site), responses[site])
        assert [event["id"] for event in store.events(site)] == [responses[site].json["event_id"]]


def test_another_credential_of_the_same_site_gets_the_replay(running: RunningSite, idempotency_key: str) -> None:
    first = send(running.server, running.key, idempotency_key)
    assert_replayed(send(running.server, jwt("my-site", running.jwt_secret), idempotency_key), first)


def jwt(site: str, secret: str) -> str:
    return token(secret, {"site_id": site, "exp": int(time.time()) + 600})


def test_another_idempotency_key_is_another_request(running: RunningSite) -> None:
    ids = {send(running.server, running.key, str(uuid4())).json["event_id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("good", ["x", "!", "~", "a" * 255, "{'a':\"b\",c}"])
def test_an_idempotency_key_has_1_to_255_visible_characters(running: RunningSite, good: str) -> None:
    first = send(running.server, running.key, good)
    assert_replayed(send(running.server, running.key, good), first)


@pytest.mark.parametrize("bad", ["", "a" * 256, "a b", "a\tb", "clé", "\xa0"])
def test_an_invalid_idempotency_key_is_refused(running: RunningSite, bad: str) -> None:
    response = send(running.server, running.key, bad)
    assert response.error == (400, "invalid_request", "Idempotency-Key")


@pytest.mark.parametrize("fields", [{"url": "no"}, {"site_id": "no-site"}, {"props": []}])
def test_a_refused_request_does_not_use_up_its_key(
    running: RunningSite, idempotency_key: str, fields: dict[str, object]
) -> None:
    assert send(running.server, running.key, idempotency_key, "custom", **fields).status in (400, 404)
    first = send(running.server, running.key, idempotency_key, "custom")
    assert_replayed(send(running.server, running.key, idempotency_key, "custom"), first)


def test_a_request_without_credentials_does_not_use_up_its_key(running: RunningSite, idempotency_key: str) -> None:
    assert send(running.server, "unknown", idempotency_key).status == 401
    assert "idempotency-replayed" not in send(running.server, running.key, idempotency_key).headers


def test_a_repeat_needs_credentials(running: RunningSite, idempotency_key: str) -> None:
    assert send(running.server, running.key, idempotency_key).status == 201
    assert send(running.server, "unknown", idempotency_key).status == 401


def test_twenty_simultaneous_repeats_count_once(running: RunningSite, idempotency_key: str) -> None:
    request_count = 20
    barrier = Barrier(request_count)
    before = new_event_ids(running, set())

    def send_at_once(_: int) -> Response:
        barrier.wait()
        return send(running.server, running.key, idempotency_key, "batch")

    with ThreadPoolExecutor(request_count) as pool:
        responses = list(pool.map(send_at_once, range(request_count)))
    assert {(response.status, response.body) for response in responses} == {(201, responses[0].body)}
    assert sum("idempotency-replayed" not in response.headers for response in responses) == 1
    assert new_event_ids(running, before) == event_ids(responses[0])


def test_simultaneous_different_requests_with_one_key_conflict(running: RunningSite, idempotency_key: str) -> None:
    request_count = 8
    barrier = Barrier(request_count)

    def send_at_once(number: int) -> int:
        barrier.wait()
        return send(running.server, running.key, idempotency_key, url=f"app://race/{number}").status

    with ThreadPoolExecutor(request_count) as pool:
        assert sorted(pool.map(send_at_once, range(request_count))) == [201] + [409] * (request_count - 1)
    assert len([event for event in running.store.events() if event["host"] == "race"]) == 1


APEX = {"projectKey": "my-site", "events": [{"type": "click", "url": "/pricing"}]}


def send_public(server: Server, idempotency_key: str, **fields: object) -> Response:
    return server.send("/api/events", APEX | fields, headers={"Idempotency-Key": idempotency_key})


def assert_replayed_to_all(server: Server, key: str, idempotency_key: str, keyed: Response, public: Response) -> None:
    assert_replayed(send(server, key, idempotency_key), keyed)
    again = send_public(server, idempotency_key)
    assert (public.status, again.status, again.body) == (200, 200, public.body)
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("order", ["public first", "keyed first"])
def test_a_public_request_does_not_use_up_a_keyed_requests_idempotency_key(
    store: Store, start: Start, idempotency_key: str, order: str
) -> None:
    store.site()
    key = store.key()
    server = start(store)
    if order == "public first":
        public = send_public(server, idempotency_key)
        keyed = send(server, key, idempotency_key)
    else:
        keyed = send(server, key, idempotency_key)
        public = send_public(server, idempotency_key)
    assert "idempotency-replayed" not in keyed.headers
    assert "idempotency-replayed" not in public.headers
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        assert_replayed_to_all(server, key, idempotency_key, keyed, public)
        server.stop(signal_number)
        server = start(store)
    assert_replayed_to_all(server, key, idempotency_key, keyed, public)
    assert send_public(server, idempotency_key, projectKey="my-site", sessionId="another").status == 409
    assert send(server, key, idempotency_key, url="app://a/2").status == 409
    assert len(store.events()) == 2


def test_public_endpoints_share_their_idempotency_keys(running: RunningSite, idempotency_key: str) -> None:
    event = {"name": "e", "project_id": "my-site", "device_id": "d", "session_id": "s", "context": "website"}
    assert send_public(running.server, idempotency_key).status == 200
    response = running.server.send("/api/v1/event", {"event": event}, headers={"Idempotency-Key": idempotency_key})
    assert response.error == (409, "idempotency_conflict", "Idempotency-Key")


def test_an_authorization_header_does_not_make_a_public_request_keyed(
    running: RunningSite, idempotency_key: str
) -> None:
    headers = {"Idempotency-Key": idempotency_key}
    assert running.server.send("/api/events", APEX, running.key, headers).status == 200
    assert "idempotency-replayed" in send_public(running.server, idempotency_key).headers
    assert send(running.server, running.key, idempotency_key).status == 201


def test_simultaneous_keyed_and_public_requests_are_each_stored_once(
    running: RunningSite, idempotency_key: str
) -> None:
    request_count = 20
    barrier = Barrier(request_count)
    before = new_event_ids(running, set())

    def send_at_once(number: int) -> Response:
        barrier.wait()
        return (
            send_public(running.server, idempotency_key)
            if number % 2
            else send(running.server, running.key, idempotency_key)
        )

    with ThreadPoolExecutor(request_count) as pool:
        responses = list(pool.map(send_at_once, range(request_count)))
    for status, group in ((201, responses[::2]), (200, responses[1::2])):
        assert {(response.status, response.body) for response in group} == {(status, group[0].body)}
        assert sum("idempotency-replayed" not in response.headers for response in group) == 1
    assert len(new_event_ids(running, before)) == 2
