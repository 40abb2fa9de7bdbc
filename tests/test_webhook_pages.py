"""Settings → Webhooks: added, tried out, changed, disabled, given a new secret, removed."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from standardwebhooks import Webhook

from tests.conftest import Response, Start, Store
from tests.pages import (
    AdminSession,
    Fields,
    Node,
    field_errors,
    flash_text,
    form_fields,
    open_admin_session,
    page_secrets,
    parse_page,
)
from tests.pages import admin as admin
from tests.receiver import Receiver, http_response
from tests.test_commands import eventually


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(http_response(200, b"thanks & <b>more</b>")) as receiver:
        yield receiver


def blank(admin: AdminSession, settings: str, **typed: str | list[str]) -> dict[str, str | list[str]]:
    """The form to add a webhook, as it is shown, and with what is typed into it."""
    shown = form_fields(admin.client.get(f"{settings}/webhooks"), f"{settings}/webhooks")
    return {**shown, **typed}


def add(admin: AdminSession, settings: str, url: str, **typed: str | list[str]) -> tuple[str, str]:
    """Add a webhook. Returns where its forms go, and its secret."""
    form = blank(admin, settings, url=url, **typed)
    (secret,) = page_secrets(admin.submit(f"{settings}/webhooks", form))
    return f"{settings}/webhooks/{form['new'][0]}", secret


def cards(admin: AdminSession, settings: str) -> list[Node]:
    """What is shown of each webhook."""
    sections = parse_page(admin.client.get(f"{settings}/webhooks")).find_all("section", "card")
    return [section for section in sections if section.attrs["id"].startswith("wh_")]


def every(admin: AdminSession, settings: str) -> None:
    """Add a goal that every pageview meets."""
    admin.submit(f"{settings}/goals", {"name": "Every", "kind": "path", "path": "/**"})


def test_a_webhook_is_added_and_told_of_goals(admin: AdminSession, receiver: Receiver) -> None:
    settings, key = admin.add_site()
    every(admin, settings)
    assert "No webhooks yet" in parse_page(admin.client.get(f"{settings}/webhooks")).text
    _, secret = add(admin, settings, receiver.url)
    assert f"{receiver.url} enabled goal.completed · JSON" in cards(admin, settings)[0].text
    page = admin.client.get(f"{settings}/webhooks")
    assert (page_secrets(page), secret in page.body.decode()) == ([], False)
    admin.pageview(settings, key)
    assert eventually(lambda: len(receiver.requests) == 1)
    assert (
        Webhook(secret).verify(receiver.requests[0].body, dict(receiver.requests[0].headers))["event"]
        == "goal.completed"
    )


BOTH = ["goal.completed", "realtime.spike"]
REFUSED = ["", "nonsense", "ftp://127.0.0.1/", "https://", "https://me:secret@127.0.0.1/", "https://127.0.0.1:0/"]
REFUSED += ["https://127.0.0.1/a b", "https://127.1/", "https://10.1.2.3/hook", "https://169.254.169.254/latest"]
REFUSED += ["https://[::1]/", "http://8.8.8.8/", "https://127.0.0.1/" + "x" * 3000]


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_cannot_be_is_told_beside_it(admin: AdminSession, url: str) -> None:
    settings, _ = admin.add_site()
    form = blank(admin, settings, url=url, events=[*BOTH], spike_above="7", format="slack")
    answer = admin.client.post(f"{settings}/webhooks", form)
    assert (answer.status, list(field_errors(answer))) == (400, ["url"])
    kept = form_fields(answer, f"{settings}/webhooks")
    assert kept == {"new": kept["new"], "url": [url], "events": BOTH, "spike_above": ["7"], "format": ["slack"]}
    assert cards(admin, settings) == []


def test_loopback_is_refused_unless_it_is_allowed(store: Store, start: Start) -> None:
    admin = open_admin_session(store, start)
    settings, _ = admin.add_site()
    for url in ("https://127.0.0.1/", "http://127.0.0.1:9/", "http://localhost:9/", "https://[::1]/"):
        answer = admin.client.post(f"{settings}/webhooks", blank(admin, settings, url=url))
        assert (answer.status, list(field_errors(answer))) == (400, ["url"]), url
        assert "OVX_WEBHOOK_ALLOW_NET" in field_errors(answer)["url"]
    assert cards(admin, settings) == []


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
    admin: AdminSession, receiver: Receiver, typed: dict[str, str | list[str]], blamed: str
) -> None:
    settings, _ = admin.add_site()
    answer = admin.client.post(f"{settings}/webhooks", blank(admin, settings, url=receiver.url, **typed))
    assert (answer.status, list(field_errors(answer))) == (400, [f"new-{blamed}"])
    kept = form_fields(answer, f"{settings}/webhooks")
    assert (kept["url"], kept["spike_above"]) == ([receiver.url], [typed.get("spike_above", "")])
    assert kept.get("events", []) == [event for event in typed["events"] if event != "nonsense"]
    assert cards(admin, settings) == []
    deed, _ = add(admin, settings, receiver.url)
    id = deed.rsplit("/", 1)[1]
    answer = admin.client.post(deed, {"spike_above": "", "format": "json", **typed})
    assert (answer.status, list(field_errors(answer))) == (400, [f"{id}-{blamed}"])
    kept = form_fields(answer, deed)
    assert kept.get("events", []) == [event for event in typed["events"] if event != "nonsense"]
    assert (
        "open"
        in next(
            node for node in parse_page(answer).find_all("details", "wide") if node.find_all("form", action=deed)
        ).attrs
    )
    assert form_fields(answer, f"{settings}/webhooks")["url"] == [""], "nothing was typed there"
    assert "goal.completed · JSON" in cards(admin, settings)[0].text


@pytest.mark.parametrize(("format", "has"), [("", None), ("json", None), ("slack", "text"), ("discord", "content")])
def test_the_format_is_chosen(admin: AdminSession, receiver: Receiver, format: str, has: str | None) -> None:
    settings, _ = admin.add_site()
    deed, _ = add(admin, settings, receiver.url, format=format)
    assert f"goal.completed · {format or 'json'}".lower() in cards(admin, settings)[0].text.lower()
    admin.submit(f"{deed}/test")
    message = json.loads(receiver.requests[0].body)
    assert [name for name in ("text", "content") if name in message] == ([has] if has else [])


def test_the_sixth_webhook_is_one_too_many(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    form = blank(admin, settings, url=receiver.url)
    for _ in range(5):
        deed, _ = add(admin, settings, receiver.url)
    page = parse_page(admin.client.get(f"{settings}/webhooks"))
    assert (page.find_all("form", action=f"{settings}/webhooks"), "at most 5 webhooks" in page.text) == (
        [],
        True,
    )
    answer = admin.client.post(f"{settings}/webhooks", form)
    assert (answer.status, "5 webhooks" in field_errors(answer)[""], len(cards(admin, settings))) == (400, True, 5)
    admin.submit(f"{deed}/remove")
    add(admin, settings, receiver.url)


def test_a_test_is_answered(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    deed, _ = add(admin, settings, receiver.url)
    page = admin.submit(f"{deed}/test")
    told = parse_page(page).find_one("div", "notice", role="status")
    assert ("good" in told.classes, "Response: 200" in told.text) == (True, True)
    assert told.find_one("pre").text == "thanks & <b>more</b>"
    assert (
        link := told.find_one("a").attrs["href"]
    ) == f"{settings}/deliveries/{receiver.requests[0].headers['webhook-id']}"
    assert admin.client.get(link).status == 200
    assert "1 delivered" in cards(admin, settings)[0].text


def test_a_test_that_fails_says_how(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    deed, _ = add(admin, settings, receiver.url)
    receiver.reply = http_response(500, b"oh <i>no</i>")
    told = parse_page(admin.submit(f"{deed}/test")).find_one("div", "notice", role="status")
    assert ("bad" in told.classes, "Response: 500" in told.text, told.find_one("pre").text) == (
        True,
        True,
        "oh <i>no</i>",
    )
    assert "1 failed" in cards(admin, settings)[0].text


def test_a_test_that_nobody_answers_says_so(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        deed, _ = add(admin, settings, f"http://127.0.0.1:{bound.getsockname()[1]}/")
        told = parse_page(admin.submit(f"{deed}/test")).find_one("div", "notice", role="status")
    assert ("bad" in told.classes, "No response" in told.text, told.find_all("pre")) == (True, True, [])


def test_a_disabled_webhook_is_told_nothing_until_it_is_enabled(admin: AdminSession, receiver: Receiver) -> None:
    settings, key = admin.add_site()
    every(admin, settings)
    deed, _ = add(admin, settings, receiver.url)
    assert "disabled" in flash_text(admin.submit(f"{deed}/disable"))
    admin.pageview(settings, key)
    assert "enabled" in flash_text(admin.submit(f"{deed}/enable"))
    admin.pageview(settings, key, "https://example.com/after")
    assert eventually(lambda: len(receiver.requests) == 1)
    assert b"/after" in receiver.requests[0].body


def test_what_a_webhook_is_told_is_changed(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    deed, _ = add(admin, settings, receiver.url)
    shown = form_fields(admin.client.get(f"{settings}/webhooks"), deed)
    assert shown == {"events": ["goal.completed"], "spike_above": [""], "format": ["json"]}
    form: Fields = {"events": ["usage.threshold", "realtime.spike"], "spike_above": ["1,500"], "format": ["discord"]}
    assert flash_text(admin.submit(deed, {**form})) == "Saved."
    assert "usage.threshold, realtime.spike above 1,500 · Discord" in cards(admin, settings)[0].text
    assert form_fields(admin.client.get(f"{settings}/webhooks"), deed) == form | {"spike_above": ["1500"]}


def test_a_new_secret_is_shown_once_and_signs_beside_the_old_one(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    deed, old = add(admin, settings, receiver.url)
    (new,) = page_secrets(admin.submit(f"{deed}/rotate"))
    assert (new != old, page_secrets(admin.client.get(f"{settings}/webhooks"))) == (True, [])
    admin.submit(f"{deed}/test")
    for secret in (old, new):
        Webhook(secret).verify(receiver.requests[0].body, dict(receiver.requests[0].headers))


DEEDS = ["", "/test", "/enable", "/disable", "/rotate", "/remove"]


def test_a_removed_webhook_is_gone_with_its_log(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    deed, _ = add(admin, settings, receiver.url)
    admin.submit(f"{deed}/test")
    assert "removed" in flash_text(admin.submit(f"{deed}/remove"))
    assert cards(admin, settings) == []
    (id,) = receiver.webhook_ids()
    assert admin.client.get(f"{settings}/deliveries/{id}").status == 404
    form = {"events": "goal.completed", "format": "json"}
    assert {admin.client.post(f"{deed}{suffix}", form).status for suffix in DEEDS} == {404}
    assert admin.client.get(f"{settings}/webhooks?tested={id}").status == 200


def test_another_sites_webhook_is_not_here(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    other, _ = admin.add_site()
    deed, _ = add(admin, other, receiver.url)
    id, before = deed.rsplit("/", 1)[1], cards(admin, other)[0].text
    for wanted in (id, "wh_000000000000", "nonsense", "%20"):
        form = {"events": "usage.threshold", "format": "slack"}
        answers = [admin.client.post(f"{settings}/webhooks/{wanted}{suffix}", form) for suffix in DEEDS]
        assert {answer.status for answer in answers} == {404}
        assert all("no such webhook" in parse_page(answer).text for answer in answers)
    assert (cards(admin, other)[0].text, receiver.requests) == (before, [])


def test_a_form_that_is_sent_twice_makes_one_webhook(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    for made in range(1, 5):
        form = blank(admin, settings, url=receiver.url)

        def send(_: int, form: dict[str, str | list[str]] = form) -> Response:
            return admin.client.post(f"{settings}/webhooks", form)

        with ThreadPoolExecutor(3) as pool:
            assert {answer.status for answer in pool.map(send, range(3))} == {303}
        assert send(0).status == 303
        (secret,) = page_secrets(admin.client.get(f"{settings}/webhooks"))
        assert len(cards(admin, settings)) == made
    admin.submit(f"{settings}/webhooks/{form['new'][0]}/test")
    Webhook(secret).verify(receiver.requests[0].body, dict(receiver.requests[0].headers))
