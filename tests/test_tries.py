"""Throttling of password attempts, without locking out other callers."""

import http.client
import json
import os
from base64 import b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from itsdangerous import TimestampSigner

from ovx_lite.storage import accounts
from tests.conftest import Server, Start, Store
from tests.support.browserless import PASSWORD, WebClient, set_password

OTHER_PASSWORD = "something else altogether"
GUESS_COUNT = int(os.environ.get("OVX_TRIES", "1000"))
THREADS = 4
FORM = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}


def test_guesses_of_the_current_password_are_throttled(store: Store, start: Start) -> None:
    set_password(store)
    client = WebClient(start(store))
    client.log_in()
    responses = [client.post("/account", {"current": f"guess {n}", "password": "something else"}) for n in range(20)]
    assert Counter(response.status for response in responses) == {400: 10, 429: 10}
    assert int(responses[-1].headers["retry-after"]) >= 1
    assert client.post("/account", {"current": PASSWORD, "password": "something else"}).status == 429
    assert client.get("/account").status == 200


def test_thousands_of_guesses_are_throttled_and_lock_nobody_out(store: Store, start: Start) -> None:
    store.site("my-site", "--domain", "example.com")
    set_password(store)
    key, server = store.key(), start(store)
    client = WebClient(server)
    client.log_in()
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [
            pool.submit(guess_passwords, server, GUESS_COUNT // THREADS, f"{number}-") for number in range(THREADS)
        ]
        rounds = 0
        while not all(future.done() for future in futures) or not rounds:
            assert server.pageview(key).status == 201
            assert client.get("/account").status == 200
            rounds += 1
        status_counts = sum((future.result() for future in futures), Counter[int]())
    assert set(status_counts) == {401, 429}
    assert (status_counts.total(), status_counts[401] <= 36) == (GUESS_COUNT, True)
    assert WebClient(server).post("/login", {"password": PASSWORD}).status == 429
    assert client.get("/account").status == 200


def guess_passwords(server: Server, guess_count: int, prefix: str) -> Counter[int]:
    """Try passwords over one connection, and count the statuses of the responses."""
    status_counts: Counter[int] = Counter()
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        for number in range(guess_count):
            connection.request("POST", "/login", f"password={prefix}{number}", FORM)
            response = connection.getresponse()
            assert response.status != 429 or int(response.headers["Retry-After"]) >= 1
            response.read()
            status_counts[response.status] += 1
    return status_counts


def guess_statuses(server: Server, addresses: list[str]) -> list[int]:
    """Try a wrong password from each of these addresses, as behind a proxy. Returns the statuses."""
    form = {"password": "x" * 1001}  # too long: rejected without the slow hash
    return [WebClient(server).post("/login", form, x_forwarded_for=address).status for address in addresses]


def test_attempts_are_counted_by_address(store: Store, start: Start) -> None:
    set_password(store)
    server = start(store, "--trusted-proxies", "127.0.0.1")
    assert guess_statuses(server, ["203.0.113.1"] * 12) == [401] * 10 + [429] * 2
    assert (
        guess_statuses(server, ["2001:db8::1", "2001:db8::2"] * 6) == [401] * 10 + [429] * 2
    )  # both are in one /64 network
    assert guess_statuses(server, ["203.0.113.2", "::ffff:203.0.113.3", "2001:db8:0:1::1"]) == [401] * 3
    correct_form = {"password": PASSWORD}
    assert WebClient(server).post("/login", correct_form, x_forwarded_for="203.0.113.1").status == 429
    assert WebClient(server).post("/login", correct_form, x_forwarded_for="203.0.113.9").status == 303


def test_a_client_cannot_choose_its_address_without_a_trusted_proxy(store: Store, start: Start) -> None:
    set_password(store)
    assert guess_statuses(start(store), [f"203.0.113.{number}" for number in range(12)]) == [401] * 10 + [429] * 2


def test_attempts_are_counted_in_total(store: Store, start: Start) -> None:
    set_password(store)
    server = start(store, "--trusted-proxies", "127.0.0.1")
    statuses = guess_statuses(server, [f"203.0.113.{number}" for number in range(200)])
    assert 100 <= statuses.count(401) < 150
    assert statuses[-1] == 429


def test_invalid_addresses_share_a_limit(store: Store, start: Start) -> None:
    set_password(store)
    server = start(store, "--trusted-proxies", "127.0.0.1")
    assert guess_statuses(server, [f"203.0.113.{number}" for number in range(12)]) == [401] * 12
    assert guess_statuses(server, ["unknown"] * 12) == [401] * 10 + [429] * 2


def signed_cookie(store: Store, session: dict[str, object]) -> dict[str, str]:
    """Sign a session cookie with the key in the store, as a thief of the store could."""
    with store.connect() as conn:
        account = accounts.load(conn)
    payload = b64encode(json.dumps(session).encode())
    return {account.cookie_name: TimestampSigner(account.cookie_key.hex()).sign(payload).decode()}


@pytest.mark.parametrize("changed_by", ["command", "page", "environment"])
def test_a_new_password_invalidates_cookies_signed_with_a_stolen_key(
    store: Store, start: Start, changed_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_password(store)
    server = start(store)
    owner = WebClient(server)
    owner.log_in()
    thief = WebClient(server)
    thief.cookies = signed_cookie(store, {"browser": "a browser that was logged in before"})
    incorrect_form = {"password": "x" * 1001}
    assert {WebClient(server).post("/login", incorrect_form).status for _ in range(12)} == {401, 429}
    assert thief.post("/login", incorrect_form).status == 401  # not throttled, like the owner's browser
    if changed_by == "command":
        set_password(store, OTHER_PASSWORD)
    elif changed_by == "page":
        assert owner.post("/account", {"current": PASSWORD, "password": OTHER_PASSWORD}).status == 303
        assert owner.get("/account").status == 200
    else:
        server.stop()
        monkeypatch.setenv("OVX_ADMIN_PASSWORD", OTHER_PASSWORD)
        thief.server = server = start(store)
        assert {WebClient(server).post("/login", incorrect_form).status for _ in range(12)} == {401, 429}
    assert thief.post("/login", incorrect_form).status == 429
    assert signed_cookie(store, {}).keys() == thief.cookies.keys()  # otherwise old cookies would accumulate in browsers


def test_a_browser_that_changes_the_password_remains_trusted(store: Store, start: Start) -> None:
    set_password(store)
    owner = WebClient(start(store))
    owner.log_in()
    assert owner.post("/account", {"current": PASSWORD, "password": OTHER_PASSWORD}).status == 303
    assert len(owner.cookies) == 1
    assert owner.post("/logout").status == 303
    incorrect_form = {"password": "x" * 1001}
    assert {WebClient(owner.server).post("/login", incorrect_form).status for _ in range(12)} == {401, 429}
    assert owner.log_in(OTHER_PASSWORD).status == 303
