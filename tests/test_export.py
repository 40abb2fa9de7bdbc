"""`export` returns the stored events in documented, stable columns; `backup` copies the whole store."""

import csv
import io
import json
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ovx_lite.storage import sqlite
from ovx_lite.storage.sqlite import open_store
from tests.conftest import CHROME, RunningSite, Start, Store
from tests.support.commands import eventually, fails
from tests.support.store import new_key, new_site

_COLUMNS = """
id ts api type name host path referrer source channel utm_source utm_medium utm_campaign utm_content utm_term
country browser os device visitor visit person context props revenue currency excluded
"""
COLUMNS = _COLUMNS.split()

PROPS: dict[str, object] = {
    "quotes": "he said \"yes\", 'no'",
    "lines": "one\ntwo\r\nthree\rfour",
    "commas;tabs": "a,b\tc;",
    "umlauts": "Größe, 尺寸, حجم",
    "emoji": "👩\u200d👩\u200d👧 🇫🇷",
    "formula": "=1+1",
    "number": 0.1,
    "whole": 2**53 + 1,
    "yes": True,
    "empty": "",
}
VIEW = {
    "type": "pageview",
    "url": "https://Example.com:8443/shop/?utm_source=News&utm_medium=email&utm_campaign=May&utm_content=top&utm_term=x&q=1#a",
    "referrer": "https://www.google.com/search?q=secret",
    "user_agent": CHROME,
    "ip_address": "203.0.113.9",
    "timestamp": "2025-11-20T10:00:00.123Z",
}
# Events of a site in Paris, named by local time. There, 2025-10-26 has 25 hours and 2025-03-30 has 23.
PARIS = {
    "29 last": "2025-03-29T22:59:59.999Z",
    "30 first": "2025-03-29T23:00:00Z",
    "30 last": "2025-03-30T21:59:59.999Z",
    "31 first": "2025-03-30T22:00:00Z",
    "oct 25 last": "2025-10-25T21:59:59.999Z",
    "oct 26 first": "2025-10-25T22:00:00Z",
    "oct 26 last": "2025-10-26T22:59:59.999Z",
    "oct 27 first": "2025-10-26T23:00:00Z",
}
EVENT_COUNT = 20_000

Export = Callable[..., str]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, start: Start) -> Store:
    """A running server with events in the sites my-site, paris and many; the site empty has none."""
    store = Store(tmp_path_factory.mktemp("export") / "data")
    with closing(open_store(store.path)) as conn:
        keys = {id: new_key(conn, new_site(conn, id)) for id in ("my-site", "many", "empty")}
        keys["paris"] = new_key(conn, new_site(conn, "paris", "Europe/Paris"))
    server, events = start(store), "/api/v1/events/batch"

    def batch(site: str, *batch_events: dict[str, Any]) -> None:
        response = server.send(events, {"site_id": site, "events": batch_events}, keys[site])
        assert response.status == 201, response.body

    custom = {"type": "custom", "event_name": 'sign "up"\n', "url": "app://main/größe", "props": PROPS}
    bot = {"type": "pageview", "url": "https://example.com/bot", "user_agent": "Googlebot/2.1"}
    batch("my-site", VIEW, custom | {"timestamp": "2025-11-20T11:00:00Z"}, bot | {"timestamp": "2025-11-20T12:00:00Z"})
    paris_events = [
        {"type": "custom", "event_name": name, "url": "app://x", "timestamp": time} for name, time in PARIS.items()
    ]
    batch("paris", *paris_events)
    times_ms = random.Random(1).sample(range(1_700_000_000_000, 1_700_000_000_000 + EVENT_COUNT * 20, 10), EVENT_COUNT)
    for start_index in range(0, EVENT_COUNT, 1000):
        batch(
            "many",
            *[
                {"type": "custom", "event_name": f"{time_ms % 7}", "url": "app://x", "timestamp": time_ms}
                for time_ms in times_ms[start_index : start_index + 1000]
            ],
        )
    return store


@pytest.fixture(scope="module")
def export(filled: Store) -> Export:
    """Return a function that gives the output of `export ARGS…`, cached by arguments."""
    outputs: dict[tuple[str, ...], str] = {}

    def export(*args: str) -> str:
        if args not in outputs:
            result = filled.run("export", *args)
            assert (result.exit_status, result.stderr) == (0, "")
            outputs[args] = result.stdout
        return outputs[args]

    return export


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n")[:-1]]


def test_the_columns_are_as_documented(export: Export) -> None:
    assert next(csv.reader(io.StringIO(export("my-site", "--include-excluded"), newline=""))) == COLUMNS
    for row in lines(export("my-site", "--include-excluded", "--format", "jsonl")):
        assert list(row) == COLUMNS


def test_an_event_is_exported_as_it_was_sent(export: Export) -> None:
    view = lines(export("my-site", "--format", "jsonl"))[0]
    patterns = {"id": r"evt_[0-9a-f]{16}", "visitor": r"[0-9a-f]{12}", "visit": r"[0-9a-f]{16}"}
    for column, pattern in patterns.items():
        assert re.fullmatch(pattern, view.pop(column))
    expected = {"ts": "2025-11-20T10:00:00.123Z", "api": "ovyxa", "type": "pageview", "name": "pageview"}
    expected |= {"host": "example.com", "path": "/shop/", "referrer": "www.google.com/search", "device": "desktop"}
    expected |= {
        "utm_source": "News",
        "utm_medium": "email",
        "utm_campaign": "May",
        "utm_content": "top",
        "utm_term": "x",
    }
    expected |= {"browser": "Chrome", "os": "Windows", "source": view["source"], "channel": "email"}
    assert view == dict.fromkeys(view, None) | expected


def test_props_are_exported_as_they_were_sent(export: Export) -> None:
    row = lines(export("my-site", "--format", "jsonl"))[1]
    assert row["props"] == PROPS
    assert (row["name"], row["host"], row["path"]) == ('sign "up"\n', "main", "/größe")


def test_csv_has_the_same_content_as_json_lines(export: Export) -> None:
    rows = list(csv.DictReader(io.StringIO(export("my-site", "--include-excluded"), newline=""), strict=True))
    assert len(rows) == 3
    parsed = [
        {name: value or None for name, value in row.items()} | {"props": json.loads(row["props"] or "null")}
        for row in rows
    ]
    assert parsed == lines(export("my-site", "--include-excluded", "--format", "jsonl"))


def test_json_has_the_same_content_as_json_lines(export: Export) -> None:
    args = ("my-site", "--include-excluded")
    assert json.loads(export(*args, "--json")) == lines(export(*args, "--format", "jsonl"))


def test_excluded_events_are_exported_on_request_with_their_reason(export: Export) -> None:
    reasons = [(row["path"], row["excluded"]) for row in lines(export("my-site", "--format", "jsonl"))]
    assert reasons == [("/shop/", None), ("/größe", None)]
    excluded = json.loads(export("my-site", "--include-excluded", "--json"))[2]
    assert (excluded["path"], excluded["excluded"], excluded["visitor"]) == ("/bot", "bot", None)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--from", "2025-03-30", "--to", "2025-03-30"), ["30 first", "30 last"]),
        (("--from", "2025-10-26", "--to", "2025-10-26"), ["oct 26 first", "oct 26 last"]),
        (("--from", "2025-10-26"), ["oct 26 first", "oct 26 last", "oct 27 first"]),
        (("--to", "2025-03-30"), ["29 last", "30 first", "30 last"]),
        (("--from", "2025-10-27", "--to", "2025-10-26"), []),
        (("--from", "0001-01-01", "--to", "9999-12-31"), list(PARIS)),
        (("--from", "1970-01-01", "--to", "2200-01-01"), list(PARIS)),
    ],
)
def test_date_ranges_use_the_sites_time_zone_and_include_both_ends(
    export: Export, args: tuple[str, ...], expected: list[str]
) -> None:
    assert [row["name"] for row in json.loads(export("paris", "--json", *args))] == expected


@pytest.mark.parametrize(
    ("args", "expected"),
    [((), ",".join(COLUMNS)), (("--format", "jsonl"), ""), (("--json",), "[]")],
    ids=["csv", "jsonl", "json"],
)
def test_an_empty_export_is_valid_in_each_format(export: Export, args: tuple[str, ...], expected: str) -> None:
    assert export("empty", *args).strip() == expected


def test_many_events_are_exported_once_each_oldest_first(export: Export) -> None:
    events = lines(export("many", "--format", "jsonl"))
    times, ids = [event["ts"] for event in events], [event["id"] for event in events]
    assert len(set(times)) == len(set(ids)) == len(events) == EVENT_COUNT
    assert times == sorted(times)
    assert ids == sorted(ids)


def test_a_reader_may_close_the_pipe_early(filled: Store) -> None:
    command = [sys.executable, "-m", "ovx_lite", "export", "many", "--data-dir", str(filled.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


def test_the_export_is_utf_8_in_every_locale(filled: Store) -> None:
    # As on Windows when output goes to a file; a Latin-1 locale behaves alike.
    command = [sys.executable, "-m", "ovx_lite", "export", "my-site", "--format", "jsonl"]
    environment = os.environ | {"OVX_DATA_DIR": str(filled.path), "PYTHONIOENCODING": "cp1252"}
    completed = subprocess.run(command, capture_output=True, env=environment, timeout=60)
    assert completed.stderr == b""
    assert lines(completed.stdout.decode())[1]["props"] == PROPS


def test_a_backup_during_writes_is_complete(running: RunningSite, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    restored, event_ids, is_done = (
        Store(tmp_path / "data"),
        [running.server.pageview(running.key).json["event_id"]],
        False,
    )
    (restored.path / f"{sqlite.STORE_FILE}.unfinished").write_text("of a backup that was killed")

    def send() -> None:
        while not is_done:
            event_ids.append(running.server.pageview(running.key).json["event_id"])

    sender = threading.Thread(target=send)
    sender.start()
    try:
        assert eventually(lambda: len(event_ids) > 10)
        before = set(event_ids)
        assert running.store.run("backup", str(restored.path / sqlite.STORE_FILE)).exit_status == 0
    finally:
        is_done = True
        sender.join(60)
    assert [file.name for file in restored.path.iterdir()] == [sqlite.STORE_FILE]
    assert restored.run("check").exit_status == 0
    stored_ids = {event["id"] for event in restored.events()}
    assert before <= stored_ids


def test_a_backup_replaces_a_file_only_with_overwrite(running: RunningSite, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    file.write_text("precious")
    assert fails(running.store.run("backup", str(file)))
    assert file.read_text() == "precious"
    assert running.store.run("backup", str(file), "--overwrite").exit_status == 0
    assert file.read_bytes().startswith(b"SQLite format 3")
    assert [file.name for file in tmp_path.iterdir()] == ["backup"]


def test_a_backup_does_not_replace_the_store_itself(running: RunningSite, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(running.store.path)
    assert fails(running.store.run("backup", "--overwrite", str(tmp_path / "link" / sqlite.STORE_FILE)))
    response = running.server.pageview(running.key)
    assert response.json["event_id"] in {event["id"] for event in running.store.events()}
