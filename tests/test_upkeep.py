"""What time does: midnights, retention, what expires, the visits that go on, and the jobs that see to it."""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ovx_lite.app import App
from ovx_lite.domain.models import Site
from ovx_lite.services import scheduler
from ovx_lite.services.group_commit import store
from ovx_lite.storage import integrity, registry
from ovx_lite.storage.read import events
from ovx_lite.storage.sqlite import open_store
from ovx_lite.storage.write.unit_of_work import open_books
from tests.conftest import CHROME
from tests.support.in_process import DAY, HOUR, during, every_job, post
from tests.support.store import EVER, MINUTE, NOW, Still, event, new_key, new_site, paths, request

SOMEBODY = {"ip_address": "203.0.113.9", "user_agent": CHROME}


def at(text: str, zone: str = "Europe/Paris") -> int:
    """A local time in Unix milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path)) as opened:
        yield opened


PARIS = "Europe/Paris"


def count(conn: sqlite3.Connection, table: str) -> int:
    return int(conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def visitors(conn: sqlite3.Connection, site: Site) -> list[int | None]:
    return [found.visitor for found in events.read(conn, site, 0, EVER, True)]


def test_yesterdays_salt_is_deleted_though_nobody_comes(tmp_path: Path, conn: sqlite3.Connection) -> None:
    key, clock = new_key(conn, new_site(conn, timezone="Europe/Paris")), Still(at("2025-11-21T12:00"))
    salts: list[bytes] = []

    async def pass_midnight(app: App) -> None:
        await post(app, key, **SOMEBODY)
        salts.append(conn.execute("SELECT salt FROM salts").fetchone()[0])
        clock.ms = at("2025-11-21T23:59:59")
        await every_job(app)
        assert count(conn, "salts") == 1
        clock.ms = at("2025-11-22T00:00:00")
        await every_job(app)
        assert count(conn, "salts") == 0

    during(tmp_path, clock, pass_midnight)
    conn.close()
    assert [file.name for file in tmp_path.iterdir() if salts[0] in file.read_bytes()] == []


@pytest.mark.parametrize(
    ("timezone", "first", "then", "same"),
    [
        ("UTC", "2025-11-21T23:00", "2025-11-21T23:59:59.999", True),
        ("UTC", "2025-11-21T23:59:59.999", "2025-11-22T00:00", False),
        ("Europe/Paris", "2025-11-21T00:00", "2025-11-21T23:59:59.999", True),
        ("Europe/Paris", "2025-11-21T23:59:59.999", "2025-11-22T00:00", False),
        ("Europe/Paris", "2025-10-26T00:00", "2025-10-26T23:59:59.999", True),  # has 25 hours
        ("Europe/Paris", "2025-03-30T23:59:59.999", "2025-03-31T00:00", False),  # after 23 hours
    ],
)
@pytest.mark.parametrize("restart", [False, True], ids=["", "restart"])
def test_a_visitor_is_the_same_until_the_sites_midnight(
    tmp_path: Path, conn: sqlite3.Connection, timezone: str, first: str, then: str, same: bool, restart: bool
) -> None:
    site, clock = new_site(conn, timezone=timezone), Still(at(first, timezone))
    key = new_key(conn, site)

    async def one(app: App) -> None:
        assert (await post(app, key, **SOMEBODY))[0] == 201

    async def both(app: App) -> None:
        await one(app)
        clock.ms = at(then, timezone)
        await one(app)

    if restart:
        during(tmp_path, clock, one)
        clock.ms = at(then, timezone)
        during(tmp_path, clock, one)
    else:
        during(tmp_path, clock, both)
    before, after = visitors(conn, site)
    assert None not in (before, after)
    assert (before == after) is same


def test_an_idempotency_key_is_good_for_a_day(tmp_path: Path, conn: sqlite3.Connection) -> None:
    site, clock = new_site(conn), Still()
    key = new_key(conn, site)

    async def again(app: App) -> None:
        _, first, _ = await post(app, key, "one")
        clock.ms += DAY - 1
        await every_job(app)
        _, second, headers = await post(app, key, "one")
        assert (second, headers["idempotency-replayed"]) == (first, "true")
        clock.ms += 1
        status, third, headers = await post(app, key, "one", event_name="another")
        assert (status, "idempotency-replayed" in headers) == (201, False)
        assert third != first
        clock.ms += DAY
        await every_job(app)

    during(tmp_path, clock, again)
    assert len(paths(conn, site)) == 2
    assert count(conn, "answers") == 0


def test_counts_against_limits_are_kept_for_their_hour(tmp_path: Path, conn: sqlite3.Connection) -> None:
    key, clock = new_key(conn, new_site(conn), hourly_limit=10), Still()

    async def send(app: App) -> None:
        await post(app, key)
        clock.ms += HOUR - 1000
        await every_job(app)
        assert count(conn, "usage") == 1
        clock.ms += 1000
        await every_job(app)
        assert count(conn, "usage") == 0

    during(tmp_path, clock, send)


def test_events_are_kept_for_as_many_local_days_as_the_site_says(tmp_path: Path, conn: sqlite3.Connection) -> None:
    site, forever = new_site(conn, timezone=PARIS, days=3), new_site(conn, "forever")
    midnight = at("2025-10-25T00:00")  # of summer time, which ends on the 26th
    log, early, first = open_books(conn, 0), midnight - 1, event("/first", midnight, visitor=99, timezone=PARIS)
    old = [event("/old", midnight - 5 * MINUTE + n // 20, visitor=n % 50, timezone=PARIS) for n in range(6000)]
    store(conn, log, [request(site, *old, event("/last", early, timezone=PARIS), first)], {}, NOW)
    store(conn, log, [request(forever, event("/old", early))], {}, NOW)
    during(tmp_path, Still(at("2025-10-27T23:59:59")), every_job)
    assert len(paths(conn, site)) == 6002
    during(tmp_path, Still(at("2025-10-28T00:00:00")), every_job)
    assert paths(conn, site) == ["/first"]
    assert paths(conn, forever) == ["/old"]
    assert integrity.problems(conn) == []


def many_old_events(conn: sqlite3.Connection, site: Site) -> None:
    """Three days of them, more than are deleted in one go."""
    for day in (7, 8, 9):
        old = [event("/old", NOW - day * DAY + n, visitor=n // 3 + day * 10_000) for n in range(6000)]
        store(conn, open_books(conn, 0), [request(site, *old)], {}, NOW)


def test_the_store_is_whole_between_two_pieces_of_what_retention_deletes(
    tmp_path: Path, conn: sqlite3.Connection
) -> None:
    many_old_events(conn, new_site(conn, days=1))
    sites, found = registry.load(conn), []
    with closing(open_store(tmp_path)) as other:
        conn.set_trace_callback(
            lambda sql: found.append(integrity.problems(other)) if sql.startswith("BEGIN") else None
        )
        scheduler.prune(conn, sites, NOW)
        conn.set_trace_callback(None)
    assert len(found) > 1
    assert found == [[]] * len(found)
    assert count(conn, "events") == 0


def test_an_event_told_late_does_not_bring_a_deleted_visit_back(tmp_path: Path, conn: sqlite3.Connection) -> None:
    site = new_site(conn, days=1)
    key, clock = new_key(conn, site), Still()

    async def tell(app: App) -> None:
        await post(app, key, timestamp=NOW - 3 * DAY, **SOMEBODY)
        await every_job(app)
        await post(app, key, timestamp=NOW - 3 * DAY + MINUTE, **SOMEBODY)

    during(tmp_path, clock, tell)
    assert len(paths(conn, site)) == 1
    assert integrity.problems(conn) == []


def test_events_are_taken_while_many_are_deleted(tmp_path: Path, conn: sqlite3.Connection) -> None:
    site = new_site(conn, days=1)
    key, done = new_key(conn, site), list[str]()
    many_old_events(conn, site)

    async def both(app: App) -> None:
        async def job() -> None:
            await scheduler.retain(app.services)
            done.append("job")

        async def send() -> None:
            await post(app, key)
            done.append("event")

        await asyncio.gather(job(), send())

    during(tmp_path, Still(), both)
    assert done == ["event", "job"]
    assert paths(conn, site) == ["/"]


def test_a_site_that_was_removed_a_moment_ago_is_no_fault_of_ours(tmp_path: Path, conn: sqlite3.Connection) -> None:
    key = new_key(conn, new_site(conn))

    async def remove(app: App) -> None:
        registry.remove_site(conn, "my-site")
        status, answer, _ = await post(app, key, **SOMEBODY)
        assert (status, answer["error"]["code"]) in [(401, "unauthorized"), (404, "invalid_site_id")]

    during(tmp_path, Still(), remove)


def test_a_job_that_fails_is_logged_and_runs_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs: list[int] = []

    async def fail_once(house: scheduler.Household) -> bool:
        runs.append(1)
        if len(runs) == 1:
            raise sqlite3.OperationalError("disk I/O error")
        raise asyncio.CancelledError

    async def run(app: App) -> None:
        with suppress(asyncio.CancelledError):
            await scheduler.keep_running(scheduler.Job("sweep the floor", 0, fail_once), app.services)

    with caplog.at_level(logging.ERROR):
        during(tmp_path, Still(), run)
    assert len(runs) == 2
    assert "could not sweep the floor" in caplog.text
    assert "disk I/O error" in caplog.text


def test_a_visit_survives_a_restart(tmp_path: Path, conn: sqlite3.Connection) -> None:
    site = new_site(conn)
    for minute in range(0, 50, 10):
        with closing(open_store(tmp_path)) as opened:
            log = open_books(opened, minute)
            store(opened, log, [request(site, event(ts=NOW + minute * MINUTE))], {}, NOW)
    visits = {found.visit for found in events.read(conn, site, 0, EVER, True)}
    assert len(visits) == 1
    assert integrity.problems(conn) == []


def test_a_visit_is_counted_right_where_two_processes_add_to_it(tmp_path: Path, conn: sqlite3.Connection) -> None:
    site = new_site(conn)
    with closing(open_store(tmp_path)) as other:
        logs = [(conn, open_books(conn, 0)), (other, open_books(other, 1000))]
        for minute in range(6):
            where, log = logs[minute % 2]
            store(where, log, [request(site, event(ts=NOW + minute * MINUTE))], {}, NOW)
    assert conn.execute("SELECT pageviews, events, elapsed_ms FROM visits").fetchall() == [(6, 6, 5 * MINUTE)]
    assert integrity.problems(conn) == []
