"""`ovx-lite dev`, the emulator: credentials, journal, faults, clock and hooks."""

import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import Start, Store
from tests.support.emulator import EmulatorProcess, custom, run_emulator


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with run_emulator(tmp_path_factory.mktemp("dev")) as emulator:
        yield emulator


@pytest.fixture
def dev(running: EmulatorProcess) -> EmulatorProcess:
    assert running.call("POST", "/_dev/reset").status == 200
    return running


MANY = int(os.environ.get("OVX_MANY", "2000"))
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
VIEW = {"site_id": "site_abc123", "url": "https://example.com/", "user_agent": "curl/8", "ip_address": "203.0.113.9"}
CUSTOM = "/api/v1/events/custom"


@pytest.mark.parametrize("site", ["site_abc123", "your-site-id", "your-project-id", "your-project-key"])
@pytest.mark.parametrize("key", ["YOUR_API_KEY", "oa_live_xxxxxxxxxxxx"])
def test_the_credentials_in_the_products_documents_work(dev: EmulatorProcess, site: str, key: str) -> None:
    response = dev.send("/api/v1/events/pageview", VIEW | {"site_id": site}, key)
    assert (response.status, response.headers["ratelimit-limit"]) == (201, "1000")
    assert (
        dev.send(f"/v1/projects/{site}/events", {"event_type": "pageview", "url": "https://example.com/"}, key).status
        == 202
    )


def test_the_public_key_in_the_products_documents_works(dev: EmulatorProcess) -> None:
    event = {"type": "pageview", "visitorId": "v1", "projectKey": "pk_live_xyz", "url": "https://example.com/"}
    assert dev.send("/api/events", event, "").status in (200, 201, 202)
    assert dev.events()[0]["site"] == "site_abc123"


def test_an_invalid_body_still_gets_the_rate_limit_headers(dev: EmulatorProcess) -> None:
    assert dev.send("/api/v1/events/pageview", VIEW).status == 201
    for body, status in ((b"{", 400), (b"[" * 200_000, 413)):
        rejected = dev.send("/api/v1/events/pageview", body)
        assert (rejected.status, rejected.headers["ratelimit-remaining"]) == (status, "999")


def test_other_keys_and_sites_are_refused(dev: EmulatorProcess) -> None:
    assert dev.send(CUSTOM, custom(), "ovx_wrong").error[:2] == (401, "unauthorized")
    assert dev.send(CUSTOM, custom(site_id="nowhere")).error == (404, "invalid_site_id", "site_id")


def test_the_journal_lists_accepted_and_refused_requests(dev: EmulatorProcess) -> None:
    assert dev.send("/api/v1/events/pageview", VIEW).status == 201
    assert dev.send(CUSTOM, {"site_id": "site_abc123", "event_nme": "a", "url": "nope", "timestamp": "x"}).status == 400
    assert dev.call("GET", "/_dev/summary").json == {"total": 2, "good": 1, "bad": 1}
    bad, good = dev.events()
    assert [bad["status"], good["status"], good["stored"]["path"], bad["stored"]] == ["bad", "good", "/", None]
    assert [problem["field"] for problem in bad["problems"]] == ["event_name", "url", "timestamp", "event_nme"]
    assert bad["problems"][-1]["message"] == "`event_nme` is ignored: did you mean `event_name`?"
    assert bad["error"]["field"] == "event_name"
    assert "YOUR_API_KEY" not in json.dumps(dev.events())
    assert [event["status"] for event in dev.events(status="bad")] == ["bad"]
    assert dev.events(name="signup") == []


def test_a_body_that_is_not_json_is_shown_unchanged(dev: EmulatorProcess) -> None:
    assert dev.send(CUSTOM, b'{"site_id":').status == 400
    (bad,) = dev.events()
    assert (bad["request"]["body"], bad["error"]["code"]) == ('{"site_id":', "invalid_request")


def test_each_event_of_a_large_batch_is_recorded_with_its_own_fields(dev: EmulatorProcess) -> None:
    for number in range(2):
        events = [{"type": "pageview", "url": f"https://example.com/{number}/{n}/{'x' * 500}"} for n in range(500)]
        assert dev.send("/api/v1/events/batch", {"site_id": "site_abc123", "events": events}).status == 201
    arrived = dev.call("GET", "/_dev/events/wait?count=1000&timeout=0").json["events"]
    assert len(arrived) == 1000
    assert arrived[-1]["request"]["body"]["url"].startswith("https://example.com/0/0/")


def test_a_client_can_wait_for_events(dev: EmulatorProcess) -> None:
    dev.send(CUSTOM, custom("a"))
    late = dev.call("GET", "/_dev/events/wait?count=2&name=a&timeout=0.1")
    assert (late.status, len(late.json["events"])) == (408, 1)
    dev.send(CUSTOM, custom("a"))
    assert dev.call("GET", "/_dev/events/wait?count=2&name=a&timeout=5").status == 200
    for params in ("count=1000000000", "count=0", "count=x", "timeout=-1", "timeout=nan", "timeout=1e9"):
        assert dev.call("GET", f"/_dev/events/wait?{params}").error[0] == 400


def test_advancing_the_clock_retries_a_failing_webhook(dev: EmulatorProcess) -> None:
    dev.call("POST", "/_dev/goals", {"name": "Sign-up", "event": "signup"})
    hook_url = dev.url + "/_dev/hook/failing?reply=500,500,500,200"
    assert dev.call("POST", "/_dev/webhooks", {"url": hook_url}).status == 201
    assert dev.send(CUSTOM, custom()).status == 201
    effects = dev.events()[0]["followed"]
    assert [effect.split(" ")[0] for effect in effects] == ["goal", "webhook"]
    clock = dev.call("POST", "/_dev/clock", {"advance": "36m"}).json
    assert [attempt["status"] for attempt in clock["tried"]][-3:] == [500, 500, 200]
    assert [attempt["became"] for attempt in clock["tried"]][-3:] == ["pending", "pending", "delivered"]
    requests = dev.call("GET", "/_dev/hook/failing/requests").json["requests"]
    assert [request["answered"] for request in requests] == [500, 500, 500, 200]
    assert all(all(request["signatures"].values()) for request in requests)
    (delivery,) = dev.call("GET", "/_dev/deliveries").json["deliveries"]
    assert (delivery["status"], len(delivery["attempts"])) == ("delivered", 4)


def test_the_clock_only_moves_forward(dev: EmulatorProcess) -> None:
    before_ms = dev.call("GET", "/_dev/clock").json["ms"]
    assert dev.call("POST", "/_dev/clock", {"advance": "1h30m"}).status == 200
    assert dev.call("GET", "/_dev/clock").json["ms"] >= before_ms + 5_400_000
    for body in (
        {"set": "2020-01-01"},
        {"advance": "-5m"},
        {"advance": "soon"},
        {"advance": 1e300},
        {},
        {"set": "2200-01-01"},
    ):
        assert dev.call("POST", "/_dev/clock", body).error[:2] == (400, "invalid_request")
    dev.call("POST", "/_dev/reset")
    assert dev.call("GET", "/_dev/clock").json["ms"] < before_ms + 600_000


def test_rate_limits_apply_and_expire_with_the_clock(dev: EmulatorProcess) -> None:
    batch = {"site_id": "site_abc123", "events": [{"type": "pageview", "url": "https://example.com/"}] * 1000}
    assert dev.send("/api/v1/events/batch", batch).status == 201
    limited = dev.send(CUSTOM, custom())
    assert limited.error[:2] == (429, "rate_limit_exceeded")
    dev.call("POST", "/_dev/clock", {"advance": int(limited.headers["retry-after"])})
    assert dev.send(CUSTOM, custom()).status == 201


def test_configured_faults_are_injected(dev: EmulatorProcess) -> None:
    rules: list[dict[str, Any]] = [
        {"match": {"path": "/api/v1/events/custom"}, "status": 503, "retry_after": 1, "times": 1},
        {"status": 500, "phase": "after", "times": 1},
        {"kind": "reset", "times": 1},
        {"kind": "empty", "times": 1},
    ]
    assert len(dev.call("PUT", "/_dev/faults", rules).json["rules"]) == 4
    first = dev.send(CUSTOM, custom())
    assert (first.status, first.headers["retry-after"]) == (503, "1")
    again = {"Idempotency-Key": "once"}
    assert dev.send(CUSTOM, custom("after"), headers=again).status == 500
    with pytest.raises(httpx2.ReadError, match="reset"):
        dev.send(CUSTOM, custom())
    with pytest.raises(httpx2.RemoteProtocolError, match="disconnected"):
        dev.send(CUSTOM, custom())
    replayed = dev.send(CUSTOM, custom("after"), headers=again)
    assert (replayed.status, replayed.headers["idempotency-replayed"]) == (201, "true")
    second, first_time = dev.events(name="after")
    assert [second["replayed"], second["problems"], first_time["replayed"]] == [True, [], False]
    assert (first_time["status"], first_time["answer"]["status"]) == ("good", 500)
    assert first_time["problems"][0]["message"] == "The emulator answered 500 on purpose. The request was stored."
    assert dev.call("GET", "/_dev/faults").json == {"rules": []}


def test_a_request_stopped_by_a_fault_is_recorded(dev: EmulatorProcess) -> None:
    dev.call("PUT", "/_dev/faults", [{"status": 418, "times": 1}, {"kind": "reset"}])
    assert dev.send(CUSTOM, custom()).status == 418
    with pytest.raises(httpx2.ReadError, match="reset"):
        dev.send("/v1/projects/your-project-id/events", {"event_type": "event", "event_nme": "x"})
    broken, teapot = dev.events()
    assert (teapot["name"], teapot["site"], teapot["answer"]["status"]) == ("signup", "site_abc123", 418)
    assert [problem["code"] for problem in teapot["problems"]] == ["fault"]
    assert (broken["api"], broken["site"], broken["answer"]) == ("openanalytics", "your-project-id", None)
    assert "did you mean `event_name`?" in broken["problems"][-1]["message"]
    assert dev.send(CUSTOM, b"{", headers={"X-Ovx-Fault": "teapot"}).status == 400
    assert dev.events()[0]["error"]["field"] == "X-Ovx-Fault"
    assert dev.call("GET", "/_dev/summary").json == {"total": 3, "good": 0, "bad": 3}


def test_a_header_requests_a_fault_for_one_request(dev: EmulatorProcess) -> None:
    limited = dev.send(CUSTOM, custom(), headers={"X-Ovx-Fault": "429; retry-after=2"})
    assert (limited.status, limited.headers["retry-after"]) == (429, "2")
    assert dev.send(CUSTOM, custom(), headers={"X-Ovx-Fault": "503"}).headers["retry-after"] == "1"
    for header in ("", "200", "teapot", "503; phase=never", "503; times=2", "503; rate=0", "reset; status=500"):
        assert dev.send(CUSTOM, custom(), headers={"X-Ovx-Fault": header}).error == (
            400,
            "invalid_request",
            "X-Ovx-Fault",
        )


def test_random_faults_are_reproducible(dev: EmulatorProcess) -> None:
    seen = []
    for _ in range(2):
        dev.call("PUT", "/_dev/faults", [{"status": 500, "rate": 0.5}])
        seen.append([dev.send(CUSTOM, custom()).status for _ in range(12)])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {201, 500}


@pytest.mark.parametrize(
    "rule", [{}, {"status": 200}, {"kind": "fire"}, {"delay_ms": -1}, {"times": 0, "status": 500}, 1]
)
def test_invalid_faults_are_refused(dev: EmulatorProcess, rule: object) -> None:
    assert dev.call("PUT", "/_dev/faults", [rule]).error[:2] == (400, "invalid_request")


def test_the_error_for_a_number_out_of_range_names_the_range(dev: EmulatorProcess) -> None:
    for rule, limit in (
        ({"status": 200}, "at least 400"),
        ({"status": 1000}, "at most 599"),
        ({"status": 500, "rate": 1.1}, "at most 1"),
    ):
        message = dev.call("PUT", "/_dev/faults", [rule]).json["error"]["message"]
        assert limit in message


@pytest.mark.parametrize(
    "fields",
    [
        *({"events": [[1]]}, {"events": "goal.completed"}, {"events": []}, {"events": ["realtime.spike"]}),
        *({"url": "nope"}, {"url": 1}, {"url": "http://10.0.0.1/"}, {"spike_above": "5"}),
    ],
)
def test_invalid_webhooks_are_refused(dev: EmulatorProcess, fields: dict[str, object]) -> None:
    response = dev.call("POST", "/_dev/webhooks", {"url": "https://example.com/"} | fields)
    assert response.error[:2] == (400, "invalid_request")


def test_a_trigger_sends_a_webhook(dev: EmulatorProcess) -> None:
    dev.call("POST", "/_dev/webhooks", {"url": dev.url + "/_dev/hook/goals", "events": ["goal.completed"]})
    response = dev.call("POST", "/_dev/trigger", {"event": "goal.completed", "data": {"goal_name": "Mine"}})
    assert (response.status, len(response.json["followed"])) == (202, 1)
    dev.call("POST", "/_dev/clock", {"advance": 0})
    (request,) = dev.call("GET", "/_dev/hook/goals/requests").json["requests"]
    assert json.loads(request["body"])["data"] == {"goal_name": "Mine"}
    for body in (
        {"event": "goal.met"},
        {"event": "goal.completed", "data": []},
        {"event": "goal.completed", "site": "x"},
    ):
        assert dev.call("POST", "/_dev/trigger", body).status in (400, 404)


def test_a_reset_preserves_sites_and_keys(dev: EmulatorProcess) -> None:
    dev.send(CUSTOM, custom())
    dev.call("POST", "/_dev/webhooks", {"url": dev.url + "/_dev/hook/a"})
    dev.call("POST", "/_dev/reset")
    assert dev.call("GET", "/_dev/summary").json["total"] == 0
    assert dev.call("POST", "/_dev/trigger", {"event": "goal.completed"}).json == {"followed": []}
    assert dev.send(CUSTOM, custom()).status == 201


def test_the_stats_api_accepts_the_documents_keys(dev: EmulatorProcess) -> None:
    for site in ("site_abc123", "your-site-id"):
        dev.send("/api/v1/events/pageview", VIEW | {"site_id": site, "user_agent": FIREFOX})
        query = {"site_id": site, "metrics": ["visitors"], "date_range": "day"}
        assert dev.send("/api/v1/stats/query", query).json["results"] == [{"metrics": [1], "dimensions": []}]
        headers = {"Authorization": "Bearer oa_live_xxxxxxxxxxxx"}
        response = dev.call("GET", f"/api/v1/stats/realtime?site_id={site}", headers=headers)
        assert response.json == {"active_visitors": 1}
    assert dev.send("/api/v1/stats/query", {"site_id": "site_abc123"}, "ovx_wrong").error[0] == 401


@pytest.mark.parametrize("fault", ["reset", "empty", "reset; phase=after"])
def test_a_connection_that_breaks_under_two_requests_blocks_nothing(tmp_path: Path, fault: str) -> None:
    body = json.dumps(custom()).encode()
    head = "POST {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer YOUR_API_KEY\r\nContent-Length: {}\r\n"
    first = head.format(CUSTOM, len(body)).encode() + f"X-Ovx-Fault: {fault}\r\n\r\n".encode() + body
    second = head.format(CUSTOM, len(body)).encode() + b"\r\n" + body
    with run_emulator(tmp_path) as dev:
        address = ("127.0.0.1", int(dev.url.rpartition(":")[2]))
        with socket.create_connection(address) as client:
            client.sendall(first + second)
            with suppress(ConnectionResetError):
                assert client.recv(100) == b""
        with socket.create_connection(address) as client:  # a client that does not wait for the response
            client.sendall(first.replace(b"X-Ovx-Fault: ", b"X-Ovx-Fault: delay_ms=100;"))
        time.sleep(0.3)
        dev.process.terminate()
        assert dev.process.wait(10) == 0
        assert "Traceback" not in dev.read_log()


def test_a_mistyped_path_is_reported_in_the_journal(dev: EmulatorProcess) -> None:
    response = dev.send("/api/v1/events/pagevew", VIEW)
    message = "There is nothing at /api/v1/events/pagevew: did you mean /api/v1/events/pageview?"
    assert (response.status, response.json["error"]["message"]) == (404, message)
    assert dev.send("/v1/projects/x/event", {}).status == 404
    second, first = dev.events()
    assert (first["status"], first["problems"][0]["message"]) == ("bad", message)
    assert "did you mean /v1/projects/{PROJECT_ID}/events?" in second["error"]["message"]


def test_the_journal_has_the_exact_bytes_sent(dev: EmulatorProcess) -> None:
    batch = b'{ "site_id": "site_abc123",\n"events": [{"type": "pageview", "url": "https://a.example/"},'
    batch += b' {"type": "pageview", "url": "https://a.example/", "url": "https://b.example/"}]}'
    assert dev.send("/api/v1/events/batch?x=1", batch).status == 201
    for entry in dev.events():
        assert entry["request"]["path"] == "/api/v1/events/batch?x=1"
        assert dev.call("GET", f"/_dev/events/{entry['number']}/body").body == batch
    for number in ("0", "999999", "x", "9" * 30):
        assert dev.call("GET", f"/_dev/events/{number}/body").error[:2] == (404, "not_found")


def test_a_hook_answers_as_configured(dev: EmulatorProcess) -> None:
    for method, reply, wanted in (("POST", "204", 204), ("OPTIONS", "201", 201), ("POST", "500,304", 500)):
        assert dev.call(method, f"/_dev/hook/h?reply={reply}", b"x").status == wanted
    assert dev.call("POST", "/_dev/hook/h?reply=500,304").status == 304
    assert (
        dev.call("POST", "/_dev/hook/h?reply=503,200").status == 503
    )  # another reply script starts from its beginning
    assert dev.call("POST", "/_dev/hook/h?reply=x").error[2] == "reply"
    assert dev.call("POST", "/_dev/webhooks", {"url": dev.url + "/_dev/hook/h?reply=x"}).error[2] == "reply"
    assert "Traceback" not in dev.read_log()


def test_a_hook_retains_a_bounded_number_of_requests(dev: EmulatorProcess) -> None:
    with closing(http.client.HTTPConnection(dev.url.removeprefix("http://"), timeout=30)) as connection:
        for _ in range(MANY):
            connection.request("POST", "/_dev/hook/busy?reply=500,200", b"x" * 100)
            connection.getresponse().read()
    requests = dev.call("GET", "/_dev/hook/busy/requests").json["requests"]
    assert len(requests) == 1000
    assert requests[-1]["answered"] == 200


def test_the_journal_is_bounded(dev: EmulatorProcess) -> None:
    view = {"type": "pageview", "url": f"https://example.com/{'x' * 1000}"}
    batch = {"projectKey": "pk_live_xyz", "userId": "u", "events": [view] * 1000}
    for _ in range(MANY // 1000 + 2):
        assert dev.call("POST", "/api/events", batch).status == 200
    total = dev.call("GET", "/_dev/summary").json["total"]
    assert total == (MANY // 1000 + 2) * 1000
    assert 1000 <= len(dev.events(limit="10000")) < 24_000_000 / 1000


def test_a_waiting_client_does_not_delay_the_shutdown(tmp_path: Path) -> None:
    with run_emulator(tmp_path) as dev, ThreadPoolExecutor() as pool:
        waiting = pool.submit(dev.call, "GET", "/_dev/events/wait?count=9&timeout=300")
        while dev.call("GET", "/_dev/summary").status != 200 or not waiting.running():
            pass
        time.sleep(0.2)
        dev.process.terminate()
        assert waiting.result(10).status == 408
        assert dev.process.wait(10) == 0


def test_demo_traffic_is_restored_by_a_reset(tmp_path: Path) -> None:
    query = {"site_id": "site_abc123", "metrics": ["pageviews", "visitors"], "date_range": "7d"}
    options = ("--demo", "8", "--clock", "2026-03-15T14:00:00Z", "--data-dir", str(tmp_path / "data"))
    results = []
    for _ in range(2):
        with run_emulator(tmp_path, *options) as dev:
            results.append(dev.send("/api/v1/stats/query", query).json["results"])
            dev.send(CUSTOM, custom())
            dev.call("POST", "/_dev/reset")
            results.append(dev.send("/api/v1/stats/query", query).json["results"])
    assert results[0][0]["metrics"][0] > 100
    assert results == [results[0]] * 4


def test_serve_has_no_emulator_endpoints(tmp_path: Path, start: Start) -> None:
    store = Store(tmp_path / "data")
    store.site("my-site")
    server = start(store)
    for path in ("/_dev/summary", "/_dev/events", "/_dev/hook/a"):
        assert server.send(path, None, method="GET").error[:2] == (404, "not_found")


def test_a_public_address_requires_an_explicit_option(tmp_path: Path) -> None:
    with run_emulator(tmp_path, "--host", "0.0.0.0", wait=False) as refused:
        assert refused.process.wait(20) == 2
        assert "--i-know" in refused.read_log()
    with run_emulator(tmp_path, "--host", "0.0.0.0", "--i-know") as dev:
        assert dev.send(CUSTOM, custom()).status == 201
        assert "WARNING" in dev.read_log()


def test_the_fault_example_in_the_help_text_works(tmp_path: Path) -> None:
    with run_emulator(tmp_path, "--fault", "503; rate=0.1") as dev:
        (rule,) = dev.call("GET", "/_dev/faults").json["rules"]
        assert (rule["status"], rule["rate"], rule["times"]) == (503, 0.1, None)


def test_accept_any_accepts_every_key_and_site(tmp_path: Path) -> None:
    with run_emulator(tmp_path, "--any-key", "--clock", "2025-03-15T14:00:00Z", "--fault", "503; times=1") as dev:
        assert dev.send(CUSTOM, custom(site_id="mine"), "whatever").status == 503
        assert dev.send(CUSTOM, custom(site_id="mine"), "whatever").status == 201
        assert dev.call("POST", CUSTOM, custom(site_id="mine")).status == 401
        assert dev.send(CUSTOM, custom(site_id="../x y"), "whatever").status == 404
        (good,) = dev.events(status="good")
        assert (good["site"], good["stored"]["ts"][:16]) == ("mine", "2025-03-15T14:00")
