"""Stores with random bytes in them: `check` and `restore` report them in a sentence, or nothing is lost."""

import os
import random
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ovx_lite.storage import integrity
from ovx_lite.storage.sqlite import FILE, open_store
from tests.conftest import Ran, Store
from tests.stores import FOLDER, build

TRIES = int(os.environ.get("OVX_DAMAGE_TRIES", "12"))
RANDOM = {("sites", "identity_secret"), ("salts", "salt"), ("admin", "cookie_key"), ("login_sessions", "token_hash")}
# Other bytes there are as good as these.
RANDOM |= {("idempotent_responses", "request_hash"), ("idempotent_responses", "body")}


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store with something of everything, in small pages that are full."""
    file = tmp_path_factory.mktemp("dense") / "data" / FILE
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
    """All rows of all tables, without what is random bytes anyway."""
    with closing(sqlite3.connect(file)) as conn:
        tables = conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        found = {}
        for (table,) in tables:
            columns = [column for _, column, *_ in conn.execute(f"PRAGMA table_info({table})")]
            wanted = ", ".join(column for column in columns if (table, column) not in RANDOM) or "1"
            found[table] = sorted(map(repr, conn.execute(f"SELECT {wanted} FROM {table}")))
        return found


def with_noise(content: bytes, chance: random.Random, size: int) -> bytes:
    """A file with so many other bytes somewhere; if it is one, with another bit."""
    begin = chance.randrange(len(content) - size + 1)
    noise = chance.randbytes(size) if size > 1 else bytes([content[begin] ^ 1 << chance.randrange(8)])
    return content[:begin] + noise + content[begin + size :]


def is_clear(ran: Ran) -> bool:
    said = ran.out + ran.err
    return ran.status in (0, 1) and "Traceback" not in said and (ran.status == 0 or bool(said.strip()))


@pytest.mark.parametrize("size", [1, 16, 64, 512, 4096])
def test_random_bytes_are_found_or_change_nothing(tmp_path: Path, dense: bytes, size: int) -> None:
    (good := tmp_path / "good").write_bytes(dense)
    expected, missed = contents(good), []
    for seed in range(TRIES):
        data_dir, chance = tmp_path / "data", random.Random(f"{size} {seed}")
        shutil.rmtree(data_dir, ignore_errors=True)
        data_dir.mkdir()
        (data_dir / FILE).write_bytes(with_noise(dense, chance, size))
        (damaged := tmp_path / "damaged").write_bytes((data_dir / FILE).read_bytes())
        checked = Store(data_dir).run("check")
        restored = Store(tmp_path / "other").run("restore", str(damaged), "--overwrite")
        assert is_clear(checked), (seed, checked)
        assert is_clear(restored), (seed, restored)
        if "--rebuild" not in checked.out:  # wrong counts are counted anew, and no reason to refuse a copy
            assert checked.status == restored.status, (seed, checked, restored)
        if checked.status == 0 and contents(data_dir / FILE) != expected:
            missed.append(seed)
    # Another letter in a text, or another number, is as good as the one before: without checksums, nobody knows.
    assert size == 1 or missed == []


@pytest.mark.parametrize(
    "place",
    [b"SQLite format 3", b"CREATE TABLE dimension_values", b"CREATE INDEX deliveries_to_send", b"registry_version"],
)
def test_a_server_on_a_damaged_store_says_so_in_a_sentence(tmp_path: Path, dense: bytes, place: bytes) -> None:
    store, begin = Store(tmp_path / "data"), dense.index(place)
    store.path.mkdir()
    (store.path / FILE).write_bytes(dense[:begin] + random.Random(1).randbytes(300) + dense[begin + 300 :])
    for words in (["serve", "--port", "0"], ["check"], ["site", "list"]):
        ran = store.spawn(*words)
        assert ran.status == 1, ran
        assert (ran.out + ran.err).strip().isprintable() or words == ["check"], ran
        assert "Traceback" not in ran.err, ran


WRONG_ROWS = [
    "UPDATE sites SET timezone = 'Europe/Atlantis'",
    "UPDATE sites SET timezone = '../../../etc/passwd'",
    "UPDATE sites SET created_at = -1",
    "UPDATE sites SET slug = '../../x<script>' WHERE id = (SELECT max(id) FROM sites)",
    "UPDATE pages SET path = CAST(x'2fff' AS TEXT) WHERE id = (SELECT max(id) FROM pages)",
    "UPDATE events SET props = '{' WHERE props IS NOT NULL",
    "UPDATE events SET props = '[1]' WHERE props IS NOT NULL",
    "UPDATE events SET id_offset = -(1 << 62) WHERE visit_id = (SELECT max(visit_id) FROM events) AND id_offset = 0",
    "UPDATE events SET import_line_hash = 1 << 40",
    "UPDATE persons SET traits = 'x'",
    "UPDATE visits SET is_identified = 7",
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


@pytest.mark.parametrize("damage", WRONG_ROWS)
def test_a_row_that_cannot_be_ours_is_found(tmp_path: Path, dense: bytes, damage: str) -> None:
    (tmp_path / FILE).write_bytes(dense)
    with closing(open_store(tmp_path)) as conn:
        assert integrity.problems(conn) == []
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as conn:
        conn.executescript(damage)
        assert conn.total_changes > 0, "there is nothing of the kind in the store"
    with closing(open_store(tmp_path)) as conn:
        found = integrity.problems(conn)
    assert found != []
    assert " ".join(found).isprintable()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [("sites", "name", "7"), ("attempts", "duration_ms", "'x'"), ("goals", "name", "NULL")],
)
def test_a_value_of_another_type_is_found(tmp_path: Path, dense: bytes, table: str, column: str, value: str) -> None:
    """Strict tables take no value of another type, but a file that was made by hand may have one."""
    change = "UPDATE sqlite_schema SET sql = ? WHERE name = ?"
    (tmp_path / FILE).write_bytes(dense)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as conn:
        (sql,) = conn.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        loose = re.sub(rf"\b({column} +)(TEXT|INTEGER) NOT NULL", r"\1BLOB", sql.replace("STRICT", ""))
        conn.execute("PRAGMA writable_schema = ON")
        conn.execute(change, (loose, table))
        conn.execute("PRAGMA writable_schema = RESET")
        conn.execute(f"UPDATE {table} SET {column} = {value}")
        conn.execute("PRAGMA writable_schema = ON")
        conn.execute(change, (sql, table))
        conn.execute("PRAGMA writable_schema = RESET")
    ran = Store(tmp_path).run("check")
    assert (ran.status, column in ran.out) == (1, True), ran
