"""`python -m tests.stores OVX_LITE`: let a program of any schema make a store with all kinds of data, and record it."""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from ovx_lite.storage.sqlite import STORE_FILE
from tests.conftest import CHROME, Server
from tests.stores import FOLDER, dump
from tests.support.browserless import PASSWORD, WebClient
from tests.support.geo import write_database
from tests.support.receiver import Receiver, http_response

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Version/17.4 Mobile/15E148 Safari"
ANN, PHIL, BOT = (
    {"ip_address": address, "user_agent": agent}
    for address, agent in (("203.0.113.9", CHROME), ("198.51.100.8", PHONE), ("198.51.100.7", "Googlebot/2.1"))
)
CAMPAIGN = "?utm_source=News&utm_medium=email&utm_campaign=May&utm_content=top&utm_term=x"
HOME = "https://example.com"
BROWSER = {"User-Agent": PHONE, "Origin": HOME}
LOG = f"""\
203.0.113.20 - - [23/Oct/2025:12:00:00 +0200] "GET /from-the-log HTTP/1.1" 200 512 "https://duckduckgo.com/" "{CHROME}"
203.0.113.20 - - [23/Oct/2025:12:00:00 +0200] "GET /from-the-log HTTP/1.1" 200 512 "https://duckduckgo.com/" "{CHROME}"
203.0.113.21 - - [23/Oct/2025:23:59:59 +0200] "GET /pricing/x HTTP/1.1" 200 512 "-" "{PHONE}"
203.0.113.21 - - [24/Oct/2025:00:00:00 +0200] "GET /pricing/x HTTP/1.1" 404 512 "-" "{PHONE}"
"""


def october_time(time: str) -> str:
    """Return a time in October 2025; the 26th has 25 hours in the time zone of the site."""
    return f"2025-10-{time}:00.250Z"


def view(time: str, path: str, who: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"type": "pageview", "url": HOME + path, "timestamp": october_time(time), **who, **more}


def custom(time: str, name: str, who: dict[str, str], **props: Any) -> dict[str, Any]:
    props_field = {"props": props} if props else {}
    return view(time, "/signup", who, type="custom", event_name=name) | props_field


OVYXA = [
    view("24T08:00", "/", ANN, referrer="https://www.google.com/search?q=secret"),
    view("24T08:05", "/pricing/plans", ANN),
    custom("24T08:06", "signup", ANN, plan="pro", seats=3, trial=True, price=0.1, note='"Größe"\n尺寸'),
    view("24T07:50", "/told/late", ANN),
    view("24T09:30", "/", ANN),
    view("25T21:55", "/blog/größe", ANN),  # before midnight in the site's time zone
    view("25T22:05", "/blog/one", ANN),
    view("25T10:00", "/pricing/seen-by-a-bot", BOT),
    view("26T00:30", "/" + CAMPAIGN, PHIL),  # this and the next one are in the repeated hour of the clock change
    view("26T01:30", "/pricing", PHIL),
    view("27T23:30", "/", {"ip_address": "", "user_agent": ""}, url="app://main/start"),
    custom("27T09:00", "signup", {}, plan="free"),  # without a visitor
]


def overcentric(time: str, name: str, who: dict[str, str] | None = None, **properties: Any) -> dict[str, Any]:
    event = {"name": name, "project_id": "my-site", "device_id": "dev_1", "session_id": f"s_{time[:2]}"}
    event |= {"context": "product" if properties else "website", "url": f"{HOME}/app", "timestamp": october_time(time)}
    identity = {"identity": {**who, "project_id": "my-site"}} if who else {}
    return {"event": {**event, "properties": properties}, **identity}


ADA = {"unique_identifier": "ada", "email": "ada@example.com", "name": "Ada"}
OVERCENTRIC = [
    overcentric("24T10:00", "opened"),
    overcentric("24T10:10", "$purchase", ADA, amount=19.99, currency="EUR", item="book"),
    overcentric("24T21:50", "opened"),
    overcentric("24T22:10", "opened"),  # the same session on the next day in the site's time zone
]


def apex(time: str, type: str, visitor: str, url: str = "/app", **more: Any) -> dict[str, Any]:
    return {"type": type, "visitorId": visitor, "url": url, "timestamp": october_time(time), **more}


APEX = [
    apex("25T14:00", "pageview", "v_1", "/pricing/team", referrer="https://news.example.org/a"),
    apex("25T14:01", "engagement", "v_1", "/pricing/team", data={"ms": 41000, "scroll": 80}),
    apex("25T15:00", "engagement", "v_2", data={"ms": 9000, "scroll": 10}),  # of a page that was opened long ago
    apex("25T15:02", "engagement", "v_2", data={"ms": 2000, "scroll": 90}),
    apex("25T16:00", "pageview", "anonymous", url=f"{HOME}/"),
    apex("26T16:00", "pageview", "v_3", sessionId="s_1", userId="bob"),
    {
        "visitorId": "v_3",
        "sessionId": "s_1",
        "events": [
            {"type": "click", "url": "/app", "timestamp": october_time("26T16:01"), "data": {"text": "Buy"}},
            {"type": "form_submit", "url": "/app", "timestamp": october_time("26T17:40")},
        ],
    },
    apex("27T16:00", "pageview", "v_3", userId="carol"),  # the device belongs to carol from then on
]


def open_analytics(time: str, type: str, user: str, **more: Any) -> dict[str, Any]:
    time_ms = int(datetime.fromisoformat(october_time(time)).timestamp() * 1000)
    return {"event_type": type, "user_id": user, "timestamp": time_ms, **more}


OPEN_ANALYTICS = [
    open_analytics("24T12:00", "identify", "carol", properties={"name": "Carol", "plan": "pro", "seats": 3}),
    open_analytics("24T12:01", "pageview", "carol", url=f"{HOME}/pricing/plans"),
    open_analytics("25T12:01", "conversion", "carol", event_name="paid", revenue=1500, currency="JPY"),
    open_analytics("27T12:01", "conversion", "bob", event_name="paid", revenue=1.234, currency="KWD"),
    open_analytics("27T12:02", "event", "dave", event_name="signup", url=f"{HOME}/signup"),  # dave is erased later
]


COUNTS = ["visitors", "visits", "pageviews", "events"]
TIMES = ["bounce_rate", "visit_duration", "views_per_visit"]
QUERIES: list[dict[str, Any]] = [
    {"metrics": COUNTS + TIMES},
    {"metrics": COUNTS + TIMES, "filters": [["is", "visit:device", ["mobile"]]]},
    *({"metrics": COUNTS, "dimensions": [f"time:{unit}"]} for unit in ("hour", "day", "week")),
    *({"metrics": COUNTS[:2], "dimensions": [f"visit:{name}"]} for name in ("source", "utm_campaign", "country")),
    *({"metrics": COUNTS[:2], "dimensions": [f"visit:{name}_page"]} for name in ("entry", "exit")),
    {"metrics": [*COUNTS, "time_on_page", "scroll_depth"], "dimensions": ["event:page"]},
    {"metrics": ["visitors", "events", "conversion_rate"], "dimensions": ["event:goal"]},
    {"metrics": ["events", "total_revenue"], "dimensions": ["event:currency"]},
    {"metrics": COUNTS, "dimensions": ["event:props:plan"], "filters": [["is", "event:name", ["signup"]]]},
]
"""Queries to the Stats API: later programs must return the same results."""


class Program:
    """The command line of a program, applied to the store that it makes."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.environment = {**os.environ, "OVX_DATA_DIR": str(folder / "data")}
        self.outputs: dict[str, Any] = {}

    def run(self, *args: str, stdin: str = "") -> Any:
        command = [self.program, *args, "--json"]
        completed = subprocess.run(
            command, input=stdin, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert completed.returncode == 0, (command, completed.stderr)
        return json.loads(completed.stdout)

    def record(self, *args: str) -> Any:
        """Run a command, and record its output."""
        self.outputs[" ".join(args)] = output = self.run(*args)
        return output

    @contextmanager
    def serve(self) -> Iterator[Server]:
        write_database(self.folder / "own.mmdb", IPv4Network("203.0.113.0/24"), {"country": {"iso_code": "FR"}})
        ready_path, log_path = self.folder / "ready.json", self.folder / "log"
        options = ["--port", "0", "--ready-file", str(ready_path), "--country-db", str(self.folder / "own.mmdb")]
        with (
            log_path.open("wb") as log_file,
            subprocess.Popen([self.program, "serve", *options], env=self.environment, stderr=log_file) as process,
        ):
            try:
                wait_until(ready_path.exists)
                server = Server(process, json.loads(ready_path.read_text())["url"], log_path)
                yield server
                assert server.stop() == 0
            finally:
                process.kill()


def wait_until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def make_store(program: Program) -> tuple[int, dict[str, Any]]:
    """Let a program make a store. Returns its schema and the facts that tests need."""
    run, facts = program.run, dict[str, Any]()
    file = program.folder / "data" / STORE_FILE
    options = ["--domain", "example.com", "--timezone", "Europe/Paris", "--monthly-limit", "30"]
    site = run("site", "add", "my-site", *options, "--retention-days", "36500", "--name", "Größe")
    run("site", "add", "other-site")
    schema_number = int(dump(file).partition("user_version = ")[2].partition(";")[0])
    facts["key"] = run("key", "add", "my-site", "--label", "server", "--tier", "enterprise")["key"]
    run("key", "revoke", run("key", "add", "my-site", "--label", "old")["id"])
    other_key = run("key", "add", "other-site", "--hourly-limit", "500")["key"]
    (program.folder / "log-to-import").write_text(LOG)
    assert run("import", "access-log", "my-site", str(program.folder / "log-to-import"))["imported"] == 3
    facts["log"] = LOG
    run("site", "change", "my-site", "--allowed-hosts", "example.com,example.org", "--hourly-limit", "700")
    run("password", "set", stdin=PASSWORD + "\n")
    facts["password"] = PASSWORD
    with program.serve() as server:
        send_ovyxa(server, facts, other_key)
        send_overcentric(server)
    with Receiver(http_response(200)) as good, Receiver(http_response(500, b"not now")) as bad:
        (program.folder / "data" / "ovx-lite.toml").write_text('webhook_allow_net = "127.0.0.0/8"')
        run("goal", "add", "my-site", "Sign-up", "--event", "signup")
        run("goal", "add", "my-site", "Pricing", "--path", "/pricing/**")
        trigger_options = ["--on", "goal.completed", "--on", "usage.threshold"]
        webhook = run(
            "webhook", "add", "my-site", good.url, *trigger_options, "--on", "realtime.spike", "--spike-above", "100"
        )
        run("webhook", "rotate-secret", webhook["id"])
        run("webhook", "add", "my-site", bad.url, *trigger_options, "--format", "slack")
        run("webhook", "disable", run("webhook", "add", "my-site", bad.url, "--on", "goal.completed")["id"])
        with program.serve() as server:
            send_apex(server, site["public_key"])
            send_open_analytics(server, facts["key"])
            wait_until(lambda: bad.requests)
            client = WebClient(server)
            client.log_in()
            assert client.post("/sites/my-site/settings/sharing", {"password": "a shared secret"}).status == 303
            note = {"day": "2025-10-25", "text": "Newsletter"}
            assert client.post("/sites/my-site/annotations", note).status == 303
            time.sleep(2)  # so that background work, such as deliveries, ends
    run("person", "erase", "my-site", "dave", "--yes")
    with program.serve() as server:
        facts["stats"] = [{"query": query, "answer": stats(server, facts["key"], query)} for query in QUERIES]
    leave_a_day_to_rebuild(file, schema_number)
    return schema_number, facts


def stats(server: Server, key: str, query: dict[str, Any]) -> dict[str, Any]:
    """Query the Stats API for all days with events."""
    body = {"site_id": "my-site", "date_range": ["2025-10-20", "2025-11-02"], **query}
    answer = server.send("/api/v1/stats/query", body, key)
    assert answer.status == 200, answer.body
    return {"results": answer.json["results"], "meta": answer.json["meta"]}


def leave_a_day_to_rebuild(file: Path, number: int) -> None:
    """Queue a day for a rebuild, as commands do that change its events: a running program would empty the queue."""
    queue = (
        "INSERT INTO stale SELECT site, max(day) FROM days GROUP BY site"
        if number == 6
        else "INSERT INTO dirty_days SELECT site_id, max(day) FROM daily_totals GROUP BY site_id"
    )
    with closing(sqlite3.connect(file)) as conn, conn:
        assert conn.execute(queue).rowcount == 2


def send_ovyxa(server: Server, facts: dict[str, Any], other_key: str) -> None:
    for event in OVYXA[:-2]:
        response = server.send(f"/api/v1/events/{event['type']}", {**event, "site_id": "my-site"}, facts["key"])
        assert response.status == 201, response.body
    assert server.batch(facts["key"], *OVYXA[-2:]).status == 201
    body = json.dumps({"site_id": "my-site", **view("27T10:00", "/pricing/once", PHIL)})
    path, headers = "/api/v1/events/pageview", {"Idempotency-Key": "key-1"}
    response = server.send(path, body.encode(), facts["key"], headers)
    assert response.status == 201
    facts["repeat"] = {"path": path, "body": body, "headers": headers, "answer": response.body.decode()}
    for event in (view("24T23:59", "/", ANN), view("25T00:00", "/", ANN)):
        assert server.pageview(other_key, **event, site_id="other-site").status == 201


def send_overcentric(server: Server) -> None:
    for event in OVERCENTRIC:
        assert server.send("/api/v1/event", event, headers=BROWSER).status == 200


def send_apex(server: Server, public_key: str) -> None:
    for event in APEX:
        assert server.send("/api/events", {"projectKey": public_key, **event}, headers=BROWSER).status == 200


def send_open_analytics(server: Server, key: str) -> None:
    path = "/v1/projects/my-site/events"
    for event in OPEN_ANALYTICS[:3]:
        assert server.send(path, event, key).status == 202
    assert server.send(f"{path}/batch", {"events": OPEN_ANALYTICS[3:]}, key).status == 202


def record_outputs(program: Program) -> None:
    """Record the outputs of a program about its store."""
    record = program.record
    record("site", "list")
    for site in ("my-site", "other-site"):
        record("export", site, "--include-excluded")
        record("key", "list", site)
    for kind in ("goal", "webhook", "delivery"):
        record(kind, "list", "my-site")
    for person in record("person", "list", "my-site"):
        record("person", "show", "my-site", person["id"])


def main(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        program = Program(name, Path(folder))
        schema_number, facts = make_store(program)
        record_outputs(program)
        sql = dump(Path(folder) / "data" / STORE_FILE)
    for local_path in (folder, str(Path.home()), os.getcwd()):
        assert local_path not in sql
    (FOLDER / f"{schema_number:04}.sql").write_text(sql, "utf-8", newline="")
    json_text = json.dumps(facts | {"said": program.outputs}, ensure_ascii=False, indent=1)
    (FOLDER / f"{schema_number:04}.json").write_text(json_text + "\n", "utf-8")
    print(f"{schema_number:04}: {len(sql):,} bytes of SQL, {len(json_text):,} of JSON")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
