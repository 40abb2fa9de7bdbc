"""How often a password may be tried, and that nobody else minds."""

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
from tests.support.browserless import PASSWORD, Person, set_password

OTHER = "something else altogether"
MANY = int(os.environ.get("OVX_TRIES", "1000"))
THREADS = 4
FORM = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}


def test_guesses_of_the_current_password_are_slowed_down(store: Store, start: Start) -> None:
    set_password(store)
    person = Person(start(store))
    person.log_in()
    answers = [person.post("/account", {"current": f"guess {n}", "password": "something else"}) for n in range(20)]
    assert Counter(answer.status for answer in answers) == {400: 10, 429: 10}
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert person.post("/account", {"current": PASSWORD, "password": "something else"}).status == 429
    assert person.get("/account").status == 200


def test_thousands_of_tries_are_slowed_down_and_keep_nobody_out(store: Store, start: Start) -> None:
    store.site("my-site", "--domain", "example.com")
    set_password(store)
    key, server = store.key(), start(store)
    person = Person(server)
    person.log_in()
    with ThreadPoolExecutor(THREADS) as pool:
        storm = [pool.submit(try_often, server, MANY // THREADS, f"{number}-") for number in range(THREADS)]
        rounds = 0
        while not all(tries.done() for tries in storm) or not rounds:
            assert server.pageview(key).status == 201
            assert person.get("/account").status == 200
            rounds += 1
        came = sum((tries.result() for tries in storm), Counter[int]())
    assert set(came) == {401, 429}
    assert (came.total(), came[401] <= 36) == (MANY, True)
    assert Person(server).post("/login", {"password": PASSWORD}).status == 429
    assert person.get("/account").status == 200


def try_often(server: Server, times: int, prefix: str) -> Counter[int]:
    """Try passwords over one connection. Returns how often each status came."""
    came: Counter[int] = Counter()
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        for number in range(times):
            connection.request("POST", "/login", f"password={prefix}{number}", FORM)
            answer = connection.getresponse()
            assert answer.status != 429 or int(answer.headers["Retry-After"]) >= 1
            answer.read()
            came[answer.status] += 1
    return came


def tries(server: Server, addresses: list[str]) -> list[int]:
    """Try a wrong password from each of these addresses, behind a proxy."""
    form = {"password": "x" * 1001}  # is wrong without being hashed, which takes long
    return [Person(server).post("/login", form, x_forwarded_for=address).status for address in addresses]


def test_tries_are_counted_by_address(store: Store, start: Start) -> None:
    set_password(store)
    server = start(store, "--trusted-proxies", "127.0.0.1")
    assert tries(server, ["203.0.113.1"] * 12) == [401] * 10 + [429] * 2
    assert tries(server, ["2001:db8::1", "2001:db8::2"] * 6) == [401] * 10 + [429] * 2  # one network
    assert tries(server, ["203.0.113.2", "::ffff:203.0.113.3", "2001:db8:0:1::1"]) == [401] * 3
    right = {"password": PASSWORD}
    assert Person(server).post("/login", right, x_forwarded_for="203.0.113.1").status == 429
    assert Person(server).post("/login", right, x_forwarded_for="203.0.113.9").status == 303


def test_one_who_is_not_behind_a_proxy_cannot_choose_an_address(store: Store, start: Start) -> None:
    set_password(store)
    assert tries(start(store), [f"203.0.113.{number}" for number in range(12)]) == [401] * 10 + [429] * 2


def test_tries_are_counted_in_all(store: Store, start: Start) -> None:
    set_password(store)
    server = start(store, "--trusted-proxies", "127.0.0.1")
    came = tries(server, [f"203.0.113.{number}" for number in range(200)])
    assert 100 <= came.count(401) < 150
    assert came[-1] == 429


def test_an_address_that_is_none_is_one_of_its_own(store: Store, start: Start) -> None:
    set_password(store)
    server = start(store, "--trusted-proxies", "127.0.0.1")
    assert tries(server, [f"203.0.113.{number}" for number in range(12)]) == [401] * 12
    assert tries(server, ["unknown"] * 12) == [401] * 10 + [429] * 2


def signed(store: Store, session: dict[str, object]) -> dict[str, str]:
    """The cookie that somebody who has stolen the store, as it is now, can sign."""
    with store.opened() as conn:
        known = accounts.load(conn)
    payload = b64encode(json.dumps(session).encode())
    return {known.cookie_name: TimestampSigner(known.cookie_key.hex()).sign(payload).decode()}


@pytest.mark.parametrize("by", ["command", "page", "environment"])
def test_a_new_password_ends_cookies_that_were_signed_with_a_stolen_key(
    store: Store, start: Start, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_password(store)
    server = start(store)
    owner = Person(server)
    owner.log_in()
    thief = Person(server)
    thief.cookies = signed(store, {"browser": "a browser that was logged in before"})
    wrong = {"password": "x" * 1001}
    assert {Person(server).post("/login", wrong).status for _ in range(12)} == {401, 429}
    assert thief.post("/login", wrong).status == 401  # it is not held up, as the owner's browser would not be
    if by == "command":
        set_password(store, OTHER)
    elif by == "page":
        assert owner.post("/account", {"current": PASSWORD, "password": OTHER}).status == 303
        assert owner.get("/account").status == 200
    else:
        server.stop()
        monkeypatch.setenv("OVX_ADMIN_PASSWORD", OTHER)
        thief.server = server = start(store)
        assert {Person(server).post("/login", wrong).status for _ in range(12)} == {401, 429}
    assert thief.post("/login", wrong).status == 429
    assert signed(store, {}).keys() == thief.cookies.keys()  # or old cookies would pile up in browsers


def test_whoever_changes_the_password_is_still_a_known_browser(store: Store, start: Start) -> None:
    set_password(store)
    owner = Person(start(store))
    owner.log_in()
    assert owner.post("/account", {"current": PASSWORD, "password": OTHER}).status == 303
    assert len(owner.cookies) == 1
    assert owner.post("/logout").status == 303
    wrong = {"password": "x" * 1001}
    assert {Person(owner.server).post("/login", wrong).status for _ in range(12)} == {401, 429}
    assert owner.log_in(OTHER).status == 303
