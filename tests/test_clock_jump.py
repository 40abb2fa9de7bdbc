"""A clock that jumps deletes nothing: retention waits until somebody confirms the clock, or it comes back."""

import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from ovx_lite.app import App
from ovx_lite.services import scheduler
from ovx_lite.services.backups import back_up
from ovx_lite.services.group_commit import store as store_group
from ovx_lite.storage import integrity, registry
from ovx_lite.storage.sqlite import open_store
from ovx_lite.storage.write.unit_of_work import open_books
from tests.conftest import CHROME, Start, Store
from tests.support.browserless import Person, set_password, tags
from tests.support.in_process import during, every_job, post
from tests.support.store import NOW, Still, event, new_key, new_site, paths, request

DAY = 86_400_000
AHEAD = 400 * DAY


def fill(path: Path, now_ms: int = NOW, days: int | None = 30) -> str:
    """A store with events of today and of 40 days ago, of a site that keeps 30 days. Returns a key."""
    with closing(open_store(path)) as conn:
        site = new_site(conn, days=days)
        for at_ms in (now_ms - 40 * DAY, now_ms - 20 * DAY, now_ms):
            store_group(conn, open_books(conn, 0), [request(site, event(f"/{at_ms}", at_ms))], {}, NOW)
        return new_key(conn, site)


def number_of_events(path: Path) -> int:
    with closing(open_store(path)) as conn:
        return len(paths(conn, registry.find_site(conn, "my-site")))


def ran_at(store: Store, ms: int) -> None:
    """Have retention have run at this time, as if the clock had jumped since."""
    with store.opened() as conn, conn:
        conn.execute("UPDATE meta SET value = ? WHERE name = 'retention_ran_at'", (ms,))


def jump(clock: Still, *steps_ms: int) -> Callable[[App], Awaitable[None]]:
    """Run all jobs, and again after each step of the clock."""

    async def run(app: App) -> None:
        await every_job(app)
        for step_ms in steps_ms:
            clock.ms += step_ms
            await every_job(app)

    return run


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("by_ms", [AHEAD, 2 * DAY + 10 * DAY, 50 * 365 * DAY])
def test_a_jump_ahead_deletes_nothing_and_goes_on_when_the_clock_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, restart: bool, by_ms: int
) -> None:
    if by_ms > AHEAD:  # each of 18,000 days would be settled, for seconds; AHEAD shows what that does
        monkeypatch.setattr(scheduler, "JOBS", [job for job in scheduler.JOBS if job.run is not scheduler.settle])
    fill(tmp_path)
    clock = Still()
    during(tmp_path, clock, jump(clock))
    assert number_of_events(tmp_path) == 2  # what is past its retention by a clock that is right
    with caplog.at_level(logging.WARNING):
        if restart:
            clock.ms += by_ms
            during(tmp_path, clock, jump(clock, 3_600_000, 2 * DAY))
            clock.ms -= by_ms + 3_600_000 + 2 * DAY
        else:
            during(tmp_path, clock, jump(clock, by_ms, 3_600_000, 2 * DAY, -by_ms - 3_600_000 - 2 * DAY))
    assert number_of_events(tmp_path) == 2
    assert "prune --yes" in caplog.text
    during(tmp_path, clock, jump(clock, *([DAY] * 11)))
    assert number_of_events(tmp_path) == 1


def test_events_that_come_under_a_wrong_clock_are_no_evidence_for_it(tmp_path: Path) -> None:
    key, clock = fill(tmp_path), Still()

    async def run(app: App) -> None:
        await jump(clock, AHEAD)(app)
        for _ in range(3):
            assert (await post(app, key))[0] == 201
            clock.ms += 3_600_000
            await every_job(app)

        clock.ms = NOW + DAY
        assert (await post(app, key, user_agent=CHROME, ip_address="203.0.113.9"))[0] == 201
        await every_job(app)

    during(tmp_path, clock, run)
    assert number_of_events(tmp_path) == 6
    with closing(open_store(tmp_path)) as conn:
        assert integrity.problems(conn) == []


def test_a_clock_that_is_behind_deletes_nothing_and_is_not_taken_for_the_last_run(tmp_path: Path) -> None:
    fill(tmp_path)
    clock = Still()
    during(tmp_path, clock, jump(clock, -10 * 365 * DAY, 10 * 365 * DAY))
    assert number_of_events(tmp_path) == 2


def test_a_quiet_site_does_not_wait(tmp_path: Path) -> None:
    """Nothing comes for two months; the server runs."""
    fill(tmp_path)
    clock = Still()
    during(tmp_path, clock, jump(clock, *([DAY] * 60)))
    assert number_of_events(tmp_path) == 0


def test_a_jump_within_a_pass_is_none(tmp_path: Path) -> None:
    fill(tmp_path)
    clock = Still()

    async def run(app: App) -> None:
        change = app.services.ingest.change

        async def change_and_jump(*args: object) -> object:
            clock.ms += AHEAD
            return await change(*args)  # type: ignore[arg-type]

        app.services.ingest.change = change_and_jump  # type: ignore[assignment, method-assign]
        await scheduler.retain(app.services)
        app.services.ingest.change = change  # type: ignore[method-assign]

    during(tmp_path, clock, run)
    assert number_of_events(tmp_path) == 2


@pytest.mark.parametrize("difference_ms", [-AHEAD, -2 * DAY, 2 * DAY, AHEAD])
def test_prune_deletes_only_if_the_clock_is_confirmed(store: Store, difference_ms: int) -> None:
    fill(store.path, time.time_ns() // 1_000_000)
    ran_at(store, time.time_ns() // 1_000_000 + difference_ms)
    held = store.run("prune", "--json")
    assert (held.status, held.out) == (1, "")
    assert "ovx-lite prune --yes" in held.err
    assert "1 event" in held.err
    assert number_of_events(store.path) == 3
    assert store.run("prune", "--yes", "--json").json == {"events": 1}
    assert store.run("prune", "--json").json == {"events": 0}
    assert number_of_events(store.path) == 2


@pytest.mark.parametrize("hours", [0, 1, 24, 25, -25])
def test_prune_once_a_day_needs_no_confirmation(store: Store, hours: int) -> None:
    fill(store.path, time.time_ns() // 1_000_000)
    ran_at(store, time.time_ns() // 1_000_000 - hours * 3_600_000)
    assert store.run("prune", "--json").json == {"events": 1}


def test_log_health_and_pages_say_so_and_the_clock_is_confirmed_there(store: Store, start: Start) -> None:
    fill(store.path, time.time_ns() // 1_000_000)
    set_password(store)
    ran_at(store, time.time_ns() // 1_000_000 - AHEAD)
    server = start(store)
    person = Person(server)
    person.log_in()
    health = server.send("/healthz", method="GET")
    assert (health.status, health.json["status"]) == (200, "ok")
    assert "prune --yes" in health.json["detail"]
    until(lambda: "Retention is on hold" in server.log.read_text())
    home = person.get("/")
    assert b"Retention is on hold" in home.body
    assert "/retention" in [at.get("action") for _, at in tags(home, "form")]
    assert number_of_events(store.path) == 3
    assert person.post("/retention", sec_fetch_site="cross-site").status == 403
    assert Person(server).post("/retention").status == 401
    assert b"on hold" in person.get("/").body
    confirmed = person.follow(person.post("/retention"))
    assert b"Retention is on hold" not in confirmed.body
    until(lambda: "detail" not in server.send("/healthz", method="GET").json)
    server.stop()
    assert number_of_events(store.path) in (2, 3)  # it may run within the hour
    start(store)
    until(lambda: number_of_events(store.path) == 2)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.05)


def test_nothing_is_said_where_nothing_would_be_deleted(store: Store, start: Start) -> None:
    fill(store.path, time.time_ns() // 1_000_000, days=None)
    ran_at(store, 1)
    server = start(store)
    assert "detail" not in server.send("/healthz", method="GET").json
    assert store.run("prune", "--json").json == {"events": 0}
    assert "hold" not in server.log.read_text()


def test_copies_survive_a_jump(tmp_path: Path) -> None:
    """One copy gives way to one that is made, and never the one that was just made."""
    open_store(tmp_path / "data").close()
    kept = tmp_path / "kept"
    for day in range(7):
        assert back_up(tmp_path / "data", kept, NOW + day * DAY)
    before = {path.name for path in kept.iterdir()}
    assert back_up(tmp_path / "data", kept, NOW - 5000 * DAY)
    after = {path.name for path in kept.iterdir()}
    assert (len(after), len(after - before)) == (7, 1)
    assert not back_up(tmp_path / "data", kept, NOW - 5000 * DAY)
    assert back_up(tmp_path / "data", kept, NOW + AHEAD)
    assert len({path.name for path in kept.iterdir()} & before) >= 5


def test_the_stand_ins_clock_is_turned_on_purpose(tmp_path: Path) -> None:
    from tests.support.emulator import stage

    with stage(tmp_path, "--data-dir", str(tmp_path / "data")) as dev:
        event = {"site_id": "site_abc123", "url": "https://example.com/"}
        assert dev.send("/api/v1/events/pageview", event).status == 201
        data_dir = Store(tmp_path / "data")
        data_dir.call("site", "change", "site_abc123", "--retention-days", "30")
        jobs = dev.call("POST", "/_dev/clock", {"advance": "40d"}).json["jobs"]
    assert "delete events past their retention" in jobs
    assert json.loads(data_dir.run("export", "site_abc123", "--json").out) == []
