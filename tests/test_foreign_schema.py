"""Backups with a foreign schema: triggers, views and other added objects are never used."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ovx_lite.storage.sqlite import STORE_FILE, steps
from tests.conftest import CommandResult, Store
from tests.stores import FOLDER, build, dump

TRIGGER = "CREATE TRIGGER spy AFTER INSERT ON events BEGIN UPDATE admin SET password = ''; END;"


def rewrite_schema(table: str, old: str, new: str) -> str:
    """Return SQL that changes the text of a table's schema."""
    change = f"UPDATE sqlite_schema SET sql = replace(sql, '{old}', '{new}') WHERE name = '{table}'"
    return f"PRAGMA writable_schema = ON; {change}; PRAGMA writable_schema = RESET;"


CRAFTED = {
    "a trigger": TRIGGER,
    "a trigger that calls a function": "CREATE TRIGGER x AFTER DELETE ON visits BEGIN SELECT load_extension('x'); END;",
    "a view": "CREATE VIEW numbers AS SELECT * FROM events;",
    "a view with a trigger": "CREATE VIEW v AS SELECT 1 AS a;"
    "CREATE TRIGGER t INSTEAD OF INSERT ON v BEGIN DELETE FROM events; END;",
    "a view instead of a table": "DROP TABLE annotations; CREATE VIEW annotations AS SELECT '' AS id;",
    "another table": "CREATE TABLE theirs (a);",
    "a table with a name like Litestream's": "CREATE TABLE _litestream_other (id INTEGER);",
    "Litestream's table with other columns": "CREATE TABLE _litestream_seq (id INTEGER, seq INTEGER CHECK (seq > 0));",
    "a view with the name of Litestream's": "CREATE VIEW _litestream_seq AS SELECT 1 AS id;",
    "a trigger on Litestream's table": "CREATE TABLE _litestream_lock (id INTEGER);"
    "CREATE TRIGGER t AFTER INSERT ON _litestream_lock BEGIN DELETE FROM events; END;",
    "a virtual table": "CREATE VIRTUAL TABLE words_search USING fts5(a);",
    "another index": "CREATE INDEX more ON events (page_id);",
    "an index on an expression": "CREATE INDEX more ON pages (upper(path));",
    "a unique index": "CREATE UNIQUE INDEX more ON sites (name);",
    "a missing index": "DROP INDEX deliveries_by_status;",
    "a missing table": "DROP TABLE annotations;",
    "another column": "ALTER TABLE sites ADD COLUMN more TEXT;",
    "a generated column": "ALTER TABLE sites ADD COLUMN more TEXT GENERATED ALWAYS AS (jwt_secret) VIRTUAL;",
    "a renamed column": "ALTER TABLE sites RENAME COLUMN identity_secret TO more;",
    "a default that is an expression": rewrite_schema(
        "sites", "created_at      INTEGER NOT NULL", "created_at INTEGER NOT NULL DEFAULT (random())"
    ),
    "another constraint": rewrite_schema(
        "dimension_values", "TEXT NOT NULL UNIQUE", "TEXT NOT NULL UNIQUE CHECK (length(value) < 9)"
    ),
    "a missing constraint": rewrite_schema("admin", " CHECK (id = 1)", ""),
    "a table that is not strict": rewrite_schema("dimension_values", "STRICT", ""),
    "a column of another type": rewrite_schema("events", "page_id           INTEGER", "page_id ANY"),
    "a missing reference": rewrite_schema("api_keys", "REFERENCES sites ON DELETE CASCADE", ""),
    "a no-break space": rewrite_schema("dimension_values", "TEXT NOT NULL", "TEXT\u00a0NOT NULL"),
    "a schema that cannot be read": rewrite_schema("dimension_values", "CREATE TABLE", "CREATE TABEL"),
    "two rows for a table": "PRAGMA writable_schema = ON;"
    "INSERT INTO sqlite_schema SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema"
    " WHERE name = 'dimension_values';",
    "a wrong version": "PRAGMA user_version = 6;",
    "a version before the first": "PRAGMA user_version = -1;",
    "no version": "PRAGMA user_version = 0;",
    "another program's id": "PRAGMA application_id = 7;",
}


@pytest.fixture
def crafted(store: Store, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that makes a copy of a store and changes it with SQL."""
    store.site()
    good = tmp_path / "good.sqlite3"
    store.call("backup", str(good))

    def make(sql: str) -> Path:
        bad = tmp_path / "crafted.sqlite3"
        bad.write_bytes(good.read_bytes())
        with closing(sqlite3.connect(bad, isolation_level=None)) as conn:
            conn.executescript(sql)
        return bad

    return make


def is_refused(result: CommandResult) -> bool:
    return (
        (result.exit_status, result.stdout) == (1, "")
        and result.stderr.startswith("Error: ")
        and result.stderr.count("\n") == 1
    )


@pytest.mark.parametrize("which", CRAFTED)
def test_a_backup_with_a_foreign_schema_is_not_restored(
    crafted: Callable[[str], Path], tmp_path: Path, which: str
) -> None:
    file, other = crafted(CRAFTED[which]), Store(tmp_path / "other")
    result = other.run("restore", str(file))
    assert is_refused(result), result
    assert result.stderr.endswith(("take another copy.\n", "restore a backup.\n"))
    assert str(file) in result.stderr
    assert not (other.path / STORE_FILE).exists()


@pytest.mark.parametrize("which", CRAFTED)
def test_every_command_refuses_a_store_with_a_foreign_schema(
    crafted: Callable[[str], Path], tmp_path: Path, which: str
) -> None:
    other = Store(tmp_path / "other")
    other.path.mkdir()
    crafted(CRAFTED[which]).rename(other.path / STORE_FILE)
    before = (other.path / STORE_FILE).read_bytes()
    for args in (["check"], ["site", "list"], ["export", "my-site"]):
        result = other.run(*args)
        assert is_refused(result), result
    result = other.run("check", "--json")
    assert result.exit_status == 1
    assert (result.json["ok"], len(result.json["problems"])) == (False, 1)
    assert (other.path / STORE_FILE).read_bytes() == before


def test_a_server_does_not_start_on_a_store_with_a_trigger(crafted: Callable[[str], Path], tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    other.path.mkdir()
    crafted(TRIGGER).rename(other.path / STORE_FILE)
    result = other.spawn("serve", "--port", "0")
    assert is_refused(result), result
    assert "the trigger 'spy' is not part of ovx-lite's schema" in result.stderr


def test_schema_names_are_escaped_in_the_terminal(crafted: Callable[[str], Path], tmp_path: Path) -> None:
    result = Store(tmp_path / "other").run("restore", str(crafted('CREATE VIEW "a\x1b[31m\x07" AS SELECT 1;')))
    assert is_refused(result)
    assert result.stderr.rstrip("\n").isprintable()


@pytest.mark.parametrize("number", list(steps())[:-1])
def test_a_trigger_does_not_fire_during_the_upgrade_of_an_older_backup(tmp_path: Path, number: int) -> None:
    build(tmp_path / "old" / STORE_FILE, (FOLDER / f"{number:04}.sql").read_text("utf-8"))
    with closing(sqlite3.connect(tmp_path / "old" / STORE_FILE, isolation_level=None)) as conn:
        conn.execute("CREATE TRIGGER spy AFTER UPDATE ON sites BEGIN UPDATE meta SET value = 77; END")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before, other = dump(tmp_path / "old" / STORE_FILE), Store(tmp_path / "other")
    assert is_refused(other.run("restore", str(tmp_path / "old" / STORE_FILE)))
    assert is_refused(Store(tmp_path / "old").run("check"))
    assert dump(tmp_path / "old" / STORE_FILE) == before


def test_a_backup_in_another_encoding_is_not_restored(crafted: Callable[[str], Path], tmp_path: Path) -> None:
    wide = tmp_path / "wide.sqlite3"
    with closing(sqlite3.connect(wide, isolation_level=None)) as conn:
        conn.execute("PRAGMA encoding = 'UTF-16le'")
        conn.executescript(dump(crafted("")))
    assert is_refused(Store(tmp_path / "other").run("restore", str(wide)))


HARMLESS = {
    "Litestream's tables": "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER);"
    "CREATE TABLE IF NOT EXISTS _litestream_lock (id INTEGER); INSERT INTO _litestream_seq VALUES (1, 5);",
    "ANALYZE": "ANALYZE;",
    "comments and white space": rewrite_schema(
        "dimension_values", "CREATE TABLE dimension_values (", "CREATE TABLE /* ours */ dimension_values( -- theirs\n"
    ),
    "pages of 512 bytes": "PRAGMA page_size = 512; VACUUM;",
    "pages of 64 KiB": "PRAGMA page_size = 65536; VACUUM;",
    "auto_vacuum": "PRAGMA auto_vacuum = FULL; VACUUM;",
}


@pytest.mark.parametrize("which", HARMLESS)
def test_a_backup_with_harmless_differences_is_restored(
    crafted: Callable[[str], Path], tmp_path: Path, which: str
) -> None:
    file, other = crafted(HARMLESS[which]), Store(tmp_path / "other")
    assert other.run("restore", str(file)).stderr == ""
    assert other.run("check").exit_status == 0
    assert [site["id"] for site in other.call("site", "list")] == ["my-site"]


@pytest.mark.parametrize("kind", ["text", "folder", "pipe", "larger than the disk"])
def test_a_file_that_is_not_a_backup_is_refused_before_it_is_read(store: Store, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "copy"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.write_bytes(b"SQLite format 3\0" if kind != "text" else b"nothing of the kind")
        if kind != "text":
            os.truncate(file, 1 << 42)  # sparse
    result = store.run("restore", str(file))
    assert result.exit_status != 0
    assert "Traceback" not in result.stderr
    assert not (store.path / STORE_FILE).exists()
    assert not (store.path / "restoring").exists()
