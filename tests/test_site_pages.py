"""The list of sites; adding, changing and deleting a site."""

import pytest

from tests.conftest import Start, Store
from tests.support.browserless import redirect_path
from tests.support.pages import (
    AdminSession,
    field_errors,
    flash_text,
    form_fields,
    open_admin_session,
    page_secrets,
    parse_page,
)
from tests.support.pages import admin as admin

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
LONG_NAME = "x" * 101


def saved_settings(admin: AdminSession, settings: str) -> dict[str, str]:
    """Return the values in the form of the general settings."""
    values_by_field = form_fields(admin.client.get(f"{settings}/general"), f"{settings}/general")
    return {name: value for name, (value,) in values_by_field.items()}


def site_slugs(store: Store) -> list[str]:
    return [site["id"] for site in store.call("site", "list")]


def test_the_list_is_empty_at_first(store: Store, start: Start) -> None:
    admin = open_admin_session(store, start)
    page = admin.client.get("/")
    assert "No sites yet" in parse_page(page).text
    admin.add_site(id="first")
    assert [node.text for node in parse_page(admin.client.get("/")).find_one("ul", "sites").find_all("h2")] == ["first"]


def test_the_list_displays_this_months_usage_against_the_limit(admin: AdminSession) -> None:
    settings, key = admin.add_site()
    admin.submit(f"{settings}/general", saved_settings(admin, settings) | {"name": "<b>Used", "monthly_limit": "1 000"})
    for _ in range(3):
        assert admin.pageview(settings, key).status == 201
    assert admin.pageview(settings, key, user_agent=GOOGLEBOT).status == 201
    card = next(card for card in parse_page(admin.client.get("/")).find_all("li", "card") if "<b>Used" in card.text)
    assert "3 of 1,000 events this month" in card.text
    assert (card.find_one("progress").attrs["value"], card.find_one("progress").attrs["max"]) == ("3", "1000")
    assert "Last event" in card.text
    assert "3 of 1,000 events" in parse_page(admin.client.get(f"{settings}/general")).text


@pytest.mark.parametrize(
    "typed",
    [
        "a1.example.com",
        " A2.Example.COM ",
        "https://a3.example.com",
        "http://a4.example.com/",
        "Https://a5.example.com/",
    ],
)
def test_the_id_of_a_site_is_derived_from_a_domain_or_a_pasted_url(admin: AdminSession, typed: str) -> None:
    domain = typed.strip().lower().split("//")[-1].strip("/")
    response = admin.client.post("/new-site", {"domain": typed, "id": "", "timezone": "Europe/Paris"})
    assert (response.status, redirect_path(response)) == (303, f"/sites/{domain}/settings/start"), field_errors(
        response
    )
    values = saved_settings(admin, f"/sites/{domain}/settings")
    assert (values["domain"], values["name"], values["timezone"]) == (domain, domain, "Europe/Paris")


def test_the_first_key_of_a_site_is_displayed_once_and_works(admin: AdminSession) -> None:
    settings, key = admin.add_site()
    response = admin.client.get(f"{settings}/start")
    assert (page_secrets(response), key in response.body.decode()) == ([], False)
    assert admin.pageview(settings, key).status == 201


INVALID_SITES = [
    ({"id": "taken"}, "id"),
    ({"id": "", "domain": "taken"}, "id"),
    ({"id": "", "domain": ""}, "id"),
    ({"id": "a b"}, "id"),
    ({"id": "-a"}, "id"),
    ({"id": "../a"}, "id"),
    ({"id": "<script>"}, "id"),
    ({"id": "x" * 65}, "id"),
    ({"domain": "exa mple.com"}, "domain"),
    ({"domain": "example_com!/shop"}, "domain"),
    ({"domain": "x" * 254}, "domain"),
    ({"domain": "not a host", "id": ""}, "domain"),
    ({"timezone": "Mars/Olympus"}, "timezone"),
    ({"timezone": "../../etc/passwd"}, "timezone"),
]


@pytest.mark.parametrize(("typed", "invalid_field"), INVALID_SITES)
def test_an_invalid_site_shows_an_error_beside_the_field(
    admin: AdminSession, typed: dict[str, str], invalid_field: str
) -> None:
    if "taken" not in (before := site_slugs(admin.store)):
        admin.add_site(id="taken")
        before = site_slugs(admin.store)
    form = {"domain": "fine.example", "id": "fine", "timezone": "Europe/Oslo"} | typed
    response = admin.client.post("/new-site", form)
    assert (response.status, list(field_errors(response))) == (400, [invalid_field])
    assert form_fields(response, "/new-site") == {name: [value] for name, value in form.items()}
    assert site_slugs(admin.store) == before


def test_all_errors_appear_at_once(admin: AdminSession) -> None:
    response = admin.client.post("/new-site", {"domain": "a b", "id": "a b", "timezone": "x"})
    assert set(field_errors(response)) == {"domain", "id", "timezone"}


CHANGES = [
    ("name", " Größe & <b>Co</b> ", "Größe & <b>Co</b>", None),
    ("name", "x" * 100, "x" * 100, None),
    ("domain", "https://Shop.example.com/", "shop.example.com", ""),
    ("timezone", "Asia/Kathmandu", "Asia/Kathmandu", None),
    ("monthly_limit", "1,000,000", "1000000", ""),
    ("retention_days", "36500", "36500", ""),
    ("hourly_limit", "1", "1", ""),
    ("hourly_events", "5,000", "5000", ""),
    ("allowed_hosts", "Example.com  b.example,\r\nc.example, example.com", "example.com, b.example, c.example", ""),
]


@pytest.mark.parametrize(("field", "typed", "stored", "emptied"), CHANGES)
def test_a_setting_can_be_saved_and_cleared(
    admin: AdminSession, field: str, typed: str, stored: str, emptied: str | None
) -> None:
    settings, _ = admin.add_site()
    before = saved_settings(admin, settings)
    assert flash_text(admin.submit(f"{settings}/general", before | {field: typed})) == "Saved."
    expected = before | {field: stored, f"was_{field}": stored}
    assert saved_settings(admin, settings) == expected
    if emptied is not None:
        admin.submit(f"{settings}/general", expected | {field: "  "})
        assert saved_settings(admin, settings) == expected | {field: emptied, f"was_{field}": emptied}


def test_a_stale_form_does_not_undo_a_change(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    form = saved_settings(admin, settings)
    admin.submit(f"{settings}/general", form | {"monthly_limit": "5"})
    admin.submit(f"{settings}/general", form | {"name": "New"})
    values = saved_settings(admin, settings)
    assert (values["monthly_limit"], values["name"]) == ("5", "New")


NUMBERS = ["0", "-1", "1.5", "1e3", "1" + "0" * 30, "²", "many"]
INVALID_SETTINGS = [
    *(("name", typed) for typed in ("", "   ", LONG_NAME, "a\tb", "a\x1b[1m")),
    *(("domain", typed) for typed in ("a b", "a!/b", "x" * 254, "a..b")),
    *(("timezone", typed) for typed in ("Nowhere/Here", "/etc/localtime", "x" * 3000)),
    *(
        (field, typed)
        for field in ("monthly_limit", "retention_days", "hourly_limit", "hourly_events")
        for typed in NUMBERS
    ),
    ("retention_days", "36501"),
    ("allowed_hosts", "good.example, not/a/host"),
]


@pytest.mark.parametrize(("field", "typed"), INVALID_SETTINGS)
def test_an_invalid_setting_shows_an_error_beside_it_and_nothing_is_saved(
    admin: AdminSession, field: str, typed: str
) -> None:
    settings, _ = admin.add_site()
    before = saved_settings(admin, settings)
    changed = before | {"monthly_limit": "77", "domain": "other.example", "name": "Other"}
    response = admin.client.post(f"{settings}/general", changed | {field: typed})
    assert (response.status, list(field_errors(response))) == (400, [field])
    form_values = form_fields(response, f"{settings}/general")
    assert form_values == {name: [value] for name, value in (changed | {field: typed}).items()}
    assert saved_settings(admin, settings) == before


def test_the_time_zone_is_fixed_once_there_are_events(admin: AdminSession) -> None:
    settings, key = admin.add_site(timezone="Europe/Rome")
    form = saved_settings(admin, settings)
    admin.pageview(settings, key)
    response = admin.client.post(f"{settings}/general", form | {"timezone": "Asia/Tokyo"})
    assert (response.status, "keeps" in parse_page(response).text) == (400, True)
    assert any("keeps its time zone" in node.text for node in parse_page(response).find_all("p", "error"))
    assert "timezone" not in saved_settings(admin, settings)
    admin.submit(f"{settings}/general", saved_settings(admin, settings) | {"name": "Roma"})
    assert "Europe/Rome" in parse_page(admin.client.get(f"{settings}/general")).text


def send_from_page(admin: AdminSession, settings: str, origin: str) -> int:
    """Send an event from a page, without a key, and return the status."""
    event = {"type": "a", "visitorId": "v", "projectKey": settings.split("/")[2], "url": f"{origin}/"}
    return admin.server.send("/api/events", event, headers={"Origin": origin}).status


def test_changed_settings_apply_to_ingestion_at_once(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    form = saved_settings(admin, settings)
    assert send_from_page(admin, settings, "https://evil.example") == 200
    admin.submit(f"{settings}/general", form | {"allowed_hosts": "good.example"})
    assert send_from_page(admin, settings, "https://evil.example") == 400
    assert send_from_page(admin, settings, "https://sub.good.example") == 200
    admin.submit(f"{settings}/general", form | {"hourly_limit": "3"})
    assert [send_from_page(admin, settings, "https://evil.example") for _ in range(3)].count(429) >= 1
    form = saved_settings(admin, settings)
    admin.submit(f"{settings}/general", form | {"hourly_limit": "", "hourly_events": "2"})
    assert [send_from_page(admin, settings, "https://good.example") for _ in range(3)] == [200, 200, 429]


def test_a_wrong_confirmation_does_not_delete_a_site(admin: AdminSession) -> None:
    settings, key = admin.add_site()
    admin.submit(
        f"{settings}/general", saved_settings(admin, settings) | {"domain": "other.example.org", "monthly_limit": "88"}
    )
    before = saved_settings(admin, settings)
    for typed in ("", "site", settings.split("/")[2].upper()):
        response = admin.client.post(f"{settings}/delete", {"confirm": typed})
        assert (response.status, list(field_errors(response))) == (400, ["confirm"])
        assert form_fields(response, f"{settings}/delete") == {"confirm": [typed]}
        form_values = form_fields(response, f"{settings}/general")
        assert form_values == {name: [value] for name, value in before.items()}, (
            "otherwise the next Save would clear them"
        )
    assert admin.pageview(settings, key).status == 201


PAGES = ["general", "start", "keys", "goals", "webhooks", "deliveries", "people", "first-event"]
FORMS = ["general", "keys", "keys/jwt-secret", "goals", "webhooks", "deliveries", "delete", "keys/x/revoke"]


def test_a_deleted_site_is_gone_with_its_events(admin: AdminSession) -> None:
    settings, key = admin.add_site(id="gone")
    for path in ("/a", "/b"):
        admin.pageview(settings, key, f"https://example.com{path}")
    assert admin.client.get(f"{settings}/general").headers["cache-control"] == "no-store", "for the Back button"
    page = admin.submit(f"{settings}/delete", {"confirm": " gone "})
    assert "The site gone was deleted with 2 events." in flash_text(page)
    assert "gone" not in site_slugs(admin.store)
    assert admin.pageview(settings, key).status == 401
    gone = [admin.client.get(f"{settings}/{path}") for path in PAGES] + [admin.client.get("/sites/gone")]
    other_tab = [admin.client.post(f"{settings}/{path}", {"confirm": "gone", "name": "x"}) for path in FORMS]
    for response in gone + other_tab:
        assert (response.status, "There is no site gone" in parse_page(response).find_one("main").text) == (404, True)
    admin.add_site(id="gone")
    assert admin.store.events("gone") == []
