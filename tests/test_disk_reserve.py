"""A disk that is nearly full: below `--disk-reserve` events are refused, and all else goes on."""

import logging
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from ovx_lite.app import App
from ovx_lite.emulator.credentials import SITES
from ovx_lite.services import log_importer, scheduler
from ovx_lite.services.disk_space import MIB, DiskSpace, is_low, measure
from ovx_lite.storage.sqlite import FILE, open_store
from tests.conftest import Answer, Server, Start, Store
from tests.support.access_logs import line
from tests.support.browserless import Person, set_password
from tests.support.commands import eventually
from tests.support.emulator import stage
from tests.support.in_process import DAY, during, post
from tests.support.metrics import samples
from tests.support.pages import fields, notice, read
from tests.support.public import APEX, OVERCENTRIC, apex, fresh, overcentric, pair
from tests.support.store import NOW, Still, new_key, new_site, paths
from tests.support.webhook_commands import ALLOW, Receiver
from tests.support.webhook_commands import receiver as receiver

ALL_OF_IT = str(10**9)  # MiB: more than any disk has
VIEW = {"site_id": "my-site", "url": "https://example.com/never"}
ONE = {"event_type": "pageview", "url": "https://example.com/never", "event_name": "never"}


@dataclass
class Full:
    """A server whose reserve is larger than the disk. It has stored an event before, with the key "before"."""

    store: Store
    server: Server
    key: str
    limited_key: str
    first: Answer

    def keyed(self, path: str, body: object, key: str = "", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.send(path, body, key or self.key, named)


def before(server: Server, key: str) -> Answer:
    """The event that was stored while there was room, or its replay."""
    body = {"site_id": "my-site", "url": "https://example.com/before"}
    return server.send("/api/v1/events/pageview", body, key, {"Idempotency-Key": "before"})


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, start: Start) -> Full:
    store = Store(tmp_path_factory.mktemp("full") / "data")
    store.site("my-site", "--domain", "example.com", "--hourly-events", "10")
    store.site("removed")
    key, limited = store.key(), store.key("my-site", "--hourly-limit", "10")
    set_password(store)
    server = start(store)
    first = before(server, key)
    assert first.status == 201
    server.stop()
    options = ("--disk-reserve", ALL_OF_IT, "--trusted-proxies", "127.0.0.1")
    return Full(store, start(store, *options), key, limited, first)


KEYED = [
    ("/api/v1/events/pageview", VIEW),
    ("/api/v1/events/custom", VIEW | {"event_name": "never"}),
    ("/api/v1/events/batch", {"site_id": "my-site", "events": [VIEW | {"type": "pageview"}] * 3}),
    ("/v1/projects/my-site/events", ONE),
    ("/v1/projects/my-site/events/batch", {"events": [ONE] * 3}),
]
PUBLIC = [(APEX, apex()), (APEX, pair()), (OVERCENTRIC, overcentric())]


def assert_refused(answer: Answer) -> None:
    assert answer.error == (503, "unavailable", None), answer.body
    assert "disk is nearly full" in answer.body.decode()
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(("path", "body"), KEYED)
def test_events_with_a_key_are_refused_and_do_not_count(full: Full, path: str, body: object) -> None:
    for _ in range(4):
        answer = full.keyed(path, body, full.limited_key, Idempotency_Key=f"{path}-never")
        assert_refused(answer)
        assert answer.headers["ratelimit-remaining"] == "10"
    assert [event["path"] for event in full.store.events()] == ["/before"]


@pytest.mark.parametrize(("path", "body"), PUBLIC)
def test_events_without_a_key_are_refused_and_do_not_count(full: Full, path: str, body: object) -> None:
    address = fresh()
    for _ in range(4):
        answer = full.server.send(path, body, None, {"X-Forwarded-For": address})
        assert_refused(answer)
        assert (answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"]) == ("10", "10")
    assert [event["path"] for event in full.store.events()] == ["/before"]


def test_a_replay_gets_its_first_answer(full: Full) -> None:
    again = before(full.server, full.key)
    assert (again.status, again.body) == (201, full.first.body)
    assert again.headers["idempotency-replayed"] == "true"


def test_what_is_wrong_with_an_event_is_told_first(full: Full) -> None:
    assert full.keyed("/api/v1/events/pageview", VIEW | {"url": "no url"}).error[:2] == (400, "invalid_request")
    assert full.keyed("/api/v1/events/pageview", VIEW | {"site_id": "removed"}).status == 404
    assert full.keyed("/api/v1/events/pageview", VIEW, "no key").status == 401


def test_whoever_runs_the_server_is_told(full: Full) -> None:
    assert_refused(full.server.send("/healthz", method="GET"))
    found = samples(full.server.send("/metrics", method="GET").body.decode())
    assert found["ovx_disk_reserve_bytes"] == 10**9 * MIB
    assert 0 < found["ovx_disk_free_bytes"] < found["ovx_disk_reserve_bytes"]
    lines = [line for line in full.server.log.read_text().splitlines() if "refused" in line]
    assert len(lines) == 1, "once, not once a second"
    assert "disk_reserve is 1,000,000,000 MiB" in lines[0]


def test_pages_say_so_and_go_on(full: Full) -> None:
    person = Person(full.server)
    assert "Events are refused" not in person.get("/login").body.decode(), "to strangers, it is not said"
    person.log_in()
    for path in ("/", "/sites/my-site", "/sites/my-site/settings/general"):
        assert "disk_reserve is 1,000,000,000 MiB" in read(person.get(path)).one("div", id="disk-low").text
    settings = "/sites/my-site/settings/general"
    form = {name: value for name, (value,) in fields(person.get(settings), settings).items()}
    saved = person.follow(person.post(settings, form | {"name": "Changed"}))
    assert notice(saved) == "Saved."
    deleted = person.follow(person.post("/sites/removed/settings/delete", {"confirm": "removed"}))
    assert "The site removed is deleted" in notice(deleted)


def test_commands_go_on(full: Full, tmp_path: Path) -> None:
    assert full.store.call("site", "change", "my-site", "--retention-days", "36500")["retention_days"] == 36500
    assert full.store.call("prune") == {"events": 0}
    assert full.store.call("check")["ok"]
    assert full.store.run("backup", str(tmp_path / "copy")).status == 0


def test_webhooks_are_told_and_what_came_of_it_is_kept(store: Store, start: Start, receiver: Receiver) -> None:
    store.site("my-site", "--domain", "example.com")
    store.call("goal", "add", "my-site", "Sign-up", "--event", "signup")
    added = store.spawn("webhook", "add", "my-site", receiver.url, "--on", "goal.completed", env=ALLOW)
    assert added.status == 0, added.err
    key, allow = store.key(), ("--webhook-allow-net", "127.0.0.0/8")

    def statuses() -> list[str]:
        return [delivery["status"] for delivery in store.call("delivery", "list", "my-site")]

    server = start(store, *allow)
    assert server.custom(key).status == 201
    assert eventually(lambda: statuses() == ["delivered"])
    assert server.stop() == 0
    server = start(store, *allow, "--disk-reserve", ALL_OF_IT)
    assert server.custom(key).status == 503
    (sent,) = store.call("delivery", "list", "my-site")
    assert store.call("delivery", "redeliver", sent["id"]) == {"redelivered": 1}
    assert eventually(lambda: len(receiver.saved) == 2 and statuses() == ["delivered"])
    assert server.stop() == 0


def test_an_import_stops_and_says_what_it_has_done(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.site("my-site", "--domain", "example.com")
    (tmp_path / "log").write_text("\n".join(line(f"/{number}", number) for number in range(50)))
    words = ("import", "access-log", "my-site", str(tmp_path / "log"))
    stopped = store.spawn(*words, "--json", env={"OVX_DISK_RESERVE": ALL_OF_IT})
    assert (stopped.status, stopped.json) == (1, {"read": 0, "imported": 0, "skipped": {}})
    assert stopped.err.count("\n") == 1
    assert "The import stopped" in stopped.err
    assert "disk_reserve is 1,000,000,000 MiB" in stopped.err
    # And in the middle of a file:
    monkeypatch.setattr(log_importer, "_TOGETHER", 20)
    left = iter([10**15, 10**15, 0])
    monkeypatch.setattr(log_importer, "measure", lambda data_dir: next(left))
    stopped = store.run(*words, "--json")
    assert (stopped.status, stopped.json) == (1, {"read": 40, "imported": 40, "skipped": {}})
    monkeypatch.setattr(log_importer, "measure", lambda data_dir: 10**15)
    again = store.run(*words, "--json")
    assert (again.status, again.json) == (0, {"read": 50, "imported": 10, "skipped": {"repeats": 40}})


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
def test_when_events_are_refused(free_mib: int, reserve_mib: int, was_low: bool, low: bool) -> None:
    assert is_low(free_mib * MIB, reserve_mib * MIB, was_low) == low


def test_the_write_ahead_log_counts_as_used_because_it_needs_its_room_twice(tmp_path: Path) -> None:
    without, slack = measure(tmp_path), 2048 * MIB  # others write to this disk, too
    with (tmp_path / f"{FILE}-wal").open("wb") as log:
        log.truncate(10**12)  # a hole, which takes no room
    with_log = measure(tmp_path)
    assert without is not None
    assert with_log is not None
    assert abs(without - with_log - 10**12) < slack
    assert abs(without - shutil.disk_usage(tmp_path).free) < slack
    assert measure(tmp_path / "nowhere") is None


def test_what_cannot_be_measured_changes_nothing(tmp_path: Path) -> None:
    disk = DiskSpace(tmp_path, 64)
    disk.update(None)
    assert (disk.free_bytes, disk.is_low) == (None, False)
    disk.update(0)
    disk.update(None)
    assert (disk.free_bytes, disk.is_low) == (0, True)


def test_it_is_said_once_when_it_begins_and_once_when_it_ends(
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
                await scheduler.watch_disk(app.services)
                statuses.append((await post(app, key))[0])

        during(tmp_path, Still(), run)
        assert statuses == [201, 201, 503, 503, 503, 503, 201, 201]
        assert len(paths(conn, site)) == statuses.count(201)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "events are refused",
        "events are accepted again",
    ]


def test_old_events_and_salts_are_deleted_and_counts_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Still()
    with closing(open_store(tmp_path)) as conn:
        site = new_site(conn, days=2)
        key = new_key(conn, site, hourly_limit=10)
        during(tmp_path, clock, lambda app: stored(app, key))
        assert len(paths(conn, site)) == 1
        clock.ms = NOW + 5 * DAY
        monkeypatch.setattr(scheduler, "measure", lambda data_dir: 0)

        async def run(app: App) -> None:
            assert (await post(app, key))[0] == 503
            assert (await post(app, key, url="no url"))[0] == 400
            for job in scheduler.JOBS:
                await job.run(app.services)

        during(tmp_path, clock, run)
        assert paths(conn, site) == []
        query = "SELECT sum(count) FROM rate_limit_counters WHERE count > 0"
        assert conn.execute(query).fetchone() == (1,), "the wrong one"
        days = [day for (day,) in conn.execute("SELECT day FROM salts")]
        assert all(day >= (NOW + 4 * DAY) // DAY for day in days)


async def stored(app: App, key: str) -> None:
    assert (await post(app, key))[0] == 201


def test_the_stand_in_has_no_reserve_unless_told(tmp_path: Path) -> None:
    view = {"site_id": SITES[0], "url": "https://example.com/"}
    for options, reserve_mib in (((), 0), (("--disk-reserve", ALL_OF_IT), 10**9)):
        folder = tmp_path / str(reserve_mib)
        folder.mkdir()
        with stage(folder, *options) as standin:
            found = samples(standin.call("GET", "/metrics").body.decode())
            assert found["ovx_disk_reserve_bytes"] == reserve_mib * MIB
            answer = standin.send("/api/v1/events/pageview", view)
            assert answer.status == (503 if reserve_mib else 201)
