"""Signatures, as a receiver checks them: by hand, and with the public package of Standard Webhooks."""

import hmac
import json
import sqlite3
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from ovx_lite.app import App
from ovx_lite.domain.clock import SystemClock
from ovx_lite.storage.sqlite import open_store
from ovx_lite.storage.webhooks import delivery_log, subscriptions
from ovx_lite.webhooks.message import new_secret
from tests.conftest import Store
from tests.support.deliveries import Place
from tests.support.in_process import DAY
from tests.support.receiver import Got, Moved, Receiver, status, until
from tests.support.store import MINUTE

OTHER = new_secret(bytes(32))


@pytest.fixture
def place(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("OVX_WEBHOOK_ALLOW_NET", "127.0.0.0/8")
    with closing(open_store(store.path)) as conn:
        place = Place(store, conn)
        place.clock = Moved(SystemClock().now())  # the package takes no message of long ago
        yield place


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def secret_of(conn: sqlite3.Connection, id: str) -> str:
    return subscriptions.find_webhook(conn, id).secret


def verifies(got: Got, secret: str, body: bytes | None = None, **changed: str) -> bool:
    """Whether the public package takes a message, with another body or other headers, perhaps."""
    headers = {**got.headers, **{name.replace("_", "-"): value for name, value in changed.items()}}
    try:
        Webhook(secret).verify(got.body if body is None else body, headers)
    except WebhookVerificationError:
        return False
    return True


def by_hand(got: Got, secret: str) -> bool:
    return got.headers["x-ovyxa-signature"] == hmac.new(secret.encode(), got.body, sha256).hexdigest()


def one_message(place: Place, receiver: Receiver) -> Got:
    async def run(app: App) -> None:
        await place.hit(app, path="Größe")
        await until(lambda: place.statuses() == "delivered")

    place.during(run)
    return receiver.got[0]


def test_a_secret_is_32_bytes_of_its_own(place: Place, receiver: Receiver) -> None:
    secrets = {secret_of(place.conn, place.webhook(receiver.url)) for _ in range(5)}
    assert {len(b64decode(secret.removeprefix("whsec_"), validate=True)) for secret in secrets} == {32}
    assert len(secrets) == 5


def test_a_receiver_verifies_both_signatures(place: Place, receiver: Receiver) -> None:
    secret = secret_of(place.conn, place.webhook(receiver.url))
    got = one_message(place, receiver)
    assert verifies(got, secret)
    assert by_hand(got, secret)
    assert (verifies(got, OTHER), by_hand(got, OTHER)) == (False, False)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-ovyxa-event"] == json.loads(got.body)["event"] == "goal.completed"
    assert got.headers["user-agent"].startswith("ovx-lite/")
    assert got.headers["webhook-timestamp"] == str(place.clock.ms // 1000)


def test_what_was_changed_on_the_way_is_refused(place: Place, receiver: Receiver) -> None:
    secret = secret_of(place.conn, place.webhook(receiver.url))
    got = one_message(place, receiver)
    changed = [
        got.body + b" ",
        got.body[:-1],
        b"",
        got.body.replace(b"goal", b"Goal", 1),
        json.dumps(json.loads(got.body)).encode(),
    ]
    assert [verifies(got, secret, body) for body in changed] == [False] * len(changed)
    assert not verifies(got, secret, webhook_id="msg_other")
    assert not verifies(got, secret, webhook_timestamp=str(int(got.headers["webhook-timestamp"]) + 1))
    assert not verifies(got, secret, webhook_signature=got.headers["webhook-signature"].replace("v1,", "v1a,"))


@pytest.mark.parametrize(("after", "old_too"), [(0, True), (DAY - 1, True), (DAY, False), (30 * DAY, False)])
def test_for_a_day_after_a_rotation_both_secrets_verify(
    place: Place, receiver: Receiver, after: int, old_too: bool
) -> None:
    id = place.webhook(receiver.url)
    old, new = secret_of(place.conn, id), new_secret(b"new" * 10 + b"er")
    subscriptions.rotate(place.conn, id, new, place.clock.ms - after)
    got = one_message(place, receiver)
    assert (verifies(got, new), verifies(got, old), verifies(got, OTHER)) == (True, old_too, False)
    assert (by_hand(got, new), by_hand(got, old)) == (True, False)
    assert len(got.headers["webhook-signature"].split()) == 1 + old_too


def test_after_two_rotations_the_first_secret_is_worth_nothing(place: Place, receiver: Receiver) -> None:
    id = place.webhook(receiver.url)
    first = secret_of(place.conn, id)
    second, third = (str(place.store.call("webhook", "rotate-secret", id)["secret"]) for _ in range(2))
    got = one_message(place, receiver)
    assert [verifies(got, secret) for secret in (first, second, third)] == [False, True, True]


def test_each_try_is_signed_anew_with_the_secret_of_its_time(place: Place, receiver: Receiver) -> None:
    id, receiver.answer = place.webhook(receiver.url), status(500)
    old, new = secret_of(place.conn, id), new_secret(b"new" * 10 + b"er")

    async def run(app: App) -> None:
        await place.hit(app)
        await place.written(1)
        subscriptions.rotate(place.conn, id, new, place.clock.ms - DAY)
        place.clock.set(place.clock.ms + MINUTE)
        await place.written(2)

    place.during(run)
    assert [(verifies(got, old), verifies(got, new)) for got in receiver.got] == [(True, False), (False, True)]
    assert len({got.headers["webhook-signature"] for got in receiver.got}) == 2
    tries = delivery_log.attempts(place.conn, place.log()[0].number)
    for attempt, got in zip(tries, receiver.got, strict=True):  # the log has what was sent
        assert {name.lower(): value for name, value in attempt.headers.items()}.items() <= got.headers.items()
