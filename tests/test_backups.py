"""A copy of the store each day."""

import time
from contextlib import closing
from pathlib import Path

from ovx_lite.backups import back_up
from ovx_lite.store import check
from ovx_lite.store.db import FILE, open_store
from tests.conftest import Start, Store

DAY = 86_400_000
NOW = 1_763_730_000_000  # 2025-11-21T13:00Z


def test_there_is_one_a_day_and_seven_are_kept(tmp_path: Path) -> None:
    open_store(tmp_path / "data").close()
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "of-somebody-else.sqlite3").touch()
    assert [back_up(tmp_path / "data", kept, NOW + hours * 3_600_000) for hours in (0, 10, 11)] == [True, False, True]
    assert all(back_up(tmp_path / "data", kept, NOW + day * DAY) for day in range(2, 9))
    names = sorted(path.name for path in kept.glob("ovx-lite-*"))
    assert names == [f"ovx-lite-2025-11-{day}.sqlite3" for day in range(23, 30)]
    assert (kept / "of-somebody-else.sqlite3").exists()


def test_a_server_makes_it_by_itself_and_it_is_whole(store: Store, start: Start, tmp_path: Path) -> None:
    store.site()
    key = store.key()
    server = start(store, "--backup-dir", str(tmp_path / "kept"))
    assert server.pageview(key).status == 201
    deadline = time.monotonic() + 20
    while not (copies := list((tmp_path / "kept").glob("ovx-lite-*.sqlite3"))):
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.02)
    (copy,) = copies
    assert copy.name == f"ovx-lite-{time.strftime('%Y-%m-%d', time.gmtime())}.sqlite3"
    (tmp_path / "restored").mkdir()
    copy.rename(tmp_path / "restored" / FILE)
    with closing(open_store(tmp_path / "restored")) as conn:
        assert check.problems(conn) == []
        assert conn.execute("SELECT id FROM sites").fetchall() == [("my-site",)]
