"""Upgrades of the recorded stores of all schemas (`tests/stores`) by the current program."""

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
from ovx_lite.storage.sqlite import STORE_FILE, steps
from tests.conftest import CHROME, Server, Start, Store
from tests.stores import FOLDER, build, dump
from tests.stores.__main__ import ANN, apex, overcentric, stats, view
from tests.support.browserless import WebClient

SCHEMA_VERSIONS = sorted(int(file.stem) for file in FOLDER.glob("*.sql"))
LATEST_VERSION = max(steps())
BACKUP_NAME = f"ovx-lite-before-schema-{LATEST_VERSION}.sqlite3"
EXPORT_COMMAND = "export my-site --include-excluded"
TIMEZONE = "Europe/Paris"
DATE_RANGE = ["2025-10-20", "2025-11-02"]  # covers all events

# The tables and the rows of `meta` that step 7 renames.
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
ADDED = {"event_journal": 8, "event_revenue": 8, "imported_lines": 8}
"""The tables that are newer than the oldest store, and the schema that added them."""

DRAINED = {"event_journal"}
"""The tables that commands empty, so that a recorded store has no rows of them."""

EVENTS_BEFORE_8 = """
SELECT events.site_id, events.visit_id, events.id_offset, event_type_id, page_id, traffic_source_id, client_id, props,
    person_id, amount_minor
FROM events LEFT JOIN event_revenue AS revenue ON revenue.site_id = events.site_id
    AND revenue.visit_id = events.visit_id AND revenue.id_offset = events.id_offset
"""
"""The events as they were before schema 8, which moved their revenue, but without `import_line_hash`."""

VISITS_BEFORE_8 = """
SELECT site_id, id, traffic_source_id, client_id, entry_page_id, exit_page_id, page_type_bloom, visitor_id,
    is_identified, is_only_visit_of_day, early_ms, elapsed_ms, pageviews, events
FROM visits
"""

RENAMED_META = {
    "registry": "registry_version",
    "touched": "write_checked_at",
    "retention_ran_at_ms": "retention_ran_at",
}


@dataclass(frozen=True)
class OldStore:
    """A store of an older schema, its SQL, and the recorded outputs of the program that made it."""

    schema_version: int
    store: Store
    sql: str
    recorded: dict[str, Any]

    @property
    def file(self) -> Path:
        return self.store.path / STORE_FILE

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of my-site as the old program exported them."""
        return [dict(event) for event in self.recorded["said"][EXPORT_COMMAND]]


@pytest.fixture(params=SCHEMA_VERSIONS)
def old(request: pytest.FixtureRequest, store: Store) -> OldStore:
    schema_version: int = request.param
    sql = (FOLDER / f"{schema_version:04}.sql").read_bytes().decode()
    build(store.path / STORE_FILE, sql)
    return OldStore(schema_version, store, sql, json.loads((FOLDER / f"{schema_version:04}.json").read_text("utf-8")))


def is_engagement(event: dict[str, Any]) -> bool:
    return (event["api"], event["name"]) == ("apex", "engagement")


def query_rows(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as conn:
        return conn.execute(query).fetchall()


def table_columns(file: Path) -> dict[str, list[str]]:
    """Return the columns of each table, in order."""
    query = """
        SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%' ORDER BY tables.name, columns.cid
    """
    columns_by_table: dict[str, list[str]] = {}
    for table, column in query_rows(file, query):
        columns_by_table.setdefault(table, []).append(column)
    return columns_by_table


def without_added_fields(actual: Any, recorded: Any) -> Any:
    """Return an output without fields that the recorded output lacks: fields may be added."""
    if isinstance(recorded, list) and isinstance(actual, list) and len(actual) == len(recorded):
        return [without_added_fields(*pair) for pair in zip(actual, recorded, strict=True)]
    if isinstance(recorded, dict) and isinstance(actual, dict):
        return {name: without_added_fields(actual[name], value) for name, value in recorded.items() if name in actual}
    return actual


def count_by_day(events: list[dict[str, Any]]) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Count visitors, visits, pageviews and events by day of the site, and the events that met each goal."""
    days: dict[str, tuple[set[str], set[str], list[bool]]] = {}
    goal_counts = Counter[str]()
    for event in events:
        if event["excluded"] or is_engagement(event):
            continue
        is_view = event["type"] == "pageview"
        day = datetime.fromisoformat(event["ts"]).astimezone(ZoneInfo(TIMEZONE)).date().isoformat()
        visitors, visits, views = days.setdefault(day, (set(), set(), []))
        visitors |= {event["visitor"]} - {None}
        visits |= {event["visit"]} - {None}
        views.append(is_view)
        goal_counts.update(
            {"Sign-up": event["name"] == "signup", "Pricing": is_view and event["path"].startswith("/pricing/")}
        )
    counts: dict[str, tuple[int, ...]] = {
        day: (len(visitors), len(visits), sum(views), len(views)) for day, (visitors, visits, views) in days.items()
    }
    return counts, {goal: (count,) for goal, count in goal_counts.items()}


def query_by_dimension(server: Server, key: str, dimension: str, *metrics: str) -> dict[str, tuple[int, ...]]:
    """Query metrics of all events by a dimension."""
    query = {"site_id": "my-site", "date_range": DATE_RANGE, "dimensions": [dimension], "metrics": metrics}
    response = server.send("/api/v1/stats/query", query, key)
    assert response.status == 200, response.body
    return {row["dimensions"][0]: tuple(row["metrics"]) for row in response.json["results"]}


def test_there_is_a_store_of_each_schema() -> None:
    """A new schema needs a recorded store: see `tests/stores/__init__.py`."""
    assert list(steps()) == SCHEMA_VERSIONS
    file_names = {file.name for file in FOLDER.iterdir() if file.suffix in (".sql", ".json")}
    assert file_names == {
        f"{schema_version:04}.{extension}" for schema_version in SCHEMA_VERSIONS for extension in ("sql", "json")
    }


def test_each_store_has_the_schema_of_its_file_name(old: OldStore) -> None:
    assert query_rows(old.file, "PRAGMA user_version") == [(old.schema_version,)]
    assert query_rows(old.file, "PRAGMA journal_mode") == [("wal",)]
    assert query_rows(old.file, "PRAGMA integrity_check") == [("ok",)]
    assert len(old.sql) < 52 * 1024
    assert [
        table for table in table_columns(old.file) if not query_rows(old.file, f"SELECT 1 FROM {table} LIMIT 1")
    ] == [table for table, version in ADDED.items() if version <= old.schema_version and table in DRAINED]


def test_commands_print_the_recorded_output(old: OldStore) -> None:
    for command, recorded in old.recorded["said"].items():
        actual = old.store.call(*command.split())
        assert without_added_fields(actual, recorded) == (old.events if command == EXPORT_COMMAND else recorded), (
            command
        )
    assert query_rows(old.file, "PRAGMA user_version") == [(LATEST_VERSION,)]
    assert old.store.run("check").exit_status == 0


def test_an_upgrade_leaves_a_copy_of_the_old_store(old: OldStore, tmp_path: Path) -> None:
    build(tmp_path / "again" / STORE_FILE, old.sql)
    assert old.store.run("check").exit_status == 0
    copies = [file.name for file in old.store.path.iterdir() if "before-schema" in file.name]
    assert copies == ([BACKUP_NAME] if old.schema_version < LATEST_VERSION else [])
    if copies:
        assert dump(old.store.path / BACKUP_NAME) == dump(tmp_path / "again" / STORE_FILE)
        assert query_rows(old.store.path / BACKUP_NAME, "PRAGMA integrity_check") == [("ok",)]


def test_an_upgrade_preserves_all_rows(old: OldStore, tmp_path: Path) -> None:
    build(old_file := tmp_path / "again" / STORE_FILE, old.sql)
    assert old.store.run("check").exit_status == 0
    old_columns, new_columns = table_columns(old_file), table_columns(old.file)
    added_tables = {table for table, version in ADDED.items() if version > old.schema_version}
    assert {RENAMED.get(table, table) for table in old_columns} | added_tables == new_columns.keys()
    for table, names in old_columns.items():
        new_name = RENAMED.get(table, table)
        query = f"SELECT * FROM {new_name}"
        expected = query_rows(old_file, f"SELECT * FROM {table}")
        if table == "meta":
            expected = [(RENAMED_META.get(name, name), value) for name, value in expected]
        if table == "events" and old.schema_version < 8:
            imported_lines = {(row[0], row[1] + row[2] >> 21, row[8]) for row in expected if row[8] is not None}
            assert set(query_rows(old.file, "SELECT * FROM imported_lines")) == imported_lines
            assert len(imported_lines) == 3
            query, expected = EVENTS_BEFORE_8, [row[:8] + row[9:] for row in expected]
        elif table == "visits" and old.schema_version < 8:
            query = VISITS_BEFORE_8
        else:
            assert len(names) == len(new_columns[new_name]), table
        assert sorted(query_rows(old.file, query), key=repr) == sorted(expected, key=repr), table


def test_the_stats_api_returns_the_recorded_numbers(old: OldStore, start: Start) -> None:
    server = start(old.store)
    for recorded_query in old.recorded["stats"]:
        assert stats(server, old.recorded["key"], recorded_query["query"]) == recorded_query["answer"], recorded_query[
            "query"
        ]


def test_the_counts_match_the_stored_events(old: OldStore, start: Start) -> None:
    server, key = start(old.store), old.recorded["key"]
    deadline_s = time.monotonic() + 20
    while query_rows(old.file, "SELECT * FROM dirty_days"):
        assert time.monotonic() < deadline_s, "the server did not rebuild the days"
        time.sleep(0.02)
    days, goal_counts = count_by_day(old.events)
    assert len(days) > 4
    assert query_by_dimension(server, key, "time:day", "visitors", "visits", "pageviews", "events") == days
    assert query_by_dimension(server, key, "event:goal", "events") == goal_counts
    assert server.pageview(key, user_agent=CHROME, ip_address="203.0.113.30").status == 201
    assert server.stop() == 0
    before = dump(old.file)
    for command in (["check"], ["check", "--rebuild"], ["check"]):
        assert old.store.run(*command).exit_status == 0
        assert dump(old.file) == before


def test_clients_visits_and_passwords_continue_to_work_after_an_upgrade(old: OldStore, start: Start) -> None:
    key, recorded_request, before = old.recorded["key"], old.recorded["repeat"], old.events
    assert old.store.run("check").exit_status == 0
    today = move_to_today(old)
    server = start(old.store)
    response = server.send(
        recorded_request["path"], recorded_request["body"].encode(), key, recorded_request["headers"]
    )
    assert (response.status, response.body.decode()) == (201, recorded_request["answer"])
    assert response.headers["idempotency-replayed"] == "true"
    (log_path := old.store.path / "log").write_text(old.recorded["log"])
    assert old.store.call("import", "access-log", "my-site", str(log_path))["imported"] == 0
    assert len(old.store.events()) == len(before)
    assert server.pageview(key, url="https://example.com/new", user_agent=CHROME).status == 201
    late_event = {**view("24T08:20", "/seen/late", ANN), "site_id": "my-site"}
    assert server.send("/api/v1/events/pageview", late_event, key).status == 201
    (public_key,) = {site["public_key"] for site in old.recorded["said"]["site list"] if site["id"] == "my-site"}
    for sent_event in (apex("25T14:05", "click", "v_1", "/v_1"), apex("27T16:05", "click", "v_3", "/v_3")):
        assert server.send("/api/events", {**sent_event, "projectKey": public_key}).status == 200
    assert server.send("/api/v1/event", overcentric("24T18:00", "came back")).status == 200
    WebClient(server).log_in(old.recorded["password"])
    assert server.stop() == 0
    assert old.store.run("check").exit_status == 0

    old_ids = {event["id"] for event in before}
    events = old.store.events()
    new_events = {event["path"]: event for event in events if event["id"] not in old_ids}
    assert sorted(new_events) == ["/app", "/new", "/seen/late", "/v_1", "/v_3"]
    expected_visits = {
        "/seen/late": visit_of(before, path="/told/late"),
        "/v_1": visit_of(before, path="/pricing/team"),
        "/v_3": visit_of(before, person="carol", api="apex"),
        "/app": visit_of(before, name="opened"),
    }
    assert [new_events[path]["person"] for path in ("/app", "/v_3", "/v_1")] == ["ada", "carol", None]
    continued_visits = {path: (new_events[path]["visitor"], new_events[path]["visit"]) for path in expected_visits}
    assert continued_visits == expected_visits or today != local_day(int(time.time() * 1000), TIMEZONE), (
        "the visits continue, unless midnight has passed"
    )


def move_to_today(old: OldStore) -> int:
    """Move data with a lifetime of a day to today: idempotent responses and salts, so that visits can continue."""
    now_ms = int(time.time() * 1000)
    with closing(sqlite3.connect(old.file)) as conn, conn:
        conn.execute("UPDATE idempotent_responses SET created_at = ?", (now_ms,))
        conn.execute("UPDATE salts SET day = ?", (local_day(now_ms, TIMEZONE),))
    return local_day(now_ms, TIMEZONE)


def visit_of(events: list[dict[str, Any]], **fields: str) -> tuple[str, str]:
    """Return the visitor and visit of the first event with these values."""
    match = next(event for event in events if all(event[name] == value for name, value in fields.items()))
    return match["visitor"], match["visit"]
