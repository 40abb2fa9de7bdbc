"""Settings → Delivery log: what was sent, chosen, opened, and sent again."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest

from tests.support.browserless import path_of
from tests.support.commands import eventually
from tests.support.pages import Node, Office, fields, notice, read, rows, words, wrong
from tests.support.pages import office as office
from tests.support.receiver import Receiver, status

ZONE = "Asia/Kathmandu"  # 5:45 ahead


@dataclass
class Log:
    """The log of a site with a goal that every pageview meets."""

    office: Office
    settings: str
    key: str

    @property
    def path(self) -> str:
        return f"{self.settings}/deliveries"

    def webhook(self, url: str) -> str:
        """Add a webhook. Returns its id."""
        form = fields(self.office.person.get(f"{self.settings}/webhooks"), f"{self.settings}/webhooks")
        self.office.done(f"{self.settings}/webhooks", {**form, "url": url})
        return form["new"][0]

    def test(self, webhook: str, times: int = 1) -> None:
        for _ in range(times):
            assert self.office.person.post(f"{self.settings}/webhooks/{webhook}/test").status == 303

    def rows(self, query: str = "", **asked: str) -> list[list[str]]:
        """What the log lists: status, event, when, tries, where to."""
        answer = self.office.person.get(f"{self.path}{query or '?' + urlencode(asked)}")
        assert answer.status == 200, answer.body
        return rows(answer)

    def statuses(self, **asked: str) -> list[str]:
        return [row[0] for row in self.rows(**asked)]

    def links(self, query: str = "") -> list[str]:
        """Where the deliveries that are listed are to be seen, newest first."""
        page = read(self.office.person.get(f"{self.path}{query}"))
        return [link.attrs["href"] for head in page.all("th", scope="row") for link in head.all("a")]

    def open(self, number: int = 0) -> Node:
        """The page of one of them."""
        return read(self.office.person.get(self.links()[number]))

    def curl(self) -> list[str]:
        """The words of the request of the newest delivery, as it is shown for a terminal."""
        (pre,) = [node for node in self.open().all("pre") if node.attrs["aria-label"].startswith("The request")]
        return words(pre.raw)

    def now(self, **more: int) -> str:
        """What the site's clocks show, as a browser sends it."""
        return f"{datetime.now(ZoneInfo(ZONE)) + timedelta(**more):%Y-%m-%dT%H:%M}"


@pytest.fixture
def log(office: Office) -> Log:
    settings, key = office.site(timezone=ZONE)
    office.done(f"{settings}/goals", {"name": "Every", "kind": "path", "path": "/**"})
    return Log(office, settings, key)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(status(200, b"<script>alert('thanks')</script>")) as receiver:
        yield receiver


@pytest.fixture
def broken() -> Iterator[Receiver]:
    with Receiver(status(500, b"out of order")) as receiver:
        yield receiver


def test_the_log_is_empty_at_first(log: Log, receiver: Receiver) -> None:
    assert "First, add a webhook" in read(log.office.person.get(log.path)).text
    log.webhook(receiver.url)
    assert "Send a test" in read(log.office.person.get(log.path)).text


def test_the_log_tells_what_came_of_each(log: Log, receiver: Receiver, broken: Receiver) -> None:
    good, bad = log.webhook(receiver.url), log.webhook(broken.url)
    log.office.pageview(log.settings, log.key)
    assert eventually(lambda: [row[3] for row in log.rows()] == ["1", "1"])
    log.test(bad)
    assert {row[4]: row[0] for row in log.rows()[1:]} == {receiver.url: "delivered", broken.url: "pending"}
    assert (log.rows()[0][0], log.rows()[0][4]) == ("failed", broken.url)
    assert log.statuses(status="pending") == ["pending"]
    assert log.statuses(webhook=bad) == ["failed", "pending"]
    assert (log.statuses(webhook=good), log.statuses(webhook=good, status="failed")) == (["delivered"], [])
    assert (len(log.rows(event="goal.completed")), log.rows(event="usage.threshold")) == (3, [])
    page = log.open(log.statuses().index("pending"))
    told = {name.text: node for name, node in zip(page.all("dt"), page.all("dd"), strict=True)}
    due = datetime.fromisoformat(told["Next try"].one("time").attrs["datetime"])
    assert due > datetime.fromisoformat(told["Put on its way"].one("time").attrs["datetime"])


@pytest.mark.parametrize("odd", ["nonsense", "' OR 1=1 --", "%", "\0", "<b>", "x" * 5000, "wh_000000000000", "🦉"])
@pytest.mark.parametrize("name", ["status", "webhook", "event"])
def test_an_odd_choice_is_an_empty_list(log: Log, receiver: Receiver, name: str, odd: str) -> None:
    log.test(log.webhook(receiver.url))
    assert log.rows(**{name: odd}) == []
    assert "There is nothing of that kind" in read(log.office.person.get(f"{log.path}?{urlencode({name: odd})}")).text


@pytest.mark.parametrize("odd", ["", "nonsense", "msg_0", "msg_" + "f" * 30, "-1", "%00"])
def test_an_odd_place_to_go_on_is_no_fault(log: Log, odd: str) -> None:
    assert log.office.person.get(f"{log.path}?before={odd}").status in (200, 404)


def test_a_long_log_is_on_several_pages(log: Log, receiver: Receiver, broken: Receiver) -> None:
    log.test(log.webhook(broken.url), 3)
    log.test(log.webhook(receiver.url), 53)
    chosen, seen = "?status=delivered", list[str]()
    for most in (50, 3):
        found = log.links(chosen)
        assert len(found) == most
        seen += found
        page = read(log.office.person.get(f"{log.path}{chosen}")).one("nav", "pages")
        chosen = next((link.attrs["href"] for link in page.all("a") if link.text == "Older"), "")
    assert chosen == ""
    (newest,) = page.all("a")
    assert (newest.text, len(rows(log.office.person.get(newest.attrs["href"])))) == ("Newest", 50)
    ids = [link.rsplit("/", 1)[1] for link in seen]
    assert ids == sorted(receiver.ids(), reverse=True)


def test_a_request_is_shown_as_curl_sends_it(log: Log, receiver: Receiver) -> None:
    log.webhook(url := receiver.url + "?tags[]=it's&x={1,2}&$HOME=`id`")
    log.office.pageview(log.settings, log.key, 'https://example.com/größe/it\'s?"$HOME"=`id`\\')
    assert eventually(lambda: log.statuses() == ["delivered"])
    given = log.curl()
    assert (given[0], url in given) == ("curl", True)
    assert given[given.index("--data-binary") + 1].encode() == receiver.got[0].body
    told = dict(word.split(": ", 1) for option, word in pairwise(given) if option == "-H")
    assert {"X-Ovyxa-Signature", "webhook-id", "webhook-timestamp", "webhook-signature"} <= set(told)
    for name, value in told.items():
        assert receiver.got[0].headers[name.lower()] == value, name


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")
def test_a_request_that_is_shown_can_be_made_again(log: Log, receiver: Receiver) -> None:
    log.test(log.webhook(receiver.url + "?tags[]=a&x={1,2}"))
    ran = subprocess.run([*log.curl(), "-sS", "--noproxy", "*"], capture_output=True, timeout=60)
    assert (ran.returncode, ran.stderr, len(receiver.got)) == (0, b"", 2)
    first, again = receiver.got
    signed = {name: value for name, value in first.headers.items() if name.startswith(("x-", "webhook-", "content-"))}
    assert (again.path, again.body) == (first.path, first.body)
    assert signed.items() <= again.headers.items()


def test_an_answer_is_text(log: Log, receiver: Receiver) -> None:
    log.test(log.webhook(receiver.url))
    assert b"<script>alert" not in log.office.person.get(log.links()[0]).body
    assert log.open().one("pre", **{"aria-label": "The answer"}).raw == "<script>alert('thanks')</script>"


def test_what_failed_is_sent_again(log: Log, receiver: Receiver) -> None:
    receiver.answer = status(500)
    log.test(log.webhook(receiver.url))
    assert log.statuses() == ["failed"]
    receiver.answer = status(200)
    assert "on its way again" in notice(log.office.done(f"{log.links()[0]}/redeliver"))
    assert eventually(lambda: log.statuses() == ["delivered"])
    assert [node.text.split()[0] for node in log.open().all("summary") if "Try" in node.text] == ["500", "200"]
    assert len({(got.body, got.headers["webhook-id"]) for got in receiver.got}) == 1


def test_all_that_failed_since_is_sent_again_by_the_sites_clocks(log: Log, receiver: Receiver) -> None:
    receiver.answer = status(500)
    log.test(log.webhook(receiver.url), 3)
    receiver.answer = status(200)
    assert "Nothing failed" in notice(log.office.done(log.path, {"since": log.now(hours=1)}))
    assert log.statuses() == ["failed"] * 3
    assert notice(log.office.done(log.path, {"since": log.now(hours=-1)})) == "3 on their way again."
    assert eventually(lambda: log.statuses() == ["delivered"] * 3)
    since = fields(log.office.person.get(log.path), log.path)["since"][0]
    assert abs(datetime.fromisoformat(since) - datetime.fromisoformat(log.now(days=-1))) < timedelta(minutes=10)
    assert "Nothing failed" in notice(log.office.done(log.path, {"since": since}))


@pytest.mark.parametrize("since", ["", "yesterday", "2026-13-01T00:00", "99999-01-01", "1", "2026-01-01T25:00"])
def test_a_time_that_is_none_is_told_beside_it(log: Log, receiver: Receiver, since: str) -> None:
    log.test(log.webhook(receiver.url))
    answer = log.office.person.post(log.path, {"since": since})
    assert (answer.status, list(wrong(answer))) == (400, ["since"])
    assert fields(answer, log.path) == {"since": [since]}
    assert len(rows(answer)) == 1


@pytest.mark.parametrize("since", ["0001-01-01T00:00", "9999-12-31T23:59", "2026-01-01", "2026-01-01T00:00:00Z"])
def test_a_time_long_ago_or_ahead_is_one(log: Log, since: str) -> None:
    assert "Nothing failed" in notice(log.office.done(log.path, {"since": since}))


def test_nothing_is_sent_again_to_a_disabled_webhook(log: Log, receiver: Receiver) -> None:
    receiver.answer = status(500)
    log.test(id := log.webhook(receiver.url))
    log.office.done(f"{log.settings}/webhooks/{id}/disable")
    page, deed = log.open(), f"{log.links()[0]}/redeliver"
    assert (page.all("form", action=deed), "The webhook is disabled" in page.text) == ([], True)
    answer = log.office.person.post(deed)
    assert (answer.status, f"The webhook {id} is disabled" in read(answer).text) == (400, True)
    assert "Nothing failed" in notice(log.office.done(log.path, {"since": log.now(hours=-1)}))
    assert len(receiver.got) == 1


def test_another_sites_delivery_is_not_here(log: Log, receiver: Receiver) -> None:
    log.test(log.webhook(receiver.url))
    theirs = log.links()[0].rsplit("/", 1)[1]
    other = path_of(log.office.person.post("/new-site", {"id": f"other-{theirs}"})).removesuffix("/start")
    for id in (theirs, "msg_0", "msg_", "nonsense", "msg_-1", "msg_" + "f" * 20, "%00", "é"):
        for answer in (
            log.office.person.get(f"{other}/deliveries/{(quoted := urlencode({'': id})[1:])}"),
            log.office.person.post(f"{other}/deliveries/{quoted}/redeliver"),
        ):
            assert (answer.status, "There is nothing here" in read(answer).text) == (404, True), id
    assert len(receiver.got) == 1
    assert rows(log.office.person.get(f"{other}/deliveries")) == []


@pytest.mark.parametrize("where", [lambda log: log.path, lambda log: log.links()[0]])
def test_times_are_the_sites_with_utc_in_the_title(log: Log, receiver: Receiver, where: Callable[[Log], str]) -> None:
    log.test(log.webhook(receiver.url))
    found = read(log.office.person.get(where(log))).all("time")
    assert found
    for node in found:
        at = datetime.fromisoformat(node.attrs["datetime"])
        local = at.astimezone(ZoneInfo(ZONE))
        assert node.text == f"{local.day} {local:%b %Y, %H:%M:%S}"
        assert node.attrs["title"] == f"{at:%Y-%m-%d %H:%M:%S} UTC"
        assert at.utcoffset() == timedelta(0)
