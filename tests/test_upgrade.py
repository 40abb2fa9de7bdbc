"""Upgrades: what the next command makes of an older store. `test_stores` compares the rows."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ovx_lite.storage import sqlite
from ovx_lite.storage.sqlite import FILE, steps
from tests.conftest import Ran, Store
from tests.stores import FOLDER, build, dump
from tests.support.old_stores import COPY, NEWEST, OLDEST, version


@pytest.fixture(params=list(steps())[:-1])
def old(request: pytest.FixtureRequest, store: Store) -> Store:
    """A store of each older schema."""
    build(store.path / FILE, (FOLDER / f"{request.param:04}.sql").read_text("utf-8"))
    return store


def rows(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as conn:
        return conn.execute(query).fetchall()


def whole(store: Store) -> bool:
    return bool(store.run("check", "--json").json["ok"])


def test_a_copy_is_left_as_it_was(old: Store) -> None:
    before, content = version(old.path / FILE), dump(old.path / FILE)
    assert old.run("check").status == 0
    assert version(old.path / FILE) == NEWEST
    assert version(old.path / COPY) == before
    assert dump(old.path / COPY) == content
    assert (old.path / COPY).stat().st_mode & 0o077 == 0
    left = (old.path / COPY).read_bytes()
    assert old.run("check").status == 0
    assert (old.path / COPY).read_bytes() == left, "the next command leaves it alone"


def test_a_restored_copy_is_upgraded_again(old: Store) -> None:
    before = old.events()
    for file in old.path.glob(f"{FILE}*"):
        file.unlink()
    (old.path / COPY).rename(old.path / FILE)
    assert old.events() == before
    assert (old.path / COPY).exists()
    assert whole(old)


def test_each_site_keeps_its_secret(old: Store) -> None:
    before = rows(old.path / FILE, "SELECT secret FROM sites")
    old.site("new-site")
    secrets = rows(old.path / FILE, "SELECT identity_secret FROM sites ORDER BY id")
    assert secrets[: len(before)] == before
    assert len(set(secrets)) == len(before) + 1
    assert {len(secret) for (secret,) in secrets} == {32}


def test_commands_at_the_same_moment(old: Store) -> None:
    """Whoever comes first upgrades; the others wait, and the copy is still that of the old store."""
    before = version(old.path / FILE)
    with closing(sqlite3.connect(old.path / FILE)) as conn, conn:
        conn.executemany(
            "INSERT INTO pages VALUES (NULL, 'https', 'example.com', ?)",
            [(f"/{number}/{'x' * 400}",) for number in range(20_000)],
        )

    def run(number: int) -> Ran:
        return old.run("site", "list")

    with ThreadPoolExecutor(6) as pool:
        ran = list(pool.map(run, range(6)))
    assert [one.err for one in ran if one.status] == []
    assert (version(old.path / FILE), version(old.path / COPY)) == (NEWEST, before)
    assert [file.name for file in old.path.iterdir() if "unfinished" in file.name] == []
    assert whole(old)


def test_the_copy_is_of_the_old_store_even_if_another_process_was_faster(
    old: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ran, look = old.path / FILE, list[Ran](), sqlite._version
    before = version(path)

    def overtaken(conn: sqlite3.Connection) -> int:
        found = look(conn)
        if not ran:
            ran.append(old.spawn("site", "list"))
        return found

    monkeypatch.setattr(sqlite, "_version", overtaken)
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        sqlite.migrate(conn, path, steps())
    assert [one.status for one in ran] == [0]
    assert (version(path), version(old.path / COPY)) == (NEWEST, before)


@pytest.mark.parametrize("number", range(1, min(steps())))
def test_a_schema_that_was_never_released_is_refused_with_what_to_do(store: Store, tmp_path: Path, number: int) -> None:
    file = store.path / FILE
    build(file, OLDEST)
    with closing(sqlite3.connect(file, isolation_level=None)) as conn:
        conn.execute(f"PRAGMA user_version = {number}")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = file.read_bytes()
    restored = Store(tmp_path / "restored")
    for ran in (store.run("check"), store.run("site", "list"), restored.run("restore", str(file))):
        assert (ran.status, ran.out) == (1, "")
        assert ran.err == (
            f"Error: {file} has schema {number}, which was never released: open it once with ovx-lite of commit "
            "1d8d18f, which upgrades it to schema 6, and then with this one.\n"
        )
    assert file.read_bytes() == content
    assert not (restored.path / FILE).exists()
