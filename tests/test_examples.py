"""The examples of the products' documents, in curl, Node, Python and PHP, and under concurrency."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib.util import find_spec
from typing import Any, NamedTuple

import pytest

from tests.conftest import CHROME, RunningSite, Start, Store
from tests.support.emulator import EmulatorProcess, run_emulator
from tests.support.limits import add_keys

JSON = dict[str, Any]
PRICING = "https://shop.example/pricing"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
IPHONE += "Version/17.2 Mobile/15E148 Safari/604.1"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
PROGRAMS = ["", "curl/8.5.0", "python-requests/2.32.3", "Python-urllib/3.11", "node", "undici", "Go-http-client/2.0"]
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36"


class Example(NamedTuple):
    """A request from a document (`SITE` and `PUBLIC` are placeholders), its response and its exported rows."""

    path: str
    body: JSON
    status: int
    response: JSON
    rows: list[JSON]


def ovyxa(row: JSON, name: str = "", **fields: object) -> Example:
    """Return an Ovyxa event; without a name, a pageview."""
    path = "/api/v1/events/" + ("custom" if name else "pageview")
    body = {"site_id": "SITE", "url": PRICING} | ({"event_name": name} if name else {}) | fields
    row = {"api": "ovyxa", "name": name or "pageview", "props": fields.get("props")} | row
    return Example(path, body, 201, {"success": True}, [row])


def overcentric(row: JSON, person: JSON, properties: JSON, **fields: str) -> Example:
    """Return an Overcentric purchase; its prices have no currency."""
    name = "$subscription_purchase"
    event: JSON = {"name": name, "project_id": "SITE", "context": "product", "properties": properties}
    body = {"event": event | fields, "identity": person | {"project_id": "SITE"}}
    row = {"api": "overcentric", "context": "product", "currency": "XXX", "browser": None, "excluded": None} | row
    event_fields: JSON = {"name": name, "props": properties, "person": person["unique_identifier"]}
    return Example("/api/v1/event", body, 200, {"success": True}, [row | event_fields])


def apex(row: JSON, **event: object) -> tuple[JSON, JSON]:
    """Return an event of an Apex batch, and its exported row."""
    row = {"api": "apex", "type": event["type"], "person": "lead_456", "host": "shop.example", "browser": None} | row
    return event, row | {"props": event.get("data"), "path": event["url"]}


def sale(name: str) -> tuple[JSON, JSON]:
    """Return an OpenAnalytics conversion, and its exported row."""
    event = {"revenue": 49.99, "currency": "USD", "properties": {"plan": "pro"}, "url": "https://shop.example/thanks"}
    event |= {"user_id": sha256(b"jane").hexdigest(), "timestamp": int(time.time() * 1000), "event_name": name}
    row = {"api": "openanalytics", "type": "conversion", "path": "/thanks", "props": event["properties"], "name": name}
    row |= {"person": event["user_id"], "revenue": "49.99", "currency": "USD"}
    return event | {"event_type": "conversion"}, row


VIEW = apex({"ts": "2025-01-15T10:30:00.000Z"}, type="pageview", url="/pricing", timestamp="2025-01-15T10:30:00Z")
CLICK = apex({}, type="click", url="/pricing", data={"elementId": "plan-pro"})
FORM = apex({}, type="form_submit", url="/signup", data={"plan": "pro"})
BATCH, BATCH_ROWS = zip(VIEW, CLICK, FORM, strict=True)
LEAD = {"projectKey": "PUBLIC", "userId": "lead_456", "events": BATCH}
SNIPPET = {"type": "pageview", "visitorId": "v", "projectKey": "PUBLIC", "url": PRICING, "referrer": "https://bing.com"}
ONE, TWO, THREE = sale("one"), sale("two"), sale("three")
MISSING = {"code": "invalid_request", "message": "Missing required field: event_name", "field": "event_name"}
PROPS: JSON = {"plan": "pro", "trial_days": 14, "amount": 99.99, "gift": True}
CLIENT = {"device_id": "d", "session_id": "s", "url": "https://app.shop.example/done", "hostname": "app.shop.example"}
JOHN = {"unique_identifier": "user_123", "email": "john@shop.example", "name": "John Doe"}
PLAN = {"plan": "premium", "price": 29.99, "interval": "monthly"}
GOOGLE = {"referrer": "https://google.com/search", "user_agent": MAC, "ip_address": "203.0.113.42"}
HOOK = {"device_id": "webhook", "session_id": "webhook"}
EXAMPLES = [
    ovyxa({"type": "pageview", "path": "/pricing", "source": "google", "os": "macOS"}, **GOOGLE),
    ovyxa({"type": "event", "os": None, "visitor": None}, "signup", props=PROPS),
    ovyxa({"host": "example", "path": "/used"}, "feature_used", url="app://example/used", props={"format": "csv"}),
    Example("/api/v1/events/custom", {"site_id": "SITE", "url": PRICING}, 400, {"error": MISSING}, []),
    overcentric({"revenue": "29.99", "host": "app.shop.example", "path": "/done"}, JOHN, PLAN, **CLIENT),
    overcentric({"revenue": "19.99"}, {"unique_identifier": "cus_1"}, {"plan": "p", "amount": 1999 / 100}, **HOOK),
    Example("/api/events", SNIPPET, 200, {"received": 1}, [{"api": "apex", "source": "bing", "person": None}]),
    Example("/api/events", LEAD, 200, {"received": 3}, [*BATCH_ROWS]),
    Example("/v1/projects/SITE/events", ONE[0], 202, {"queued": True}, [ONE[1]]),
    Example("/v1/projects/SITE/events/batch", {"events": [TWO[0], THREE[0]]}, 202, {"count": 2}, [TWO[1], THREE[1]]),
]
CURL = """post() { url=$1 body=$2; shift 2; curl -s -w ' %{http_code}\\n' -X POST "$url" "$@" -d "$body"; }\n"""
NODE = """const post = async (url, headers, body) => {
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
    console.log(await response.text(), response.status)
}
"""
REQUESTS = """import requests; true = True
def post(url, headers, body):
    response = requests.post(url, headers=headers, json=body)
    print(response.text, response.status_code)
"""
URLLIB = """import json; from urllib import error, request; true = True
def post(url, headers, body):
    try:
        answer = request.urlopen(request.Request(url, json.dumps(body).encode(), headers))
    except error.HTTPError as exc:
        answer = exc
    print(answer.read().decode(), answer.status)
"""
PHP = """<?php
function post(string $url, array $headers, array $body): void {
    $ch = curl_init($url);
    curl_setopt_array($ch, [CURLOPT_POST => true, CURLOPT_POSTFIELDS => json_encode($body, JSON_UNESCAPED_SLASHES),
        CURLOPT_HTTPHEADER => $headers, CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 5]);
    echo curl_exec($ch), ' ', curl_getinfo($ch, CURLINFO_HTTP_CODE), "\\n";
}
"""
# Per language: the program needed, the command that reads a script, its header, and a call that prints the response.
LANGUAGES = {
    "curl": ("curl", ["sh"], CURL, "post 'ADDRESS' 'BODY' FLAGS"),
    "node": ("node", ["node", "--input-type=module"], NODE, "await post('ADDRESS', HEADERS, BODY)"),
    "requests": ("requests", [sys.executable], REQUESTS, "post('ADDRESS', HEADERS, BODY)"),
    "urllib": (sys.executable, [sys.executable], URLLIB, "post('ADDRESS', HEADERS, BODY)"),
    "php": ("php", ["php"], PHP, "post('ADDRESS', LINES, json_decode('BODY', true));"),
}


def program(language: str, url: str, key: str, site: str, public_key: str) -> str:
    """Return a script with all examples in a language."""
    _, _, text, call = LANGUAGES[language]
    for path, body, *_ in EXAMPLES:
        lines = ["Content-Type: application/json"]
        if path not in ("/api/events", "/api/v1/event"):
            lines.append(f"Authorization: Bearer {key}")
        replacements = {
            "ADDRESS": url + path,
            "FLAGS": " ".join(f"-H '{line}'" for line in lines),
            "LINES": json.dumps(lines),
        }
        replacements |= {"HEADERS": json.dumps(dict(line.split(": ") for line in lines)), "BODY": json.dumps(body)}
        call_text = "\n" + call
        for placeholder, value in {**replacements, "SITE": site, "PUBLIC": public_key}.items():
            call_text = call_text.replace(placeholder, value)
        text += call_text
    return text


def run_examples(language: str, url: str, key: str, site: str, public_key: str) -> None:
    """Run all examples and check that each response is as documented."""
    needed, command, *_ = LANGUAGES[language]
    if not (find_spec if language == "requests" else shutil.which)(needed):
        pytest.skip(f"{needed} is not installed")
    text = program(language, url, key, site, public_key)
    completed = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    output_lines = [line.rpartition(" ") for line in completed.stdout.splitlines()]
    assert [int(status) for *_, status in output_lines] == [example.status for example in EXAMPLES], completed
    for (body, *_), example in zip(output_lines, EXAMPLES, strict=True):
        assert json.loads(body).items() >= example.response.items()


def compare(stored: list[JSON]) -> None:
    """Check that the stored events are those of the examples."""
    expected = [row for example in EXAMPLES for row in example.rows]
    assert len(stored) == len(expected)
    for row in expected:
        assert len([stored_row for stored_row in stored if row.items() <= stored_row.items()]) == 1, row


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_examples_in_the_products_documents_work(store: Store, start: Start, language: str) -> None:
    site = store.site("my-site", "--domain", "shop.example")
    run_examples(language, start(store).url, store.key(), "my-site", site["public_key"])
    compare(store.events())


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with run_emulator(tmp_path_factory.mktemp("dev")) as emulator:
        yield emulator


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_examples_work_with_the_documents_own_keys(dev: EmulatorProcess, language: str) -> None:
    dev.call("POST", "/_dev/reset")
    run_examples(language, dev.url, "YOUR_API_KEY", "site_abc123", "pk_live_xyz")
    stored = [event["stored"] for event in dev.events(status="good")]
    for row in stored:
        if row["api"] == "apex" and row["person"]:  # its URLs are paths, and this site has no domain
            assert row["host"] is None
            row["host"] = "shop.example"
    compare(stored)
    assert [event["error"] for event in dev.events(status="bad")] == [MISSING]


BROWSERS = {CHROME: ("Chrome", "Windows", "desktop", "US"), IPHONE: ("Safari", "iOS", "mobile", "US")}
SEEN = {"project_id": "my-site", "name": "a", "context": "website", "device_id": "d", "session_id": "s"}
ITEM = {"type": "pageview", "projectKey": "my-site", "visitorId": "anonymous"}


def test_the_caller_is_the_visitor_only_if_it_is_a_browser(store: Store, start: Start) -> None:
    store.site()
    server, agents = start(store, "--trusted-proxies", "127.0.0.1"), [*BROWSERS, GOOGLEBOT, *PROGRAMS]
    for number, agent in enumerate(agents):
        headers, url = {"User-Agent": agent, "X-Forwarded-For": "8.8.8.8"}, {"url": f"https://example.com/{number}"}
        batch = {"projectKey": "my-site", "events": [ITEM | url]}
        for path, body in [("events", ITEM | url), ("events", batch), ("v1/event", {"event": SEEN | url})]:
            assert server.send(f"/api/{path}", body, None, headers).status == 200
    stored = store.events()
    for number, agent in enumerate(agents):
        rows = [row for row in stored if row["path"] == f"/{number}"]
        assert [row["excluded"] for row in rows] == ["bot" if agent == GOOGLEBOT else None] * 3
        named = {row["api"]: bool(row["visitor"]) for row in rows}
        assert named == {"apex": agent in BROWSERS, "overcentric": agent != GOOGLEBOT}
        for row in rows if agent != GOOGLEBOT else []:
            client_fields = (row["browser"], row["os"], row["device"], row["country"])
            assert client_fields == BROWSERS.get(agent, (None, None, None, None))


RETRY = """
const send = () => fetch(process.env.CALL, {method: 'POST', headers: {Authorization: 'Bearer ' + process.env.KEY},
    body: JSON.stringify({site_id: 'my-site', event_name: 'retried', url: 'https://shop.example/'})})
let response
while ((response = await send()).status !== 429) console.log((await response.json()).success)
console.log(parseInt(response.headers.get('Retry-After') || '0'), (await response.json()).error.code)
"""


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_a_client_over_its_limit_gets_a_retry_after(running: RunningSite) -> None:
    key, url = running.store.key("my-site", "--hourly-limit", "2"), f"{running.server.url}/api/v1/events/custom"
    command, env = LANGUAGES["node"][1], {**os.environ, "KEY": key, "CALL": url}
    completed = subprocess.run(command, input=RETRY, capture_output=True, text=True, timeout=60, env=env)
    *sent, (seconds, code) = [line.split() for line in completed.stdout.splitlines()]
    assert (sent, code, 0 < int(seconds) <= 3600) == ([["true"]] * 2, "rate_limit_exceeded", True)


URL = {"url": "https://shop.example/NAME"}
CONCURRENT_REQUESTS: list[tuple[str, object]] = [
    ("/api/v1/events/pageview", {"site_id": "my-site"} | URL),
    ("/api/v1/events/custom", {"site_id": "my-site", "event_name": "a"} | URL),
    ("/api/v1/events/batch", {"site_id": "my-site", "events": [{"type": "pageview"} | URL] * 2}),
    ("/api/v1/event", {"event": SEEN | URL, "identity": {"project_id": "my-site", "unique_identifier": "jane"}}),
    ("/api/events", {"type": "click", "visitorId": "v", "projectKey": "my-site"} | URL),
    ("/api/events", {"projectKey": "my-site", "events": [{"type": "click"} | URL] * 3, "userId": "jane"}),
    ("/v1/projects/my-site/events", {"event_type": "identify", "user_id": "jane"} | URL),
    ("/v1/projects/my-site/events/batch", [{"event_type": "pageview", "user_id": "jane"} | URL] * 4),
]


def test_all_endpoints_accept_concurrent_requests(store: Store, start: Start) -> None:
    store.site()
    key, server, threads, each = store.key(), start(store), 8, 50

    def send(thread: int) -> Counter[str]:
        counts: Counter[str] = Counter()
        for number in range(each):
            path, body = CONCURRENT_REQUESTS[(thread + number) % len(CONCURRENT_REQUESTS)]
            text, name = json.dumps(body), f"{thread}-{number}"
            if server.send(path, text.replace("NAME", name).encode(), key).status in (200, 201, 202):
                counts[f"/{name}"] = text.count("NAME")
        return counts

    with ThreadPoolExecutor(threads) as pool:
        counts = sum(pool.map(send, range(threads)), Counter[str]())
    assert len(counts) == threads * each
    assert Counter(row["path"] for row in store.events()) == counts


def test_many_clients_can_use_a_new_key_at_once(store: Store, start: Start) -> None:
    store.site()
    server = start(store)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            (key,) = add_keys(store, 1)
            assert [response.status for response in pool.map(server.pageview, [key] * 4)] == [201] * 4
