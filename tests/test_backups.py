"""Backups: one a day, under full load, and restored."""

import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from ovx_lite.domain.calendar import DAY_MS, HOUR_MS
from ovx_lite.services.backups import back_up
from ovx_lite.storage import integrity
from ovx_lite.storage.sqlite import LOCK_FILE, STORE_FILE, open_store
from tests.conftest import Start, Store
from tests.support.load import Load

NOW_MS = 1_763_730_000_000  # 2025-11-21T13:00Z


def test_one_backup_a_day_is_made_and_seven_are_retained(tmp_path: Path) -> None:
    open_store(tmp_path / "data").close()
    backup_dir = tmp_path / "backups"
    backup_dir.mkdir()
    (backup_dir / "of-somebody-else.sqlite3").touch()
    assert [back_up(tmp_path / "data", backup_dir, NOW_MS + hours * HOUR_MS) for hours in (0, 10, 11)] == [
        True,
        False,
        True,
    ]
    assert all(back_up(tmp_path / "data", backup_dir, NOW_MS + day * DAY_MS) for day in range(2, 9))
    names = sorted(path.name for path in backup_dir.glob("ovx-lite-*"))
    assert names == [f"ovx-lite-2025-11-{day}.sqlite3" for day in range(23, 30)]
    assert (backup_dir / "of-somebody-else.sqlite3").exists()


def test_a_server_makes_a_complete_backup_by_itself(store: Store, start: Start, tmp_path: Path) -> None:
    store.site()
    key = store.key()
    server = start(store, "--backup-dir", str(tmp_path / "backups"))
    assert server.pageview(key).status == 201
    deadline_s = time.monotonic() + 20
    while not (copies := list((tmp_path / "backups").glob("ovx-lite-*.sqlite3"))):
        assert time.monotonic() < deadline_s, server.log_path.read_text()
        time.sleep(0.02)
    (copy,) = copies
    assert copy.name == f"ovx-lite-{time.strftime('%Y-%m-%d', time.gmtime())}.sqlite3"
    (tmp_path / "restored").mkdir()
    copy.rename(tmp_path / "restored" / STORE_FILE)
    with closing(open_store(tmp_path / "restored")) as conn:
        assert integrity.problems(conn) == []
        assert conn.execute("SELECT slug FROM sites").fetchall() == [("my-site",)]


def test_a_backup_under_full_load_is_complete_and_can_be_restored(store: Store, start: Start, tmp_path: Path) -> None:
    store.site()
    server, load = start(store), Load(store.key())
    clients = [threading.Thread(target=load.run, args=(server.port, f"client{number}")) for number in range(4)]
    for client in clients:
        client.start()
    time.sleep(0.3)
    before = set(load.acknowledged)
    file = tmp_path / "copy.sqlite3"
    assert store.spawn("backup", str(file)).exit_status == 0
    refused = store.spawn("restore", str(file), "--overwrite")
    assert (refused.exit_status, "Another server is using the store" in refused.stderr) == (1, True)
    server.stop()
    for client in clients:
        client.join()
    assert load.errors == []
    assert "pass --overwrite" in store.run("restore", str(file)).stderr
    restored = store.run("restore", str(file), "--overwrite", "--json").json
    assert store.run("check").exit_status == 0
    stored_paths = {event["path"] for event in store.events()}
    assert before <= stored_paths <= set(load.acknowledged)
    for ending in ("", "-wal"):
        (store.path / f"{STORE_FILE}{ending}").unlink(missing_ok=True)
        if Path(restored["before"] + ending).exists():
            shutil.move(restored["before"] + ending, store.path / f"{STORE_FILE}{ending}")
    assert {event["path"] for event in store.events()} == set(load.acknowledged)


def test_an_incomplete_or_foreign_file_is_not_restored(store: Store, tmp_path: Path) -> None:
    store.site()
    good = tmp_path / "good.sqlite3"
    store.call("backup", str(good))
    torn, other = tmp_path / "torn.sqlite3", tmp_path / "other.sqlite3"
    torn.write_bytes(good.read_bytes()[:20_000])
    other.write_text("nothing of the kind")
    empty, foreign = tmp_path / "empty.sqlite3", tmp_path / "foreign.sqlite3"
    empty.touch()
    with closing(sqlite3.connect(foreign)) as conn:
        conn.execute("CREATE TABLE theirs (number)")
        conn.execute(f"PRAGMA application_id = {0x6F76786C}")
    for file in (torn, other, empty, foreign, tmp_path / "missing"):
        assert store.run("restore", str(file), "--overwrite").exit_status != 0
        assert [site["id"] for site in store.call("site", "list")] == ["my-site"]
    other_store = Store(tmp_path / "elsewhere")
    for file in (torn, other, empty, foreign):
        assert other_store.run("restore", str(file)).stderr.endswith(("take another copy.\n", "restore a backup.\n"))
        assert other_store.run("site", "list").stderr.startswith("Error: There is no store in"), (
            "the failed restore left a store behind"
        )
    assert other_store.call("restore", str(good))["before"] is None
    assert [site["id"] for site in other_store.call("site", "list")] == ["my-site"]


def test_a_restore_sets_a_damaged_store_aside_unchanged(store: Store, tmp_path: Path) -> None:
    good = tmp_path / "good.sqlite3"
    # In separate processes, because closing a connection later would write its pages into the damaged file.
    assert store.spawn("site", "add", "my-site").exit_status == 0
    assert store.spawn("backup", str(good)).exit_status == 0
    (store.path / STORE_FILE).write_bytes(b"damaged")
    restored = store.spawn("restore", str(good), "--overwrite", "--json")
    assert Path(restored.json["before"]).read_bytes() == b"damaged"
    assert [site["id"] for site in store.call("site", "list")] == ["my-site"]


def test_the_store_that_a_restore_sets_aside_has_its_latest_transactions(
    store: Store, start: Start, tmp_path: Path
) -> None:
    store.site()
    key, good = store.key(), tmp_path / "good.sqlite3"
    assert store.spawn("backup", str(good)).exit_status == 0
    server = start(store)
    assert (
        server.send("/api/v1/events/pageview", {"site_id": "my-site", "url": "https://a.example/x"}, key).status == 201
    )
    server.stop(signal.SIGKILL)
    before = store.spawn("restore", str(good), "--overwrite", "--json").json["before"]
    assert Path(before + "-wal").stat().st_size > 0
    assert json.loads(store.spawn("export", "my-site", "--json").stdout) == []
    # Restoring that file undoes the restore; the store restored first is set aside under another name.
    again = store.spawn("restore", before, "--overwrite", "--json").json["before"]
    assert [event["path"] for event in json.loads(store.spawn("export", "my-site", "--json").stdout)] == ["/x"]
    assert len({before, again}) == 2
    assert Path(before + "-wal").stat().st_size > 0
    assert store.spawn("check").exit_status == 0


def test_a_restored_store_is_readable_by_its_owner_only(store: Store, tmp_path: Path) -> None:
    store.site()
    good = tmp_path / "good.sqlite3"
    store.call("backup", str(good))
    other_store = Store(tmp_path / "elsewhere")
    other_store.path.mkdir()
    if os.geteuid() == 0:
        os.chown(other_store.path, 65534, 65534)  # like the folder that systemd creates for the service's user
    old_umask = os.umask(0)
    try:
        other_store.call("restore", str(good))
    finally:
        os.umask(old_umask)
    file_stat = (other_store.path / STORE_FILE).stat()
    assert (file_stat.st_mode & 0o777, file_stat.st_uid) == (0o600, other_store.path.stat().st_uid)
    assert (other_store.path / LOCK_FILE).stat().st_uid == other_store.path.stat().st_uid


def test_an_interrupted_restore_is_reported(store: Store, tmp_path: Path) -> None:
    store.site()
    good = tmp_path / "good.sqlite3"
    store.call("backup", str(good))
    (store.path / "restoring").mkdir()
    (store.path / STORE_FILE).rename(store.path / "ovx-lite-before-restore.sqlite3")
    for args in (("site", "add", "a"), ("serve", "--port", "0")):
        assert "was interrupted: run it again" in store.spawn(*args).stderr
    (tmp_path / "empty").touch()
    assert store.spawn("restore", str(tmp_path / "empty")).exit_status == 1
    assert "was interrupted: run it again" in store.spawn("site", "add", "a").stderr
    assert store.spawn("restore", str(good)).exit_status == 0
    assert [site["id"] for site in store.call("site", "list")] == ["my-site"]
    assert (store.path / "ovx-lite-before-restore.sqlite3").exists()


@pytest.mark.parametrize("name", ["serving.lock", "ovx-lite.toml", STORE_FILE, f"{STORE_FILE}-wal", ".", "pipe"])
def test_a_backup_does_not_overwrite_other_files_of_the_data_dir(store: Store, name: str) -> None:
    store.site()
    os.mkfifo(store.path / "pipe")
    result = store.spawn("backup", str(store.path / name), "--overwrite")
    assert result.exit_status != 0
    assert "choose another name" in result.stderr or "is a directory" in result.stderr
    assert (store.path / "pipe").is_fifo()
