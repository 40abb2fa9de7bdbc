"""The list of sites, adding one, its general settings, and its end."""

import pytest

from tests.conftest import Start, Store
from tests.support.browserless import path_of
from tests.support.pages import Office, fields, notice, open_office, read, secrets, wrong
from tests.support.pages import office as office

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
LONG = "x" * 101


def saved(office: Office, settings: str) -> dict[str, str]:
    """What the form of the general settings is filled with."""
    found = fields(office.person.get(f"{settings}/general"), f"{settings}/general")
    return {name: value for name, (value,) in found.items()}


def ids(store: Store) -> list[str]:
    return [site["id"] for site in store.call("site", "list")]


def test_the_list_is_empty_at_first(store: Store, start: Start) -> None:
    office = open_office(store, start)
    page = office.person.get("/")
    assert "There is no site yet" in read(page).text
    office.site(id="first")
    assert [node.text for node in read(office.person.get("/")).one("ul", "sites").all("h2")] == ["first"]


def test_the_list_shows_this_months_use_against_the_limit(office: Office) -> None:
    settings, key = office.site()
    office.done(f"{settings}/general", saved(office, settings) | {"name": "<b>Used", "monthly_limit": "1 000"})
    for _ in range(3):
        assert office.pageview(settings, key).status == 201
    assert office.pageview(settings, key, user_agent=GOOGLEBOT).status == 201
    card = next(card for card in read(office.person.get("/")).all("li", "card") if "<b>Used" in card.text)
    assert "3 of 1,000 events this month" in card.text
    assert (card.one("progress").attrs["value"], card.one("progress").attrs["max"]) == ("3", "1000")
    assert "Last event" in card.text
    assert "3 of 1,000 events" in read(office.person.get(f"{settings}/general")).text


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
def test_a_site_gets_its_id_from_the_domain_also_from_a_pasted_url(office: Office, typed: str) -> None:
    domain = typed.strip().lower().split("//")[-1].strip("/")
    answer = office.person.post("/new-site", {"domain": typed, "id": "", "timezone": "Europe/Paris"})
    assert (answer.status, path_of(answer)) == (303, f"/sites/{domain}/settings/start"), wrong(answer)
    shown = saved(office, f"/sites/{domain}/settings")
    assert (shown["domain"], shown["name"], shown["timezone"]) == (domain, domain, "Europe/Paris")


def test_a_sites_first_key_is_shown_once_and_works(office: Office) -> None:
    settings, key = office.site()
    again = office.person.get(f"{settings}/start")
    assert (secrets(again), key in again.body.decode()) == ([], False)
    assert office.pageview(settings, key).status == 201


WRONG_SITES = [
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


@pytest.mark.parametrize(("typed", "blamed"), WRONG_SITES)
def test_a_site_that_cannot_be_is_told_beside_the_field(office: Office, typed: dict[str, str], blamed: str) -> None:
    if "taken" not in (before := ids(office.store)):
        office.site(id="taken")
        before = ids(office.store)
    form = {"domain": "fine.example", "id": "fine", "timezone": "Europe/Oslo"} | typed
    answer = office.person.post("/new-site", form)
    assert (answer.status, list(wrong(answer))) == (400, [blamed])
    assert fields(answer, "/new-site") == {name: [value] for name, value in form.items()}
    assert ids(office.store) == before


def test_all_that_is_wrong_is_told_at_once(office: Office) -> None:
    answer = office.person.post("/new-site", {"domain": "a b", "id": "a b", "timezone": "x"})
    assert set(wrong(answer)) == {"domain", "id", "timezone"}


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


@pytest.mark.parametrize(("field", "typed", "kept", "emptied"), CHANGES)
def test_a_setting_is_saved_and_emptied(office: Office, field: str, typed: str, kept: str, emptied: str | None) -> None:
    settings, _ = office.site()
    before = saved(office, settings)
    assert notice(office.done(f"{settings}/general", before | {field: typed})) == "Saved."
    now = before | {field: kept, f"was_{field}": kept}
    assert saved(office, settings) == now
    if emptied is not None:
        office.done(f"{settings}/general", now | {field: "  "})
        assert saved(office, settings) == now | {field: emptied, f"was_{field}": emptied}


def test_a_form_that_was_shown_before_a_change_undoes_nothing(office: Office) -> None:
    settings, _ = office.site()
    shown = saved(office, settings)
    office.done(f"{settings}/general", shown | {"monthly_limit": "5"})
    office.done(f"{settings}/general", shown | {"name": "New"})
    now = saved(office, settings)
    assert (now["monthly_limit"], now["name"]) == ("5", "New")


NUMBERS = ["0", "-1", "1.5", "1e3", "1" + "0" * 30, "²", "many"]
WRONG_SETTINGS = [
    *(("name", typed) for typed in ("", "   ", LONG, "a\tb", "a\x1b[1m")),
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


@pytest.mark.parametrize(("field", "typed"), WRONG_SETTINGS)
def test_a_wrong_setting_is_told_beside_it_and_nothing_is_saved(office: Office, field: str, typed: str) -> None:
    settings, _ = office.site()
    before = saved(office, settings)
    others = before | {"monthly_limit": "77", "domain": "other.example", "name": "Other"}
    answer = office.person.post(f"{settings}/general", others | {field: typed})
    assert (answer.status, list(wrong(answer))) == (400, [field])
    kept = fields(answer, f"{settings}/general")
    assert kept == {name: [value] for name, value in (others | {field: typed}).items()}
    assert saved(office, settings) == before


def test_the_time_zone_stays_once_there_are_events(office: Office) -> None:
    settings, key = office.site(timezone="Europe/Rome")
    form = saved(office, settings)
    office.pageview(settings, key)
    answer = office.person.post(f"{settings}/general", form | {"timezone": "Asia/Tokyo"})
    assert (answer.status, "stay" in read(answer).text) == (400, True)
    assert any("days of a site with events" in node.text for node in read(answer).all("p", "wrong"))
    assert "timezone" not in saved(office, settings)
    office.done(f"{settings}/general", saved(office, settings) | {"name": "Roma"})
    assert "Europe/Rome" in read(office.person.get(f"{settings}/general")).text


def from_page(office: Office, settings: str, origin: str) -> int:
    """The status of an event that a page sends without a key."""
    event = {"type": "a", "visitorId": "v", "projectKey": settings.split("/")[2], "url": f"{origin}/"}
    return office.server.send("/api/events", event, headers={"Origin": origin}).status


def test_changed_settings_hold_for_ingestion_at_once(office: Office) -> None:
    settings, _ = office.site()
    form = saved(office, settings)
    assert from_page(office, settings, "https://evil.example") == 200
    office.done(f"{settings}/general", form | {"allowed_hosts": "good.example"})
    assert from_page(office, settings, "https://evil.example") == 400
    assert from_page(office, settings, "https://sub.good.example") == 200
    office.done(f"{settings}/general", form | {"hourly_limit": "3"})
    assert [from_page(office, settings, "https://evil.example") for _ in range(3)].count(429) >= 1
    form = saved(office, settings)
    office.done(f"{settings}/general", form | {"hourly_limit": "", "hourly_events": "2"})
    assert [from_page(office, settings, "https://good.example") for _ in range(3)] == [200, 200, 429]


def test_a_site_is_not_deleted_by_a_wrong_word(office: Office) -> None:
    settings, key = office.site()
    office.done(f"{settings}/general", saved(office, settings) | {"domain": "kept.example", "monthly_limit": "88"})
    before = saved(office, settings)
    for typed in ("", "site", settings.split("/")[2].upper()):
        answer = office.person.post(f"{settings}/delete", {"confirm": typed})
        assert (answer.status, list(wrong(answer))) == (400, ["confirm"])
        assert fields(answer, f"{settings}/delete") == {"confirm": [typed]}
        shown = fields(answer, f"{settings}/general")
        assert shown == {name: [value] for name, value in before.items()}, "else the next Save would empty them"
    assert office.pageview(settings, key).status == 201


PAGES = ["general", "start", "keys", "goals", "webhooks", "deliveries", "people", "first-event"]
FORMS = ["general", "keys", "keys/jwt-secret", "goals", "webhooks", "deliveries", "delete", "keys/x/revoke"]


def test_a_deleted_site_is_gone_with_its_events(office: Office) -> None:
    settings, key = office.site(id="gone")
    for path in ("/a", "/b"):
        office.pageview(settings, key, f"https://example.com{path}")
    assert office.person.get(f"{settings}/general").headers["cache-control"] == "no-store", "for the button back"
    page = office.done(f"{settings}/delete", {"confirm": " gone "})
    assert "The site gone is deleted, with 2 events." in notice(page)
    assert "gone" not in ids(office.store)
    assert office.pageview(settings, key).status == 401
    gone = [office.person.get(f"{settings}/{path}") for path in PAGES] + [office.person.get("/sites/gone")]
    other_tab = [office.person.post(f"{settings}/{path}", {"confirm": "gone", "name": "x"}) for path in FORMS]
    for answer in gone + other_tab:
        assert (answer.status, "There is no site gone" in read(answer).one("main").text) == (404, True)
    office.site(id="gone")
    assert office.store.events("gone") == []
