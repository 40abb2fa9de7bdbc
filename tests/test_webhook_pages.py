"""Settings → Webhooks: added, tried out, changed, disabled, given a new secret, removed."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from standardwebhooks import Webhook

from tests.conftest import Answer, Start, Store
from tests.support.commands import eventually
from tests.support.pages import Fields, Node, Office, fields, notice, open_office, read, secrets, wrong
from tests.support.pages import office as office
from tests.support.receiver import Receiver, status


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(status(200, b"thanks & <b>more</b>")) as receiver:
        yield receiver


def blank(office: Office, settings: str, **typed: str | list[str]) -> dict[str, str | list[str]]:
    """The form to add a webhook, as it is shown, and with what is typed into it."""
    shown = fields(office.person.get(f"{settings}/webhooks"), f"{settings}/webhooks")
    return {**shown, **typed}


def add(office: Office, settings: str, url: str, **typed: str | list[str]) -> tuple[str, str]:
    """Add a webhook. Returns where its forms go, and its secret."""
    form = blank(office, settings, url=url, **typed)
    (secret,) = secrets(office.done(f"{settings}/webhooks", form))
    return f"{settings}/webhooks/{form['new'][0]}", secret


def cards(office: Office, settings: str) -> list[Node]:
    """What is shown of each webhook."""
    sections = read(office.person.get(f"{settings}/webhooks")).all("section", "card")
    return [section for section in sections if section.attrs["id"].startswith("wh_")]


def every(office: Office, settings: str) -> None:
    """Add a goal that every pageview meets."""
    office.done(f"{settings}/goals", {"name": "Every", "kind": "path", "path": "/**"})


def test_a_webhook_is_added_and_told_of_goals(office: Office, receiver: Receiver) -> None:
    settings, key = office.site()
    every(office, settings)
    assert "There is no webhook yet" in read(office.person.get(f"{settings}/webhooks")).text
    _, secret = add(office, settings, receiver.url)
    assert f"{receiver.url} enabled goal.completed · json" in cards(office, settings)[0].text
    page = office.person.get(f"{settings}/webhooks")
    assert (secrets(page), secret in page.body.decode()) == ([], False)
    office.pageview(settings, key)
    assert eventually(lambda: len(receiver.got) == 1)
    assert Webhook(secret).verify(receiver.got[0].body, dict(receiver.got[0].headers))["event"] == "goal.completed"


BOTH = ["goal.completed", "realtime.spike"]
REFUSED = ["", "nonsense", "ftp://127.0.0.1/", "https://", "https://me:secret@127.0.0.1/", "https://127.0.0.1:0/"]
REFUSED += ["https://127.0.0.1/a b", "https://127.1/", "https://10.1.2.3/hook", "https://169.254.169.254/latest"]
REFUSED += ["https://[::1]/", "http://8.8.8.8/", "https://127.0.0.1/" + "x" * 3000]


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_cannot_be_is_told_beside_it(office: Office, url: str) -> None:
    settings, _ = office.site()
    form = blank(office, settings, url=url, events=[*BOTH], spike_above="7", format="slack")
    answer = office.person.post(f"{settings}/webhooks", form)
    assert (answer.status, list(wrong(answer))) == (400, ["url"])
    kept = fields(answer, f"{settings}/webhooks")
    assert kept == {"new": kept["new"], "url": [url], "events": BOTH, "spike_above": ["7"], "format": ["slack"]}
    assert cards(office, settings) == []


def test_loopback_is_refused_unless_it_is_allowed(store: Store, start: Start) -> None:
    office = open_office(store, start)
    settings, _ = office.site()
    for url in ("https://127.0.0.1/", "http://127.0.0.1:9/", "http://localhost:9/", "https://[::1]/"):
        answer = office.person.post(f"{settings}/webhooks", blank(office, settings, url=url))
        assert (answer.status, list(wrong(answer))) == (400, ["url"]), url
        assert "OVX_WEBHOOK_ALLOW_NET" in wrong(answer)["url"]
    assert cards(office, settings) == []


WRONG: list[tuple[dict[str, str | list[str]], str]] = [
    ({"events": []}, "events"),
    ({"events": ["nonsense"]}, "events"),
    ({"events": ["realtime.spike"], "spike_above": ""}, "spike_above"),
    ({"events": ["realtime.spike"], "spike_above": "0"}, "spike_above"),
    ({"events": ["realtime.spike"], "spike_above": "many"}, "spike_above"),
    ({"events": ["realtime.spike"], "spike_above": "1" + "0" * 30}, "spike_above"),
]


@pytest.mark.parametrize(("typed", "blamed"), WRONG)
def test_what_cannot_be_chosen_is_told_beside_it(
    office: Office, receiver: Receiver, typed: dict[str, str | list[str]], blamed: str
) -> None:
    settings, _ = office.site()
    answer = office.person.post(f"{settings}/webhooks", blank(office, settings, url=receiver.url, **typed))
    assert (answer.status, list(wrong(answer))) == (400, [f"new-{blamed}"])
    kept = fields(answer, f"{settings}/webhooks")
    assert (kept["url"], kept["spike_above"]) == ([receiver.url], [typed.get("spike_above", "")])
    assert kept.get("events", []) == [event for event in typed["events"] if event != "nonsense"]
    assert cards(office, settings) == []
    deed, _ = add(office, settings, receiver.url)
    id = deed.rsplit("/", 1)[1]
    answer = office.person.post(deed, {"spike_above": "", "format": "json", **typed})
    assert (answer.status, list(wrong(answer))) == (400, [f"{id}-{blamed}"])
    kept = fields(answer, deed)
    assert kept.get("events", []) == [event for event in typed["events"] if event != "nonsense"]
    assert "open" in next(node for node in read(answer).all("details", "wide") if node.all("form", action=deed)).attrs
    assert fields(answer, f"{settings}/webhooks")["url"] == [""], "nothing was typed there"
    assert "goal.completed · json" in cards(office, settings)[0].text


@pytest.mark.parametrize(("format", "has"), [("", None), ("json", None), ("slack", "text"), ("discord", "content")])
def test_the_format_is_chosen(office: Office, receiver: Receiver, format: str, has: str | None) -> None:
    settings, _ = office.site()
    deed, _ = add(office, settings, receiver.url, format=format)
    assert f"goal.completed · {format or 'json'}" in cards(office, settings)[0].text
    office.done(f"{deed}/test")
    message = json.loads(receiver.got[0].body)
    assert [name for name in ("text", "content") if name in message] == ([has] if has else [])


def test_the_sixth_webhook_is_one_too_many(office: Office, receiver: Receiver) -> None:
    settings, _ = office.site()
    form = blank(office, settings, url=receiver.url)
    for _ in range(5):
        deed, _ = add(office, settings, receiver.url)
    page = read(office.person.get(f"{settings}/webhooks"))
    assert (page.all("form", action=f"{settings}/webhooks"), "as many as a site may have" in page.text) == ([], True)
    answer = office.person.post(f"{settings}/webhooks", form)
    assert (answer.status, "5 webhooks" in wrong(answer)[""], len(cards(office, settings))) == (400, True, 5)
    office.done(f"{deed}/remove")
    add(office, settings, receiver.url)


def test_a_test_is_answered(office: Office, receiver: Receiver) -> None:
    settings, _ = office.site()
    deed, _ = add(office, settings, receiver.url)
    page = office.done(f"{deed}/test")
    told = read(page).one("div", "notice", role="status")
    assert ("good" in told.classes, "Answered 200" in told.text) == (True, True)
    assert told.one("pre").text == "thanks & <b>more</b>"
    assert (link := told.one("a").attrs["href"]) == f"{settings}/deliveries/{receiver.got[0].headers['webhook-id']}"
    assert office.person.get(link).status == 200
    assert "1 delivered" in cards(office, settings)[0].text


def test_a_test_that_fails_says_how(office: Office, receiver: Receiver) -> None:
    settings, _ = office.site()
    deed, _ = add(office, settings, receiver.url)
    receiver.answer = status(500, b"oh <i>no</i>")
    told = read(office.done(f"{deed}/test")).one("div", "notice", role="status")
    assert ("bad" in told.classes, "Answered 500" in told.text, told.one("pre").text) == (True, True, "oh <i>no</i>")
    assert "1 failed" in cards(office, settings)[0].text


def test_a_test_that_nobody_answers_says_so(office: Office) -> None:
    settings, _ = office.site()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        deed, _ = add(office, settings, f"http://127.0.0.1:{bound.getsockname()[1]}/")
        told = read(office.done(f"{deed}/test")).one("div", "notice", role="status")
    assert ("bad" in told.classes, "No answer" in told.text, told.all("pre")) == (True, True, [])


def test_a_disabled_webhook_is_told_nothing_until_it_is_enabled(office: Office, receiver: Receiver) -> None:
    settings, key = office.site()
    every(office, settings)
    deed, _ = add(office, settings, receiver.url)
    assert "disabled" in notice(office.done(f"{deed}/disable"))
    office.pageview(settings, key)
    assert "enabled" in notice(office.done(f"{deed}/enable"))
    office.pageview(settings, key, "https://example.com/after")
    assert eventually(lambda: len(receiver.got) == 1)
    assert b"/after" in receiver.got[0].body


def test_what_a_webhook_is_told_is_changed(office: Office, receiver: Receiver) -> None:
    settings, _ = office.site()
    deed, _ = add(office, settings, receiver.url)
    shown = fields(office.person.get(f"{settings}/webhooks"), deed)
    assert shown == {"events": ["goal.completed"], "spike_above": [""], "format": ["json"]}
    form: Fields = {"events": ["usage.threshold", "realtime.spike"], "spike_above": ["1,500"], "format": ["discord"]}
    assert notice(office.done(deed, {**form})) == "Saved."
    assert "usage.threshold, realtime.spike above 1,500 · discord" in cards(office, settings)[0].text
    assert fields(office.person.get(f"{settings}/webhooks"), deed) == form | {"spike_above": ["1500"]}


def test_a_new_secret_is_shown_once_and_signs_beside_the_old_one(office: Office, receiver: Receiver) -> None:
    settings, _ = office.site()
    deed, old = add(office, settings, receiver.url)
    (new,) = secrets(office.done(f"{deed}/rotate"))
    assert (new != old, secrets(office.person.get(f"{settings}/webhooks"))) == (True, [])
    office.done(f"{deed}/test")
    for secret in (old, new):
        Webhook(secret).verify(receiver.got[0].body, dict(receiver.got[0].headers))


DEEDS = ["", "/test", "/enable", "/disable", "/rotate", "/remove"]


def test_a_removed_webhook_is_gone_with_its_log(office: Office, receiver: Receiver) -> None:
    settings, _ = office.site()
    deed, _ = add(office, settings, receiver.url)
    office.done(f"{deed}/test")
    assert "removed" in notice(office.done(f"{deed}/remove"))
    assert cards(office, settings) == []
    (id,) = receiver.ids()
    assert office.person.get(f"{settings}/deliveries/{id}").status == 404
    form = {"events": "goal.completed", "format": "json"}
    assert {office.person.post(f"{deed}{suffix}", form).status for suffix in DEEDS} == {404}
    assert office.person.get(f"{settings}/webhooks?tested={id}").status == 200


def test_another_sites_webhook_is_not_here(office: Office, receiver: Receiver) -> None:
    settings, _ = office.site()
    other, _ = office.site()
    deed, _ = add(office, other, receiver.url)
    id, before = deed.rsplit("/", 1)[1], cards(office, other)[0].text
    for wanted in (id, "wh_000000000000", "nonsense", "%20"):
        form = {"events": "usage.threshold", "format": "slack"}
        answers = [office.person.post(f"{settings}/webhooks/{wanted}{suffix}", form) for suffix in DEEDS]
        assert {answer.status for answer in answers} == {404}
        assert all("no such webhook" in read(answer).text for answer in answers)
    assert (cards(office, other)[0].text, receiver.got) == (before, [])


def test_a_form_that_is_sent_twice_makes_one_webhook(office: Office, receiver: Receiver) -> None:
    settings, _ = office.site()
    for made in range(1, 5):
        form = blank(office, settings, url=receiver.url)

        def send(_: int, form: dict[str, str | list[str]] = form) -> Answer:
            return office.person.post(f"{settings}/webhooks", form)

        with ThreadPoolExecutor(3) as pool:
            assert {answer.status for answer in pool.map(send, range(3))} == {303}
        assert send(0).status == 303
        (secret,) = secrets(office.person.get(f"{settings}/webhooks"))
        assert len(cards(office, settings)) == made
    office.done(f"{settings}/webhooks/{form['new'][0]}/test")
    Webhook(secret).verify(receiver.got[0].body, dict(receiver.got[0].headers))
