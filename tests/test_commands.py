"""The command line: what it prints where, how it fails, and that a running server notices."""

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
from ovx_lite.services.group_commit import store as store_group
from ovx_lite.storage import integrity, registry, sqlite
from ovx_lite.storage.sqlite import open_store
from ovx_lite.storage.write.unit_of_work import open_books
from tests.conftest import Ran, Running, Store
from tests.support.commands import eventually, fails
from tests.support.store import MINUTE, NOW, event, new_key, new_site, paths, request

DAY = 24 * 60 * MINUTE


def all_commands(command: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from all_commands(inner, *words, name)


COMMANDS = dict(all_commands(main))


def test_the_commands_of_the_contract_are_there() -> None:
    named = "site add/site list/site remove/key add/key list/key revoke/key rotate/import access-log"
    assert {" ".join(words) for words in COMMANDS} >= {*named.split("/"), "serve", "export", "backup", "check", "prune"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_and_its_options(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*words, "--help"])
    assert done.exit_code == 0
    assert COMMANDS[words].help
    for option in COMMANDS[words].params:
        assert not isinstance(option, click.Option) or option.help


@pytest.mark.parametrize("words", [words for words, found in COMMANDS.items() if not isinstance(found, click.Group)])
def test_every_command_takes_the_data_dir_and_json(words: tuple[str, ...]) -> None:
    options = {name for option in COMMANDS[words].params for name in option.opts}
    assert {"--data-dir", "--json"} <= options


WRONG = """
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


@pytest.mark.parametrize("words", [words.strip() for words in WRONG.replace("\n", "|").split("|") if words.strip()])
def test_a_wrong_call_is_status_2_and_is_told_why(tmp_path: Path, words: str) -> None:
    options = [] if "--data-dir" in words else ["--data-dir", str(tmp_path / "data")]
    split = words.split()
    at = split.index("--") if "--" in split else len(split)
    done = CliRunner().invoke(main, [*split[:at], *(options if len(split) > 1 else []), *split[at:]])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: " in done.stderr
    assert not (tmp_path / "data").exists()


def test_both_names_of_the_program_are_the_same(running: Running) -> None:
    words = ["site", "list", "--data-dir", str(running.store.path)]
    script = Path(sysconfig.get_path("scripts")) / "ovx-lite"
    assert subprocess.check_output([script, *words]) == running.store.run(*words).out.encode() != b""


JSON = [
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
def spare_key(running: Running) -> str:
    """The id of a key that may be rotated and revoked."""
    with closing(open_store(running.store.path)) as conn:
        secret = new_key(conn, registry.find_site(conn, "my-site"))
        return registry.load(conn).keys[sha256(secret.encode()).digest()].id


@pytest.mark.parametrize(("words", "names"), JSON, ids=[" ".join(words) for words, _ in JSON])
def test_with_json_there_is_one_value_on_stdout_and_nothing_else(
    running: Running, spare_key: str, tmp_path: Path, words: tuple[str, ...], names: set[str]
) -> None:
    ran = running.store.run(*(word.format(key=spare_key, folder=tmp_path) for word in words), "--json", stdin=b"x\n")
    assert ran.status == 0, ran.err
    for value in ran.json if isinstance(ran.json, list) else [ran.json]:
        assert set(value) >= names


def test_a_site_is_listed_as_it_was_added_without_its_secret(store: Store) -> None:
    options = {"name": "My site", "domain": "example.com", "timezone": "Europe/Paris"}
    limits = {"monthly_limit": 1000, "retention_days": 30}
    given = {f"--{name.replace('_', '-')}": str(value) for name, value in (options | limits).items()}
    added = store.site("my-site", *[word for pair in given.items() for word in pair])
    assert added.items() >= (options | limits | {"id": "my-site"}).items()
    assert added["public_key"].startswith("pk_live_")
    assert len(added.pop("jwt_secret")) >= 32
    assert store.run("site", "list", "--json").json == [added]


def test_tiers_have_the_limits_of_the_contract(running: Running) -> None:
    limits = {(): None, ("--tier", "pro"): 10_000, ("--tier", "free", "--hourly-limit", "7"): 7}
    for options, limit in limits.items():
        assert running.store.run("key", "add", "my-site", "--json", *options).json["hourly_limit"] == limit


def test_keys_are_not_in_the_store(running: Running) -> None:
    content = b"".join(file.read_bytes() for file in running.store.path.iterdir())
    assert sha256(running.key.encode()).digest() in content
    assert running.key.encode() not in content


def test_a_running_server_notices_what_becomes_of_keys(running: Running) -> None:
    added = running.store.run("key", "add", "my-site", "--json").json
    assert eventually(lambda: running.server.pageview(added["key"]).status == 201)
    rotated = running.store.run("key", "rotate", added["id"], "--json").json
    assert rotated["id"] == added["id"]
    assert eventually(lambda: running.server.pageview(rotated["key"]).status == 201)
    assert running.server.pageview(added["key"]).status == 401
    running.store.run("key", "revoke", added["id"])
    assert eventually(lambda: running.server.pageview(rotated["key"]).status == 401)
    assert fails(running.store.run("key", "rotate", added["id"]))


def test_a_removed_site_is_gone_with_all_it_had(running: Running) -> None:
    for _ in range(2):  # the second time, nothing of the first is there
        with closing(open_store(running.store.path)) as conn:
            site = new_site(conn, "gone")
            key = new_key(conn, site)
            assert paths(conn, site) == []
        view = {"site_id": "gone", "url": "https://gone.example/secret-path"}
        send = "/api/v1/events/pageview"
        assert eventually(lambda: running.server.send(send, view, key).status == 201)  # noqa: B023
        removed = running.store.run("site", "remove", "gone", "--yes")
        assert removed.status == 0
        assert eventually(lambda: running.server.send(send, view, key).status == 401)  # noqa: B023
    with closing(open_store(running.store.path)) as conn:
        assert "gone" not in "\n".join(conn.iterdump())
        assert integrity.problems(conn) == []


def test_a_site_is_not_removed_unless_its_owner_is_sure(running: Running) -> None:
    assert running.store.run("site", "remove", "my-site", stdin=b"n\n").status == 1
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


@pytest.mark.parametrize(("words", "named"), FAILURES, ids=[" ".join(words) for words, _ in FAILURES])
def test_a_failure_is_one_sentence_and_status_1(running: Running, words: tuple[str, ...], named: str) -> None:
    ran = running.store.run(*words, "--json")
    assert fails(ran), ran
    assert named in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("key", "list", "\udcff"),
        ("site", "add", "new", "--name", "\udcff"),
        ("site", "add", "new", "--monthly-limit", str(2**64)),
        ("site", "add", "new", "--retention-days", str(2**64)),
        ("key", "add", "my-site", "--hourly-limit", str(2**64)),
    ],
)
def test_what_cannot_be_stored_is_refused_in_words(running: Running, words: tuple[str, ...]) -> None:
    ran = running.store.run(*words)
    assert ran.status in (1, 2)  # a failure, or a wrong call: either is clear
    assert ran.out == ""
    assert "Error: " in ran.err
    assert "Traceback" not in ran.err


def test_a_long_retention_is_no_trouble(store: Store) -> None:
    if store.run("site", "add", "my-site", "--retention-days", "1000000").status == 0:
        assert store.run("prune", "--json").json == {"events": 0}


def of_another_program(file: Path) -> None:
    with closing(sqlite3.connect(file)) as conn:
        conn.execute("CREATE TABLE bookmarks (url TEXT)")


def of_a_newer_version(file: Path) -> None:
    open_store(file.parent).close()
    with closing(sqlite3.connect(file)) as conn:
        conn.execute("PRAGMA user_version = 1000")


def cut_off(file: Path) -> None:
    open_store(file.parent).close()
    file.write_bytes(file.read_bytes()[:10_000])


USELESS: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda file: file.write_text("Dear diary, " * 100), "is not a database"),
    "another program's": (of_another_program, "another program's"),
    "newer": (of_a_newer_version, "newer"),
    "cut off": (cut_off, "malformed"),
    "a folder": (lambda file: file.mkdir(), "cannot be opened"),
}


@pytest.mark.parametrize(
    ("kind", "command"), [*[(kind, "serve --port 0") for kind in USELESS], ("text", "site list"), ("newer", "check")]
)
def test_a_file_that_is_no_store_of_ours_is_told_and_left_alone(store: Store, kind: str, command: str) -> None:
    file, (make, said) = store.path / sqlite.FILE, USELESS[kind]
    store.path.mkdir()
    make(file)
    before = file.read_bytes() if file.is_file() else b""
    ran = store.run(*command.split())
    assert fails(ran), ran
    assert said in ran.err
    assert (file.read_bytes() if file.is_file() else b"") == before


def test_where_there_is_no_store_commands_say_how_to_make_one(store: Store) -> None:
    ran = store.run("site", "list", "--json")
    assert fails(ran)
    assert "add a site" in ran.err
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
def test_a_data_dir_that_cannot_be_made_is_told(store: Store, command: str, data_dir: str) -> None:
    ran = store.run(*command.split(), "--data-dir", data_dir)
    assert fails(ran), ran
    assert data_dir in ran.err


# Takes root's right to write where nobody may; other users never had it.
READ_ONLY = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 1)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
os.execv(sys.executable, [sys.executable, "-m", "ovx_lite", *sys.argv[1:]])
"""


@pytest.mark.parametrize("mode", [0o500, 0o700], ids=["folder", "file"])
@pytest.mark.parametrize("command", ["site add a", "site add b", "serve --port 0"])
def test_a_data_dir_that_is_read_only_is_told(store: Store, command: str, mode: int) -> None:
    store.path.mkdir()
    if command != "site add a" or mode == 0o700:  # that one, in an empty folder
        open_store(store.path).close()
        (store.path / sqlite.FILE).chmod(0o400)
    store.path.chmod(mode)
    words = [sys.executable, "-c", READ_ONLY, *command.split(), "--data-dir", str(store.path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    store.path.chmod(0o700)
    assert fails(Ran(done.returncode, done.stdout, done.stderr)), done
    assert str(store.path) in done.stderr


def fill(data_dir: Path) -> None:
    """A store with some thousand events, old and new, of a site that keeps 30 days."""
    open_store(data_dir).close()
    (data_dir / sqlite.FILE).write_bytes(filled())


@cache
def filled() -> bytes:
    """The file of such a store."""
    now = time.time_ns() // 1_000_000
    with TemporaryDirectory() as folder:
        with closing(open_store(Path(folder))) as conn:
            site = new_site(conn, days=30)
            for begin in (now - 40 * DAY, now - 1000 * MINUTE):
                sent = [event(f"/page/{n}", begin + n, visitor=n // 3 + begin % 1000) for n in range(1500)]
                store_group(conn, open_books(conn, 0), [request(site, *sent)], {}, NOW)
        return (Path(folder) / sqlite.FILE).read_bytes()


def test_prune_deletes_what_is_past_its_retention(store: Store) -> None:
    fill(store.path)
    assert store.run("prune", "--json").json == {"events": 1500}
    with closing(open_store(store.path)) as conn:
        assert len(paths(conn, registry.find_site(conn, "my-site"))) == 1500
        assert integrity.problems(conn) == []


PLANTED = [
    "UPDATE visits SET events = events + 1 WHERE id = (SELECT max(id) FROM visits)",
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
MISCOUNTED = [
    "UPDATE daily_totals SET visitors = visitors + 1",
    "UPDATE rollups SET visits = visits + 1 WHERE dimension = 1",
    "DELETE FROM rollups WHERE dimension = 8",
    "UPDATE visits SET is_only_visit_of_day = 1 - is_only_visit_of_day",
]


@pytest.mark.parametrize("damage", PLANTED)
def test_check_finds_what_does_not_fit_together(tmp_path: Path, damage: str) -> None:
    fill(tmp_path)
    with closing(open_store(tmp_path)) as conn:
        assert integrity.problems(conn) == []
        conn.executescript(damage)
        assert integrity.problems(conn) != []


@pytest.mark.parametrize("damage", MISCOUNTED)
def test_what_is_not_counted_right_is_told_and_counted_anew(store: Store, damage: str) -> None:
    fill(store.path)
    with closing(sqlite3.connect(store.path / sqlite.FILE)) as conn:
        conn.executescript(damage)
    told = store.run("check")
    assert told.status == 1
    assert "check --rebuild" in told.out
    assert "backup" not in told.err, "that would not help"
    assert store.run("check", "--rebuild", "--json").json["ok"]
    assert store.run("check", "--json").json["ok"]


def test_check_tells_of_damage_on_stdout_and_what_to_do_on_stderr(store: Store) -> None:
    fill(store.path)
    with closing(sqlite3.connect(store.path / sqlite.FILE)) as conn:
        conn.executescript(PLANTED[0])
    ran = store.run("check", "--json")
    assert ran.status == 1
    assert ran.json["ok"] is False
    assert ran.json["problems"] != []
    assert "backup" in ran.err


def test_of_a_store_with_garbage_in_its_middle_every_command_says_so(store: Store, tmp_path: Path) -> None:
    fill(store.path)
    with (store.path / sqlite.FILE).open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size * 6 // 10)
        file.write(os.urandom(size // 10))
    for words in (("check",), ("export", "my-site"), ("backup", str(tmp_path / "backup"))):
        ran = store.run(*words)
        assert ran.status == 1, words
        assert ran.err != ""
        assert "Traceback" not in ran.err, words
    assert [file.name for file in tmp_path.iterdir()] == ["data"]
