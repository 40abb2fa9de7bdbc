"""The schema: `storage/schema.sql`, a new store and an upgraded store are the same."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ovx_lite.storage import schema_objects
from ovx_lite.storage.sqlite import STORE_FILE, migrate, open_store, schema, steps
from tests.stores import FOLDER, build

SNAPSHOT = schema()


def differences(conn: sqlite3.Connection) -> str:
    """Describe how a store differs from the snapshot, and how to update the snapshot; `""` if they are equal."""
    phrases = schema_objects.differences(conn, [SNAPSHOT])
    if not phrases:
        return ""
    statements = [sql for (sql,) in conn.execute("SELECT sql FROM sqlite_schema WHERE sql NOT NULL ORDER BY name")]
    different = [sql for sql in statements if schema_objects.normalized(sql) not in normalized_snapshot()]
    return (
        "ovx_lite/storage/schema.sql differs from ovx_lite/storage/migrations. Write these statements there, "
        f"with a comment on each new item: {'; '.join(phrases)}\n\n" + "\n\n".join(different)
    )


def normalized_snapshot() -> set[str | None]:
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(SNAPSHOT)
        return {schema_objects.normalized(sql) for (sql,) in conn.execute("SELECT sql FROM sqlite_schema")}


def test_the_migrations_produce_the_schema_and_rows_of_the_snapshot(tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "migrated", isolation_level=None)) as migrated,
        closing(open_store(tmp_path / "new")) as new,
    ):
        migrate(migrated, tmp_path / "migrated", steps())
        assert differences(migrated) == ""
        assert differences(new) == ""
        for query in ("SELECT * FROM meta", "SELECT id, password_hash, cookie_name FROM admin", "PRAGMA user_version"):
            assert migrated.execute(query).fetchall() == new.execute(query).fetchall()
        assert migrated.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (
            new.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        )


@pytest.mark.parametrize("number", sorted(int(file.stem) for file in FOLDER.glob("*.sql")))
def test_an_upgraded_store_has_the_schema_of_the_snapshot(tmp_path: Path, number: int) -> None:
    build(tmp_path / "data" / STORE_FILE, (FOLDER / f"{number:04}.sql").read_text("utf-8"))
    with closing(open_store(tmp_path / "data")) as conn:
        assert differences(conn) == ""


def test_a_difference_is_reported_with_the_statement_to_add(tmp_path: Path) -> None:
    with closing(open_store(tmp_path)) as conn:
        conn.execute("ALTER TABLE goals ADD COLUMN color TEXT")
        message = differences(conn)
    assert "the table 'goals' is not part of ovx-lite's schema" in message
    assert "color TEXT" in message
    assert "CREATE TABLE webhooks" not in message


def test_each_table_has_a_comment() -> None:
    lines = SNAPSHOT.splitlines()
    tables = [number for number, line in enumerate(lines) if line.startswith("CREATE TABLE")]
    assert len(tables) > 30
    assert [lines[number] for number in tables if not lines[number - 1].startswith("-- ")] == []


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = list(steps())
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
