"""A clock jump deletes nothing: retention waits until the clock is confirmed or back to normal."""

import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from ovx_lite.app import App
from ovx_lite.domain.calendar import DAY_MS, HOUR_MS
from ovx_lite.services import scheduler
from ovx_lite.services.backups import back_up
from ovx_lite.services.retention import apply_retention
from ovx_lite.storage import integrity, registry
from ovx_lite.storage.sqlite import open_store
from tests.conftest import CHROME, Start, Store
from tests.support.browserless import WebClient, find_tags, set_password
from tests.support.in_process import post, run_app, run_every_job
from tests.support.store import NOW, FrozenClock, new_event, new_key, new_site, open_writer, paths, request, store_group

AHEAD_MS = 400 * DAY_MS


def fill(path: Path, now_ms: int = NOW, days: int | None = 30) -> str:
    """Fill a store with events of today and of 40 days ago, for a site with 30 days of retention. Return a key."""
    with closing(open_store(path)) as conn:
        site = new_site(conn, retention_days=days)
        for at_ms in (now_ms - 40 * DAY_MS, now_ms - 20 * DAY_MS, now_ms):
            store_group(conn, open_writer(conn, 0), [request(site, new_event(f"/{at_ms}", at_ms))], {}, NOW)
        return new_key(conn, site)


def number_of_events(path: Path) -> int:
    with closing(open_store(path)) as conn:
        return len(paths(conn, registry.find_site(conn, "my-site")))


def set_last_retention_run(store: Store, ran_at_ms: int) -> None:
    """Set the time of the last retention run, as if the clock had jumped since."""
    with store.connect() as conn, conn:
        conn.execute("UPDATE meta SET value = ? WHERE name = 'retention_ran_at'", (ran_at_ms,))


def jump(clock: FrozenClock, *steps_ms: int) -> Callable[[App], Awaitable[None]]:
    """Return a coroutine function that runs all jobs, and again after each step of the clock."""

    async def run(app: App) -> None:
        await run_every_job(app)
        for step_ms in steps_ms:
            clock.current_ms += step_ms
            await run_every_job(app)

    return run


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("by_ms", [AHEAD_MS, 2 * DAY_MS + 10 * DAY_MS, 50 * 365 * DAY_MS])
def test_a_jump_ahead_pauses_retention_until_the_clock_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, restart: bool, by_ms: int
) -> None:
    if by_ms > AHEAD_MS:  # finalizing 18,000 days takes seconds; AHEAD_MS covers this
        monkeypatch.setattr(
            scheduler, "JOBS", [job for job in scheduler.JOBS if job.run is not scheduler.finalize_days]
        )
    fill(tmp_path)
    clock = FrozenClock()
    run_app(tmp_path, clock, jump(clock))
    assert number_of_events(tmp_path) == 2  # events past their retention by the correct clock
    with caplog.at_level(logging.WARNING):
        if restart:
            clock.current_ms += by_ms
            run_app(tmp_path, clock, jump(clock, HOUR_MS, 2 * DAY_MS))
            clock.current_ms -= by_ms + HOUR_MS + 2 * DAY_MS
        else:
            run_app(tmp_path, clock, jump(clock, by_ms, HOUR_MS, 2 * DAY_MS, -by_ms - HOUR_MS - 2 * DAY_MS))
    assert number_of_events(tmp_path) == 2
    assert "prune --yes" in caplog.text
    run_app(tmp_path, clock, jump(clock, *([DAY_MS] * 11)))
    assert number_of_events(tmp_path) == 1


def test_events_received_under_a_wrong_clock_do_not_confirm_it(tmp_path: Path) -> None:
    key, clock = fill(tmp_path), FrozenClock()

    async def run(app: App) -> None:
        await jump(clock, AHEAD_MS)(app)
        for _ in range(3):
            assert (await post(app, key))[0] == 201
            clock.current_ms += HOUR_MS
            await run_every_job(app)

        clock.current_ms = NOW + DAY_MS
        assert (await post(app, key, user_agent=CHROME, ip_address="203.0.113.9"))[0] == 201
        await run_every_job(app)

    run_app(tmp_path, clock, run)
    assert number_of_events(tmp_path) == 6
    with closing(open_store(tmp_path)) as conn:
        assert integrity.problems(conn) == []


def test_a_clock_in_the_past_deletes_nothing_and_is_not_recorded_as_the_last_run(tmp_path: Path) -> None:
    fill(tmp_path)
    clock = FrozenClock()
    run_app(tmp_path, clock, jump(clock, -10 * 365 * DAY_MS, 10 * 365 * DAY_MS))
    assert number_of_events(tmp_path) == 2


def test_retention_runs_on_a_site_without_new_events(tmp_path: Path) -> None:
    """The server runs for two months without receiving an event."""
    fill(tmp_path)
    clock = FrozenClock()
    run_app(tmp_path, clock, jump(clock, *([DAY_MS] * 60)))
    assert number_of_events(tmp_path) == 0


def test_a_jump_during_a_run_does_not_count(tmp_path: Path) -> None:
    fill(tmp_path)
    clock = FrozenClock()

    async def run(app: App) -> None:
        change = app.services.writer.change

        async def change_and_jump(*args: object) -> object:
            clock.current_ms += AHEAD_MS
            return await change(*args)  # type: ignore[arg-type]

        app.services.writer.change = change_and_jump  # type: ignore[assignment, method-assign]
        await apply_retention(app.services)
        app.services.writer.change = change  # type: ignore[method-assign]

    run_app(tmp_path, clock, run)
    assert number_of_events(tmp_path) == 2


@pytest.mark.parametrize("difference_ms", [-AHEAD_MS, -2 * DAY_MS, 2 * DAY_MS, AHEAD_MS])
def test_prune_deletes_only_if_the_clock_is_confirmed(store: Store, difference_ms: int) -> None:
    fill(store.path, time.time_ns() // 1_000_000)
    set_last_retention_run(store, time.time_ns() // 1_000_000 + difference_ms)
    result = store.run("prune", "--json")
    assert (result.exit_status, result.stdout) == (1, "")
    assert "ovx-lite prune --yes" in result.stderr
    assert "1 event" in result.stderr
    assert number_of_events(store.path) == 3
    assert store.run("prune", "--yes", "--json").json == {"events": 1}
    assert store.run("prune", "--json").json == {"events": 0}
    assert number_of_events(store.path) == 2


@pytest.mark.parametrize("hours", [0, 1, 24, 25, -25])
def test_prune_once_a_day_needs_no_confirmation(store: Store, hours: int) -> None:
    fill(store.path, time.time_ns() // 1_000_000)
    set_last_retention_run(store, time.time_ns() // 1_000_000 - hours * HOUR_MS)
    assert store.run("prune", "--json").json == {"events": 1}


def test_the_log_health_check_and_pages_warn_and_a_page_confirms_the_clock(store: Store, start: Start) -> None:
    fill(store.path, time.time_ns() // 1_000_000)
    set_password(store)
    set_last_retention_run(store, time.time_ns() // 1_000_000 - AHEAD_MS)
    server = start(store)
    client = WebClient(server)
    client.log_in()
    health = server.send("/healthz", method="GET")
    assert (health.status, health.json["status"]) == (200, "ok")
    assert "prune --yes" in health.json["detail"]
    wait_until(lambda: "Retention is on hold" in server.log_path.read_text())
    home = client.get("/")
    assert b"Retention is on hold" in home.body
    assert "/retention" in [attrs.get("action") for _, attrs in find_tags(home, "form")]
    assert number_of_events(store.path) == 3
    assert client.post("/retention", sec_fetch_site="cross-site").status == 403
    assert WebClient(server).post("/retention").status == 401
    assert b"on hold" in client.get("/").body
    confirmed = client.follow(client.post("/retention"))
    assert b"Retention is on hold" not in confirmed.body
    wait_until(lambda: "detail" not in server.send("/healthz", method="GET").json)
    server.stop()
    assert number_of_events(store.path) in (2, 3)  # retention may or may not have run within the hour
    start(store)
    wait_until(lambda: number_of_events(store.path) == 2)


def wait_until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "timed out waiting for the condition"
        time.sleep(0.05)


def test_there_is_no_warning_if_nothing_would_be_deleted(store: Store, start: Start) -> None:
    fill(store.path, time.time_ns() // 1_000_000, days=None)
    set_last_retention_run(store, 1)
    server = start(store)
    assert "detail" not in server.send("/healthz", method="GET").json
    assert store.run("prune", "--json").json == {"events": 0}
    assert "hold" not in server.log_path.read_text()


def test_backups_survive_a_clock_jump(tmp_path: Path) -> None:
    """A new backup replaces one old backup, never the one that was just made."""
    open_store(tmp_path / "data").close()
    backup_dir = tmp_path / "backups"
    for day in range(7):
        assert back_up(tmp_path / "data", backup_dir, NOW + day * DAY_MS)
    before = {path.name for path in backup_dir.iterdir()}
    assert back_up(tmp_path / "data", backup_dir, NOW - 5000 * DAY_MS)
    after = {path.name for path in backup_dir.iterdir()}
    assert (len(after), len(after - before)) == (7, 1)
    assert not back_up(tmp_path / "data", backup_dir, NOW - 5000 * DAY_MS)
    assert back_up(tmp_path / "data", backup_dir, NOW + AHEAD_MS)
    assert len({path.name for path in backup_dir.iterdir()} & before) >= 5


def test_moving_the_emulators_clock_deletes_expired_events(tmp_path: Path) -> None:
    from tests.support.emulator import run_emulator

    with run_emulator(tmp_path, "--data-dir", str(tmp_path / "data")) as dev:
        event = {"site_id": "site_abc123", "url": "https://example.com/"}
        assert dev.send("/api/v1/events/pageview", event).status == 201
        data_dir = Store(tmp_path / "data")
        data_dir.call("site", "change", "site_abc123", "--retention-days", "30")
        jobs = dev.call("POST", "/_dev/clock", {"advance": "40d"}).json["jobs"]
    assert "delete events past their retention" in jobs
    assert json.loads(data_dir.run("export", "site_abc123", "--json").stdout) == []
