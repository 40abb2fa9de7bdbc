"""Stores with random bytes: `check` and `restore` report the damage in one sentence, or no data has changed."""

import os
import random
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ovx_lite.storage import integrity
from ovx_lite.storage.sqlite import STORE_FILE, open_store
from tests.conftest import CommandResult, Store
from tests.stores import FOLDER, build

TRIES = int(os.environ.get("OVX_DAMAGE_TRIES", "12"))
RANDOM_COLUMNS = {
    ("sites", "identity_secret"),
    ("salts", "salt"),
    ("admin", "cookie_key"),
    ("login_sessions", "token_hash"),
}
# Any bytes are valid in these columns.
RANDOM_COLUMNS |= {("idempotent_responses", "request_hash"), ("idempotent_responses", "body")}


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store with rows in every table, in small, full pages."""
    file = tmp_path_factory.mktemp("dense") / "data" / STORE_FILE
    build(file, max(FOLDER.glob("*.sql")).read_text("utf-8"))
    open_store(file.parent).close()
    small = file.with_name("small")
    with closing(sqlite3.connect(file, isolation_level=None)) as conn:
        conn.execute("VACUUM INTO ?", (str(small),))
    with closing(sqlite3.connect(small, isolation_level=None)) as conn:
        conn.execute("PRAGMA page_size = 512")
        conn.execute("VACUUM")
    return small.read_bytes()


def contents(file: Path) -> dict[str, list[str]]:
    """Return all rows of all tables, without columns of random bytes."""
    with closing(sqlite3.connect(file)) as conn:
        tables = conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        rows_by_table = {}
        for (table,) in tables:
            columns = [column for _, column, *_ in conn.execute(f"PRAGMA table_info({table})")]
            column_list = ", ".join(column for column in columns if (table, column) not in RANDOM_COLUMNS) or "1"
            rows_by_table[table] = sorted(map(repr, conn.execute(f"SELECT {column_list} FROM {table}")))
        return rows_by_table


def with_noise(content: bytes, rng: random.Random, size_bytes: int) -> bytes:
    """Return the content with `size_bytes` random bytes at a random position (for one byte, one flipped bit)."""
    start = rng.randrange(len(content) - size_bytes + 1)
    noise = rng.randbytes(size_bytes) if size_bytes > 1 else bytes([content[start] ^ 1 << rng.randrange(8)])
    return content[:start] + noise + content[start + size_bytes :]


def is_clear(result: CommandResult) -> bool:
    output = result.stdout + result.stderr
    return (
        result.exit_status in (0, 1) and "Traceback" not in output and (result.exit_status == 0 or bool(output.strip()))
    )


@pytest.mark.parametrize("size_bytes", [1, 16, 64, 512, 4096])
def test_random_bytes_are_reported_or_change_nothing(tmp_path: Path, dense: bytes, size_bytes: int) -> None:
    (good := tmp_path / "good").write_bytes(dense)
    expected, missed = contents(good), []
    for seed in range(TRIES):
        data_dir, rng = tmp_path / "data", random.Random(f"{size_bytes} {seed}")
        shutil.rmtree(data_dir, ignore_errors=True)
        data_dir.mkdir()
        (data_dir / STORE_FILE).write_bytes(with_noise(dense, rng, size_bytes))
        (damaged := tmp_path / "damaged").write_bytes((data_dir / STORE_FILE).read_bytes())
        checked = Store(data_dir).run("check")
        restored = Store(tmp_path / "other").run("restore", str(damaged), "--overwrite")
        assert is_clear(checked), (seed, checked)
        assert is_clear(restored), (seed, restored)
        if "--rebuild" not in checked.stdout:  # wrong counts can be rebuilt, so `restore` accepts them
            assert checked.exit_status == restored.exit_status, (seed, checked, restored)
        if checked.exit_status == 0 and contents(data_dir / STORE_FILE) != expected:
            missed.append(seed)
    # A changed letter or number is valid, too: without checksums, one flipped bit may go unnoticed.
    assert size_bytes == 1 or missed == []


@pytest.mark.parametrize(
    "marker",
    [b"SQLite format 3", b"CREATE TABLE dimension_values", b"CREATE INDEX deliveries_to_send", b"registry_version"],
)
def test_a_server_on_a_damaged_store_reports_it_in_one_sentence(tmp_path: Path, dense: bytes, marker: bytes) -> None:
    store, start = Store(tmp_path / "data"), dense.index(marker)
    store.path.mkdir()
    (store.path / STORE_FILE).write_bytes(dense[:start] + random.Random(1).randbytes(300) + dense[start + 300 :])
    for args in (["serve", "--port", "0"], ["check"], ["site", "list"]):
        result = store.spawn(*args)
        assert result.exit_status == 1, result
        assert (result.stdout + result.stderr).strip().isprintable() or args == ["check"], result
        assert "Traceback" not in result.stderr, result


INVALID_ROWS = [
    "UPDATE sites SET timezone = 'Europe/Atlantis'",
    "UPDATE sites SET timezone = '../../../etc/passwd'",
    "UPDATE sites SET created_at = -1",
    "UPDATE sites SET slug = '../../x<script>' WHERE id = (SELECT max(id) FROM sites)",
    "UPDATE pages SET path = CAST(x'2fff' AS TEXT) WHERE id = (SELECT max(id) FROM pages)",
    "UPDATE events SET props = '{' WHERE props IS NOT NULL",
    "UPDATE events SET props = '[1]' WHERE props IS NOT NULL",
    "UPDATE events SET id_offset = -(1 << 62) WHERE visit_id = (SELECT max(visit_id) FROM events) AND id_offset = 0",
    "INSERT INTO imported_lines SELECT id, 0, 1 << 40 FROM sites",
    "INSERT INTO imported_lines VALUES (99, 0, 0)",
    "UPDATE event_revenue SET id_offset = id_offset + 1",
    "INSERT OR IGNORE INTO event_revenue SELECT site_id, visit_id, id_offset, 1 FROM events",
    "UPDATE persons SET traits = 'x'",
    "UPDATE visits SET flags = 7",
    "UPDATE deliveries SET body = x'ff'",
    "UPDATE deliveries SET status = 'lost'",
    "UPDATE webhooks SET body_format = 'fax'",
    "UPDATE api_keys SET key_hash = x'00' WHERE public_id = (SELECT max(public_id) FROM api_keys)",
    "INSERT INTO dirty_days SELECT id, 1 << 50 FROM sites",
    "UPDATE meta SET value = -1 WHERE name = 'write_checked_at'",
    "PRAGMA foreign_keys = OFF; UPDATE api_keys SET site_id = 99",
    "PRAGMA ignore_check_constraints = ON; UPDATE api_keys SET tier = 'gold'",
    "PRAGMA ignore_check_constraints = ON; UPDATE admin SET id = 2",
]


@pytest.mark.parametrize("damage", INVALID_ROWS)
def test_check_reports_a_row_that_cannot_be_valid(tmp_path: Path, dense: bytes, damage: str) -> None:
    (tmp_path / STORE_FILE).write_bytes(dense)
    with closing(open_store(tmp_path)) as conn:
        assert integrity.problems(conn) == []
    with closing(sqlite3.connect(tmp_path / STORE_FILE, isolation_level=None)) as conn:
        conn.executescript(damage)
        assert conn.total_changes > 0, "the store has no such row"
    with closing(open_store(tmp_path)) as conn:
        problems = integrity.problems(conn)
    assert problems != []
    assert " ".join(problems).isprintable()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [("sites", "name", "7"), ("attempts", "duration_ms", "'x'"), ("goals", "name", "NULL")],
)
def test_check_reports_a_value_of_another_type(
    tmp_path: Path, dense: bytes, table: str, column: str, value: str
) -> None:
    """Strict tables refuse values of another type, but a crafted file may contain one."""
    change = "UPDATE sqlite_schema SET sql = ? WHERE name = ?"
    (tmp_path / STORE_FILE).write_bytes(dense)
    with closing(sqlite3.connect(tmp_path / STORE_FILE, isolation_level=None)) as conn:
        (sql,) = conn.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        loose = re.sub(rf"\b({column} +)(TEXT|INTEGER) NOT NULL", r"\1BLOB", sql.replace("STRICT", ""))
        conn.execute("PRAGMA writable_schema = ON")
        conn.execute(change, (loose, table))
        conn.execute("PRAGMA writable_schema = RESET")
        conn.execute(f"UPDATE {table} SET {column} = {value}")
        conn.execute("PRAGMA writable_schema = ON")
        conn.execute(change, (sql, table))
        conn.execute("PRAGMA writable_schema = RESET")
    result = Store(tmp_path).run("check")
    assert (result.exit_status, column in result.stdout) == (1, True), result
