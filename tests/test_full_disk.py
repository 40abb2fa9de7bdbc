"""Backups without enough disk space: they leave no file behind, and are reported in one sentence."""

import json
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ovx_lite.services.backups import back_up
from ovx_lite.storage.sqlite import STORE_FILE, open_store
from tests.conftest import Store
from tests.stores import FOLDER, build
from tests.support.store import new_site

# Runs a command repeatedly, each time with a higher limit on the file size, and prints each result.
WITH_LITTLE_SPACE = """
import json, os, resource, sys
from pathlib import Path
from click.testing import CliRunner
from ovx_lite.cli import main
from ovx_lite.services.backups import back_up
from ovx_lite.domain.errors import ApiError

data_dir, folder, max_bytes, *args = sys.argv[1:]
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit_bytes in range(0, int(max_bytes), int(max_bytes) // 12):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    message, status = "", 0
    if args == ["back_up"]:
        try:
            back_up(Path(data_dir), Path(folder), 1_763_730_000_000)
        except ApiError as exc:
            message, status = exc.message, 1
    else:
        result = CliRunner().invoke(main, [*args, "--data-dir", data_dir], catch_exceptions=False)
        message, status = result.stderr, result.exit_code
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(json.dumps([status, message, sorted(os.listdir(folder))]))
"""


def run_with_little_space(data_dir: Path, folder: Path, max_bytes: int, *args: str) -> list[tuple[int, str, list[str]]]:
    """Run a command with increasing space. Return the exit status, message and folder content of each run."""
    command = [sys.executable, "-c", WITH_LITTLE_SPACE, str(data_dir), str(folder), str(max_bytes), *args]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert completed.returncode == 0, completed.stderr
    return [tuple(json.loads(line)) for line in completed.stdout.splitlines()]


@pytest.fixture
def copy_size_bytes(store: Store) -> int:
    """Fill the store with half a megabyte and return the size of a backup."""
    with closing(open_store(store.path)) as conn:
        site = new_site(conn)
        rows = [(f"{number:08}", site.id, number, os.urandom(300).hex()) for number in range(800)]
        conn.executemany("INSERT INTO annotations (public_id, site_id, day, text) VALUES (?, ?, ?, ?)", rows)
    return (store.path / STORE_FILE).stat().st_size


@pytest.mark.parametrize("args", [["backup"], ["back_up"]])
def test_a_backup_that_runs_out_of_space_leaves_no_file(
    store: Store, tmp_path: Path, copy_size_bytes: int, args: list[str]
) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    if args == ["backup"]:
        args = ["backup", str(folder / "copy.sqlite3"), "--overwrite"]
    results = run_with_little_space(store.path, folder, copy_size_bytes, *args)
    assert len(results) >= 12
    for status, message, files in results:
        assert (status, files) == (1, []), message
        assert "cannot be " in message
        assert re.search("free (up )?space", message)
        assert "Traceback" not in message
    assert store.run("check").exit_status == 0


def test_an_existing_backup_stays_if_there_is_no_space_to_replace_it(
    store: Store, tmp_path: Path, copy_size_bytes: int
) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    copy = folder / "copy.sqlite3"
    assert store.run("backup", str(copy)).exit_status == 0
    before = copy.read_bytes()
    results = run_with_little_space(store.path, folder, copy_size_bytes, "backup", str(copy), "--overwrite")
    assert {(status, *files) for status, _, files in results} == {(1, "copy.sqlite3")}
    assert copy.read_bytes() == before


def test_an_upgrade_without_space_for_its_backup_leaves_the_store_unchanged(tmp_path: Path) -> None:
    data_dir, sql = tmp_path / "data", (FOLDER / "0006.sql").read_text("utf-8")
    build(data_dir / STORE_FILE, sql)
    size_bytes = (data_dir / STORE_FILE).stat().st_size
    results = run_with_little_space(data_dir, data_dir, size_bytes * 3 // 4, "site", "list")
    for status, message, files in results:
        assert status == 1, message
        assert "Traceback" not in message
        assert [name for name in files if not name.startswith(STORE_FILE)] == [], message
    assert Store(data_dir).run("check").exit_status == 0


def test_the_next_backup_removes_the_remains_of_an_interrupted_one(store: Store, tmp_path: Path) -> None:
    store.site()
    folder = tmp_path / "copies"
    folder.mkdir()
    for name in ("ovx-lite-2025-11-19.sqlite3.unfinished", "ovx-lite-2025-11-19.sqlite3.unfinished-journal"):
        (folder / name).touch()
    assert back_up(store.path, folder, 1_763_730_000_000)
    assert [path.name for path in folder.iterdir()] == ["ovx-lite-2025-11-21.sqlite3"]
