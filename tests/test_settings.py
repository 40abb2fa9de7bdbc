"""`serve`: sources of settings, errors for invalid values, start and stop."""

import json
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from urllib.request import urlopen

import pytest

from ovx_lite.cli.logs import JsonFormatter
from ovx_lite.domain import config
from ovx_lite.domain.errors import ApiError
from ovx_lite.storage import sqlite
from ovx_lite.webhooks.ssrf import parse_networks
from tests.conftest import Start, Store

NAMES = [setting.name for setting in config.SETTINGS]
# Two valid values of each setting that differ from its default.
VALUES = {
    "host": ("127.0.0.2", "127.0.0.3"),
    "port": ("1234", "2345"),
    "base_url": ("https://flag.example", "https://other.example"),
    "allow_host": ("nas.local", "ovx,stats.example.com"),
    "trusted_proxies": ("10.0.0.0/8", "192.168.0.0/16,::1"),
    "webhook_allow_net": ("10.0.0.0/8", "127.0.0.0/8,fd00::/8"),
    "backup_dir": ("/flag", "/other"),
    "disk_reserve": ("0", "128"),
    "log_format": ("json", "plain"),
    "rollup_values": ("100", "50000"),
    "country_db": ("/flag.mmdb", "/other.mmdb"),
}


def write_settings(data_dir: Path, **values: str) -> None:
    """Write `ovx-lite.toml` with these values, which are TOML."""
    data_dir.mkdir(exist_ok=True)
    (data_dir / "ovx-lite.toml").write_text("".join(f"{name} = {value}\n" for name, value in values.items()))


def test_every_setting_is_covered_by_these_tests() -> None:
    assert list(VALUES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_flag_beats_the_environment(tmp_path: Path, name: str) -> None:
    flag, variable = VALUES[name]
    values = config.read(tmp_path, {name: flag}, {f"OVX_{name.upper()}": variable})
    assert values[name] == flag


@pytest.mark.parametrize("name", NAMES)
def test_the_environment_beats_the_file(tmp_path: Path, name: str) -> None:
    variable, written = VALUES[name]
    write_settings(tmp_path, **{name: json.dumps(written)})
    assert config.read(tmp_path, {name: None}, {f"OVX_{name.upper()}": variable})[name] == variable


@pytest.mark.parametrize("name", NAMES)
def test_the_file_beats_the_default(tmp_path: Path, name: str) -> None:
    written, _ = VALUES[name]
    write_settings(tmp_path, **{name: json.dumps(written)})
    assert config.read(tmp_path, {name: None}, {})[name] == written


def test_the_defaults_are_as_documented(tmp_path: Path) -> None:
    values = config.read(tmp_path, {}, {})
    assert (values["host"], values["port"], values["base_url"], values["trusted_proxies"]) == (
        "127.0.0.1",
        "8321",
        "",
        "",
    )


def test_a_port_may_be_written_as_a_number(tmp_path: Path) -> None:
    write_settings(tmp_path, port="8080")
    assert config.read(tmp_path, {}, {})["port"] == "8080"


@pytest.mark.parametrize(
    ("flags", "variable", "expected"),
    [
        (("--base-url", "http://flag.example"), "http://variable.example", "http://flag.example"),
        ((), "http://variable.example", "http://variable.example"),
        ((), None, "http://file.example"),
    ],
    ids=["flag", "environment", "file"],
)
def test_the_server_prefers_flag_then_environment_then_file(
    store: Store, start: Start, monkeypatch: pytest.MonkeyPatch, flags: list[str], variable: str | None, expected: str
) -> None:
    write_settings(store.path, base_url='"http://file.example"')
    if variable is not None:
        monkeypatch.setenv("OVX_BASE_URL", variable)
    server = start(store, *flags)
    server.process.kill()
    assert server.url == expected


INVALID_SETTINGS = [
    ('colour = "red"', {}, "colour"),
    ("port = eighty", {}, "ovx-lite.toml"),
    ("[server]\nport = 80", {}, "server"),
    ('host = "\udcff"', {}, "ovx-lite.toml"),
    ('port = "http"', {}, "port"),
    ("port = true", {}, "port"),
    ('trusted_proxies = ["10.0.0.0/8"]', {}, "trusted_proxies"),
    ("", {"port": "65536"}, "port"),
    ("", {"port": "-1"}, "port"),
    ("", {"port": ""}, "port"),
    ("", {"port": "80 80"}, "port"),
    *(("", {"rollup_values": value}, "rollup_values") for value in ("", "0", "-1", "many", "1.5", "20 000", "٣")),
    ("", {"trusted_proxies": "10.0.0.0/33"}, "trusted_proxies"),
    ("", {"trusted_proxies": "127.0.0.1,localhost"}, "trusted_proxies"),
    ("", {"trusted_proxies": "private,public"}, "or loopback or private"),
    ("", {"base_url": "stats.example.com"}, "base_url"),
    ("", {"base_url": "ftp://stats.example.com"}, "base_url"),
    ("", {"base_url": "https://"}, "base_url"),
    ("", {"base_url": "http://["}, "base_url"),
    *(("", {"disk_reserve": value}, "disk_reserve") for value in ("", "-1", "64M", "1.5", "²", "9" * 5000)),
]


def test_networks_may_be_given_by_alias(tmp_path: Path) -> None:
    values = config.read(tmp_path, {"trusted_proxies": "192.0.2.7, loopback", "webhook_allow_net": "private"}, {})
    assert values["trusted_proxies"] == "192.0.2.7,127.0.0.0/8,::1/128"
    allowed = parse_networks(values["webhook_allow_net"])
    for address in ("127.0.0.1", "::1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "fd00::1"):
        assert any(ip_address(address) in network for network in allowed), address
    for address in ("172.32.0.1", "192.169.0.1", "203.0.113.1", "2001:db8::1", "169.254.169.254"):
        assert not any(ip_address(address) in network for network in allowed), address


@pytest.mark.parametrize(("written", "flags", "setting"), INVALID_SETTINGS)
def test_an_invalid_setting_is_rejected_by_name(
    tmp_path: Path, written: str, flags: dict[str, str], setting: str
) -> None:
    (tmp_path / "ovx-lite.toml").write_bytes(written.encode(errors="surrogateescape"))
    with pytest.raises(ApiError, match=setting):
        config.read(tmp_path, flags, {})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--port", "http"), "port is http"),
        (("--trusted-proxies", "10.0.0.0/33"), "10.0.0.0/33"),
        (("--base-url", "http://["), "base_url"),
        (("--rollup-values", "0"), "rollup_values is 0: it must be a number from 1 to 9999999, for example 20000"),
        (("--host", ".."), ".."),
        (("--country-db", __file__), "test_settings.py"),
    ],
)
def test_an_invalid_option_gives_a_one_line_error(store: Store, options: tuple[str, ...], expected: str) -> None:
    result = store.run("serve", "--port", "0", *options)
    assert result.exit_status == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert expected in result.stderr


def start_serve(store: Store, *args: str) -> "subprocess.Popen[str]":
    args = (sys.executable, "-m", "ovx_lite", "serve", "--port", "0", *args)
    environment = os.environ | {"OVX_DATA_DIR": str(store.path)}
    return subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_prints_its_url_and_stops_cleanly(
    store: Store, tmp_path: Path, signal_number: signal.Signals
) -> None:
    ready_path = tmp_path / "ready.json"
    with start_serve(store, "--json", "--ready-file", str(ready_path)) as process:
        assert process.stdout is not None
        ready_info = json.loads(process.stdout.readline())
        assert json.loads(ready_path.read_text()) == ready_info
        assert ready_info["pid"] == process.pid
        assert urlopen(ready_info["url"] + "/healthz", timeout=30).status == 200
        process.send_signal(signal_number)
        assert process.stdout.read() == ""
        assert process.wait(30) == 0
    assert not list(tmp_path.glob("*.unfinished"))


def test_an_unwritable_ready_file_is_reported(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "ready.json"
    with start_serve(store, "--ready-file", str(path)) as process:
        try:
            out, err = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert (process.returncode, out, err.count("\n")) == (1, "", 1)
    assert str(path) in err


def test_a_port_in_use_is_reported(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = store.run("serve", "--port", port)
    assert (result.exit_status, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert port in result.stderr


StartingServer = tuple["subprocess.Popen[str]", sqlite3.Connection]


@pytest.fixture
def starting(store: Store, tmp_path: Path) -> Iterator[StartingServer]:
    """Start a server that waits for a transaction of another process before it is ready."""
    store.path.mkdir()
    with closing(sqlite3.connect(store.path / sqlite.STORE_FILE, isolation_level=None)) as other_process:
        other_process.execute("PRAGMA journal_mode = WAL")
        other_process.execute("BEGIN IMMEDIATE")
        (tmp_path / "ready.json").write_text("left by a server that crashed")
        with start_serve(store, "--ready-file", str(tmp_path / "ready.json")) as process:
            yield process, other_process
            process.kill()


def wait_until(condition: Callable[[], bool]) -> bool:
    """Wait until a condition is met or 10 seconds have passed. Returns whether it is met."""
    deadline_s = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return condition()


def catches_sigterm(process: "subprocess.Popen[str]") -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_a_stale_ready_file_is_removed_before_the_server_is_ready(starting: StartingServer, tmp_path: Path) -> None:
    assert wait_until(lambda: not (tmp_path / "ready.json").exists())


def test_a_server_can_be_stopped_while_it_starts(starting: StartingServer) -> None:
    process, other_process = starting
    assert wait_until(lambda: catches_sigterm(process))
    process.terminate()
    other_process.execute("ROLLBACK")
    assert wait_until(lambda: process.poll() is not None)
    assert process.returncode == 0


@pytest.mark.parametrize("path", ["/api", "/v1/", "/static/deep"])
def test_a_base_url_with_a_reserved_path_is_rejected(tmp_path: Path, path: str) -> None:
    with pytest.raises(ApiError, match="choose another, like /stats"):
        config.read(tmp_path, {"base_url": f"https://example.com{path}"})
    assert config.read(tmp_path, {"base_url": "https://example.com/apis"})["base_url"].endswith("/apis")


def test_the_log_may_be_json(store: Store) -> None:
    assert store.spawn("site", "list").exit_status == 1
    result = store.spawn("serve", "--log-format", "xml")
    assert "it must be plain or json" in result.stderr
    record = logging.LogRecord("ovx_lite", logging.ERROR, "", 0, "a %s", ("message",), None)
    log_entry = json.loads(JsonFormatter().format(record))
    assert (log_entry["level"], log_entry["message"], log_entry["time"][-1]) == ("ERROR", "a message", "Z")
    try:
        raise ValueError("why")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert json.loads(JsonFormatter().format(record))["fault"].endswith("ValueError: why")
