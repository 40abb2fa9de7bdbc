"""Copies for which there is no room: they leave no file behind, and are reported in a sentence."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ovx_lite.services.backups import back_up
from ovx_lite.storage.sqlite import FILE, open_store
from tests.conftest import Store
from tests.stores import FOLDER, build
from tests.support.store import new_site

# Runs a command again and again, with more room (bytes that a file may have) each time. Prints what became of each.
WITH_LITTLE_ROOM = """
import json, os, resource, sys
from pathlib import Path
from click.testing import CliRunner
from ovx_lite.cli import main
from ovx_lite.services.backups import back_up
from ovx_lite.domain.errors import Refused

data_dir, folder, most, *words = sys.argv[1:]
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for room in range(0, int(most), int(most) // 12):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    said, status = "", 0
    if words == ["back_up"]:
        try:
            back_up(Path(data_dir), Path(folder), 1_763_730_000_000)
        except Refused as refused:
            said, status = refused.message, 1
    else:
        ran = CliRunner().invoke(main, [*words, "--data-dir", data_dir], catch_exceptions=False)
        said, status = ran.stderr, ran.exit_code
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(json.dumps([status, said, sorted(os.listdir(folder))]))
"""


def outcomes(data_dir: Path, folder: Path, most: int, *words: str) -> list[tuple[int, str, list[str]]]:
    """What became of a command with more and more room: exit status, message, and what is in the folder."""
    command = [sys.executable, "-c", WITH_LITTLE_ROOM, str(data_dir), str(folder), str(most), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.fixture
def large(store: Store) -> int:
    """A store of half a megabyte. Returns the size of a copy."""
    with closing(open_store(store.path)) as conn:
        site = new_site(conn)
        rows = [(f"{number:08}", site.number, number, os.urandom(300).hex()) for number in range(800)]
        conn.executemany("INSERT INTO annotations (public_id, site_id, day, text) VALUES (?, ?, ?, ?)", rows)
    return (store.path / FILE).stat().st_size


@pytest.mark.parametrize("words", [["backup"], ["back_up"]])
def test_a_copy_that_runs_out_of_space_leaves_no_file(
    store: Store, tmp_path: Path, large: int, words: list[str]
) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    if words == ["backup"]:
        words = ["backup", str(folder / "copy.sqlite3"), "--overwrite"]
    tried = outcomes(store.path, folder, large, *words)
    assert len(tried) >= 12
    for status, said, files in tried:
        assert (status, files) == (1, []), said
        assert "cannot be " in said
        assert "room" in said
        assert "Traceback" not in said
    assert store.run("check").status == 0


def test_a_copy_that_is_replaced_stays_if_there_is_no_space_for_another(
    store: Store, tmp_path: Path, large: int
) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    copy = folder / "copy.sqlite3"
    assert store.run("backup", str(copy)).status == 0
    before = copy.read_bytes()
    tried = outcomes(store.path, folder, large, "backup", str(copy), "--overwrite")
    assert {(status, *files) for status, _, files in tried} == {(1, "copy.sqlite3")}
    assert copy.read_bytes() == before


def test_an_upgrade_without_space_for_its_copy_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    data_dir, sql = tmp_path / "data", (FOLDER / "0006.sql").read_text("utf-8")
    build(data_dir / FILE, sql)
    size = (data_dir / FILE).stat().st_size
    tried = outcomes(data_dir, data_dir, size * 3 // 4, "site", "list")
    for status, said, files in tried:
        assert status == 1, said
        assert "Traceback" not in said
        assert [name for name in files if not name.startswith(FILE)] == [], said
    assert Store(data_dir).run("check").status == 0


def test_what_a_copy_that_was_cut_off_has_left_goes_with_the_next(store: Store, tmp_path: Path) -> None:
    store.site()
    folder = tmp_path / "copies"
    folder.mkdir()
    for name in ("ovx-lite-2025-11-19.sqlite3.unfinished", "ovx-lite-2025-11-19.sqlite3.unfinished-journal"):
        (folder / name).touch()
    assert back_up(store.path, folder, 1_763_730_000_000)
    assert [path.name for path in folder.iterdir()] == ["ovx-lite-2025-11-21.sqlite3"]
