"""Upgrades: a store as an older ovx-lite left it, and what the next command makes of it."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ovx_lite.domain.models import event_id
from ovx_lite.storage import sqlite
from ovx_lite.storage.sqlite import FILE, steps
from tests.conftest import CHROME, Ran, Start, Store
from tests.support.old_stores import COPY, KEY, NOON, NUMBERS, ROWS, TIMES, VISITOR, version


@pytest.fixture(params=range(1, len(steps())))
def old(request: pytest.FixtureRequest, store: Store) -> Store:
    """A store of each older schema, with rows in every table of the first."""
    store.path.mkdir()
    with closing(sqlite3.connect(store.path / FILE, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
        conn.executescript(steps()[0])
        conn.execute(f"PRAGMA application_id = {0x6F76786C}")
        conn.execute("PRAGMA user_version = 1")
        for table, rows in ROWS.items():
            conn.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        tables = conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        assert {name for (name,) in tables} == {*ROWS, "meta"}
        for number, step in enumerate(steps()[1 : request.param], 2):
            conn.executescript(step)
            conn.execute(f"PRAGMA user_version = {number}")
    return store


def rows(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as conn:
        return conn.execute(query).fetchall()


def whole(store: Store) -> bool:
    return bool(store.run("check", "--json").json["ok"])


def hexed(visitor: int) -> str:
    return f"{visitor & 0xFFFF_FFFF_FFFF:012x}"


def test_all_that_was_told_is_told_again(old: Store) -> None:
    assert old.run("site", "list").status == 0
    assert version(old.path / FILE) == len(steps())
    imported, view, signup, bot = old.events()
    nothing = dict.fromkeys(["person", "context", "revenue", "currency", "excluded", "props", "referrer"])
    assert imported == nothing | dict.fromkeys(["country", "browser", "os", "device"]) | {
        "id": event_id(NUMBERS[0]),
        "ts": imported["ts"],
        "visit": f"{NUMBERS[0]:016x}",
        "visitor": hexed(12345),
        "api": "import",
        "type": "pageview",
        "name": "pageview",
        "host": "example.com",
        "path": "/pricing",
        "source": "x",
        "channel": "campaign",
        **dict(zip(["utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term"], "xmcot", strict=True)),
    }
    assert signup == {**view, "path": "/pricing", "props": {"plan": "pro", "seats": 3}} | {
        name: signup[name] for name in ("id", "ts", "type", "name")
    }
    assert [view[name] for name in ("visitor", "visit", "source")] == [hexed(VISITOR), f"{NUMBERS[1]:016x}", "google"]
    assert (signup["name"], signup["type"], view["excluded"]) == ("signup", "event", None)
    assert (bot["excluded"], bot["visitor"], bot["visit"]) == ("bot", None, None)
    assert [one["id"] for one in old.events("other-site")] == [event_id(NUMBERS[1])]
    assert [[one["type"], one["ts"][-1]] for one in (view, bot)] == [["pageview", "Z"]] * 2
    assert whole(old)


def test_all_other_rows_are_as_they_were(old: Store) -> None:
    assert old.run("check").status == 0
    for table, before in ROWS.items():
        if table not in ("events", "visits", "open_visits"):
            columns = [name for _, name, *_ in rows(old.path / COPY, f"PRAGMA table_info({table})")]
            after = rows(old.path / FILE, f"SELECT {', '.join(columns[: len(before[0])])} FROM {table}")
            assert after == before, table
    (mine, other) = old.run("site", "list", "--json").json
    assert (mine["monthly_limit"], mine["retention_days"], mine["timezone"]) == (1000, 400, NOON)
    assert (other["allowed_hosts"], other["hourly_limit"]) == ([], None)


def test_answers_are_of_the_class_of_credentials_that_their_endpoint_asks_for(old: Store) -> None:
    assert old.run("check").status == 0
    told = rows(old.path / FILE, "SELECT key, credential_class FROM answers ORDER BY key")
    assert told == [("key", "key"), ("queued", "key"), ("received", "public")]


def test_the_months_events_count_already(old: Store) -> None:
    assert old.run("check").status == 0
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    here = sum(ts >= month.timestamp() * 1000 for ts in TIMES[1:3])  # neither what was imported, nor the bot
    told = rows(old.path / FILE, "SELECT site, month, events FROM months")
    assert [row for row in told if row[0] == 3] == [(3, f"{month:%Y-%m}", here)] * bool(here)


def test_a_copy_is_left_as_it_was(old: Store) -> None:
    before = version(old.path / FILE)
    assert old.run("check").status == 0
    assert version(old.path / COPY) == before
    assert (old.path / COPY).stat().st_mode & 0o077 == 0
    for table, told in ROWS.items():
        if before < 5 or table not in ("events", "visits", "open_visits"):  # these stand otherwise since step 5
            assert [row[: len(told[0])] for row in rows(old.path / COPY, f"SELECT * FROM {table}")] == told, table
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


def test_each_site_has_a_secret_of_its_own(old: Store) -> None:
    old.site("new-site")
    secrets = [secret for (secret,) in rows(old.path / FILE, "SELECT secret FROM sites")]
    assert len(set(secrets)) == 3
    assert {len(secret) for secret in secrets} == {32}


def test_what_was_open_goes_on(old: Store, start: Start) -> None:
    server = start(old)
    somebody = {"ip_address": "203.0.113.9", "user_agent": CHROME}
    assert server.pageview(KEY, **somebody).status == 201
    assert server.custom(KEY, ip_address="203.0.113.8", user_agent=CHROME).status == 201
    assert server.send("/v1/projects/my-site/events", {"event_type": "identify", "user_id": "ada"}, KEY).status == 202
    apex = {"type": "click", "visitorId": "v_1", "projectKey": "pk_live_a", "url": "/pricing"}
    assert server.send("/api/events", apex).status == 200
    visits = {(one["name"], one["visitor"], one["visit"]) for one in old.events()[4:]}
    assert ("pageview", hexed(VISITOR), f"{NUMBERS[1]:016x}") in visits
    assert len({visit for _, _, visit in visits}) == 4
    assert [one["person"] for one in old.events()].count("ada") == 1
    assert whole(old)
    assert server.stop() == 0


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
    assert (version(old.path / FILE), version(old.path / COPY)) == (len(steps()), before)
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
    assert (version(path), version(old.path / COPY)) == (len(steps()), before)


def test_what_was_there_is_counted_by_day(old: Store) -> None:
    assert old.run("check", "--rebuild").status == 0
    assert whole(old)
    counted = rows(
        old.path / FILE, "SELECT site, sum(visitors), sum(visits), sum(pageviews), sum(events) FROM days GROUP BY site"
    )
    assert counted == [(3, 2, 2, 2, 3), (5, 1, 1, 1, 1)]
    visits = rows(old.path / FILE, "SELECT site, id, origin, client, entry, exit, alone, pageviews, events FROM visits")
    assert visits == [
        (3, NUMBERS[0], 2, 5, 2, 2, 1, 1, 1),
        (3, NUMBERS[1], 1, 4, 1, 1, 1, 1, 2),
        (5, NUMBERS[1], 1, 4, 1, 1, 1, 1, 1),
    ]
    assert rows(old.path / FILE, "SELECT * FROM stale") == []


def test_a_server_counts_by_itself_what_was_there(old: Store, start: Start) -> None:
    start(old)
    deadline = time.monotonic() + 20
    while rows(old.path / FILE, "SELECT * FROM stale"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert whole(old)
