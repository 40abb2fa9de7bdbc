"""The command line: its output, its errors, and its effect on a running server."""

import os
import sqlite3
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import pytest
from click.testing import CliRunner

from ovx_lite.cli import main
from ovx_lite.domain.calendar import DAY_MS, MINUTE_MS
from ovx_lite.storage import integrity, registry, sqlite
from ovx_lite.storage.sqlite import open_store
from tests.conftest import CommandResult, RunningSite, Store
from tests.support.commands import eventually, fails
from tests.support.store import NOW, new_event, new_key, new_site, open_writer, paths, request, store_group


def all_commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from all_commands(inner, *path, name)


COMMANDS = dict(all_commands(main))


def test_all_documented_commands_exist() -> None:
    expected = "site add/site list/site remove/key add/key list/key revoke/key rotate/import access-log"
    assert {" ".join(path) for path in COMMANDS} >= {
        *expected.split("/"),
        "serve",
        "export",
        "backup",
        "check",
        "prune",
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_and_option_has_help(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    assert COMMANDS[path].help
    for option in COMMANDS[path].params:
        assert not isinstance(option, click.Option) or option.help


@pytest.mark.parametrize("path", [path for path, command in COMMANDS.items() if not isinstance(command, click.Group)])
def test_every_command_accepts_data_dir_and_json(path: tuple[str, ...]) -> None:
    options = {name for option in COMMANDS[path].params for name in option.opts}
    assert {"--data-dir", "--json"} <= options


INVALID_CALLS = """
nonsense | site nonsense | site add | site add a b | site list a | key add my-site --tier gold | key revoke
site add a --monthly-limit 0 | site add a --retention-days 0 | site add a --retention-days x | site add a --nonsense
key add a --hourly-limit 0 | key add a --hourly-limit -1 | key add a --hourly-limit 1.5 | import my-site
import access-log my-site | export | export my-site --format xml | export my-site --from yesterday
export my-site --to 2025-02-30 | backup | backup /tmp | check now | serve now
site add a/b | site add -- -a | site add ä | site add .a | site add a --timezone Paris | site add a --timezone Europe
site add a --timezone ../../etc/passwd | site add a --domain https://example.com | site add a --domain example.com/a
site add a --domain example.com:80 | site add a --domain me@example.com | site add a --domain exa%mple.com
site add a --domain a,b.com | site add a --domain [ | site add a --domain . | site list --data-dir pyproject.toml
"""


@pytest.mark.parametrize("call", [call.strip() for call in INVALID_CALLS.replace("\n", "|").split("|") if call.strip()])
def test_invalid_usage_exits_with_status_2_and_an_explanation(tmp_path: Path, call: str) -> None:
    options = [] if "--data-dir" in call else ["--data-dir", str(tmp_path / "data")]
    args = call.split()
    index = args.index("--") if "--" in args else len(args)
    result = CliRunner().invoke(main, [*args[:index], *(options if len(args) > 1 else []), *args[index:]])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr
    assert not (tmp_path / "data").exists()


def test_the_script_and_the_module_behave_the_same(running: RunningSite) -> None:
    args = ["site", "list", "--data-dir", str(running.store.path)]
    script = Path(sysconfig.get_path("scripts")) / "ovx-lite"
    assert subprocess.check_output([script, *args]) == running.store.run(*args).stdout.encode() != b""


JSON_COMMANDS = [
    (("site", "add", "json", "--name", "Größe"), {"id", "name", "domain", "public_key", "jwt_secret"}),
    (("site", "list"), {"id", "name", "domain", "public_key"}),
    (("site", "remove", "other-site"), {"id"}),
    (("key", "add", "my-site", "--tier", "free", "--label", "x"), {"id", "key", "tier", "hourly_limit"}),
    (("key", "list", "my-site"), {"id", "tier", "hourly_limit"}),
    (("key", "rotate", "{key}"), {"id", "key", "tier", "hourly_limit"}),
    (("key", "revoke", "{key}"), {"id"}),
    (("import", "access-log", "my-site", "-"), {"read", "imported", "skipped"}),
    (("backup", "{folder}/backup"), set()),
    (("check",), set()),
    (("prune",), set()),
]


@pytest.fixture(scope="module")
def spare_key(running: RunningSite) -> str:
    """Return the id of a key that tests may rotate and revoke."""
    with closing(open_store(running.store.path)) as conn:
        secret = new_key(conn, registry.find_site(conn, "my-site"))
        return registry.load(conn).api_keys_by_hash[sha256(secret.encode()).digest()].public_id


@pytest.mark.parametrize(("args", "names"), JSON_COMMANDS, ids=[" ".join(args) for args, _ in JSON_COMMANDS])
def test_json_output_is_one_value_on_stdout_and_nothing_else(
    running: RunningSite, spare_key: str, tmp_path: Path, args: tuple[str, ...], names: set[str]
) -> None:
    result = running.store.run(*(arg.format(key=spare_key, folder=tmp_path) for arg in args), "--json", stdin=b"x\n")
    assert result.exit_status == 0, result.stderr
    for value in result.json if isinstance(result.json, list) else [result.json]:
        assert set(value) >= names


def test_a_site_is_listed_as_added_without_its_secret(store: Store) -> None:
    options = {"name": "My site", "domain": "example.com", "timezone": "Europe/Paris"}
    limits = {"monthly_limit": 1000, "retention_days": 30}
    given = {f"--{name.replace('_', '-')}": str(value) for name, value in (options | limits).items()}
    added = store.site("my-site", *[arg for pair in given.items() for arg in pair])
    assert added.items() >= (options | limits | {"id": "my-site"}).items()
    assert added["public_key"].startswith("pk_live_")
    assert len(added.pop("jwt_secret")) >= 32
    assert store.run("site", "list", "--json").json == [added]


def test_tiers_have_their_documented_limits(running: RunningSite) -> None:
    limits = {(): None, ("--tier", "pro"): 10_000, ("--tier", "free", "--hourly-limit", "7"): 7}
    for options, limit in limits.items():
        assert running.store.run("key", "add", "my-site", "--json", *options).json["hourly_limit"] == limit


def test_keys_are_not_in_the_store(running: RunningSite) -> None:
    content = b"".join(file.read_bytes() for file in running.store.path.iterdir())
    assert sha256(running.key.encode()).digest() in content
    assert running.key.encode() not in content


def test_a_running_server_notices_changes_to_keys(running: RunningSite) -> None:
    added = running.store.run("key", "add", "my-site", "--json").json
    assert eventually(lambda: running.server.pageview(added["key"]).status == 201)
    rotated = running.store.run("key", "rotate", added["id"], "--json").json
    assert rotated["id"] == added["id"]
    assert eventually(lambda: running.server.pageview(rotated["key"]).status == 201)
    assert running.server.pageview(added["key"]).status == 401
    running.store.run("key", "revoke", added["id"])
    assert eventually(lambda: running.server.pageview(rotated["key"]).status == 401)
    assert fails(running.store.run("key", "rotate", added["id"]))


def test_removing_a_site_removes_all_its_data(running: RunningSite) -> None:
    for _ in range(2):  # the second time, nothing of the first site is left
        with closing(open_store(running.store.path)) as conn:
            site = new_site(conn, "gone")
            key = new_key(conn, site)
            assert paths(conn, site) == []
        view = {"site_id": "gone", "url": "https://gone.example/secret-path"}
        path = "/api/v1/events/pageview"
        assert eventually(lambda: running.server.send(path, view, key).status == 201)  # noqa: B023
        removed = running.store.run("site", "remove", "gone", "--yes")
        assert removed.exit_status == 0
        assert eventually(lambda: running.server.send(path, view, key).status == 401)  # noqa: B023
    with closing(open_store(running.store.path)) as conn:
        assert "gone" not in "\n".join(conn.iterdump())
        assert integrity.problems(conn) == []


def test_removing_a_site_asks_for_confirmation(running: RunningSite) -> None:
    assert running.store.run("site", "remove", "my-site", stdin=b"n\n").exit_status == 1
    assert running.server.pageview(running.key).status == 201


FAILURES = [
    (("key", "add", "nowhere"), "nowhere"),
    (("export", "nowhere"), "nowhere"),
    (("site", "remove", "nowhere", "--yes"), "nowhere"),
    (("import", "access-log", "nowhere", "-"), "nowhere"),
    (("key", "revoke", "key_nowhere"), "key_nowhere"),
    (("site", "add", "my-site"), "my-site"),
    (("backup", "/nowhere/backup"), "/nowhere/backup"),
    (("backup", f"{__file__}/backup"), f"{__file__}/backup"),
]


@pytest.mark.parametrize(("args", "named"), FAILURES, ids=[" ".join(args) for args, _ in FAILURES])
def test_a_failure_prints_one_sentence_and_exits_with_status_1(
    running: RunningSite, args: tuple[str, ...], named: str
) -> None:
    result = running.store.run(*args, "--json")
    assert fails(result), result
    assert named in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("key", "list", "\udcff"),
        ("site", "add", "new", "--name", "\udcff"),
        ("site", "add", "new", "--monthly-limit", str(2**64)),
        ("site", "add", "new", "--retention-days", str(2**64)),
        ("key", "add", "my-site", "--hourly-limit", str(2**64)),
    ],
)
def test_values_that_cannot_be_stored_are_refused_with_a_message(running: RunningSite, args: tuple[str, ...]) -> None:
    result = running.store.run(*args)
    assert result.exit_status in (1, 2)  # a failure or invalid usage: both have a clear message
    assert result.stdout == ""
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr


def test_a_very_long_retention_is_accepted(store: Store) -> None:
    if store.run("site", "add", "my-site", "--retention-days", "1000000").exit_status == 0:
        assert store.run("prune", "--json").json == {"events": 0}


def write_foreign_database(file: Path) -> None:
    with closing(sqlite3.connect(file)) as conn:
        conn.execute("CREATE TABLE bookmarks (url TEXT)")


def write_newer_store(file: Path) -> None:
    open_store(file.parent).close()
    with closing(sqlite3.connect(file)) as conn:
        conn.execute("PRAGMA user_version = 1000")


def write_truncated_store(file: Path) -> None:
    open_store(file.parent).close()
    file.write_bytes(file.read_bytes()[:10_000])


UNUSABLE_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda file: file.write_text("Dear diary, " * 100), "is not a database"),
    "of another program": (write_foreign_database, "another program's"),
    "newer": (write_newer_store, "newer"),
    "truncated": (write_truncated_store, "malformed"),
    "a folder": (lambda file: file.mkdir(), "cannot be opened"),
}


@pytest.mark.parametrize(
    ("kind", "command"),
    [*[(kind, "serve --port 0") for kind in UNUSABLE_FILES], ("text", "site list"), ("newer", "check")],
)
def test_a_file_that_is_not_a_valid_store_is_reported_and_left_unchanged(store: Store, kind: str, command: str) -> None:
    file, (make, message) = store.path / sqlite.STORE_FILE, UNUSABLE_FILES[kind]
    store.path.mkdir()
    make(file)
    before = file.read_bytes() if file.is_file() else b""
    result = store.run(*command.split())
    assert fails(result), result
    assert message in result.stderr
    assert (file.read_bytes() if file.is_file() else b"") == before


def test_without_a_store_commands_explain_how_to_create_one(store: Store) -> None:
    result = store.run("site", "list", "--json")
    assert fails(result)
    assert "add a site" in result.stderr
    assert not store.path.exists()


@pytest.mark.parametrize(
    ("command", "data_dir"),
    [
        ("site add a", f"{__file__}/data"),
        ("site add a", "/proc/ovx-lite"),
        ("serve --port 0", f"{__file__}/data"),
        ("serve --port 0", "/sys/ovx-lite"),
    ],
)
def test_a_data_dir_that_cannot_be_created_is_reported(store: Store, command: str, data_dir: str) -> None:
    result = store.run(*command.split(), "--data-dir", data_dir)
    assert fails(result), result
    assert data_dir in result.stderr


# Drops root's right to write to read-only files, which other users do not have.
READ_ONLY = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 1)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
os.execv(sys.executable, [sys.executable, "-m", "ovx_lite", *sys.argv[1:]])
"""


@pytest.mark.parametrize("mode", [0o500, 0o700], ids=["folder", "file"])
@pytest.mark.parametrize("command", ["site add a", "site add b", "serve --port 0"])
def test_a_read_only_data_dir_is_reported(store: Store, command: str, mode: int) -> None:
    store.path.mkdir()
    if command != "site add a" or mode == 0o700:  # `site add a` also runs in an empty folder
        open_store(store.path).close()
        (store.path / sqlite.STORE_FILE).chmod(0o400)
    store.path.chmod(mode)
    argv = [sys.executable, "-c", READ_ONLY, *command.split(), "--data-dir", str(store.path)]
    completed = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    store.path.chmod(0o700)
    assert fails(CommandResult(completed.returncode, completed.stdout, completed.stderr)), completed
    assert str(store.path) in completed.stderr


def fill(data_dir: Path) -> None:
    """Fill a store with 3,000 old and new events of a site with 30 days of retention."""
    open_store(data_dir).close()
    (data_dir / sqlite.STORE_FILE).write_bytes(filled())


@cache
def filled() -> bytes:
    """Return the content of such a store's file."""
    now = time.time_ns() // 1_000_000
    with TemporaryDirectory() as folder:
        with closing(open_store(Path(folder))) as conn:
            site = new_site(conn, retention_days=30)
            for begin in (now - 40 * DAY_MS, now - 1000 * MINUTE_MS):
                sent = [new_event(f"/page/{n}", begin + n, visitor=n // 3 + begin % 1000) for n in range(1500)]
                store_group(conn, open_writer(conn, 0), [request(site, *sent)], {}, NOW)
        return (Path(folder) / sqlite.STORE_FILE).read_bytes()


def test_prune_deletes_events_past_their_retention(store: Store) -> None:
    fill(store.path)
    assert store.run("prune", "--json").json == {"events": 1500}
    with closing(open_store(store.path)) as conn:
        assert len(paths(conn, registry.find_site(conn, "my-site"))) == 1500
        assert integrity.problems(conn) == []


DAMAGE = [
    "UPDATE visits SET other_events = other_events + 1 WHERE id = (SELECT max(id) FROM visits)",
    "UPDATE visits SET pageviews = 0 WHERE id = (SELECT min(id) FROM visits)",
    "UPDATE visits SET elapsed_ms = elapsed_ms + 1 WHERE id = (SELECT min(id) FROM visits)",
    "DELETE FROM visits WHERE id = (SELECT max(id) FROM visits)",
    "DELETE FROM events WHERE visit_id = (SELECT max(visit_id) FROM events)",
    *[
        f"UPDATE events SET {code} = 99999 WHERE visit_id % 100 = 7"
        for code in ("event_type_id", "page_id", "traffic_source_id", "client_id", "site_id")
    ],
    "PRAGMA foreign_keys = OFF; DELETE FROM sites",
    "UPDATE event_types SET excluded_reason = 'bot'",
]
MISCOUNTS = [
    "UPDATE daily_totals SET visitors = visitors + 1",
    "UPDATE rollups SET visits = visits + 1 WHERE dimension = 1",
    "DELETE FROM rollups WHERE dimension = 8",
    "UPDATE visits SET flags = flags + 1 - 2 * is_only_visit_of_day",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_check_reports_inconsistent_rows(tmp_path: Path, damage: str) -> None:
    fill(tmp_path)
    with closing(open_store(tmp_path)) as conn:
        assert integrity.problems(conn) == []
        conn.executescript(damage)
        assert integrity.problems(conn) != []


@pytest.mark.parametrize("damage", MISCOUNTS)
def test_wrong_counts_are_reported_and_rebuilt(store: Store, damage: str) -> None:
    fill(store.path)
    with closing(sqlite3.connect(store.path / sqlite.STORE_FILE)) as conn:
        conn.executescript(damage)
    result = store.run("check")
    assert result.exit_status == 1
    assert "check --rebuild" in result.stdout
    assert "backup" not in result.stderr, "a backup would not help"
    assert store.run("check", "--rebuild", "--json").json["ok"]
    assert store.run("check", "--json").json["ok"]


def test_check_reports_damage_on_stdout_and_advice_on_stderr(store: Store) -> None:
    fill(store.path)
    with closing(sqlite3.connect(store.path / sqlite.STORE_FILE)) as conn:
        conn.executescript(DAMAGE[0])
    result = store.run("check", "--json")
    assert result.exit_status == 1
    assert result.json["ok"] is False
    assert result.json["problems"] != []
    assert "backup" in result.stderr


def test_every_command_reports_a_store_with_garbage_in_its_middle(store: Store, tmp_path: Path) -> None:
    fill(store.path)
    with (store.path / sqlite.STORE_FILE).open("r+b") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(size_bytes * 6 // 10)
        file.write(os.urandom(size_bytes // 10))
    for args in (("check",), ("export", "my-site"), ("backup", str(tmp_path / "backup"))):
        result = store.run(*args)
        assert result.exit_status == 1, args
        assert result.stderr != ""
        assert "Traceback" not in result.stderr, args
    assert [file.name for file in tmp_path.iterdir()] == ["data"]
