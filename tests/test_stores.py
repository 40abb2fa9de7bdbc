"""Stores that programs of all schemas left (`tests/stores`): what the program of today makes of them."""

import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ovx_lite.domain.calendar import local_day
from ovx_lite.storage.sqlite import FILE, steps
from tests.conftest import CHROME, Server, Start, Store
from tests.stores import FOLDER, build, dump
from tests.stores.__main__ import ANN, apex, overcentric, view
from tests.support.browserless import Person

NUMBERS = sorted(int(file.stem) for file in FOLDER.glob("*.sql"))
NEWEST = len(steps())
COPY = f"ovx-lite-before-schema-{NEWEST}.sqlite3"
EVENTS = "export my-site --include-excluded"
ZONE = "Europe/Paris"
DAYS = ["2025-10-20", "2025-11-02"]  # all that were told of, and more

# Whoever asks for events and visits is told the same, but they are put together in another way since step 5;
# and `meta` counts changes.
PUT_ELSEWHERE = {"events", "visits", "open_visits", "meta"}


@dataclass(frozen=True)
class Old:
    """A store as it was found, of which schema, and what is known of it."""

    number: int
    store: Store
    sql: str
    told: dict[str, Any]

    @property
    def file(self) -> Path:
        return self.store.path / FILE

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of my-site, as they were exported then and are to be now."""
        events = [dict(event) for event in self.told["said"][EVENTS]]
        if self.number < 5:
            # Until step 5, time spent on a page was an event like others. By itself, it makes no visit any more.
            visits = {event["visit"] for event in events if not is_engagement(event)}
            for event in events:
                if event["visit"] not in visits:
                    event["visit"] = event["visitor"] = None
        return events


@pytest.fixture(params=NUMBERS)
def old(request: pytest.FixtureRequest, store: Store) -> Old:
    number: int = request.param
    sql = (FOLDER / f"{number:04}.sql").read_bytes().decode()
    build(store.path / FILE, sql)
    return Old(number, store, sql, json.loads((FOLDER / f"{number:04}.json").read_text("utf-8")))


def is_engagement(event: dict[str, Any]) -> bool:
    return (event["api"], event["name"]) == ("apex", "engagement")


def rows(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as conn:
        return conn.execute(query).fetchall()


def columns(file: Path) -> dict[str, list[str]]:
    """The columns of each table."""
    query = """
        SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%'
    """
    found: dict[str, list[str]] = {}
    for table, column in rows(file, query):
        found.setdefault(table, []).append(column)
    return found


def as_then(now: Any, then: Any) -> Any:
    """What is said now, without what nobody said then: fields may be added."""
    if isinstance(then, list) and isinstance(now, list) and len(now) == len(then):
        return [as_then(*both) for both in zip(now, then, strict=True)]
    if isinstance(then, dict) and isinstance(now, dict):
        return {name: as_then(now[name], value) for name, value in then.items() if name in now}
    return now


def recounted(events: list[dict[str, Any]]) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Visitors, visits, pageviews and events by day of the site, and how often each goal was met."""
    days: dict[str, tuple[set[str], set[str], list[bool]]] = {}
    met = Counter[str]()
    for event in events:
        if event["excluded"] or is_engagement(event):
            continue
        is_view = event["type"] == "pageview"
        day = datetime.fromisoformat(event["ts"]).astimezone(ZoneInfo(ZONE)).date().isoformat()
        visitors, visits, views = days.setdefault(day, (set(), set(), []))
        visitors |= {event["visitor"]} - {None}
        visits |= {event["visit"]} - {None}
        views.append(is_view)
        met.update({"Sign-up": event["name"] == "signup", "Pricing": is_view and event["path"].startswith("/pricing/")})
    counts: dict[str, tuple[int, ...]] = {
        day: (len(visitors), len(visits), sum(views), len(views)) for day, (visitors, visits, views) in days.items()
    }
    return counts, {goal: (times,) for goal, times in met.items()}


def ask(server: Server, key: str, dimension: str, *metrics: str) -> dict[str, tuple[int, ...]]:
    """Ask the Stats API for all that was told of, by a dimension."""
    asked = {"site_id": "my-site", "date_range": DAYS, "dimensions": [dimension], "metrics": metrics}
    answer = server.send("/api/v1/stats/query", asked, key)
    assert answer.status == 200, answer.body
    return {row["dimensions"][0]: tuple(row["metrics"]) for row in answer.json["results"]}


def test_there_is_a_store_of_each_schema() -> None:
    """Whoever adds a step of the schema keeps a store of it: `tests/stores/__init__.py` says how."""
    assert list(range(1, NEWEST + 1)) == NUMBERS
    kept = {file.name for file in FOLDER.iterdir() if file.suffix in (".sql", ".json")}
    assert kept == {f"{number:04}.{kind}" for number in NUMBERS for kind in ("sql", "json")}


def test_they_are_what_they_are_called(old: Old) -> None:
    assert rows(old.file, "PRAGMA user_version") == [(old.number,)]
    assert rows(old.file, "PRAGMA journal_mode") == [("wal",)]
    assert rows(old.file, "PRAGMA integrity_check") == [("ok",)]
    assert len(old.sql) < 40 * 1024


def test_what_was_said_is_said_again(old: Old) -> None:
    for command, then in old.told["said"].items():
        now = old.store.call(*command.split())
        assert as_then(now, then) == (old.events if command == EVENTS else then), command
    assert rows(old.file, "PRAGMA user_version") == [(NEWEST,)]
    assert old.store.run("check").status == 0


def test_a_copy_of_what_was_there_is_left(old: Old, tmp_path: Path) -> None:
    build(tmp_path / "again" / FILE, old.sql)
    assert old.store.run("check").status == 0
    copies = [file.name for file in old.store.path.iterdir() if "before-schema" in file.name]
    assert copies == ([COPY] if old.number < NEWEST else [])
    if copies:
        assert dump(old.store.path / COPY) == dump(tmp_path / "again" / FILE)
        assert rows(old.store.path / COPY, "PRAGMA integrity_check") == [("ok",)]


def test_all_other_rows_are_as_they_were(old: Old, tmp_path: Path) -> None:
    build(before := tmp_path / "again" / FILE, old.sql)
    assert old.store.run("check").status == 0
    then, now = columns(before), columns(old.file)
    assert then.keys() - now.keys() <= {"goal_days"}, "goals' days are counted anew since step 5, with all others"
    for table in then.keys() & now.keys() - PUT_ELSEWHERE:
        # `open_visits` was the one table of which a step renamed a column.
        assert set(then[table]) <= set(now[table]), table
        query = f"SELECT {', '.join(then[table])} FROM {table} ORDER BY 1, 2"
        assert rows(old.file, query) == rows(before, query), table


def test_what_was_there_is_counted_as_its_events_say(old: Old, start: Start) -> None:
    server, key = start(old.store), old.told["key"]
    deadline = time.monotonic() + 20
    while rows(old.file, "SELECT * FROM stale"):
        assert time.monotonic() < deadline, "the server did not count by itself"
        time.sleep(0.02)
    days, met = recounted(old.events)
    assert len(days) > 4
    assert ask(server, key, "time:day", "visitors", "visits", "pageviews", "events") == days
    assert ask(server, key, "event:goal", "events") == (met if "goal list my-site" in old.told["said"] else {})
    assert server.pageview(key, user_agent=CHROME, ip_address="203.0.113.30").status == 201
    assert server.stop() == 0
    before = dump(old.file)
    for command in (["check"], ["check", "--rebuild"], ["check"]):
        assert old.store.run(*command).status == 0
        assert dump(old.file) == before


def test_whoever_sent_events_goes_on(old: Old, start: Start) -> None:
    key, repeat, before = old.told["key"], old.told["repeat"], old.events
    today = of_today(old)
    server = start(old.store)
    again = server.send(repeat["path"], repeat["body"].encode(), key, repeat["headers"])
    assert (again.status, again.body.decode()) == (201, repeat["answer"])
    assert again.headers["idempotency-replayed"] == "true"
    (log := old.store.path / "log").write_text(old.told["log"])
    assert old.store.call("import", "access-log", "my-site", str(log))["imported"] == 0
    assert len(old.store.events()) == len(before)
    assert server.pageview(key, url="https://example.com/new", user_agent=CHROME).status == 201
    told = {**view("24T08:20", "/seen/late", ANN), "site_id": "my-site"}
    assert server.send("/api/v1/events/pageview", told, key).status == 201
    (public_key,) = {site["public_key"] for site in old.told["said"]["site list"] if site["id"] == "my-site"}
    for one in (apex("25T14:05", "click", "v_1", "/v_1"), apex("27T16:05", "click", "v_3", "/v_3")):
        assert server.send("/api/events", {**one, "projectKey": public_key}).status == 200
    assert server.send("/api/v1/event", overcentric("24T18:00", "came back")).status == 200
    if "password" in old.told:
        Person(server).log_in(old.told["password"])
    assert server.stop() == 0
    assert old.store.run("check").status == 0

    known = {event["id"] for event in before}
    events = old.store.events()
    news = {event["path"]: event for event in events if event["id"] not in known}
    assert sorted(news) == ["/app", "/new", "/seen/late", "/v_1", "/v_3"]
    same = {"/seen/late": visit_of(before, path="/told/late")}
    if old.number >= 2:  # no visitor had a name before
        same |= {"/v_1": visit_of(before, path="/pricing/team"), "/v_3": visit_of(before, person="carol", api="apex")}
        assert news["/app"]["visitor"] == visit_of(before, name="opened")[0]
        assert [news[path]["person"] for path in ("/app", "/v_3", "/v_1")] == ["ada", "carol", None]
    if old.number >= 5:  # a session of before step 5 that goes on makes another visit
        same |= {"/app": visit_of(before, name="opened")}
    went_on = {path: (news[path]["visitor"], news[path]["visit"]) for path in same}
    assert went_on == same or today != local_day(int(time.time() * 1000), ZONE), "unless midnight came between"


def of_today(old: Old) -> int:
    """Have what is kept for a day be of today: answers to requests, and the salt, with which visits may go on."""
    now = int(time.time() * 1000)
    with closing(sqlite3.connect(old.file)) as conn, conn:
        conn.execute("UPDATE answers SET answered = ?", (now,))
        conn.execute("UPDATE salts SET day = ?", (local_day(now, ZONE),))
    return local_day(now, ZONE)


def visit_of(events: list[dict[str, Any]], **fields: str) -> tuple[str, str]:
    """Visitor and visit of the first event that has these values."""
    found = next(event for event in events if all(event[name] == value for name, value in fields.items()))
    return found["visitor"], found["visit"]
