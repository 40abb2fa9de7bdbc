"""Settings → Webhooks: add, test, change, disable, rotate the secret, remove."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from standardwebhooks import Webhook

from tests.conftest import Response, Start, Store
from tests.support.commands import eventually
from tests.support.pages import (
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
from tests.support.pages import admin as admin
from tests.support.receiver import Receiver, http_response


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(http_response(200, b"thanks & <b>more</b>")) as receiver:
        yield receiver


def blank_form(admin: AdminSession, settings: str, **typed: str | list[str]) -> dict[str, str | list[str]]:
    """Return the form to add a webhook with its default values and `typed` values."""
    values = form_fields(admin.client.get(f"{settings}/webhooks"), f"{settings}/webhooks")
    return {**values, **typed}


def add_webhook(admin: AdminSession, settings: str, url: str, **typed: str | list[str]) -> tuple[str, str]:
    """Add a webhook. Returns its path and its secret."""
    form = blank_form(admin, settings, url=url, **typed)
    (secret,) = page_secrets(admin.submit(f"{settings}/webhooks", form))
    return f"{settings}/webhooks/{form['new'][0]}", secret


def webhook_cards(admin: AdminSession, settings: str) -> list[Node]:
    """Return the card of each webhook."""
    sections = parse_page(admin.client.get(f"{settings}/webhooks")).find_all("section", "card")
    return [section for section in sections if section.attrs["id"].startswith("wh_")]


def add_catch_all_goal(admin: AdminSession, settings: str) -> None:
    """Add a goal that every pageview meets."""
    admin.submit(f"{settings}/goals", {"name": "Every", "kind": "path", "path": "/**"})


def test_a_webhook_is_added_and_receives_goals(admin: AdminSession, receiver: Receiver) -> None:
    settings, key = admin.add_site()
    add_catch_all_goal(admin, settings)
    assert "No webhooks yet" in parse_page(admin.client.get(f"{settings}/webhooks")).text
    _, secret = add_webhook(admin, settings, receiver.url)
    assert f"{receiver.url} enabled goal.completed · JSON" in webhook_cards(admin, settings)[0].text
    page = admin.client.get(f"{settings}/webhooks")
    assert (page_secrets(page), secret in page.body.decode()) == ([], False)
    admin.pageview(settings, key)
    assert eventually(lambda: len(receiver.requests) == 1)
    assert (
        Webhook(secret).verify(receiver.requests[0].body, dict(receiver.requests[0].headers))["event"]
        == "goal.completed"
    )


BOTH_EVENTS = ["goal.completed", "realtime.spike"]
REFUSED_URLS = ["", "nonsense", "ftp://127.0.0.1/", "https://", "https://me:secret@127.0.0.1/", "https://127.0.0.1:0/"]
REFUSED_URLS += ["https://127.0.0.1/a b", "https://127.1/", "https://10.1.2.3/hook", "https://169.254.169.254/latest"]
REFUSED_URLS += ["https://[::1]/", "http://8.8.8.8/", "https://127.0.0.1/" + "x" * 3000]


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_an_invalid_url_shows_an_error_beside_it(admin: AdminSession, url: str) -> None:
    settings, _ = admin.add_site()
    form = blank_form(admin, settings, url=url, events=[*BOTH_EVENTS], spike_above="7", format="slack")
    response = admin.client.post(f"{settings}/webhooks", form)
    assert (response.status, list(field_errors(response))) == (400, ["url"])
    values = form_fields(response, f"{settings}/webhooks")
    assert values == {
        "new": values["new"],
        "url": [url],
        "events": BOTH_EVENTS,
        "spike_above": ["7"],
        "format": ["slack"],
    }
    assert webhook_cards(admin, settings) == []


def test_loopback_is_refused_unless_it_is_allowed(store: Store, start: Start) -> None:
    admin = open_admin_session(store, start)
    settings, _ = admin.add_site()
    for url in ("https://127.0.0.1/", "http://127.0.0.1:9/", "http://localhost:9/", "https://[::1]/"):
        response = admin.client.post(f"{settings}/webhooks", blank_form(admin, settings, url=url))
        assert (response.status, list(field_errors(response))) == (400, ["url"]), url
        assert "OVX_WEBHOOK_ALLOW_NET" in field_errors(response)["url"]
    assert webhook_cards(admin, settings) == []


INVALID_CHOICES: list[tuple[dict[str, str | list[str]], str]] = [
    ({"events": []}, "events"),
    ({"events": ["nonsense"]}, "events"),
    ({"events": ["realtime.spike"], "spike_above": ""}, "spike_above"),
    ({"events": ["realtime.spike"], "spike_above": "0"}, "spike_above"),
    ({"events": ["realtime.spike"], "spike_above": "many"}, "spike_above"),
    ({"events": ["realtime.spike"], "spike_above": "1" + "0" * 30}, "spike_above"),
]


@pytest.mark.parametrize(("typed", "invalid_field"), INVALID_CHOICES)
def test_an_invalid_choice_shows_an_error_beside_it(
    admin: AdminSession, receiver: Receiver, typed: dict[str, str | list[str]], invalid_field: str
) -> None:
    settings, _ = admin.add_site()
    response = admin.client.post(f"{settings}/webhooks", blank_form(admin, settings, url=receiver.url, **typed))
    assert (response.status, list(field_errors(response))) == (400, [f"new-{invalid_field}"])
    values = form_fields(response, f"{settings}/webhooks")
    assert (values["url"], values["spike_above"]) == ([receiver.url], [typed.get("spike_above", "")])
    assert values.get("events", []) == [event for event in typed["events"] if event != "nonsense"]
    assert webhook_cards(admin, settings) == []
    webhook_path, _ = add_webhook(admin, settings, receiver.url)
    id = webhook_path.rsplit("/", 1)[1]
    response = admin.client.post(webhook_path, {"spike_above": "", "format": "json", **typed})
    assert (response.status, list(field_errors(response))) == (400, [f"{id}-{invalid_field}"])
    values = form_fields(response, webhook_path)
    assert values.get("events", []) == [event for event in typed["events"] if event != "nonsense"]
    assert (
        "open"
        in next(
            node
            for node in parse_page(response).find_all("details", "wide")
            if node.find_all("form", action=webhook_path)
        ).attrs
    )
    assert form_fields(response, f"{settings}/webhooks")["url"] == [""], "the form to add a webhook remains empty"
    assert "goal.completed · JSON" in webhook_cards(admin, settings)[0].text


@pytest.mark.parametrize(
    ("format", "text_key"), [("", None), ("json", None), ("slack", "text"), ("discord", "content")]
)
def test_the_format_can_be_chosen(admin: AdminSession, receiver: Receiver, format: str, text_key: str | None) -> None:
    settings, _ = admin.add_site()
    webhook_path, _ = add_webhook(admin, settings, receiver.url, format=format)
    assert f"goal.completed · {format or 'json'}".lower() in webhook_cards(admin, settings)[0].text.lower()
    admin.submit(f"{webhook_path}/test")
    message = json.loads(receiver.requests[0].body)
    assert [name for name in ("text", "content") if name in message] == ([text_key] if text_key else [])


def test_a_site_may_have_at_most_five_webhooks(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    form = blank_form(admin, settings, url=receiver.url)
    for _ in range(5):
        webhook_path, _ = add_webhook(admin, settings, receiver.url)
    page = parse_page(admin.client.get(f"{settings}/webhooks"))
    assert (page.find_all("form", action=f"{settings}/webhooks"), "at most 5 webhooks" in page.text) == (
        [],
        True,
    )
    response = admin.client.post(f"{settings}/webhooks", form)
    assert (response.status, "5 webhooks" in field_errors(response)[""], len(webhook_cards(admin, settings))) == (
        400,
        True,
        5,
    )
    admin.submit(f"{webhook_path}/remove")
    add_webhook(admin, settings, receiver.url)


def test_a_test_message_displays_the_response(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    webhook_path, _ = add_webhook(admin, settings, receiver.url)
    page = admin.submit(f"{webhook_path}/test")
    flash = parse_page(page).find_one("div", "notice", role="status")
    assert ("good" in flash.classes, "Response: 200" in flash.text) == (True, True)
    assert flash.find_one("pre").text == "thanks & <b>more</b>"
    assert (
        link := flash.find_one("a").attrs["href"]
    ) == f"{settings}/deliveries/{receiver.requests[0].headers['webhook-id']}"
    assert admin.client.get(link).status == 200
    assert "1 delivered" in webhook_cards(admin, settings)[0].text


def test_a_failed_test_message_displays_the_error(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    webhook_path, _ = add_webhook(admin, settings, receiver.url)
    receiver.reply = http_response(500, b"oh <i>no</i>")
    flash = parse_page(admin.submit(f"{webhook_path}/test")).find_one("div", "notice", role="status")
    assert ("bad" in flash.classes, "Response: 500" in flash.text, flash.find_one("pre").text) == (
        True,
        True,
        "oh <i>no</i>",
    )
    assert "1 failed" in webhook_cards(admin, settings)[0].text


def test_an_unanswered_test_message_is_reported(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        webhook_path, _ = add_webhook(admin, settings, f"http://127.0.0.1:{bound.getsockname()[1]}/")
        flash = parse_page(admin.submit(f"{webhook_path}/test")).find_one("div", "notice", role="status")
    assert ("bad" in flash.classes, "No response" in flash.text, flash.find_all("pre")) == (True, True, [])


def test_a_disabled_webhook_receives_nothing_until_it_is_enabled(admin: AdminSession, receiver: Receiver) -> None:
    settings, key = admin.add_site()
    add_catch_all_goal(admin, settings)
    webhook_path, _ = add_webhook(admin, settings, receiver.url)
    assert "disabled" in flash_text(admin.submit(f"{webhook_path}/disable"))
    admin.pageview(settings, key)
    assert "enabled" in flash_text(admin.submit(f"{webhook_path}/enable"))
    admin.pageview(settings, key, "https://example.com/after")
    assert eventually(lambda: len(receiver.requests) == 1)
    assert b"/after" in receiver.requests[0].body


def test_the_events_of_a_webhook_can_be_changed(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    webhook_path, _ = add_webhook(admin, settings, receiver.url)
    values = form_fields(admin.client.get(f"{settings}/webhooks"), webhook_path)
    assert values == {"events": ["goal.completed"], "spike_above": [""], "format": ["json"]}
    form: Fields = {"events": ["usage.threshold", "realtime.spike"], "spike_above": ["1,500"], "format": ["discord"]}
    assert flash_text(admin.submit(webhook_path, {**form})) == "Saved."
    assert "usage.threshold, realtime.spike above 1,500 · Discord" in webhook_cards(admin, settings)[0].text
    assert form_fields(admin.client.get(f"{settings}/webhooks"), webhook_path) == form | {"spike_above": ["1500"]}


def test_a_new_secret_is_displayed_once_and_signs_along_with_the_old_one(
    admin: AdminSession, receiver: Receiver
) -> None:
    settings, _ = admin.add_site()
    webhook_path, old_secret = add_webhook(admin, settings, receiver.url)
    (new_secret,) = page_secrets(admin.submit(f"{webhook_path}/rotate"))
    assert (new_secret != old_secret, page_secrets(admin.client.get(f"{settings}/webhooks"))) == (True, [])
    admin.submit(f"{webhook_path}/test")
    for secret in (old_secret, new_secret):
        Webhook(secret).verify(receiver.requests[0].body, dict(receiver.requests[0].headers))


ACTIONS = ["", "/test", "/enable", "/disable", "/rotate", "/remove"]


def test_a_removed_webhook_is_gone_with_its_log(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    webhook_path, _ = add_webhook(admin, settings, receiver.url)
    admin.submit(f"{webhook_path}/test")
    assert "removed" in flash_text(admin.submit(f"{webhook_path}/remove"))
    assert webhook_cards(admin, settings) == []
    (id,) = receiver.webhook_ids()
    assert admin.client.get(f"{settings}/deliveries/{id}").status == 404
    form = {"events": "goal.completed", "format": "json"}
    assert {admin.client.post(f"{webhook_path}{suffix}", form).status for suffix in ACTIONS} == {404}
    assert admin.client.get(f"{settings}/webhooks?tested={id}").status == 200


def test_a_webhook_of_another_site_is_404(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    other, _ = admin.add_site()
    webhook_path, _ = add_webhook(admin, other, receiver.url)
    id, before = webhook_path.rsplit("/", 1)[1], webhook_cards(admin, other)[0].text
    for webhook_id in (id, "wh_000000000000", "nonsense", "%20"):
        form = {"events": "usage.threshold", "format": "slack"}
        responses = [admin.client.post(f"{settings}/webhooks/{webhook_id}{suffix}", form) for suffix in ACTIONS]
        assert {response.status for response in responses} == {404}
        assert all("no such webhook" in parse_page(response).text for response in responses)
    assert (webhook_cards(admin, other)[0].text, receiver.requests) == (before, [])


def test_a_form_that_is_sent_twice_adds_one_webhook(admin: AdminSession, receiver: Receiver) -> None:
    settings, _ = admin.add_site()
    for webhook_count in range(1, 5):
        form = blank_form(admin, settings, url=receiver.url)

        def send(_: int, form: dict[str, str | list[str]] = form) -> Response:
            return admin.client.post(f"{settings}/webhooks", form)

        with ThreadPoolExecutor(3) as pool:
            assert {response.status for response in pool.map(send, range(3))} == {303}
        assert send(0).status == 303
        (secret,) = page_secrets(admin.client.get(f"{settings}/webhooks"))
        assert len(webhook_cards(admin, settings)) == webhook_count
    admin.submit(f"{settings}/webhooks/{form['new'][0]}/test")
    Webhook(secret).verify(receiver.requests[0].body, dict(receiver.requests[0].headers))
