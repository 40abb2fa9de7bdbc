"""The event journal and its projection: readers see every acknowledged event, and each is projected exactly once."""

import os
import random
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ovx_lite.app import App
from ovx_lite.domain.calendar import DAY_MS, MINUTE_MS
from ovx_lite.domain.models import Event, EventType, PageUrl, Person, Site
from ovx_lite.storage import integrity, registry, upkeep
from ovx_lite.storage.ledger import event_journal
from ovx_lite.storage.ledger.event_journal import MAX_EVENTS_PER_ROW
from ovx_lite.storage.ledger.journal_drain import SLICE_EVENTS, drain_slice
from ovx_lite.storage.ledger.ledger import Ledger, write_group
from ovx_lite.storage.projection import sessionizer
from ovx_lite.storage.projection.projection import Projection, catch_up
from ovx_lite.storage.sqlite import STORE_FILE, open_store
from tests.conftest import CHROME, Server, Start, Store
from tests.support.browserless import PASSWORD, WebClient
from tests.support.in_process import post, run_app
from tests.support.metrics import samples, wait_until_projected
from tests.support.store import NOW, FrozenClock, new_event, new_key, new_site, request

TRIES = int(os.environ.get("OVX_PROJECTION_TRIES", "60"))
PROJECTED_TABLES = (
    *("events", "event_revenue", "imported_lines", "visits", "open_visits", "persons", "identity_links"),
    *("daily_totals", "daily_revenue"),
)
ON_DEMAND = {f"ovx_lite.services.projector.{name}": 1000 for name in ("IDLE_AFTER_S", "MAX_LAG_S")}
"""With these constants, a server projects events only when somebody reads."""


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path)) as opened:
        yield opened


@pytest.fixture
def site(conn: sqlite3.Connection) -> Site:
    return new_site(conn)


@dataclass
class Place:
    """A server that projects on demand, with a site that has a goal."""

    store: Store
    server: Server
    key: str

    def journal_events(self) -> int:
        with self.store.connect() as conn:
            return event_journal.event_count(conn)

    def metric(self, name: str) -> float:
        return samples(self.server.send("/metrics", method="GET").body.decode())[name]

    def visitors(self) -> int:
        query = {"site_id": "my-site", "metrics": ["visitors"], "date_range": "day"}
        (row,) = self.server.send("/api/v1/stats/query", query, self.key).json["results"]
        return int(row["metrics"][0])


@pytest.fixture
def place(store: Store, start: Start) -> Place:
    store.site("my-site", "--domain", "example.com")
    store.call("goal", "add", "my-site", "Sign-up", "--event", "signup")
    assert store.run("password", "set", stdin=PASSWORD.encode()).exit_status == 0
    key = store.key()
    return Place(store, start(store, constants=ON_DEMAND), key)


def visit(place: Place, number: int) -> None:
    response = place.server.pageview(place.key, user_agent=CHROME, ip_address=f"203.0.113.{number}")
    assert response.status == 201


def test_queries_see_acknowledged_events(place: Place) -> None:
    for number in range(1, 4):
        visit(place, number)
        assert place.journal_events() == place.metric("ovx_journal_events") == 1
        assert place.visitors() == number
        assert place.journal_events() == place.metric("ovx_journal_events") == 0
    assert place.metric("ovx_projection_seconds_count") == 3


def test_pages_see_acknowledged_events(place: Place) -> None:
    browser = WebClient(place.server)
    browser.log_in()
    for number, path in enumerate(
        ("/sites/my-site", "/sites/my-site/settings/start", "/", "/sites/my-site/settings/goals"), 1
    ):
        visit(place, number)
        assert place.server.custom(place.key, ip_address=f"203.0.113.{number}", user_agent=CHROME).status == 201
        assert place.journal_events() == 2
        assert browser.get(path).status == 200
        assert place.journal_events() == 0, path


def test_realtime_and_csv_see_acknowledged_events(place: Place) -> None:
    visit(place, 1)
    realtime = place.server.send("/api/v1/stats/realtime?site_id=my-site", method="GET", key=place.key)
    assert realtime.json["active_visitors"] == 1
    browser = WebClient(place.server)
    browser.log_in()
    visit(place, 2)
    exported = browser.get("/sites/my-site/csv/page")
    assert (exported.status, place.journal_events()) == (200, 0)


@pytest.mark.parametrize(
    "command",
    [
        ("export", "my-site"),
        ("check",),
        ("check", "--rebuild"),
        ("person", "list", "my-site"),
        ("goal", "add", "my-site", "Home", "--path", "/"),
        ("site", "list"),
        ("prune", "--yes"),
    ],
)
def test_commands_see_acknowledged_events(place: Place, command: tuple[str, ...]) -> None:
    visit(place, 1)
    assert place.store.run(*command).exit_status == 0
    assert place.journal_events() == 0
    visit(place, 2)  # the server notices that a command has projected its events
    assert place.visitors() == 2
    assert place.store.call("check")["ok"]


def test_a_goal_that_is_added_counts_events_of_the_journal_once(place: Place) -> None:
    visit(place, 1)
    place.store.call("goal", "add", "my-site", "Home", "--path", "/")
    visit(place, 2)
    query = {"site_id": "my-site", "metrics": ["visitors"], "date_range": "day", "dimensions": ["event:goal"]}
    (row,) = place.server.send("/api/v1/stats/query", query, place.key).json["results"]
    assert (row["dimensions"], row["metrics"]) == (["Home"], [2])


def test_a_person_in_the_journal_can_be_shown_and_erased(place: Place) -> None:
    event = {"event_type": "event", "event_name": "login", "user_id": "ada", "properties": {}}
    assert place.server.send("/v1/projects/my-site/events", event, place.key).status == 202
    assert place.store.call("person", "show", "my-site", "ada")["events"] == 1
    assert place.server.send("/v1/projects/my-site/events", event, place.key).status == 202
    assert place.store.call("person", "erase", "my-site", "ada", "--yes")["events"] == 2
    assert place.store.call("check")["ok"]
    assert b"ada" not in (place.store.path / STORE_FILE).read_bytes()


def test_events_are_projected_without_readers(store: Store, start: Start) -> None:
    store.site()
    place = Place(store, start(store, constants={"ovx_lite.services.projector.IDLE_AFTER_S": 0.01}), store.key())
    visit(place, 1)
    for _ in range(1000):
        if place.metric("ovx_projection_seconds_count"):
            break
    assert place.metric("ovx_journal_events") == 0
    with store.connect() as conn:
        assert conn.execute("SELECT events FROM daily_totals").fetchone() == (1,)


def test_events_of_a_killed_server_are_projected_once(place: Place, start: Start) -> None:
    for number in range(1, 4):
        visit(place, number)
    place.server.stop(signal.SIGKILL)
    assert place.journal_events() == 3
    restarted = Place(place.store, start(place.store), place.key)
    assert restarted.visitors() == 3
    assert restarted.store.call("check")["events"] == 3


def test_a_server_projects_what_a_killed_one_has_left(place: Place, start: Start) -> None:
    visit(place, 1)
    place.server.stop(signal.SIGKILL)
    wait_until_projected(start(place.store))
    assert place.journal_events() == 0


def test_queries_go_on_while_the_store_cannot_be_written(store: Store, start: Start) -> None:
    store.site("my-site", "--domain", "example.com")
    constants = {**ON_DEMAND, "ovx_lite.storage.connections.SERVER_LOCK_TIMEOUT_S": 0.2}
    place = Place(store, start(store, constants=constants), store.key())
    visit(place, 1)
    assert place.visitors() == 1
    visit(place, 2)
    with closing(sqlite3.connect(store.path / STORE_FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert place.visitors() == 1  # what is projected
        assert place.server.send("/healthz", method="GET").status == 503
        other.execute("ROLLBACK")
    assert "could not be projected" in place.server.log_path.read_text()
    assert place.store.call("check")["events"] == 2


def test_a_stop_projects_what_is_waiting(place: Place) -> None:
    visit(place, 1)
    assert place.server.stop() == 0
    assert place.journal_events() == 0


def test_a_full_journal_refuses_events_until_it_is_projected(store: Store, start: Start) -> None:
    store.site()
    constants = {**ON_DEMAND, "ovx_lite.services.projector.MAX_JOURNAL_EVENTS": 2}
    place = Place(store, start(store, constants=constants), store.key())
    for number in (1, 2):
        visit(place, number)
    refused = place.server.pageview(place.key)
    assert (refused.status, refused.json["error"]["code"]) == (503, "unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    assert place.server.send("/healthz", method="GET").status == 503
    assert place.visitors() == 2
    visit(place, 3)
    assert place.server.send("/healthz", method="GET").json["status"] == "ok"


def test_health_says_that_events_cannot_be_counted(place: Place) -> None:
    visit(place, 1)
    with place.store.connect() as conn:
        conn.execute("UPDATE event_journal SET events = x'c1'")
        conn.commit()
    query = {"site_id": "my-site", "metrics": ["events"], "date_range": "day"}
    assert place.server.send("/api/v1/stats/query", query, place.key).json["results"][0]["metrics"] == [0]
    health = place.server.send("/healthz", method="GET")
    assert (health.status, "1 accepted events could not be counted" in health.json["detail"]) == (200, True)
    assert place.server.stop() == 0
    assert "Traceback" not in place.server.log_path.read_text()
    for command in (("check",), ("export", "my-site")):
        result = place.store.run(*command)
        assert (result.exit_status, "Traceback" in result.stderr) == (1, False)
        assert "journal" in result.stdout + result.stderr


def draw_events(rng: random.Random, count: int) -> list[Event]:
    """Return events of a few visitors over two days, some late, with persons, revenue, engagement and imports."""
    events = []
    for index in range(count):
        at_ms = NOW + index * MINUTE_MS - rng.choice([0, 0, 0, 20 * MINUTE_MS, DAY_MS])
        event = new_event(
            f"/{rng.randrange(4)}", at_ms, visitor=rng.randrange(1, 6), name=rng.choice(["", "", "signup"])
        )
        if rng.random() < 0.2:
            number = rng.randrange(1, 4)
            event = replace(event, person=Person(number << 20, f"u{number}", {"n": index}))
        if rng.random() < 0.2:
            event = replace(event, revenue_minor=100, event_type=event.event_type._replace(currency="EUR"))
        elif rng.random() < 0.1:
            event = replace(event, event_type=EventType("apex", "engagement", "engagement", ""))
        elif index % 9 == 0:
            event = replace(event, import_line_hash=index)
        events.append(event)
    return events


def replace(event: Event, **changes: Any) -> Event:
    return msgspec.structs.replace(event, **changes)


def dump(conn: sqlite3.Connection) -> dict[str, list[Any]]:
    """Return the rows of all tables that the projection writes, with texts in place of the IDs of values."""
    rows = {table: sorted(map(repr, conn.execute(f"SELECT * FROM {table}"))) for table in PROJECTED_TABLES}
    rollups = """
        SELECT start_day, period_days, dimension, coalesce(value, value_id), visitors, visits, pageviews, rollups.events
        FROM rollups LEFT JOIN dimension_values ON dimension_values.id = value_id AND dimension <> 19
    """
    return rows | {"rollups": sorted(map(repr, conn.execute(rollups))), "journal": event_journal.read(conn, 10).events}


def accept(conn: sqlite3.Connection, site: Site, events: list[Event], group_size: int) -> None:
    ledger = Ledger(conn, 0)
    for first in range(0, len(events), group_size):
        group = [ledger.prepare(request(site, event)) for event in events[first : first + group_size]]
        write_group(conn, ledger, group, {}, NOW)


def projected(folder: Path, events: list[Event], slice_events: int) -> dict[str, list[Any]]:
    """Return what is stored when these events are projected in slices of a size."""
    with closing(open_store(folder)) as conn:
        accept(conn, new_site(conn), events, 10)
        projection = Projection(conn)
        while drain_slice(conn, projection, slice_events):
            pass
        assert integrity.problems(conn) == []
        return dump(conn)


@pytest.mark.parametrize("seed", [0, 1, 5, 16])  # 5 and 16 have many late events of several persons on one device
def test_the_size_of_slices_makes_no_difference(tmp_path: Path, seed: int) -> None:
    events = draw_events(random.Random(seed), 120)
    results = [projected(tmp_path / str(size), events, size) for size in (1, 30, SLICE_EVENTS)]
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("seed", range(3))
def test_the_usual_way_has_the_result_of_the_general_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    events = draw_events(random.Random(seed), 120)
    # Also in the order of time: then nearly all visits change in the usual way.
    for name, sent in (("late", events), ("sorted", sorted(events, key=lambda event: event.timestamp_ms))):
        usual = projected(tmp_path / f"usual {name}", sent, 30)
        with monkeypatch.context() as context:
            context.setattr(sessionizer, "_usual_change", lambda *_: None)
            assert projected(tmp_path / f"general {name}", sent, 30) == usual


def test_a_projection_that_is_interrupted_anywhere_projects_each_event_once(tmp_path: Path) -> None:
    rng = random.Random(4)
    events = draw_events(rng, 60)
    expected = projected(tmp_path / "uninterrupted", events, SLICE_EVENTS)
    interrupted = 0
    with closing(open_store(tmp_path / "interrupted")) as conn:
        site = new_site(conn)
        for attempt in range(TRIES):
            for table in PROJECTED_TABLES:
                conn.execute(f"DELETE FROM {table}")
            conn.execute("DELETE FROM rollups")
            accept(conn, site, events, 10)
            projection, steps_left = Projection(conn), rng.randrange(600)

            def interrupt() -> bool:
                nonlocal steps_left
                steps_left -= 1
                return steps_left == -1  # once, so that the rollback succeeds

            conn.set_progress_handler(interrupt, 10)
            try:
                drain_slice(conn, projection)
            except sqlite3.OperationalError:
                interrupted += 1
            conn.set_progress_handler(None, 0)
            if attempt % 2:
                projection = Projection(conn)  # as after a restart
            while drain_slice(conn, projection):
                pass
            assert dump(conn) == expected
    assert interrupted > TRIES // 3


def test_an_event_with_an_id_that_is_taken_gets_the_next_one(conn: sqlite3.Connection, site: Site) -> None:
    for _ in range(3):  # each ledger begins with the same counter
        accept(conn, site, [new_event(f"/{number}") for number in range(5)], 2)
        catch_up(conn)
    assert conn.execute("SELECT count(*) FROM events").fetchone() == (15,)
    assert integrity.problems(conn) == []


def test_events_of_a_removed_site_leave_the_journal(conn: sqlite3.Connection, site: Site) -> None:
    other = new_site(conn, "other")
    accept(conn, site, [new_event()], 1)
    accept(conn, other, [new_event()], 1)
    registry.remove_site(conn, upkeep, "other")
    assert catch_up(conn) == 2
    assert conn.execute("SELECT site_id FROM events").fetchall() == [(site.id,)]
    assert integrity.problems(conn) == []


def test_a_large_group_is_projected_in_slices(conn: sqlite3.Connection, site: Site) -> None:
    events = [new_event(f"/{number}", visitor=number + 1) for number in range(2 * SLICE_EVENTS + 1)]
    ledger = Ledger(conn, 0)
    write_group(conn, ledger, [ledger.prepare(request(site, *events))], {}, NOW)
    projection = Projection(conn)
    counts = list(iter(lambda: drain_slice(conn, projection), 0))
    assert sum(counts) == len(events)
    assert max(counts) <= SLICE_EVENTS + MAX_EVENTS_PER_ROW


def test_the_journal_needs_no_text_twice(conn: sqlite3.Connection, site: Site) -> None:
    page = PageUrl("https", "example.com", "/a-long-path" * 20)
    accept(conn, site, [replace(new_event(), page=page)] * 100, 10)
    (size_bytes,) = conn.execute("SELECT sum(length(events)) FROM event_journal").fetchone()
    assert size_bytes < 60 * 100


def test_events_before_midnight_are_in_their_visit_when_the_salt_changes(
    tmp_path: Path, conn: sqlite3.Connection, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The open visits of a day are closed with its salt. An event that is projected later would begin a new visit."""
    key, midnight_ms, clock = new_key(conn, site), (NOW // DAY_MS + 1) * DAY_MS, FrozenClock()
    visitor = {"ip_address": "203.0.113.1", "user_agent": CHROME}
    for name, value in ON_DEMAND.items():
        monkeypatch.setattr(name, value)

    async def run(app: App) -> None:
        for clock.current_ms in (midnight_ms - 2000, midnight_ms - 1000, midnight_ms + 1000):
            assert (await post(app, key, **visitor))[0] == 201
        assert event_journal.event_count(conn) == 1, "the new salt has projected the events of the day before"

    run_app(tmp_path, clock, run)
    assert conn.execute("SELECT events FROM visits ORDER BY id").fetchall() == [(2,), (1,)]
