"""Files in the data dir are readable by their owner only, whatever the umask."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ovx_lite.storage.sqlite import LOCK_FILE, STORE_FILE
from tests.conftest import Start, Store
from tests.stores import FOLDER, build


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Set the umask for this process and the processes that it starts within the block."""
    old_mask = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old_mask)


def modes(folder: Path) -> dict[str, int]:
    """Return the permissions of a folder (as `.`) and of all files in it."""
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}


def exposed(folder: Path) -> dict[str, int]:
    """Return the files that users other than the owner can access; it should be empty."""
    return {name: mode for name, mode in modes(folder).items() if mode != (0o700 if name == "." else 0o600)}


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_every_file_is_accessible_to_its_owner_only(store: Store, start: Start, tmp_path: Path, mask: int) -> None:
    copies, other = tmp_path / "copies", Store(tmp_path / "a" / "b")
    with umask(mask):
        store.site()
        server = start(store, "--backup-dir", str(copies))
        assert server.pageview(store.key()).status == 201
        assert exposed(store.path) == {}
        assert {STORE_FILE, f"{STORE_FILE}-wal", f"{STORE_FILE}-shm", LOCK_FILE} <= modes(store.path).keys()
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL  # the write-ahead log remains
        assert store.spawn("backup", str(store.path / "copy.sqlite3")).exit_status == 0
        assert other.spawn("restore", str(store.path / "copy.sqlite3")).exit_status == 0
        assert store.spawn("restore", str(store.path / "copy.sqlite3"), "--overwrite").exit_status == 0
    assert [exposed(folder) for folder in (store.path, other.path, copies)] == [{}, {}, {}]
    assert (store.path / "ovx-lite-before-restore.sqlite3").exists()


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_the_backup_before_an_upgrade_is_accessible_to_its_owner_only(store: Store, mask: int) -> None:
    build(store.path / STORE_FILE, (FOLDER / "0006.sql").read_text("utf-8"))
    with umask(mask):
        assert store.run("site", "list").exit_status == 0
    assert "before-schema" in " ".join(modes(store.path))
    assert exposed(store.path) == {}


def test_a_start_removes_permissions_of_other_users(store: Store, start: Start) -> None:
    store.site()
    (store.path / LOCK_FILE).touch()
    old = store.path / "ovx-lite-before-schema-3.sqlite3"
    old.touch()
    for path in (store.path / STORE_FILE, store.path / LOCK_FILE, old):
        path.chmod(0o644)
    start(store)
    assert exposed(store.path) == {}


def test_an_existing_folder_keeps_its_mode(store: Store, start: Start) -> None:
    store.path.mkdir()
    store.path.chmod(0o750)
    store.site()
    start(store).stop()
    assert exposed(store.path) == {".": 0o750}


def test_a_ready_file_in_the_data_dir_is_accessible_to_its_owner_only(store: Store) -> None:
    store.site()
    ready = store.path / "ready.json"
    command = [sys.executable, "-m", "ovx_lite", "serve", "--port", "0", "--ready-file", str(ready)]
    with umask(0):
        server = subprocess.Popen(command, env={**os.environ, "OVX_DATA_DIR": str(store.path)})
    try:
        deadline_s = time.monotonic() + 60
        while not ready.exists():
            assert time.monotonic() < deadline_s
            assert server.poll() is None
            time.sleep(0.02)
        assert exposed(store.path) == {}
    finally:
        server.terminate()
        assert server.wait(60) == 0
