"""The ways to a password beside the first form: the environment, and the command line."""

import pytest

from tests.conftest import Start, Store
from tests.support.browserless import PASSWORD, Person, path_of, set_password
from tests.support.setup import FORM, OTHER, hash_in, invited, refused, told_in_the_end


def test_a_password_may_come_from_the_environment(store: Store, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVX_ADMIN_PASSWORD", PASSWORD)
    server = start(store)
    person = Person(server)
    person.log_in()
    refused(Person(server).get("/setup"))
    changed = person.post("/account", {"current": PASSWORD, "password": OTHER})
    assert changed.status == 400  # the next start would change it back
    assert "OVX_ADMIN_PASSWORD" in changed.body.decode()
    assert "Set it up" not in told_in_the_end(server)

    person.server = start(store)  # with the same one
    assert person.get("/account").status == 200
    person.server.stop()

    monkeypatch.setenv("OVX_ADMIN_PASSWORD", OTHER)
    person.server = start(store)
    assert path_of(person.get("/account")) == "/login"
    assert person.post("/login", {"password": PASSWORD}).status == 401
    person.log_in(OTHER)
    person.server.stop()

    monkeypatch.delenv("OVX_ADMIN_PASSWORD")
    person.server = start(store)  # what it said stays
    assert person.get("/account").status == 200


def test_a_wrong_password_in_the_environment_ends_the_start(store: Store) -> None:
    password = "too short"
    ran = store.spawn("serve", "--port", "0", env={"OVX_ADMIN_PASSWORD": password})
    assert ran.status in (1, 2)
    assert "10 to 1,000 characters" in ran.err
    assert "OVX_ADMIN_PASSWORD" in ran.err
    assert "Traceback" not in ran.err
    assert password not in ran.err + ran.out


def test_a_password_of_the_command_line_ends_the_sessions_of_a_running_server(store: Store, start: Start) -> None:
    server = start(store)
    early = invited(server)
    ran = store.run("password", "set", "--json", stdin=f"{PASSWORD}\n".encode())
    assert (ran.status, ran.json, ran.err) == (0, {"changed": True}, "")
    refused(early.post("/setup", FORM))
    early.log_in()
    set_password(store, OTHER)
    assert path_of(early.get("/account")) == "/login"
    early.log_in(OTHER)


@pytest.mark.parametrize("typed", [b"too short\n", b"", b"x" * 1001])
def test_a_wrong_password_at_the_command_line_changes_nothing(store: Store, typed: bytes) -> None:
    set_password(store)
    before = hash_in(store)
    ran = store.run("password", "set", "--json", stdin=typed)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.strip()
    assert "Traceback" not in ran.err
    assert hash_in(store) == before


def test_bytes_that_no_browser_can_send_are_no_password(store: Store) -> None:
    ran = store.run("password", "set", stdin="ein schöner grüner".encode("latin-1"))
    assert (ran.status in (1, 2), ran.out) == (True, "")
    assert "Traceback" not in ran.err
    assert "UTF-8" in ran.err
