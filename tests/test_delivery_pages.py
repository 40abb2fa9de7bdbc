"""Settings → Delivery log: listing, filtering, opening and redelivering."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest

from tests.support.browserless import redirect_path
from tests.support.commands import eventually
from tests.support.pages import (
    AdminSession,
    Node,
    field_errors,
    flash_text,
    form_fields,
    parse_page,
    split_command,
    table_rows,
)
from tests.support.pages import admin as admin
from tests.support.receiver import Receiver, http_response

ZONE = "Asia/Kathmandu"  # 5:45 ahead


@dataclass
class LogPages:
    """The delivery log of a site with a goal that every pageview meets."""

    admin: AdminSession
    settings: str
    key: str

    @property
    def path(self) -> str:
        return f"{self.settings}/deliveries"

    def add_webhook(self, url: str) -> str:
        """Add a webhook and return its id."""
        form = form_fields(self.admin.client.get(f"{self.settings}/webhooks"), f"{self.settings}/webhooks")
        self.admin.submit(f"{self.settings}/webhooks", {**form, "url": url})
        return form["new"][0]

    def send_tests(self, webhook: str, times: int = 1) -> None:
        for _ in range(times):
            assert self.admin.client.post(f"{self.settings}/webhooks/{webhook}/test").status == 303

    def rows(self, query: str = "", **params: str) -> list[list[str]]:
        """Return the rows of the log: status, event, time, attempts, destination."""
        response = self.admin.client.get(f"{self.path}{query or '?' + urlencode(params)}")
        assert response.status == 200, response.body
        return table_rows(response)

    def statuses(self, **params: str) -> list[str]:
        return [row[0] for row in self.rows(**params)]

    def links(self, query: str = "") -> list[str]:
        """Return the links to the listed deliveries, newest first."""
        page = parse_page(self.admin.client.get(f"{self.path}{query}"))
        return [link.attrs["href"] for head in page.find_all("th", scope="row") for link in head.find_all("a")]

    def open_delivery(self, number: int = 0) -> Node:
        """Return the page of a delivery; 0 is the newest."""
        return parse_page(self.admin.client.get(self.links()[number]))

    def curl_args(self) -> list[str]:
        """Return the arguments of the curl command shown for the newest delivery."""
        (pre,) = [
            node for node in self.open_delivery().find_all("pre") if node.attrs["aria-label"].startswith("The request")
        ]
        return split_command(pre.raw_text)

    def local_time(self, **offset: int) -> str:
        """Return the site's local time in the format that a browser sends."""
        return f"{datetime.now(ZoneInfo(ZONE)) + timedelta(**offset):%Y-%m-%dT%H:%M}"


@pytest.fixture
def log(admin: AdminSession) -> LogPages:
    settings, key = admin.add_site(timezone=ZONE)
    admin.submit(f"{settings}/goals", {"name": "Every", "kind": "path", "path": "/**"})
    return LogPages(admin, settings, key)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(http_response(200, b"<script>alert('thanks')</script>")) as receiver:
        yield receiver


@pytest.fixture
def broken() -> Iterator[Receiver]:
    with Receiver(http_response(500, b"out of order")) as receiver:
        yield receiver


def test_the_log_is_empty_at_first(log: LogPages, receiver: Receiver) -> None:
    assert "First, add a webhook" in parse_page(log.admin.client.get(log.path)).text
    log.add_webhook(receiver.url)
    assert "Send a test" in parse_page(log.admin.client.get(log.path)).text


def test_the_log_shows_the_result_of_each_delivery(log: LogPages, receiver: Receiver, broken: Receiver) -> None:
    good, bad = log.add_webhook(receiver.url), log.add_webhook(broken.url)
    log.admin.pageview(log.settings, log.key)
    assert eventually(lambda: [row[3] for row in log.rows()] == ["1", "1"])
    log.send_tests(bad)
    assert {row[4]: row[0] for row in log.rows()[1:]} == {receiver.url: "delivered", broken.url: "pending"}
    assert (log.rows()[0][0], log.rows()[0][4]) == ("failed", broken.url)
    assert log.statuses(status="pending") == ["pending"]
    assert log.statuses(webhook=bad) == ["failed", "pending"]
    assert (log.statuses(webhook=good), log.statuses(webhook=good, status="failed")) == (["delivered"], [])
    assert (len(log.rows(event="goal.completed")), log.rows(event="usage.threshold")) == (3, [])
    page = log.open_delivery(log.statuses().index("pending"))
    details = {name.text: node for name, node in zip(page.find_all("dt"), page.find_all("dd"), strict=True)}
    next_attempt_at = datetime.fromisoformat(details["Next attempt"].find_one("time").attrs["datetime"])
    assert next_attempt_at > datetime.fromisoformat(details["Created"].find_one("time").attrs["datetime"])


@pytest.mark.parametrize("value", ["nonsense", "' OR 1=1 --", "%", "\0", "<b>", "x" * 5000, "wh_000000000000", "🦉"])
@pytest.mark.parametrize("name", ["status", "webhook", "event"])
def test_an_unknown_filter_value_gives_an_empty_list(log: LogPages, receiver: Receiver, name: str, value: str) -> None:
    log.send_tests(log.add_webhook(receiver.url))
    assert log.rows(**{name: value}) == []
    assert "No matching deliveries" in parse_page(log.admin.client.get(f"{log.path}?{urlencode({name: value})}")).text


@pytest.mark.parametrize("value", ["", "nonsense", "msg_0", "msg_" + "f" * 30, "-1", "%00"])
def test_an_invalid_page_cursor_is_not_an_error(log: LogPages, value: str) -> None:
    assert log.admin.client.get(f"{log.path}?before={value}").status in (200, 404)


def test_a_long_log_is_paginated(log: LogPages, receiver: Receiver, broken: Receiver) -> None:
    log.send_tests(log.add_webhook(broken.url), 3)
    log.send_tests(log.add_webhook(receiver.url), 53)
    chosen, all_links = "?status=delivered", list[str]()
    for expected_count in (50, 3):
        links = log.links(chosen)
        assert len(links) == expected_count
        all_links += links
        page = parse_page(log.admin.client.get(f"{log.path}{chosen}")).find_one("nav", "pages")
        chosen = next((link.attrs["href"] for link in page.find_all("a") if link.text == "Older"), "")
    assert chosen == ""
    (newest,) = page.find_all("a")
    assert (newest.text, len(table_rows(log.admin.client.get(newest.attrs["href"])))) == ("Newest", 50)
    ids = [link.rsplit("/", 1)[1] for link in all_links]
    assert ids == sorted(receiver.webhook_ids(), reverse=True)


def test_a_request_is_shown_as_a_curl_command(log: LogPages, receiver: Receiver) -> None:
    log.add_webhook(url := receiver.url + "?tags[]=it's&x={1,2}&$HOME=`id`")
    log.admin.pageview(log.settings, log.key, 'https://example.com/größe/it\'s?"$HOME"=`id`\\')
    assert eventually(lambda: log.statuses() == ["delivered"])
    args = log.curl_args()
    assert (args[0], url in args) == ("curl", True)
    assert args[args.index("--data-binary") + 1].encode() == receiver.requests[0].body
    headers = dict(arg.split(": ", 1) for option, arg in pairwise(args) if option == "-H")
    assert {"X-Ovyxa-Signature", "webhook-id", "webhook-timestamp", "webhook-signature"} <= set(headers)
    for name, value in headers.items():
        assert receiver.requests[0].headers[name.lower()] == value, name


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")
def test_the_curl_command_repeats_the_request(log: LogPages, receiver: Receiver) -> None:
    log.send_tests(log.add_webhook(receiver.url + "?tags[]=a&x={1,2}"))
    completed = subprocess.run([*log.curl_args(), "-sS", "--noproxy", "*"], capture_output=True, timeout=60)
    assert (completed.returncode, completed.stderr, len(receiver.requests)) == (0, b"", 2)
    first, again = receiver.requests
    signed_headers = {
        name: value for name, value in first.headers.items() if name.startswith(("x-", "webhook-", "content-"))
    }
    assert (again.path, again.body) == (first.path, first.body)
    assert signed_headers.items() <= again.headers.items()


def test_a_response_is_shown_as_text(log: LogPages, receiver: Receiver) -> None:
    log.send_tests(log.add_webhook(receiver.url))
    assert b"<script>alert" not in log.admin.client.get(log.links()[0]).body
    assert (
        log.open_delivery().find_one("pre", **{"aria-label": "The response"}).raw_text
        == "<script>alert('thanks')</script>"
    )


def test_a_failed_delivery_can_be_sent_again(log: LogPages, receiver: Receiver) -> None:
    receiver.reply = http_response(500)
    log.send_tests(log.add_webhook(receiver.url))
    assert log.statuses() == ["failed"]
    receiver.reply = http_response(200)
    assert "queued again" in flash_text(log.admin.submit(f"{log.links()[0]}/redeliver"))
    assert eventually(lambda: log.statuses() == ["delivered"])
    assert [node.text.split()[0] for node in log.open_delivery().find_all("summary") if "Attempt" in node.text] == [
        "500",
        "200",
    ]
    assert len({(request.body, request.headers["webhook-id"]) for request in receiver.requests}) == 1


def test_failed_deliveries_since_a_site_local_time_are_sent_again(log: LogPages, receiver: Receiver) -> None:
    receiver.reply = http_response(500)
    log.send_tests(log.add_webhook(receiver.url), 3)
    receiver.reply = http_response(200)
    assert "No deliveries to resend" in flash_text(log.admin.submit(log.path, {"since": log.local_time(hours=1)}))
    assert log.statuses() == ["failed"] * 3
    assert (
        flash_text(log.admin.submit(log.path, {"since": log.local_time(hours=-1)})) == "3 deliveries were queued again."
    )
    assert eventually(lambda: log.statuses() == ["delivered"] * 3)
    since = form_fields(log.admin.client.get(log.path), log.path)["since"][0]
    assert abs(datetime.fromisoformat(since) - datetime.fromisoformat(log.local_time(days=-1))) < timedelta(minutes=10)
    assert "No deliveries to resend" in flash_text(log.admin.submit(log.path, {"since": since}))


@pytest.mark.parametrize("since", ["", "yesterday", "2026-13-01T00:00", "99999-01-01", "1", "2026-01-01T25:00"])
def test_an_invalid_time_is_reported_beside_the_field(log: LogPages, receiver: Receiver, since: str) -> None:
    log.send_tests(log.add_webhook(receiver.url))
    response = log.admin.client.post(log.path, {"since": since})
    assert (response.status, list(field_errors(response))) == (400, ["since"])
    assert form_fields(response, log.path) == {"since": [since]}
    assert len(table_rows(response)) == 1


@pytest.mark.parametrize("since", ["0001-01-01T00:00", "9999-12-31T23:59", "2026-01-01", "2026-01-01T00:00:00Z"])
def test_a_time_far_in_the_past_or_future_is_accepted(log: LogPages, since: str) -> None:
    assert "No deliveries to resend" in flash_text(log.admin.submit(log.path, {"since": since}))


def test_nothing_is_sent_again_to_a_disabled_webhook(log: LogPages, receiver: Receiver) -> None:
    receiver.reply = http_response(500)
    log.send_tests(id := log.add_webhook(receiver.url))
    log.admin.submit(f"{log.settings}/webhooks/{id}/disable")
    page, action = log.open_delivery(), f"{log.links()[0]}/redeliver"
    assert (page.find_all("form", action=action), "The webhook is disabled" in page.text) == ([], True)
    response = log.admin.client.post(action)
    assert (response.status, f"The webhook {id} is disabled" in parse_page(response).text) == (400, True)
    assert "No deliveries to resend" in flash_text(log.admin.submit(log.path, {"since": log.local_time(hours=-1)}))
    assert len(receiver.requests) == 1


def test_the_delivery_of_another_site_is_not_found(log: LogPages, receiver: Receiver) -> None:
    log.send_tests(log.add_webhook(receiver.url))
    their_id = log.links()[0].rsplit("/", 1)[1]
    other = redirect_path(log.admin.client.post("/new-site", {"id": f"other-{their_id}"})).removesuffix("/start")
    for id in (their_id, "msg_0", "msg_", "nonsense", "msg_-1", "msg_" + "f" * 20, "%00", "é"):
        for response in (
            log.admin.client.get(f"{other}/deliveries/{(quoted := urlencode({'': id})[1:])}"),
            log.admin.client.post(f"{other}/deliveries/{quoted}/redeliver"),
        ):
            assert (response.status, "Not found" in parse_page(response).text) == (404, True), id
    assert len(receiver.requests) == 1
    assert table_rows(log.admin.client.get(f"{other}/deliveries")) == []


@pytest.mark.parametrize("where", [lambda log: log.path, lambda log: log.links()[0]])
def test_times_are_in_the_sites_zone_with_utc_in_the_title(
    log: LogPages, receiver: Receiver, where: Callable[[LogPages], str]
) -> None:
    log.send_tests(log.add_webhook(receiver.url))
    nodes = parse_page(log.admin.client.get(where(log))).find_all("time")
    assert nodes
    for node in nodes:
        utc_time = datetime.fromisoformat(node.attrs["datetime"])
        site_time = utc_time.astimezone(ZoneInfo(ZONE))
        assert node.text == f"{site_time.day} {site_time:%b %Y, %H:%M:%S}"
        assert node.attrs["title"] == f"{utc_time:%Y-%m-%d %H:%M:%S} UTC"
        assert utc_time.utcoffset() == timedelta(0)
