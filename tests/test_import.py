"""`import access-log`: how the lines of a log are imported, skipped and resumed."""

import gzip
import json
import os
import pty
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import structs

from ovx_lite.domain.calendar import DAY_MS
from ovx_lite.services import log_importer, log_reader
from ovx_lite.services.log_importer import ImportReport, LogImporter
from ovx_lite.storage import integrity, registry
from ovx_lite.storage.read import events
from ovx_lite.storage.sqlite import open_store
from tests.conftest import CommandResult, Start, Store
from tests.support.access_logs import BEGIN_S, FIREFOX, line
from tests.support.processes import Process, program
from tests.support.store import MAX_TIME_MS, new_site, paths


def apache(path: str, second: float) -> str:
    """Return a line in Apache's `vhost_combined` format, in another time zone."""
    time_text = datetime.fromtimestamp(BEGIN_S + second + 7200, UTC).strftime("%d/%b/%Y:%H:%M:%S +0200")
    return f'example.com:443 203.0.113.9 - frank [{time_text}] "GET {path} HTTP/1.1" 200 - "-" "{FIREFOX}"'


def caddy(path: str, second: float) -> str:
    """Return a line in Caddy's JSON format."""
    request = {"client_ip": "203.0.113.9", "method": "GET", "uri": path, "headers": {"User-Agent": [FIREFOX]}}
    return json.dumps({"msg": "handled request", "ts": BEGIN_S + second, "request": request, "status": 200, "size": 1})


def write_log(path: Path, lines: Sequence[str]) -> str:
    path.write_text("".join(text + "\n" for text in lines))
    return str(path)


@pytest.fixture
def store(store: Store) -> Store:
    """A store with the site my-site and the domain example.com."""
    with closing(open_store(store.path)) as conn:
        new_site(conn)
    return store


def import_files(store: Store, *files: str, stdin: bytes = b"") -> tuple[int, dict[str, int]]:
    """Import files into my-site. Return the number of pageviews added, and the skipped lines by reason."""
    result = store.run("import", "access-log", "my-site", *files, "--json", stdin=stdin)
    assert result.exit_status == 0, result.stderr
    assert result.json["read"] == result.json["imported"] + sum(result.json["skipped"].values())
    return result.json["imported"], result.json["skipped"]


def stored_paths(store: Store) -> list[str]:
    """Return the paths of all stored events of my-site, oldest first."""
    with closing(open_store(store.path)) as conn:
        assert integrity.problems(conn) == []
        return paths(conn, registry.find_site(conn, "my-site"))


@pytest.mark.parametrize("server", [line, apache, caddy])
def test_each_log_format_is_imported_with_its_own_times(
    store: Store, tmp_path: Path, server: Callable[[str, float], str]
) -> None:
    path = write_log(tmp_path / "log", [server("/a", 0), server("/b?utm_source=news&utm_medium=email&q=x", 61)])
    assert import_files(store, path) == (2, {})
    first, second = store.events()
    assert [first["ts"], second["ts"]] == ["2015-05-17T12:00:00.000Z", "2015-05-17T12:01:01.000Z"]
    view_fields = [(view["api"], view["type"], view["host"], view["path"], view["browser"]) for view in (first, second)]
    assert view_fields == [("import", "pageview", "example.com", path, "Firefox") for path in ("/a", "/b")]
    assert (second["utm_source"], second["utm_medium"], second["utm_term"]) == ("news", "email", None)
    assert first["visitor"] == second["visitor"] is not None
    assert first["visit"] == second["visit"] is not None


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("source", ["file", "stdin"])
def test_a_log_may_be_gzipped_and_may_come_from_a_pipe(
    store: Store, tmp_path: Path, compressed: bool, source: str
) -> None:
    text = f"{line('/a')}\n{line('/b', 1)}".encode()  # without a final newline
    content = gzip.compress(text) if compressed else text
    (tmp_path / "log").write_bytes(content)
    added = import_files(store, str(tmp_path / "log")) if source == "file" else import_files(store, "-", stdin=content)
    assert added == (2, {})
    assert stored_paths(store) == ["/a", "/b"]


def test_skipped_lines_are_counted_by_reason(store: Store, tmp_path: Path) -> None:
    skipped = {
        "assets": [line("/style.css"), line("/logo.png?v=2")],
        "bots": [line(user_agent="Googlebot/2.1"), line(user_agent="-"), line(user_agent="curl/8.5.0")],
        "errors": [line(status=404), line(status=500)],
        "redirects": [line(status=301)],
        "methods": [line(method="POST"), line(method="HEAD")],
        "broken": ["nonsense"],
    }
    lines = [text for texts in skipped.values() for text in texts]
    added = import_files(store, write_log(tmp_path / "log", [line("/a"), *lines, line("/cached", 1, status=304)]))
    assert added == (2, {reason: len(texts) for reason, texts in skipped.items()})
    assert stored_paths(store) == ["/a", "/cached"]


def test_a_broken_line_is_reported_by_number_and_the_rest_is_imported(store: Store, tmp_path: Path) -> None:
    lines = [line("/1"), "nonsense", line("/3"), "", line("/5")[:60], line("/6")]
    result = store.run("import", "access-log", "my-site", write_log(tmp_path / "log", lines))
    assert result.exit_status == 0
    assert [text.partition(":")[0] for text in result.stderr.splitlines()] == [
        f"{tmp_path}/log, line {n}" for n in (2, 4, 5)
    ]
    assert stored_paths(store) == ["/1", "/3", "/6"]


def test_a_second_import_adds_nothing_and_identical_lines_each_count(store: Store, tmp_path: Path) -> None:
    lines = [line("/a"), line("/a"), line("/a", address="203.0.113.10"), line("/a", 1), line("/b")]
    path = write_log(tmp_path / "log", lines)
    assert import_files(store, path) == (5, {})
    assert import_files(store, path) == (0, {"repeats": 5})
    assert sorted(stored_paths(store)) == ["/a"] * 4 + ["/b"]


def test_lines_of_deleted_events_are_deleted_too(store: Store, tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", [line("/a"), line("/late", 86_400)])
    assert import_files(store, path) == (2, {})
    with closing(open_store(store.path)) as conn:
        site = registry.find_site(conn, "my-site")
        assert events.delete_day(conn, site, BEGIN_S * 1000 // DAY_MS) == 1
    assert import_files(store, path) == (1, {"repeats": 1})
    assert store.run("site", "remove", "my-site", "--yes").exit_status == 0
    with closing(open_store(store.path)) as conn:
        assert conn.execute("SELECT * FROM imported_lines").fetchall() == []
        assert integrity.problems(conn) == []


def test_lines_shared_by_files_count_once_and_an_empty_file_is_accepted(store: Store, tmp_path: Path) -> None:
    lines = [line(f"/{n}", n) for n in range(4)]
    older, empty = write_log(tmp_path / "older", lines[:3]), write_log(tmp_path / "empty", [])
    newer = write_log(tmp_path / "newer", [lines[1], *lines[1:]])  # one of them twice
    assert import_files(store, older, empty, newer) == (5, {"repeats": 2})
    assert stored_paths(store) == ["/0", "/1", "/1", "/2", "/3"]


HOSTILE = {
    "crlf": (line("/x") + "\r").encode(),
    "not UTF-8": line("/x").encode().replace(b"/x", b"/\xff\xfe"),
    "NUL": line("/x").encode().replace(b"/x", b"/\0"),
    "an escaped tab": line(r"/a\x09b").encode(),
    "an escaped newline": line(r"/a\nb").encode(),
    "a bracket": line("//[/x").encode(),
    "year 2200": line("/x", second=185 * 366 * 86400).encode(),
    "year 9999": line("/x").replace("2015", "9999").encode(),
    "10 MB of nothing": b"x" * 10_000_000,
    "10 MB of a path": line("/" + "x" * 10_000_000).encode(),
    "binary": bytes(range(256)) * 10,
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_line_does_not_stop_the_import(tmp_path: Path, hostile: bytes) -> None:
    (tmp_path / "log").write_bytes(b"\n".join([line("/before").encode(), hostile, line("/after", 1).encode()]))
    report = ImportReport()
    with closing(open_store(tmp_path)) as conn, (tmp_path / "log").open(errors="replace", newline="\n") as lines:
        site = new_site(conn)
        LogImporter(conn, site, lambda address: "", BEGIN_S * 1000).run((text.rstrip("\r\n") for text in lines), report)
        imported_paths = paths(conn, site)
    assert {"/before", "/after"} <= set(imported_paths)
    assert len(imported_paths) == report.imported
    assert max(map(len, imported_paths)) <= 4096  # the maximum length of a field
    assert report.lines_read == report.imported + report.skipped.total()


def is_error_naming(result: CommandResult, name: str) -> bool:
    return (
        (result.exit_status, result.stdout, result.stderr.count("\n")) == (1, "", 1)
        and result.stderr.startswith("Error: ")
        and name in result.stderr
    )


def test_an_unreadable_file_gives_a_one_line_error(store: Store, tmp_path: Path) -> None:
    (tmp_path / "odd.gz").write_bytes(b"\x1f\x8b" + bytes(range(200)))
    for name in ("missing", ".", "odd.gz"):
        path = str(tmp_path / name)
        assert is_error_naming(store.run("import", "access-log", "my-site", path, "--json"), path), name


def test_the_readable_part_of_a_truncated_gzip_is_imported(store: Store, tmp_path: Path) -> None:
    text = "".join(line(f"/{n * 7919 % 10_007}/{n}", n) + "\n" for n in range(500)).encode()
    (tmp_path / "cut.gz").write_bytes(gzip.compress(text)[:-1000])
    assert is_error_naming(store.run("import", "access-log", "my-site", str(tmp_path / "cut.gz"), "--json"), "cut.gz")
    before = len(stored_paths(store))
    assert 0 < before < 500
    (tmp_path / "whole.gz").write_bytes(gzip.compress(text))
    assert import_files(store, str(tmp_path / "whole.gz")) == (500 - before, {"repeats": before})


def test_standard_input_given_twice_is_read_once(store: Store) -> None:
    result = store.run("import", "access-log", "my-site", "-", "-", stdin=line("/a").encode())
    assert "Traceback" not in result.stderr
    assert stored_paths(store) == ["/a"]


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("minutes", "visits"),
    [((0, 30), 1), ((0, 31), 2), ((0, 20, 40, 60), 1), ((0, 31, 62), 3), ((0, -30), 1), ((40, 0, 20), 2)],
)
def test_thirty_minutes_without_a_request_in_the_log_end_a_visit(
    conn: sqlite3.Connection, minutes: tuple[int, ...], visits: int
) -> None:
    lines = [line(f"/{minute}", minute * 60) for minute in minutes]
    importer = LogImporter(conn, new_site(conn), lambda address: "", BEGIN_S * 1000)
    importer.run(lines, ImportReport())
    assert conn.execute("SELECT count(*) FROM visits").fetchone() == (visits,)
    assert integrity.problems(conn) == []


def test_a_visit_continues_from_one_import_to_the_next(conn: sqlite3.Connection) -> None:
    site = new_site(conn)
    for second in range(3):
        LogImporter(conn, site, lambda address: "", BEGIN_S * 1000 + 5 * DAY_MS).run(
            [line("/", second)], ImportReport()
        )
    assert conn.execute("SELECT pageviews FROM visits").fetchall() == [(3,)]


def test_identical_lines_each_count_whatever_the_cache_size(
    conn: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_importer, "_MAX_REMEMBERED_SECONDS", 2)
    monkeypatch.setattr(log_importer, "_BATCH_SIZE", 1)
    lines, site = [line(f"/{n}") for n in (0, 1, 2, 3, 0, 0, 1, 2, 3)], new_site(conn)
    for added in (9, 0):
        report = ImportReport()
        LogImporter(conn, site, lambda address: "", BEGIN_S * 1000).run(lines, report)
        assert report.imported == added


def test_page_views_are_imported_for_a_site_without_a_domain(conn: sqlite3.Connection) -> None:
    site = registry.add_site(conn, structs.replace(new_site(conn), slug="bare", public_key="pk_bare", domain=""))
    LogImporter(conn, site, lambda address: "", BEGIN_S * 1000).run([line("/a?utm_term=b")], ImportReport())
    (view,) = events.read(conn, site, 0, MAX_TIME_MS, True)
    assert (view.host, view.path, view.utm_term) == ("", "/a", "b")


def test_addresses_are_not_in_the_store(tmp_path: Path, conn: sqlite3.Connection) -> None:
    log = [line(f"/{n}", address="198.51.100.77") for n in range(50)]
    LogImporter(conn, new_site(conn), lambda address: "", BEGIN_S * 1000).run(log, ImportReport())
    conn.close()
    for file in tmp_path.iterdir():
        assert b"198.51.100.77" not in file.read_bytes()
        assert bytes([198, 51, 100, 77]) not in file.read_bytes()


def test_importing_again_resumes_a_killed_import(store: Store, tmp_path: Path) -> None:
    lines = [line(f"/{n}", n // 3) for n in range(5000)]
    command = program("import", "access-log", "my-site", "-")
    environment = os.environ | {"OVX_DATA_DIR": str(store.path)}
    with Process(command, stdin=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        process.stdin.write("".join(text + "\n" for text in lines[:4500]).encode())
        process.stdin.flush()
        while not (before := len(stored_paths(store))) and process.poll() is None:
            time.sleep(0.05)
        process.kill()
    before = len(stored_paths(store))
    assert 0 < before < 5000
    assert import_files(store, write_log(tmp_path / "log", lines)) == (5000 - before, {"repeats": before})
    assert len(set(stored_paths(store))) == 5000


def test_an_import_runs_beside_a_server_that_receives_events(store: Store, start: Start, tmp_path: Path) -> None:
    key, server = store.key(), start(store)
    lines = [line(f"/{n}", n // 50) for n in range(3000)]
    ids: list[str] = []
    done = threading.Event()

    def send() -> None:
        while not done.is_set():
            response = server.pageview(key, timestamp=(BEGIN_S + len(ids) % 100) * 1000, user_agent=FIREFOX)
            assert response.status == 201, response.body
            ids.append(response.json["event_id"])

    sender = threading.Thread(target=send)
    sender.start()
    try:
        args = ("import", "access-log", "my-site", str(write_log(tmp_path / "log", lines)), "--json")
        assert store.spawn(*args).json["imported"] == 3000
    finally:
        done.set()
        sender.join(60)
    exported = store.events()
    assert len(ids) > 10
    assert {event["id"] for event in exported if event["api"] == "ovyxa"} == set(ids)
    assert len(exported) == 3000 + len(ids)
    assert len(stored_paths(store)) == len(exported)


def test_a_terminal_shows_a_progress_bar(store: Store, tmp_path: Path) -> None:
    path = write_log(tmp_path / "access.log", [line(f"/{n}", n) for n in range(3000)])
    master, terminal = pty.openpty()
    environment = os.environ | {"OVX_DATA_DIR": str(store.path)}
    command = [sys.executable, "-m", "ovx_lite", "import", "access-log", "my-site", path, "--json"]
    out = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=terminal, env=environment, check=True, timeout=60
    ).stdout
    terminal_output = os.read(master, 100_000).decode()
    os.close(master)
    os.close(terminal)
    assert json.loads(out)["imported"] == 3000
    assert "access.log" in terminal_output
    assert "100%" in terminal_output


MIB = 1 << 20
BOMB_MIB = int(os.environ.get("OVX_BOMB_MIB", "24"))
BOMBS: dict[str, Callable[[], bytes]] = {
    "blank lines": lambda: gzip.compress(b"\n" * BOMB_MIB * MIB),
    "blank lines in 64 parts": lambda: gzip.compress(b"\n" * (BOMB_MIB * MIB // 64)) * 64,
    "one line of zeros": lambda: gzip.compress(bytes(BOMB_MIB * MIB)),
    "broken lines": lambda: gzip.compress(b"x\r\n" * (BOMB_MIB * MIB // 120)),
    "a long line": lambda: gzip.compress(line("/" + "x" * BOMB_MIB * MIB).encode()),
}
MEASURING_PROGRAM = """
import resource, sys
from ovx_lite.cli import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def import_and_measure(store: Store, file: Path) -> tuple[CommandResult, int]:
    """Import a file in a process of its own. Return the result and the peak memory in KiB."""
    command = [sys.executable, "-c", MEASURING_PROGRAM, "import", "access-log", "my-site", str(file), "--json"]
    completed = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, "OVX_DATA_DIR": str(store.path)}
    )
    *error_lines, peak_kib = completed.stderr.splitlines()
    return CommandResult(completed.returncode, completed.stdout, "\n".join(error_lines)), int(peak_kib)


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_unpacks_to_a_large_one_takes_little_memory(store: Store, tmp_path: Path, bomb: str) -> None:
    small, packed = tmp_path / "small.gz", tmp_path / "bomb.gz"
    small.write_bytes(gzip.compress(line("/before").encode()))
    packed.write_bytes(
        small.read_bytes() + gzip.compress(b"\n") + BOMBS[bomb]() + gzip.compress(b"\n" + line("/after", 1).encode())
    )
    _, idle_kib = import_and_measure(store, small)
    result, peak_kib = import_and_measure(store, packed)
    assert result.exit_status == 0, result.stderr
    assert (result.json["imported"], result.json["read"]) == (1, 1 + sum(result.json["skipped"].values()))
    assert stored_paths(store) == ["/before", "/after"]
    assert peak_kib - idle_kib < 12 * 1024
    assert len(result.stderr.splitlines()) <= 21


def test_blank_lines_are_reported_by_number(store: Store, tmp_path: Path) -> None:
    text = f"\n\n{line('/1')}\n\n\n\n{line('/2')}\n\n".encode()
    (tmp_path / "log").write_bytes(text)
    result = store.run("import", "access-log", "my-site", str(tmp_path / "log"))
    assert [error_line.partition(":")[0].rpartition(" ")[2] for error_line in result.stderr.splitlines()] == list(
        "124568"
    )
    assert result.stdout.startswith("Read 8 lines, imported 2 pageviews.")
    (tmp_path / "log").write_bytes(text * 30)
    result = store.run("import", "access-log", "my-site", str(tmp_path / "log"), "--json")
    assert result.stderr.endswith(": 160 more such lines\n")
    assert result.json == {"read": 240, "imported": 58, "skipped": {"broken": 180, "repeats": 2}}


@pytest.mark.parametrize("size_bytes", [1, 2, 3, 7, 64, 1 << 16])
def test_lines_do_not_depend_on_how_the_chunks_are_split(size_bytes: int) -> None:
    text = b"\n\na\r\nb\n\n\n\r\n\xff\n" + b"c" * 70_000 + b"\n\nd"
    items = list(log_reader.lines(text[start : start + size_bytes] for start in range(0, len(text), size_bytes)))
    blank_counts = [item for item in items if isinstance(item, int)]
    assert sum(blank_counts) == 5
    assert [item for item in items if not isinstance(item, int)] == ["a", "b", "", "\ufffd", "c" * (1 << 16), "d"]
