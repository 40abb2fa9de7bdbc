"""Setting the password without the setup form: by the environment and by the command line."""

import os
import subprocess

import pytest

from tests.conftest import Start, Store
from tests.support.browserless import PASSWORD, WebClient, redirect_path, set_password
from tests.support.processes import program
from tests.support.setup import FORM, OTHER_PASSWORD, assert_refused, invited_client, password_hash, stop_and_read_log


def test_a_password_may_come_from_the_environment(store: Store, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVX_ADMIN_PASSWORD", PASSWORD)
    server = start(store)
    client = WebClient(server)
    client.log_in()
    assert_refused(WebClient(server).get("/setup"))
    changed = client.post("/account", {"current": PASSWORD, "password": OTHER_PASSWORD})
    assert changed.status == 400  # the next start would change it back
    assert "OVX_ADMIN_PASSWORD" in changed.body.decode()
    assert "Set it up" not in stop_and_read_log(server)

    client.server = start(store)  # with the same password
    assert client.get("/account").status == 200
    client.server.stop()

    monkeypatch.setenv("OVX_ADMIN_PASSWORD", OTHER_PASSWORD)
    client.server = start(store)
    assert redirect_path(client.get("/account")) == "/login"
    assert client.post("/login", {"password": PASSWORD}).status == 401
    client.log_in(OTHER_PASSWORD)
    client.server.stop()

    monkeypatch.delenv("OVX_ADMIN_PASSWORD")
    client.server = start(store)  # the password of the environment remains in effect
    assert client.get("/account").status == 200


def test_an_invalid_password_in_the_environment_prevents_the_start(store: Store) -> None:
    password = "too short"
    result = store.spawn("serve", "--port", "0", env={"OVX_ADMIN_PASSWORD": password})
    assert result.exit_status in (1, 2)
    assert "10 to 1,000 characters" in result.stderr
    assert "OVX_ADMIN_PASSWORD" in result.stderr
    assert "Traceback" not in result.stderr
    assert password not in result.stderr + result.stdout


def test_setting_a_password_by_command_ends_the_sessions_of_a_running_server(store: Store, start: Start) -> None:
    server = start(store)
    early_client = invited_client(server)
    result = store.run("password", "set", "--json", stdin=f"{PASSWORD}\n".encode())
    assert (result.exit_status, result.json, result.stderr) == (0, {"changed": True}, "")
    assert_refused(early_client.post("/setup", FORM))
    early_client.log_in()
    set_password(store, OTHER_PASSWORD)
    assert redirect_path(early_client.get("/account")) == "/login"
    early_client.log_in(OTHER_PASSWORD)


@pytest.mark.parametrize("typed", [b"too short\n", b"", b"x" * 1001])
def test_an_invalid_password_by_command_changes_nothing(store: Store, typed: bytes) -> None:
    set_password(store)
    before = password_hash(store)
    result = store.run("password", "set", "--json", stdin=typed)
    assert (result.exit_status, result.stdout) == (2, "")
    assert result.stderr.strip()
    assert "Traceback" not in result.stderr
    assert password_hash(store) == before


def test_a_password_that_is_not_utf_8_is_rejected(store: Store) -> None:
    result = store.run("password", "set", stdin="ein schöner grüner".encode("latin-1"))
    assert (result.exit_status in (1, 2), result.stdout) == (True, "")
    assert "Traceback" not in result.stderr
    assert "UTF-8" in result.stderr


def test_a_password_is_hashed_at_full_strength(store: Store, start: Start) -> None:
    """The cost is as OWASP recommends. Other tests use a weak hash, but no process that users start does."""
    environment = os.environ | {"OVX_DATA_DIR": str(store.path)}
    subprocess.run(program("password", "set"), input=f"{PASSWORD}\n".encode(), env=environment, check=True)
    assert password_hash(store).split(" ")[:4] == ["scrypt", "16384", "8", "5"]
    WebClient(start(store)).log_in()
