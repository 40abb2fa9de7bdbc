"""Periodic jobs and the passage of time: midnights, retention, expiry, and visits that continue."""

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
from ovx_lite.domain.calendar import DAY_MS, HOUR_MS, MINUTE_MS
from ovx_lite.domain.models import Site
from ovx_lite.services import retention, scheduler
from ovx_lite.services.services import Services
from ovx_lite.storage import integrity, registry, upkeep
from ovx_lite.storage.read import events
from ovx_lite.storage.sqlite import open_store
from tests.conftest import CHROME
from tests.support.in_process import post, run_app, run_every_job
from tests.support.store import (
    MAX_TIME_MS,
    NOW,
    FrozenClock,
    new_event,
    new_key,
    new_site,
    open_writer,
    paths,
    request,
    store_group,
)

VISITOR_FIELDS = {"ip_address": "203.0.113.9", "user_agent": CHROME}


def local_time_ms(text: str, timezone: str = "Europe/Paris") -> int:
    """Return a local time in Unix milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone)).timestamp() * 1000)


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path)) as connection:
        yield connection


PARIS = "Europe/Paris"


def count_rows(conn: sqlite3.Connection, table: str) -> int:
    return int(conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def visitor_ids(conn: sqlite3.Connection, site: Site) -> list[int | None]:
    return [stored.visitor_id for stored in events.read(conn, site, 0, MAX_TIME_MS, True)]


def test_yesterdays_salt_is_deleted_even_without_traffic(tmp_path: Path, conn: sqlite3.Connection) -> None:
    key, clock = new_key(conn, new_site(conn, timezone="Europe/Paris")), FrozenClock(local_time_ms("2025-11-21T12:00"))
    salts: list[bytes] = []

    async def pass_midnight(app: App) -> None:
        await post(app, key, **VISITOR_FIELDS)
        salts.append(conn.execute("SELECT salt FROM salts").fetchone()[0])
        clock.current_ms = local_time_ms("2025-11-21T23:59:59")
        await run_every_job(app)
        assert count_rows(conn, "salts") == 1
        clock.current_ms = local_time_ms("2025-11-22T00:00:00")
        await run_every_job(app)
        assert count_rows(conn, "salts") == 0

    run_app(tmp_path, clock, pass_midnight)
    conn.close()
    assert [file.name for file in tmp_path.iterdir() if salts[0] in file.read_bytes()] == []


@pytest.mark.parametrize(
    ("timezone", "first_time", "second_time", "is_same"),
    [
        ("UTC", "2025-11-21T23:00", "2025-11-21T23:59:59.999", True),
        ("UTC", "2025-11-21T23:59:59.999", "2025-11-22T00:00", False),
        ("Europe/Paris", "2025-11-21T00:00", "2025-11-21T23:59:59.999", True),
        ("Europe/Paris", "2025-11-21T23:59:59.999", "2025-11-22T00:00", False),
        ("Europe/Paris", "2025-10-26T00:00", "2025-10-26T23:59:59.999", True),  # a day of 25 hours
        ("Europe/Paris", "2025-03-30T23:59:59.999", "2025-03-31T00:00", False),  # after a day of 23 hours
    ],
)
@pytest.mark.parametrize("restart", [False, True], ids=["", "restart"])
def test_a_visitor_is_the_same_until_the_sites_midnight(
    tmp_path: Path,
    conn: sqlite3.Connection,
    timezone: str,
    first_time: str,
    second_time: str,
    is_same: bool,
    restart: bool,
) -> None:
    site, clock = new_site(conn, timezone=timezone), FrozenClock(local_time_ms(first_time, timezone))
    key = new_key(conn, site)

    async def send_one(app: App) -> None:
        assert (await post(app, key, **VISITOR_FIELDS))[0] == 201

    async def send_both(app: App) -> None:
        await send_one(app)
        clock.current_ms = local_time_ms(second_time, timezone)
        await send_one(app)

    if restart:
        run_app(tmp_path, clock, send_one)
        clock.current_ms = local_time_ms(second_time, timezone)
        run_app(tmp_path, clock, send_one)
    else:
        run_app(tmp_path, clock, send_both)
    before, after = visitor_ids(conn, site)
    assert None not in (before, after)
    assert (before == after) is is_same


def test_an_idempotency_key_is_valid_for_a_day(tmp_path: Path, conn: sqlite3.Connection) -> None:
    site, clock = new_site(conn), FrozenClock()
    key = new_key(conn, site)

    async def send_again(app: App) -> None:
        _, first, _ = await post(app, key, "one")
        clock.current_ms += DAY_MS - 1
        await run_every_job(app)
        _, second, headers = await post(app, key, "one")
        assert (second, headers["idempotency-replayed"]) == (first, "true")
        clock.current_ms += 1
        status, third, headers = await post(app, key, "one", event_name="another")
        assert (status, "idempotency-replayed" in headers) == (201, False)
        assert third != first
        clock.current_ms += DAY_MS
        await run_every_job(app)

    run_app(tmp_path, clock, send_again)
    assert len(paths(conn, site)) == 2
    assert count_rows(conn, "idempotent_responses") == 0


def test_rate_limit_counters_are_deleted_after_their_hour(tmp_path: Path, conn: sqlite3.Connection) -> None:
    key, clock = new_key(conn, new_site(conn), hourly_limit=10), FrozenClock()

    async def send(app: App) -> None:
        await post(app, key)
        clock.current_ms += HOUR_MS - 1000
        await run_every_job(app)
        assert count_rows(conn, "rate_limit_counters") == 1
        clock.current_ms += 1000
        await run_every_job(app)
        assert count_rows(conn, "rate_limit_counters") == 0

    run_app(tmp_path, clock, send)


def test_events_are_retained_for_the_sites_number_of_local_days(tmp_path: Path, conn: sqlite3.Connection) -> None:
    site, forever_site = new_site(conn, timezone=PARIS, retention_days=3), new_site(conn, "forever")
    midnight_ms = local_time_ms("2025-10-25T00:00")  # in summer time, which ends on the 26th
    writer, early_ms, first_event = (
        open_writer(conn, 0),
        midnight_ms - 1,
        new_event("/first", midnight_ms, visitor=99, timezone=PARIS),
    )
    old_events = [
        new_event("/old", midnight_ms - 5 * MINUTE_MS + n // 20, visitor=n % 50, timezone=PARIS) for n in range(6000)
    ]
    store_group(
        conn,
        writer,
        [request(site, *old_events, new_event("/last", early_ms, timezone=PARIS), first_event)],
        {},
        NOW,
    )
    store_group(conn, writer, [request(forever_site, new_event("/old", early_ms))], {}, NOW)
    run_app(tmp_path, FrozenClock(local_time_ms("2025-10-27T23:59:59")), run_every_job)
    assert len(paths(conn, site)) == 6002
    run_app(tmp_path, FrozenClock(local_time_ms("2025-10-28T00:00:00")), run_every_job)
    assert paths(conn, site) == ["/first"]
    assert paths(conn, forever_site) == ["/old"]
    assert integrity.problems(conn) == []


def many_old_events(conn: sqlite3.Connection, site: Site) -> None:
    """Store events of three days, more than one batch of retention deletes."""
    for day in (7, 8, 9):
        old_events = [new_event("/old", NOW - day * DAY_MS + n, visitor=n // 3 + day * 10_000) for n in range(6000)]
        store_group(conn, open_writer(conn, 0), [request(site, *old_events)], {}, NOW)


def test_the_store_is_consistent_between_retention_batches(tmp_path: Path, conn: sqlite3.Connection) -> None:
    many_old_events(conn, new_site(conn, retention_days=1))
    sites, problems_by_batch = registry.load(conn), []
    with closing(open_store(tmp_path)) as other_conn:
        conn.set_trace_callback(
            lambda sql: problems_by_batch.append(integrity.problems(other_conn)) if sql.startswith("BEGIN") else None
        )
        retention.prune(conn, upkeep, sites, NOW)
        conn.set_trace_callback(None)
    assert len(problems_by_batch) > 1
    assert problems_by_batch == [[]] * len(problems_by_batch)
    assert count_rows(conn, "events") == 0


def test_a_late_event_does_not_restore_a_deleted_visit(tmp_path: Path, conn: sqlite3.Connection) -> None:
    site = new_site(conn, retention_days=1)
    key, clock = new_key(conn, site), FrozenClock()

    async def send_late(app: App) -> None:
        await post(app, key, timestamp=NOW - 3 * DAY_MS, **VISITOR_FIELDS)
        await run_every_job(app)
        await post(app, key, timestamp=NOW - 3 * DAY_MS + MINUTE_MS, **VISITOR_FIELDS)

    run_app(tmp_path, clock, send_late)
    assert len(paths(conn, site)) == 1
    assert integrity.problems(conn) == []


def test_events_are_accepted_while_many_are_deleted(tmp_path: Path, conn: sqlite3.Connection) -> None:
    site = new_site(conn, retention_days=1)
    key, finished = new_key(conn, site), list[str]()
    many_old_events(conn, site)

    async def run_both(app: App) -> None:
        async def job() -> None:
            await retention.apply_retention(app.services)
            finished.append("job")

        async def send() -> None:
            await post(app, key)
            finished.append("event")

        await asyncio.gather(job(), send())

    run_app(tmp_path, FrozenClock(), run_both)
    assert finished == ["event", "job"]
    assert paths(conn, site) == ["/"]


def test_an_event_of_a_just_removed_site_is_no_internal_error(tmp_path: Path, conn: sqlite3.Connection) -> None:
    key = new_key(conn, new_site(conn))

    async def remove(app: App) -> None:
        registry.remove_site(conn, upkeep, "my-site")
        status, response, _ = await post(app, key, **VISITOR_FIELDS)
        assert (status, response["error"]["code"]) in [(401, "unauthorized"), (404, "invalid_site_id")]

    run_app(tmp_path, FrozenClock(), remove)


def test_a_job_that_fails_is_logged_and_runs_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs: list[int] = []

    async def fail_once(services: Services) -> bool:
        runs.append(1)
        if len(runs) == 1:
            raise sqlite3.OperationalError("disk I/O error")
        raise asyncio.CancelledError

    async def run(app: App) -> None:
        with suppress(asyncio.CancelledError):
            await scheduler.run_periodically(scheduler.Job("sweep the floor", 0, fail_once), app.services)

    with caplog.at_level(logging.ERROR):
        run_app(tmp_path, FrozenClock(), run)
    assert len(runs) == 2
    assert "could not sweep the floor" in caplog.text
    assert "disk I/O error" in caplog.text


def test_a_visit_survives_a_restart(tmp_path: Path, conn: sqlite3.Connection) -> None:
    site = new_site(conn)
    for minute in range(0, 50, 10):
        with closing(open_store(tmp_path)) as connection:
            writer = open_writer(connection, minute)
            store_group(connection, writer, [request(site, new_event(timestamp_ms=NOW + minute * MINUTE_MS))], {}, NOW)
    visits = {stored.visit_id for stored in events.read(conn, site, 0, MAX_TIME_MS, True)}
    assert len(visits) == 1
    assert integrity.problems(conn) == []


def test_a_visit_is_counted_correctly_when_two_processes_add_to_it(tmp_path: Path, conn: sqlite3.Connection) -> None:
    site = new_site(conn)
    with closing(open_store(tmp_path)) as other_conn:
        writers = [(conn, open_writer(conn, 0)), (other_conn, open_writer(other_conn, 1000))]
        for minute in range(6):
            connection, writer = writers[minute % 2]
            store_group(connection, writer, [request(site, new_event(timestamp_ms=NOW + minute * MINUTE_MS))], {}, NOW)
    assert conn.execute("SELECT pageviews, events, elapsed_ms FROM visits").fetchall() == [(6, 6, 5 * MINUTE_MS)]
    assert integrity.problems(conn) == []
