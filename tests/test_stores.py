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
from tests.stores.__main__ import ANN, apex, overcentric, stats, view
from tests.support.browserless import Person

NUMBERS = sorted(int(file.stem) for file in FOLDER.glob("*.sql"))
NEWEST = max(steps())
COPY = f"ovx-lite-before-schema-{NEWEST}.sqlite3"
EVENTS = "export my-site --include-excluded"
ZONE = "Europe/Paris"
DAYS = ["2025-10-20", "2025-11-02"]  # all that were told of, and more

# What step 7 calls the tables and the rows of `meta`.
RENAMED = {
    "answers": "idempotent_responses",
    "days": "daily_totals",
    "keys": "api_keys",
    "kinds": "event_types",
    "marks": "fired_alerts",
    "months": "monthly_usage",
    "origins": "traffic_sources",
    "sessions": "login_sessions",
    "settled": "finalized",
    "shares": "shared_links",
    "stale": "dirty_days",
    "takings": "daily_revenue",
    "ties": "identity_links",
    "usage": "rate_limit_counters",
    "words": "dimension_values",
}
RENAMED_META = {
    "registry": "registry_version",
    "touched": "write_checked_at",
    "retention_ran_at_ms": "retention_ran_at",
}


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
        return [dict(event) for event in self.told["said"][EVENTS]]


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
    """The columns of each table, in their order."""
    query = """
        SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%' ORDER BY tables.name, columns.cid
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
    assert list(steps()) == NUMBERS
    kept = {file.name for file in FOLDER.iterdir() if file.suffix in (".sql", ".json")}
    assert kept == {f"{number:04}.{kind}" for number in NUMBERS for kind in ("sql", "json")}


def test_they_are_what_they_are_called(old: Old) -> None:
    assert rows(old.file, "PRAGMA user_version") == [(old.number,)]
    assert rows(old.file, "PRAGMA journal_mode") == [("wal",)]
    assert rows(old.file, "PRAGMA integrity_check") == [("ok",)]
    assert len(old.sql) < 52 * 1024
    assert [table for table in columns(old.file) if not rows(old.file, f"SELECT 1 FROM {table} LIMIT 1")] == []


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
    assert {RENAMED.get(table, table) for table in then} == now.keys()
    for table, names in then.items():
        known_as = RENAMED.get(table, table)
        assert len(names) == len(now[known_as]), table
        expected = rows(before, f"SELECT * FROM {table}")
        if table == "meta":
            expected = [(RENAMED_META.get(name, name), value) for name, value in expected]
        assert sorted(rows(old.file, f"SELECT * FROM {known_as}"), key=repr) == sorted(expected, key=repr), table


def test_the_stats_api_gives_the_same_numbers(old: Old, start: Start) -> None:
    server = start(old.store)
    for asked in old.told["stats"]:
        assert stats(server, old.told["key"], asked["query"]) == asked["answer"], asked["query"]


def test_what_was_there_is_counted_as_its_events_say(old: Old, start: Start) -> None:
    server, key = start(old.store), old.told["key"]
    deadline = time.monotonic() + 20
    while rows(old.file, "SELECT * FROM dirty_days"):
        assert time.monotonic() < deadline, "the server did not count by itself"
        time.sleep(0.02)
    days, met = recounted(old.events)
    assert len(days) > 4
    assert ask(server, key, "time:day", "visitors", "visits", "pageviews", "events") == days
    assert ask(server, key, "event:goal", "events") == met
    assert server.pageview(key, user_agent=CHROME, ip_address="203.0.113.30").status == 201
    assert server.stop() == 0
    before = dump(old.file)
    for command in (["check"], ["check", "--rebuild"], ["check"]):
        assert old.store.run(*command).status == 0
        assert dump(old.file) == before


def test_whoever_sent_events_goes_on(old: Old, start: Start) -> None:
    key, repeat, before = old.told["key"], old.told["repeat"], old.events
    assert old.store.run("check").status == 0
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
    Person(server).log_in(old.told["password"])
    assert server.stop() == 0
    assert old.store.run("check").status == 0

    known = {event["id"] for event in before}
    events = old.store.events()
    news = {event["path"]: event for event in events if event["id"] not in known}
    assert sorted(news) == ["/app", "/new", "/seen/late", "/v_1", "/v_3"]
    same = {
        "/seen/late": visit_of(before, path="/told/late"),
        "/v_1": visit_of(before, path="/pricing/team"),
        "/v_3": visit_of(before, person="carol", api="apex"),
        "/app": visit_of(before, name="opened"),
    }
    assert [news[path]["person"] for path in ("/app", "/v_3", "/v_1")] == ["ada", "carol", None]
    went_on = {path: (news[path]["visitor"], news[path]["visit"]) for path in same}
    assert went_on == same or today != local_day(int(time.time() * 1000), ZONE), "unless midnight came between"


def of_today(old: Old) -> int:
    """Have what is kept for a day be of today: answers to requests, and the salt, with which visits may go on."""
    now = int(time.time() * 1000)
    with closing(sqlite3.connect(old.file)) as conn, conn:
        conn.execute("UPDATE idempotent_responses SET created_at = ?", (now,))
        conn.execute("UPDATE salts SET day = ?", (local_day(now, ZONE),))
    return local_day(now, ZONE)


def visit_of(events: list[dict[str, Any]], **fields: str) -> tuple[str, str]:
    """Visitor and visit of the first event that has these values."""
    found = next(event for event in events if all(event[name] == value for name, value in fields.items()))
    return found["visitor"], found["visit"]
