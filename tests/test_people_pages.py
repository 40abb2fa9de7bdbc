"""Settings → People: list, search, details, erasure."""

from urllib.parse import urlencode

import pytest

from tests.support.pages import AdminSession, flash_text, parse_page, table_rows
from tests.support.pages import admin as admin


def identify(admin: AdminSession, settings: str, key: str, id: str, **traits: str) -> None:
    """Send an `identify` event with a person's id and traits."""
    event = {"event_type": "identify", "event_name": "identified", "user_id": id, "properties": traits}
    assert admin.server.send(f"/v1/projects/{settings.split('/')[2]}/events", event, key).status == 202


def listed_ids(admin: AdminSession, settings: str, **params: str) -> list[str]:
    """Return the ids in the list of people."""
    response = admin.client.get(f"{settings}/people?{urlencode(params)}")
    assert response.status == 200, response.body
    return [row[0] for row in table_rows(response)]


def links(admin: AdminSession, path: str) -> dict[str, str]:
    """Return the links of a list of people, by text."""
    page = parse_page(admin.client.get(path))
    return {link.text: link.attrs["href"] for head in page.find_all("th", scope="row") for link in head.find_all("a")}


@pytest.fixture(scope="module")
def people(admin: AdminSession) -> str:
    """Add a site with some people. Returns the path of its settings."""
    settings, key = admin.add_site()
    for id, traits in {
        "ada": {"name": "Ada Lovelace", "email": "ada@example.com"},
        "50%": {"name": "Half_way", "email": "half@example.org"},
        "o'brien": {"name": 'Pat "Quote" O\'Brien'},
        "back\\slash": {"name": "Back"},
        "<b>bold</b>": {"name": "<script>alert(1)</script>"},
        "nameless": {},
    }.items():
        identify(admin, settings, key, id, **traits)
    return settings


def test_the_list_is_empty_at_first(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    assert "No identified people yet" in parse_page(admin.client.get(f"{settings}/people")).text
    assert listed_ids(admin, settings, q="ada") == []


def test_people_are_listed(admin: AdminSession, people: str) -> None:
    listed = {row[0]: row[1:3] for row in table_rows(admin.client.get(f"{people}/people"))}
    assert len(listed) == 6
    assert listed["ada"] == ["Ada Lovelace", "ada@example.com"]
    assert listed["<b>bold</b>"] == ["<script>alert(1)</script>", ""]
    assert listed["nameless"] == ["", ""]


SEARCHES = [
    ("ada", {"ada"}),
    ("LOVE", {"ada"}),
    (" example. ", {"ada", "50%"}),
    ("%", {"50%"}),
    ("_", {"50%"}),
    ("\\", {"back\\slash"}),
    ("'", {"o'brien"}),
    ('"', {"o'brien"}),
    ("' OR 1=1 --", set()),
    ("<b>", {"<b>bold</b>"}),
    ("a%a", set()),
    ("nobody", set()),
    ("x" * 5000, set()),
]


@pytest.mark.parametrize(("q", "expected"), SEARCHES)
def test_people_can_be_searched_by_their_traits(admin: AdminSession, people: str, q: str, expected: set[str]) -> None:
    assert set(listed_ids(admin, people, q=q)) == expected
    page = parse_page(admin.client.get(f"{people}/people?{urlencode({'q': q})}"))
    assert page.find_one("input", id="q").attrs["value"] == q.strip()[:200]
    assert ("No matching people" in page.text) == (not expected)


def test_a_long_list_is_split_into_pages(admin: AdminSession) -> None:
    settings, key = admin.add_site()
    for number in range(105):
        identify(admin, settings, key, f"person-{number:03}", email=f"{number % 2}@example.com")
    path, seen = f"{settings}/people", list[str]()
    for expected_count in (50, 50, 5):
        page_links = links(admin, path)
        assert len(page_links) == expected_count
        seen += page_links
        navigation = parse_page(admin.client.get(path)).find_one("nav", "pages")
        path = next((f"{settings}/people{a.attrs['href']}" for a in navigation.find_all("a") if a.text == "Older"), "")
    assert (path, len(set(seen))) == ("", 105)
    (latest,) = navigation.find_all("a")
    assert (latest.text, len(links(admin, latest.attrs["href"]))) == ("Newest", 50)


@pytest.mark.parametrize("before", ["nonsense", "1", "1.", "-1.-1", "9" * 15 + "." + "9" * 19, "0.0", "%00", "'"])
def test_an_invalid_cursor_is_ignored(admin: AdminSession, people: str, before: str) -> None:
    assert admin.client.get(f"{people}/people?before={before}").status == 200


def test_the_page_of_a_person_lists_traits_and_activity(admin: AdminSession, people: str) -> None:
    response = admin.client.get(links(admin, f"{people}/people")["<b>bold</b>"])
    assert (response.status, b"<script>alert" in response.body) == (200, False)
    page = parse_page(response)
    details = dict(
        zip((node.text for node in page.find_all("dt")), (node.text for node in page.find_all("dd")), strict=True)
    )
    assert (details["name"], details["Events"]) == ("<script>alert(1)</script>", "1 in 1 visit on 1 device")
    assert page.find_one("h1").text == "<b>bold</b>"


def test_a_person_is_erased(admin: AdminSession) -> None:
    settings, key = admin.add_site()
    for id in ("erased", "erased", "bob"):
        identify(admin, settings, key, id, email=f"{id}@example.com")
    person_path = links(admin, f"{settings}/people")["erased"]
    assert "2 events no longer belong to anyone" in flash_text(admin.submit(f"{person_path}/erase"))
    assert listed_ids(admin, settings) == ["bob"]
    assert (admin.client.get(person_path).status, admin.client.post(f"{person_path}/erase").status) == (404, 404)
    site_slug = settings.split("/")[2]
    assert [event["person"] for event in admin.store.events(site_slug)].count(None) == 2
    stored = b"".join(file.read_bytes() for file in admin.store.path.glob("*sqlite3*"))
    assert (b"bob@example.com" in stored, b"erased@example.com" in stored) == (True, False)


def test_a_person_of_another_site_is_404(admin: AdminSession, people: str) -> None:
    settings, _ = admin.add_site()
    number = links(admin, f"{people}/people")["ada"].rsplit("/", 1)[1]
    for wanted in (number, "0", "nonsense", "-", "9" * 19, "-" + "9" * 19, "1.5", "%20", "%27", "%C2%B2"):
        for response in (
            admin.client.get(f"{settings}/people/{wanted}"),
            admin.client.post(f"{settings}/people/{wanted}/erase"),
        ):
            assert (response.status, "no such person" in parse_page(response).text) == (404, True), wanted
    assert "ada" in listed_ids(admin, people)
