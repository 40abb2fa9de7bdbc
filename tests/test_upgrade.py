"""Upgrades of older stores by the next command. `test_stores` compares the rows."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ovx_lite.storage import sqlite
from ovx_lite.storage.connections import acquire_lock
from ovx_lite.storage.sqlite import STORE_FILE, steps
from tests.conftest import CommandResult, Store
from tests.stores import FOLDER, build, dump
from tests.support.old_stores import BACKUP_NAME, NEWEST, OLDEST, schema_version


@pytest.fixture(params=list(steps())[:-1])
def old(request: pytest.FixtureRequest, store: Store) -> Store:
    """Build a store of each older schema."""
    build(store.path / STORE_FILE, (FOLDER / f"{request.param:04}.sql").read_text("utf-8"))
    return store


def query_rows(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as conn:
        return conn.execute(query).fetchall()


def is_consistent(store: Store) -> bool:
    return bool(store.run("check", "--json").json["ok"])


def test_an_upgrade_leaves_an_unchanged_copy_of_the_old_store(old: Store) -> None:
    old_version, content = schema_version(old.path / STORE_FILE), dump(old.path / STORE_FILE)
    assert old.run("check").exit_status == 0
    assert schema_version(old.path / STORE_FILE) == NEWEST
    assert schema_version(old.path / BACKUP_NAME) == old_version
    assert dump(old.path / BACKUP_NAME) == content
    assert (old.path / BACKUP_NAME).stat().st_mode & 0o077 == 0
    backup_bytes = (old.path / BACKUP_NAME).read_bytes()
    assert old.run("check").exit_status == 0
    assert (old.path / BACKUP_NAME).read_bytes() == backup_bytes, "the next command does not change the copy"


def test_a_restored_copy_is_upgraded_again(old: Store) -> None:
    before = old.events()
    for file in old.path.glob(f"{STORE_FILE}*"):
        file.unlink()
    (old.path / BACKUP_NAME).rename(old.path / STORE_FILE)
    assert old.events() == before
    assert (old.path / BACKUP_NAME).exists()
    assert is_consistent(old)


def test_each_site_keeps_its_secret(old: Store) -> None:
    secret_column = "secret" if schema_version(old.path / STORE_FILE) < 7 else "identity_secret"
    before = query_rows(old.path / STORE_FILE, f"SELECT {secret_column} FROM sites")
    old.site("new-site")
    secrets = query_rows(old.path / STORE_FILE, "SELECT identity_secret FROM sites ORDER BY id")
    assert secrets[: len(before)] == before
    assert len(set(secrets)) == len(before) + 1
    assert {len(secret) for (secret,) in secrets} == {32}


def test_concurrent_commands_upgrade_the_store_once(old: Store) -> None:
    """The first command upgrades the store, the others wait, and the copy holds the old store."""
    old_version = schema_version(old.path / STORE_FILE)
    with closing(sqlite3.connect(old.path / STORE_FILE)) as conn, conn:
        conn.executemany(
            "INSERT INTO pages VALUES (NULL, 'https', 'example.com', ?)",
            [(f"/{number}/{'x' * 400}",) for number in range(20_000)],
        )

    def run(number: int) -> CommandResult:
        return old.run("site", "list")

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(run, range(6)))
    assert [result.stderr for result in results if result.exit_status] == []
    assert (schema_version(old.path / STORE_FILE), schema_version(old.path / BACKUP_NAME)) == (NEWEST, old_version)
    assert [file.name for file in old.path.iterdir() if "unfinished" in file.name] == []
    assert is_consistent(old)


def test_the_copy_holds_the_old_store_even_if_another_process_upgrades_first(
    old: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, results, read_version = old.path / STORE_FILE, list[CommandResult](), sqlite._version
    old_version = schema_version(path)

    def overtaken(conn: sqlite3.Connection) -> int:
        current_version = read_version(conn)
        if not results:
            results.append(old.spawn("site", "list"))
        return current_version

    monkeypatch.setattr(sqlite, "_version", overtaken)
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        sqlite.migrate(conn, path, steps())
    assert [result.exit_status for result in results] == [0]
    assert (schema_version(path), schema_version(old.path / BACKUP_NAME)) == (NEWEST, old_version)


@pytest.mark.parametrize("number", range(1, min(steps())))
def test_a_schema_that_was_never_released_is_refused_with_instructions(
    store: Store, tmp_path: Path, number: int
) -> None:
    file = store.path / STORE_FILE
    build(file, OLDEST)
    with closing(sqlite3.connect(file, isolation_level=None)) as conn:
        conn.execute(f"PRAGMA user_version = {number}")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = file.read_bytes()
    restored = Store(tmp_path / "restored")
    for result in (store.run("check"), store.run("site", "list"), restored.run("restore", str(file))):
        assert (result.exit_status, result.stdout) == (1, "")
        assert result.stderr == (
            f"Error: {file} has schema {number}, which was never released: open it once with ovx-lite of commit "
            "1d8d18f, which upgrades it to schema 6, and then with this one.\n"
        )
    assert file.read_bytes() == content
    assert not (restored.path / STORE_FILE).exists()


def test_no_command_upgrades_the_store_of_a_running_server(old: Store) -> None:
    before = schema_version(old.path / STORE_FILE)
    with closing(acquire_lock(old.path)):
        result = old.run("site", "list")
        assert (result.exit_status, schema_version(old.path / STORE_FILE)) == (1, before)
        assert "stop it, so that the store can be upgraded" in result.stderr
    assert old.run("site", "list").exit_status == 0
    assert schema_version(old.path / STORE_FILE) == NEWEST
