"""Settings → People: found, looked at, erased."""

from urllib.parse import urlencode

import pytest

from tests.support.pages import Office, notice, read, rows
from tests.support.pages import office as office


def name(office: Office, settings: str, key: str, id: str, **traits: str) -> None:
    """Have an event name somebody, and tell of them."""
    event = {"event_type": "identify", "event_name": "named", "user_id": id, "properties": traits}
    assert office.server.send(f"/v1/projects/{settings.split('/')[2]}/events", event, key).status == 202


def found(office: Office, settings: str, **asked: str) -> list[str]:
    """The ids of those who are listed."""
    answer = office.person.get(f"{settings}/people?{urlencode(asked)}")
    assert answer.status == 200, answer.body
    return [row[0] for row in rows(answer)]


def links(office: Office, path: str) -> dict[str, str]:
    """Where those who are listed are to be seen."""
    page = read(office.person.get(path))
    return {link.text: link.attrs["href"] for head in page.all("th", scope="row") for link in head.all("a")}


@pytest.fixture(scope="module")
def people(office: Office) -> str:
    """The settings of a site that knows some."""
    settings, key = office.site()
    for id, traits in {
        "ada": {"name": "Ada Lovelace", "email": "ada@example.com"},
        "50%": {"name": "Half_way", "email": "half@example.org"},
        "o'brien": {"name": 'Pat "Quote" O\'Brien'},
        "back\\slash": {"name": "Back"},
        "<b>bold</b>": {"name": "<script>alert(1)</script>"},
        "nameless": {},
    }.items():
        name(office, settings, key, id, **traits)
    return settings


def test_nobody_is_known_at_first(office: Office) -> None:
    settings, _ = office.site()
    assert "Nobody was named yet" in read(office.person.get(f"{settings}/people")).text
    assert found(office, settings, q="ada") == []


def test_people_are_listed(office: Office, people: str) -> None:
    listed = {row[0]: row[1:3] for row in rows(office.person.get(f"{people}/people"))}
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
def test_people_are_found_by_what_is_known_of_them(office: Office, people: str, q: str, expected: set[str]) -> None:
    assert set(found(office, people, q=q)) == expected
    page = read(office.person.get(f"{people}/people?{urlencode({'q': q})}"))
    assert page.one("input", id="q").attrs["value"] == q.strip()[:200]
    assert ("Nobody like that" in page.text) == (not expected)


def test_many_people_are_on_several_pages(office: Office) -> None:
    settings, key = office.site()
    for number in range(105):
        name(office, settings, key, f"person-{number:03}", email=f"{number % 2}@example.com")
    path, seen = f"{settings}/people", list[str]()
    for most in (50, 50, 5):
        shown = links(office, path)
        assert len(shown) == most
        seen += shown
        more = read(office.person.get(path)).one("nav", "pages")
        path = next((f"{settings}/people{a.attrs['href']}" for a in more.all("a") if a.text == "Earlier"), "")
    assert (path, len(set(seen))) == ("", 105)
    (latest,) = more.all("a")
    assert (latest.text, len(links(office, latest.attrs["href"]))) == ("Latest", 50)


@pytest.mark.parametrize("before", ["nonsense", "1", "1.", "-1.-1", "9" * 15 + "." + "9" * 19, "0.0", "%00", "'"])
def test_an_odd_place_to_go_on_is_no_fault(office: Office, people: str, before: str) -> None:
    assert office.person.get(f"{people}/people?before={before}").status == 200


def test_a_person_is_looked_at(office: Office, people: str) -> None:
    answer = office.person.get(links(office, f"{people}/people")["<b>bold</b>"])
    assert (answer.status, b"<script>alert" in answer.body) == (200, False)
    page = read(answer)
    told = dict(zip((node.text for node in page.all("dt")), (node.text for node in page.all("dd")), strict=True))
    assert (told["name"], told["Events"]) == ("<script>alert(1)</script>", "1, in 1 visit, on 1 device")
    assert page.one("h1").text == "<b>bold</b>"


def test_a_person_is_erased(office: Office) -> None:
    settings, key = office.site()
    for id in ("erased", "erased", "bob"):
        name(office, settings, key, id, email=f"{id}@example.com")
    where = links(office, f"{settings}/people")["erased"]
    assert "2 events are nobody's now" in notice(office.done(f"{where}/erase"))
    assert found(office, settings) == ["bob"]
    assert (office.person.get(where).status, office.person.post(f"{where}/erase").status) == (404, 404)
    site = settings.split("/")[2]
    assert [event["person"] for event in office.store.events(site)].count(None) == 2
    stored = b"".join(file.read_bytes() for file in office.store.path.glob("*sqlite3*"))
    assert (b"bob@example.com" in stored, b"erased@example.com" in stored) == (True, False)


def test_another_sites_person_is_not_here(office: Office, people: str) -> None:
    settings, _ = office.site()
    number = links(office, f"{people}/people")["ada"].rsplit("/", 1)[1]
    for wanted in (number, "0", "nonsense", "-", "9" * 19, "-" + "9" * 19, "1.5", "%20", "%27", "%C2%B2"):
        for answer in (
            office.person.get(f"{settings}/people/{wanted}"),
            office.person.post(f"{settings}/people/{wanted}/erase"),
        ):
            assert (answer.status, "no such person" in read(answer).text) == (404, True), wanted
    assert "ada" in found(office, people)
