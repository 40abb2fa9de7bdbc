"""An Idempotency-Key: a request is done once, however often it is sent (contract 2)."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest

from tests.conftest import Answer, Running, Server, Start, Store
from tests.support.tokens import token

EVENTS = "/api/v1/events/"
PART = {"type": "custom", "url": "app://a"}
BODIES: dict[str, dict[str, object]] = {
    "pageview": {"site_id": "my-site", "url": "app://a/1"},
    "custom": {"site_id": "my-site", "url": "app://a/1", "event_name": "signup", "props": {"plan": "pro"}},
    "batch": {"site_id": "my-site", "events": [PART | {"event_name": "first"}, PART | {"event_name": "second"}]},
}


@pytest.fixture
def once() -> str:
    """An Idempotency-Key that no other test uses."""
    return str(uuid4())


def send(server: Server, key: str, once: str, path: str = "pageview", **fields: object) -> Answer:
    return server.send(EVENTS + path, BODIES[path] | fields, key, {"Idempotency-Key": once})


def assert_replayed(again: Answer, first: Answer) -> None:
    assert (first.status, "idempotency-replayed" in first.headers) == (201, False)
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]


def ids(answer: Answer) -> set[str]:
    return {answer.json["event_id"]} if "event_id" in answer.json else set(answer.json["event_ids"])


def since(running: Running, before: set[str]) -> set[str]:
    """The ids of the events that were stored since there were only those of `before`."""
    return {event["id"] for event in running.store.events()} - before


@pytest.mark.parametrize("path", BODIES)
def test_a_repeat_gets_the_first_answer(running: Running, once: str, path: str) -> None:
    first = send(running.server, running.key, once, path)
    for _ in range(3):
        assert_replayed(send(running.server, running.key, once, path), first)


def test_a_repeat_stores_nothing(running: Running) -> None:
    before = since(running, set())
    answers = [
        send(running.server, running.key, f"stored once {path}".replace(" ", "-"), path) for path in list(BODIES) * 3
    ]
    assert since(running, before) == set().union(*map(ids, answers[:3]))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_repeat_after_a_restart_gets_the_first_answer(store: Store, start: Start, how: int, once: str) -> None:
    key = jwt("my-site", store.site()["jwt_secret"])
    server = start(store)
    first = send(server, key, once)
    server.stop(how)
    assert_replayed(send(start(store), key, once), first)
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
    running: Running, once: str, path: str, fields: dict[str, object]
) -> None:
    first = send(running.server, running.key, once)
    answer = send(running.server, running.key, once, path, **fields)
    assert answer.error[:2] == (409, "idempotency_conflict")
    assert "idempotency-replayed" not in answer.headers
    assert_replayed(send(running.server, running.key, once), first)


def test_the_same_body_to_another_path_is_a_conflict(running: Running, once: str) -> None:
    headers = {"Idempotency-Key": once}
    assert running.server.send(EVENTS + "pageview", BODIES["custom"], running.key, headers).status == 201
    assert running.server.send(EVENTS + "custom", BODIES["custom"], running.key, headers).status == 409


def test_a_key_is_each_sites_own(store: Store, start: Start, once: str) -> None:
    tokens = {site: jwt(site, store.site(site)["jwt_secret"]) for site in ("my-site", "other-site")}
    server = start(store)
    answers = {site: send(server, tokens[site], once, site_id=site) for site in tokens}
    for site in tokens:
        assert_replayed(send(server, tokens[site], once, site_id=site), answers[site])
        assert [event["id"] for event in store.events(site)] == [answers[site].json["event_id"]]


def test_another_credential_of_the_same_site_repeats_too(running: Running, once: str) -> None:
    first = send(running.server, running.key, once)
    assert_replayed(send(running.server, jwt("my-site", running.jwt_secret), once), first)


def jwt(site: str, secret: str) -> str:
    return token(secret, {"site_id": site, "exp": int(time.time()) + 600})


def test_another_idempotency_key_is_another_request(running: Running) -> None:
    ids = {send(running.server, running.key, str(uuid4())).json["event_id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("good", ["x", "!", "~", "a" * 255, "{'a':\"b\",c}"])
def test_a_key_is_1_to_255_visible_characters(running: Running, good: str) -> None:
    first = send(running.server, running.key, good)
    assert_replayed(send(running.server, running.key, good), first)


@pytest.mark.parametrize("bad", ["", "a" * 256, "a b", "a\tb", "clé", "\xa0"])
def test_any_other_key_is_refused(running: Running, bad: str) -> None:
    answer = send(running.server, running.key, bad)
    assert answer.error == (400, "invalid_request", "Idempotency-Key")


@pytest.mark.parametrize("fields", [{"url": "no"}, {"site_id": "no-site"}, {"props": []}])
def test_a_refused_request_does_not_use_up_its_key(running: Running, once: str, fields: dict[str, object]) -> None:
    assert send(running.server, running.key, once, "custom", **fields).status in (400, 404)
    first = send(running.server, running.key, once, "custom")
    assert_replayed(send(running.server, running.key, once, "custom"), first)


def test_a_request_without_credentials_does_not_use_up_its_key(running: Running, once: str) -> None:
    assert send(running.server, "unknown", once).status == 401
    assert "idempotency-replayed" not in send(running.server, running.key, once).headers


def test_a_repeat_needs_credentials(running: Running, once: str) -> None:
    assert send(running.server, running.key, once).status == 201
    assert send(running.server, "unknown", once).status == 401


def test_twenty_at_the_same_moment_count_once(running: Running, once: str) -> None:
    crowd = 20
    together = Barrier(crowd)
    before = since(running, set())

    def come(_: int) -> Answer:
        together.wait()
        return send(running.server, running.key, once, "batch")

    with ThreadPoolExecutor(crowd) as pool:
        answers = list(pool.map(come, range(crowd)))
    assert {(answer.status, answer.body) for answer in answers} == {(201, answers[0].body)}
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert since(running, before) == ids(answers[0])


def test_different_requests_with_one_key_at_the_same_moment_conflict(running: Running, once: str) -> None:
    crowd = 8
    together = Barrier(crowd)

    def come(number: int) -> int:
        together.wait()
        return send(running.server, running.key, once, url=f"app://race/{number}").status

    with ThreadPoolExecutor(crowd) as pool:
        assert sorted(pool.map(come, range(crowd))) == [201] + [409] * (crowd - 1)
    assert len([event for event in running.store.events() if event["host"] == "race"]) == 1


APEX = {"projectKey": "my-site", "events": [{"type": "click", "url": "/pricing"}]}


def send_public(server: Server, once: str, **fields: object) -> Answer:
    return server.send("/api/events", APEX | fields, headers={"Idempotency-Key": once})


def assert_replayed_to_all(server: Server, key: str, once: str, keyed: Answer, public: Answer) -> None:
    assert_replayed(send(server, key, once), keyed)
    again = send_public(server, once)
    assert (public.status, again.status, again.body) == (200, 200, public.body)
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("order", ["public first", "keyed first"])
def test_who_has_no_credentials_uses_up_nobodys_key(store: Store, start: Start, once: str, order: str) -> None:
    store.site()
    key = store.key()
    server = start(store)
    if order == "public first":
        public = send_public(server, once)
        keyed = send(server, key, once)
    else:
        keyed = send(server, key, once)
        public = send_public(server, once)
    assert "idempotency-replayed" not in keyed.headers
    assert "idempotency-replayed" not in public.headers
    for how in (signal.SIGTERM, signal.SIGKILL):
        assert_replayed_to_all(server, key, once, keyed, public)
        server.stop(how)
        server = start(store)
    assert_replayed_to_all(server, key, once, keyed, public)
    assert send_public(server, once, projectKey="my-site", sessionId="another").status == 409
    assert send(server, key, once, url="app://a/2").status == 409
    assert len(store.events()) == 2


def test_the_public_endpoints_share_their_keys(running: Running, once: str) -> None:
    event = {"name": "e", "project_id": "my-site", "device_id": "d", "session_id": "s", "context": "website"}
    assert send_public(running.server, once).status == 200
    answer = running.server.send("/api/v1/event", {"event": event}, headers={"Idempotency-Key": once})
    assert answer.error == (409, "idempotency_conflict", "Idempotency-Key")


def test_a_key_without_credentials_is_public_whatever_is_sent_as_authorization(running: Running, once: str) -> None:
    headers = {"Idempotency-Key": once}
    assert running.server.send("/api/events", APEX, running.key, headers).status == 200
    assert "idempotency-replayed" in send_public(running.server, once).headers
    assert send(running.server, running.key, once).status == 201


def test_both_classes_at_the_same_moment_are_done_once_each(running: Running, once: str) -> None:
    crowd = 20
    together = Barrier(crowd)
    before = since(running, set())

    def come(number: int) -> Answer:
        together.wait()
        return send_public(running.server, once) if number % 2 else send(running.server, running.key, once)

    with ThreadPoolExecutor(crowd) as pool:
        answers = list(pool.map(come, range(crowd)))
    for status, some in ((201, answers[::2]), (200, answers[1::2])):
        assert {(answer.status, answer.body) for answer in some} == {(status, some[0].body)}
        assert sum("idempotency-replayed" not in answer.headers for answer in some) == 1
    assert len(since(running, before)) == 2
