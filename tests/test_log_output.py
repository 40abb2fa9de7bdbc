"""A server with unwritable output still works: it responds, runs its jobs, and exits with status 0."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import CHROME, Server, Store
from tests.support.receiver import Receiver

OutputFactory = Callable[[], int]
"""Opens the file descriptor for stdout and stderr; -1 means closed."""


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def pipe_without_reader() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full_pipe() -> tuple[int, int]:
    """Return both ends of a pipe that is full until something reads from it."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 65_536)
    os.set_blocking(writing, True)
    return reading, writing


def unread_pipe() -> int:
    return full_pipe()[1]  # the other end stays open


def closed_output() -> int:
    return -1


OUTPUTS = [full_disk, pipe_without_reader, unread_pipe, closed_output]


@contextmanager
def run_command(store: Store, prepare: OutputFactory, ready_path: Path, *args: str) -> Iterator[Server]:
    """Run a command with that descriptor as stdout and stderr."""
    descriptor = prepare()
    command = [sys.executable, "-m", "ovx_lite", *args, "--port", "0", "--ready-file", str(ready_path)]
    env = os.environ | {"OVX_DATA_DIR": str(store.path), "TMPDIR": str(ready_path.parent)}
    if descriptor < 0:
        process = subprocess.Popen(["/bin/sh", "-c", 'exec "$@" 1>&- 2>&-', "sh", *command], env=env)
    else:
        process = subprocess.Popen(command, stdout=descriptor, stderr=descriptor, env=env)
    try:
        wait_until(ready_path.exists)
        yield Server(process, json.loads(ready_path.read_text())["url"], ready_path)
    finally:
        process.kill()
        process.wait()
        if descriptor >= 0:
            os.close(descriptor)


def wait_until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "timed out waiting for the condition"
        time.sleep(0.01)


@pytest.mark.parametrize("log_format", ["plain", "json"])
@pytest.mark.parametrize("prepare", OUTPUTS)
def test_unwritable_output_stops_no_job(
    store: Store, prepare: OutputFactory, tmp_path: Path, log_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVX_WEBHOOK_ALLOW_NET", "loopback")
    site, backups = store.site(), tmp_path / "backups"
    store.call("goal", "add", "my-site", "Goal", "--event", "signup")
    with store.connect() as conn, conn:
        conn.execute("INSERT INTO salts SELECT id, 1, zeroblob(16) FROM sites")  # the salt of a long past day
    with Receiver() as receiver:
        webhook_args = ("webhook", "add", "my-site", receiver.url, "--on", "goal.completed", "--format", "json")
        assert store.run(*webhook_args).exit_status == 0
        args = ("--backup-dir", str(backups), "--log-format", log_format, "--json")
        with run_command(store, prepare, tmp_path / "ready.json", "serve", *args) as server:
            event = {"site_id": site["id"], "event_name": "signup", "url": "https://example.com/"}
            key = store.key()
            for _ in range(3):
                assert server.send("/api/v1/events/custom", event | {"user_agent": CHROME}, key).status == 201
            wait_until(lambda: receiver.requests)
            wait_until(lambda: list(backups.glob("*.sqlite3")))
            wait_until(lambda: not old_salts(store))
            assert server.stop(signal.SIGTERM) == 0
    assert store.run("check").exit_status == 0


def old_salts(store: Store) -> list[object]:
    with store.connect() as conn:
        return conn.execute("SELECT * FROM salts WHERE day = 1").fetchall()


@pytest.mark.parametrize("prepare", OUTPUTS)
def test_logging_failures_to_unwritable_output_stops_nothing(
    store: Store, prepare: OutputFactory, tmp_path: Path
) -> None:
    """Every second, a failing job logs an error; failing requests log errors, too."""
    store.site()
    key, backups = store.key(), tmp_path / "no-folder"
    backups.write_text("")
    with run_command(store, prepare, tmp_path / "ready.json", "serve", "--backup-dir", str(backups)) as server:
        assert server.pageview(key).status == 201
        with store.connect() as conn, conn:
            conn.execute("ALTER TABLE goals RENAME TO goals_elsewhere")
        for _ in range(50):
            assert server.send("/sites/my-site", method="GET").status in (303, 401, 500, 503)
        with store.connect() as conn, conn:
            conn.execute("ALTER TABLE goals_elsewhere RENAME TO goals")
        assert server.pageview(key).status == 201
        assert server.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("prepare", OUTPUTS)
def test_the_emulator_works_with_unwritable_output(store: Store, prepare: OutputFactory, tmp_path: Path) -> None:
    with run_command(store, prepare, tmp_path / "ready.json", "dev", "--json") as server:
        event = {"site_id": "site_abc123", "url": "https://example.com/"}
        assert server.send("/api/v1/events/pageview", event, "YOUR_API_KEY").status == 201
        wait_until(lambda: logs_in(server))  # a job sets the password
        assert server.stop(signal.SIGINT) == 0
    assert not list(tmp_path.glob("ovx-lite-dev-*"))


def logs_in(server: Server) -> bool:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": server.url}
    return server.send("/login", b"password=stand-in", headers=headers).status == 303


def test_logging_resumes_when_the_output_is_writable_again(store: Store, tmp_path: Path) -> None:
    """Like a disk that is full for a while: here, a full pipe that is read later."""
    store.site()
    reading, writing = full_pipe()
    with (
        closing(os.fdopen(reading, "rb", buffering=0)) as log,
        run_command(store, lambda: writing, tmp_path / "ready.json", "serve") as server,
    ):
        os.set_blocking(reading, False)
        while log.read(65_536):
            pass
        with store.connect() as conn, conn:
            conn.execute("DROP TABLE admin")
        assert server.send("/login", method="GET").status in (500, 503)
        assert b"admin" in log.read(65_536)
        assert server.stop() == 0


def test_repeated_signals_stop_a_server_cleanly(store: Store, tmp_path: Path) -> None:
    store.site()
    for signals in ([signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM, signal.SIGINT]):
        ready_path = tmp_path / f"{len(signals)}{signals[0]}.json"
        with run_command(store, full_disk, ready_path, "serve") as server:
            sent_count = 0
            while server.process.poll() is None:
                server.process.send_signal(signals[sent_count % len(signals)])
                sent_count += 1
                time.sleep(0.0005)
            assert (server.process.returncode, sent_count > 10) == (0, True)
