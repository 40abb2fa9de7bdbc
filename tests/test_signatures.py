"""Signatures, as a receiver verifies them: by hand, and with the public package of Standard Webhooks."""

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
from ovx_lite.domain.calendar import DAY_MS, MINUTE_MS
from ovx_lite.domain.clock import SystemClock
from ovx_lite.storage.sqlite import open_store
from ovx_lite.storage.webhooks import delivery_log, subscriptions
from ovx_lite.webhooks.message import new_secret
from tests.conftest import Store
from tests.support.deliveries import WebhookHarness
from tests.support.receiver import ReceivedRequest, Receiver, SettableClock, http_response, wait_until

OTHER_SECRET = new_secret(bytes(32))


@pytest.fixture
def harness(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookHarness]:
    monkeypatch.setenv("OVX_WEBHOOK_ALLOW_NET", "127.0.0.0/8")
    with closing(open_store(store.path)) as conn:
        harness = WebhookHarness(store, conn)
        harness.clock = SettableClock(SystemClock().now_ms())  # the package rejects old messages
        yield harness


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def secret_of(conn: sqlite3.Connection, id: str) -> str:
    return subscriptions.find_webhook(conn, id).secret


def verifies(request: ReceivedRequest, secret: str, body: bytes | None = None, **changed_headers: str) -> bool:
    """Return whether the public package verifies a message, optionally with a changed body or headers."""
    headers = {**request.headers, **{name.replace("_", "-"): value for name, value in changed_headers.items()}}
    try:
        Webhook(secret).verify(request.body if body is None else body, headers)
    except WebhookVerificationError:
        return False
    return True


def verifies_by_hand(request: ReceivedRequest, secret: str) -> bool:
    return request.headers["x-ovyxa-signature"] == hmac.new(secret.encode(), request.body, sha256).hexdigest()


def deliver_one_message(harness: WebhookHarness, receiver: Receiver) -> ReceivedRequest:
    async def run(app: App) -> None:
        await harness.meet_goal(app, path="Größe")
        await wait_until(lambda: harness.statuses() == "delivered")

    harness.run_app(run)
    return receiver.requests[0]


def test_each_secret_is_32_unique_bytes(harness: WebhookHarness, receiver: Receiver) -> None:
    secrets = {secret_of(harness.conn, harness.add_webhook(receiver.url)) for _ in range(5)}
    assert {len(b64decode(secret.removeprefix("whsec_"), validate=True)) for secret in secrets} == {32}
    assert len(secrets) == 5


def test_a_receiver_verifies_both_signatures(harness: WebhookHarness, receiver: Receiver) -> None:
    secret = secret_of(harness.conn, harness.add_webhook(receiver.url))
    request = deliver_one_message(harness, receiver)
    assert verifies(request, secret)
    assert verifies_by_hand(request, secret)
    assert (verifies(request, OTHER_SECRET), verifies_by_hand(request, OTHER_SECRET)) == (False, False)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-ovyxa-event"] == json.loads(request.body)["event"] == "goal.completed"
    assert request.headers["user-agent"].startswith("ovx-lite/")
    assert request.headers["webhook-timestamp"] == str(harness.clock.current_ms // 1000)


def test_a_changed_message_fails_verification(harness: WebhookHarness, receiver: Receiver) -> None:
    secret = secret_of(harness.conn, harness.add_webhook(receiver.url))
    request = deliver_one_message(harness, receiver)
    changed_bodies = [
        request.body + b" ",
        request.body[:-1],
        b"",
        request.body.replace(b"goal", b"Goal", 1),
        json.dumps(json.loads(request.body)).encode(),
    ]
    assert [verifies(request, secret, body) for body in changed_bodies] == [False] * len(changed_bodies)
    assert not verifies(request, secret, webhook_id="msg_other")
    assert not verifies(request, secret, webhook_timestamp=str(int(request.headers["webhook-timestamp"]) + 1))
    assert not verifies(request, secret, webhook_signature=request.headers["webhook-signature"].replace("v1,", "v1a,"))


@pytest.mark.parametrize(
    ("elapsed_ms", "old_verifies"), [(0, True), (DAY_MS - 1, True), (DAY_MS, False), (30 * DAY_MS, False)]
)
def test_for_a_day_after_a_rotation_both_secrets_verify(
    harness: WebhookHarness, receiver: Receiver, elapsed_ms: int, old_verifies: bool
) -> None:
    id = harness.add_webhook(receiver.url)
    old, new = secret_of(harness.conn, id), new_secret(b"new" * 10 + b"er")
    subscriptions.rotate(harness.conn, id, new, harness.clock.current_ms - elapsed_ms)
    request = deliver_one_message(harness, receiver)
    assert (verifies(request, new), verifies(request, old), verifies(request, OTHER_SECRET)) == (
        True,
        old_verifies,
        False,
    )
    assert (verifies_by_hand(request, new), verifies_by_hand(request, old)) == (True, False)
    assert len(request.headers["webhook-signature"].split()) == 1 + old_verifies


def test_after_two_rotations_the_first_secret_no_longer_verifies(harness: WebhookHarness, receiver: Receiver) -> None:
    id = harness.add_webhook(receiver.url)
    first = secret_of(harness.conn, id)
    second, third = (str(harness.store.call("webhook", "rotate-secret", id)["secret"]) for _ in range(2))
    request = deliver_one_message(harness, receiver)
    assert [verifies(request, secret) for secret in (first, second, third)] == [False, True, True]


def test_each_attempt_is_signed_with_the_secrets_valid_at_its_time(harness: WebhookHarness, receiver: Receiver) -> None:
    id, receiver.reply = harness.add_webhook(receiver.url), http_response(500)
    old, new = secret_of(harness.conn, id), new_secret(b"new" * 10 + b"er")

    async def run(app: App) -> None:
        await harness.meet_goal(app)
        await harness.wait_for_attempts(1)
        subscriptions.rotate(harness.conn, id, new, harness.clock.current_ms - DAY_MS)
        harness.clock.set(harness.clock.current_ms + MINUTE_MS)
        await harness.wait_for_attempts(2)

    harness.run_app(run)
    assert [(verifies(request, old), verifies(request, new)) for request in receiver.requests] == [
        (True, False),
        (False, True),
    ]
    assert len({request.headers["webhook-signature"] for request in receiver.requests}) == 2
    attempts = delivery_log.attempts(harness.conn, harness.deliveries()[0].id)
    for attempt, request in zip(attempts, receiver.requests, strict=True):  # the log has the headers that were sent
        assert {name.lower(): value for name, value in attempt.headers.items()}.items() <= request.headers.items()
