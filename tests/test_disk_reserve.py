"""A nearly full disk: below `--disk-reserve`, events are refused and everything else keeps working."""

import logging
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from ovx_lite.app import App
from ovx_lite.domain.calendar import DAY_MS
from ovx_lite.emulator.credentials import SITES
from ovx_lite.services import log_importer, scheduler
from ovx_lite.services.disk_space import MIB, DiskSpace, is_low, measure
from ovx_lite.storage.sqlite import STORE_FILE, open_store
from tests.conftest import Response, Server, Start, Store
from tests.support.access_logs import line
from tests.support.browserless import WebClient, set_password
from tests.support.commands import eventually
from tests.support.emulator import run_emulator
from tests.support.in_process import post, run_app
from tests.support.metrics import samples
from tests.support.pages import flash_text, form_fields, parse_page
from tests.support.public import APEX, OVERCENTRIC, apex, new_address, overcentric, pair
from tests.support.store import NOW, FrozenClock, new_key, new_site, paths
from tests.support.webhook_commands import ALLOW_ENV, Receiver
from tests.support.webhook_commands import receiver as receiver

HUGE_RESERVE_MIB = str(10**9)  # MiB: more than any disk has
VIEW = {"site_id": "my-site", "url": "https://example.com/never"}
ONE = {"event_type": "pageview", "url": "https://example.com/never", "event_name": "never"}


@dataclass
class FullServer:
    """A server whose reserve is larger than the disk. It has stored one event, with the Idempotency-Key "before"."""

    store: Store
    server: Server
    key: str
    limited_key: str
    first: Response

    def send_with_key(self, path: str, body: object, key: str = "", **headers: str) -> Response:
        http_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.send(path, body, key or self.key, http_headers)


def send_first_event(server: Server, key: str) -> Response:
    """Send the event that was stored while there was room; repeated, this returns the replay."""
    body = {"site_id": "my-site", "url": "https://example.com/before"}
    return server.send("/api/v1/events/pageview", body, key, {"Idempotency-Key": "before"})


@pytest.fixture(scope="module")
def full_server(tmp_path_factory: pytest.TempPathFactory, start: Start) -> FullServer:
    store = Store(tmp_path_factory.mktemp("full") / "data")
    store.site("my-site", "--domain", "example.com", "--hourly-events", "10")
    store.site("removed")
    key, limited_key = store.key(), store.key("my-site", "--hourly-limit", "10")
    set_password(store)
    server = start(store)
    first = send_first_event(server, key)
    assert first.status == 201
    server.stop()
    options = ("--disk-reserve", HUGE_RESERVE_MIB, "--trusted-proxies", "127.0.0.1")
    return FullServer(store, start(store, *options), key, limited_key, first)


KEYED_REQUESTS = [
    ("/api/v1/events/pageview", VIEW),
    ("/api/v1/events/custom", VIEW | {"event_name": "never"}),
    ("/api/v1/events/batch", {"site_id": "my-site", "events": [VIEW | {"type": "pageview"}] * 3}),
    ("/v1/projects/my-site/events", ONE),
    ("/v1/projects/my-site/events/batch", {"events": [ONE] * 3}),
]
PUBLIC_REQUESTS = [(APEX, apex()), (APEX, pair()), (OVERCENTRIC, overcentric())]


def assert_refused(response: Response) -> None:
    assert response.error == (503, "unavailable", None), response.body
    assert "disk is nearly full" in response.body.decode()
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize(("path", "body"), KEYED_REQUESTS)
def test_events_with_a_key_are_refused_and_do_not_count(full_server: FullServer, path: str, body: object) -> None:
    for _ in range(4):
        response = full_server.send_with_key(path, body, full_server.limited_key, Idempotency_Key=f"{path}-never")
        assert_refused(response)
        assert response.headers["ratelimit-remaining"] == "10"
    assert [event["path"] for event in full_server.store.events()] == ["/before"]


@pytest.mark.parametrize(("path", "body"), PUBLIC_REQUESTS)
def test_events_without_a_key_are_refused_and_do_not_count(full_server: FullServer, path: str, body: object) -> None:
    address = new_address()
    for _ in range(4):
        response = full_server.server.send(path, body, None, {"X-Forwarded-For": address})
        assert_refused(response)
        assert (response.headers["ratelimit-limit"], response.headers["ratelimit-remaining"]) == ("10", "10")
    assert [event["path"] for event in full_server.store.events()] == ["/before"]


def test_a_replay_gets_the_first_response(full_server: FullServer) -> None:
    again = send_first_event(full_server.server, full_server.key)
    assert (again.status, again.body) == (201, full_server.first.body)
    assert again.headers["idempotency-replayed"] == "true"


def test_errors_in_an_event_are_reported_first(full_server: FullServer) -> None:
    assert full_server.send_with_key("/api/v1/events/pageview", VIEW | {"url": "no url"}).error[:2] == (
        400,
        "invalid_request",
    )
    assert full_server.send_with_key("/api/v1/events/pageview", VIEW | {"site_id": "removed"}).status == 404
    assert full_server.send_with_key("/api/v1/events/pageview", VIEW, "no key").status == 401


def test_the_log_health_check_and_metrics_inform_the_operator(full_server: FullServer) -> None:
    assert_refused(full_server.server.send("/healthz", method="GET"))
    metrics = samples(full_server.server.send("/metrics", method="GET").body.decode())
    assert metrics["ovx_disk_reserve_bytes"] == 10**9 * MIB
    assert 0 < metrics["ovx_disk_free_bytes"] < metrics["ovx_disk_reserve_bytes"]
    lines = [line for line in full_server.server.log_path.read_text().splitlines() if "events are rejected" in line]
    assert len(lines) == 1, "the warning must be logged once, not every second"
    assert "disk_reserve is 1,000,000,000 MiB" in lines[0]


def test_pages_show_a_warning_and_keep_working(full_server: FullServer) -> None:
    client = WebClient(full_server.server)
    assert "Events are refused" not in client.get("/login").body.decode(), (
        "the warning must not be shown without a login"
    )
    client.log_in()
    for path in ("/", "/sites/my-site", "/sites/my-site/settings/general"):
        assert "disk_reserve is 1,000,000,000 MiB" in parse_page(client.get(path)).find_one("div", id="disk-low").text
    settings = "/sites/my-site/settings/general"
    form = {name: value for name, (value,) in form_fields(client.get(settings), settings).items()}
    saved = client.follow(client.post(settings, form | {"name": "Changed"}))
    assert flash_text(saved) == "Saved."
    deleted = client.follow(client.post("/sites/removed/settings/delete", {"confirm": "removed"}))
    assert "The site removed was deleted" in flash_text(deleted)


def test_commands_keep_working(full_server: FullServer, tmp_path: Path) -> None:
    assert full_server.store.call("site", "change", "my-site", "--retention-days", "36500")["retention_days"] == 36500
    assert full_server.store.call("prune") == {"events": 0}
    assert full_server.store.call("check")["ok"]
    assert full_server.store.run("backup", str(tmp_path / "copy")).exit_status == 0


def test_webhooks_are_sent_and_their_results_are_stored(store: Store, start: Start, receiver: Receiver) -> None:
    store.site("my-site", "--domain", "example.com")
    store.call("goal", "add", "my-site", "Sign-up", "--event", "signup")
    added = store.spawn("webhook", "add", "my-site", receiver.url, "--on", "goal.completed", env=ALLOW_ENV)
    assert added.exit_status == 0, added.stderr
    key, allow = store.key(), ("--webhook-allow-net", "127.0.0.0/8")

    def statuses() -> list[str]:
        return [delivery["status"] for delivery in store.call("delivery", "list", "my-site")]

    server = start(store, *allow)
    assert server.custom(key).status == 201
    assert eventually(lambda: statuses() == ["delivered"])
    assert server.stop() == 0
    server = start(store, *allow, "--disk-reserve", HUGE_RESERVE_MIB)
    assert server.custom(key).status == 503
    (first_delivery,) = store.call("delivery", "list", "my-site")
    assert store.call("delivery", "redeliver", first_delivery["id"]) == {"redelivered": 1}
    assert eventually(lambda: len(receiver.requests) == 2 and statuses() == ["delivered"])
    assert server.stop() == 0


def test_an_import_stops_and_reports_its_progress(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.site("my-site", "--domain", "example.com")
    (tmp_path / "log").write_text("\n".join(line(f"/{number}", number) for number in range(50)))
    args = ("import", "access-log", "my-site", str(tmp_path / "log"))
    stopped = store.spawn(*args, "--json", env={"OVX_DISK_RESERVE": HUGE_RESERVE_MIB})
    assert (stopped.exit_status, stopped.json) == (1, {"read": 0, "imported": 0, "skipped": {}})
    assert stopped.stderr.count("\n") == 1
    assert "The import stopped" in stopped.stderr
    assert "disk_reserve is 1,000,000,000 MiB" in stopped.stderr
    # The same in the middle of a file:
    monkeypatch.setattr(log_importer, "_BATCH_SIZE", 20)
    free_bytes = iter([10**15, 10**15, 0])
    monkeypatch.setattr(log_importer, "measure", lambda data_dir: next(free_bytes))
    stopped = store.run(*args, "--json")
    assert (stopped.exit_status, stopped.json) == (1, {"read": 40, "imported": 40, "skipped": {}})
    monkeypatch.setattr(log_importer, "measure", lambda data_dir: 10**15)
    again = store.run(*args, "--json")
    assert (again.exit_status, again.json) == (0, {"read": 50, "imported": 10, "skipped": {"repeats": 40}})


@pytest.mark.parametrize(
    ("free_mib", "reserve_mib", "was_low", "low"),
    [
        (64, 64, False, False),
        (63, 64, False, True),
        (-5, 64, False, True),
        (64, 64, True, True),
        (71, 64, True, True),
        (72, 64, True, False),
        (0, 0, False, False),
        (-5, 0, False, False),
    ],
)
def test_events_are_refused_below_the_reserve(free_mib: int, reserve_mib: int, was_low: bool, low: bool) -> None:
    assert is_low(free_mib * MIB, reserve_mib * MIB, was_low) == low


def test_the_write_ahead_log_counts_as_used_because_it_needs_its_room_twice(tmp_path: Path) -> None:
    free_bytes_without_log, slack_bytes = measure(tmp_path), 2048 * MIB  # other processes write to this disk, too
    with (tmp_path / f"{STORE_FILE}-wal").open("wb") as log:
        log.truncate(10**12)  # a sparse file, which takes no space
    free_bytes_with_log = measure(tmp_path)
    assert free_bytes_without_log is not None
    assert free_bytes_with_log is not None
    assert abs(free_bytes_without_log - free_bytes_with_log - 10**12) < slack_bytes
    assert abs(free_bytes_without_log - shutil.disk_usage(tmp_path).free) < slack_bytes
    assert measure(tmp_path / "nowhere") is None


def test_a_failed_measurement_changes_nothing(tmp_path: Path) -> None:
    disk = DiskSpace(tmp_path, 64)
    disk.update(None)
    assert (disk.free_bytes, disk.is_low) == (None, False)
    disk.update(0)
    disk.update(None)
    assert (disk.free_bytes, disk.is_low) == (0, True)


def test_a_low_disk_is_logged_once_at_its_start_and_once_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_store(tmp_path)) as conn:
        key = new_key(conn, site := new_site(conn))
        statuses, free_mib = [], iter([100, 65, 63, 64, 71, 50, 72, 65])
        monkeypatch.setattr(scheduler, "measure", lambda data_dir: next(free_mib) * MIB)
        caplog.set_level(logging.WARNING, "ovx_lite")

        async def run(app: App) -> None:
            statuses.append((await post(app, key))[0])
            for _ in range(7):
                await scheduler.check_disk_space(app.services)
                statuses.append((await post(app, key))[0])

        run_app(tmp_path, FrozenClock(), run)
        assert statuses == [201, 201, 503, 503, 503, 503, 201, 201]
        assert len(paths(conn, site)) == statuses.count(201)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "events are rejected",
        "events are accepted again",
    ]


def test_retention_and_saving_of_counts_continue_on_a_low_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FrozenClock()
    with closing(open_store(tmp_path)) as conn:
        site = new_site(conn, retention_days=2)
        key = new_key(conn, site, hourly_limit=10)
        run_app(tmp_path, clock, lambda app: store_event(app, key))
        assert len(paths(conn, site)) == 1
        clock.current_ms = NOW + 5 * DAY_MS
        monkeypatch.setattr(scheduler, "measure", lambda data_dir: 0)

        async def run(app: App) -> None:
            assert (await post(app, key))[0] == 503
            assert (await post(app, key, url="no url"))[0] == 400
            for job in scheduler.JOBS:
                await job.run(app.services)

        run_app(tmp_path, clock, run)
        assert paths(conn, site) == []
        query = "SELECT sum(count) FROM rate_limit_counters WHERE count > 0"
        assert conn.execute(query).fetchone() == (1,), "only the invalid request counts"
        days = [day for (day,) in conn.execute("SELECT day FROM salts")]
        assert all(day >= (NOW + 4 * DAY_MS) // DAY_MS for day in days)


async def store_event(app: App, key: str) -> None:
    assert (await post(app, key))[0] == 201


def test_the_emulator_has_no_reserve_unless_configured(tmp_path: Path) -> None:
    view = {"site_id": SITES[0], "url": "https://example.com/"}
    for options, reserve_mib in (((), 0), (("--disk-reserve", HUGE_RESERVE_MIB), 10**9)):
        folder = tmp_path / str(reserve_mib)
        folder.mkdir()
        with run_emulator(folder, *options) as emulator:
            metrics = samples(emulator.call("GET", "/metrics").body.decode())
            assert metrics["ovx_disk_reserve_bytes"] == reserve_mib * MIB
            response = emulator.send("/api/v1/events/pageview", view)
            assert response.status == (503 if reserve_mib else 201)
