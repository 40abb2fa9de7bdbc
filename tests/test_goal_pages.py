"""Settings → Goals: added, met, tried, removed."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest

from tests.conftest import Answer
from tests.support.pages import Fields, Office, fields, notice, read, rows, wrong
from tests.support.pages import office as office

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def blank(office: Office, settings: str) -> Fields:
    """The form to add a goal, as it is shown."""
    return fields(office.person.get(f"{settings}/goals"), f"{settings}/goals")


def add(office: Office, settings: str, name: str, **typed: str) -> str:
    """Add a goal. Returns its id."""
    told = {"kind": "event" if "event" in typed else "path", "name": name} | typed
    form = blank(office, settings) | told
    assert notice(office.done(f"{settings}/goals", form)) == f"The goal {name} is there."
    return form["new"][0]


def goals(office: Office, settings: str, query: str = "") -> list[list[str]]:
    """The table of goals: name, what meets it, how often it was met."""
    return [row[:3] for row in rows(office.person.get(f"{settings}/goals{query}"))]


def met(office: Office, settings: str) -> dict[str, str]:
    return {name: times for name, _, times in goals(office, settings)}


def test_goals_are_added_by_path_and_by_event(office: Office) -> None:
    settings, _ = office.site()
    assert "There is no goal yet" in read(office.person.get(f"{settings}/goals")).text
    add(office, settings, "Bought <b>it</b>", path="/checkout/**")
    add(office, settings, "Signed up", event="signup")
    assert goals(office, settings) == [
        ["Bought <b>it</b>", "path /checkout/**", "0"],
        ["Signed up", "event signup", "0"],
    ]


def test_what_a_goal_by_path_leaves_unsaid_is_no_event_and_the_other_way_round(office: Office) -> None:
    settings, _ = office.site()
    add(office, settings, "By path", kind="path", path="/a", event="typed before")
    add(office, settings, "By event", kind="event", path="typed before", event="b")
    assert [what for _, what, _ in goals(office, settings)] == ["path /a", "event b"]


WRONG = [
    ({"name": ""}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"name": "a\x07b"}, "name"),
    ({"name": "Taken"}, "name"),
    ({"path": "", "event": ""}, "path"),
    ({"path": "checkout"}, "path"),
    ({"path": "https://example.com/a"}, "path"),
    ({"path": "/" + "x" * 2000}, "path"),
    ({"kind": "event", "event": ""}, "event"),
    ({"kind": "event", "event": "x" * 1001}, "event"),
]


@pytest.mark.parametrize(("typed", "blamed"), WRONG)
def test_a_goal_that_cannot_be_is_told_beside_the_field(office: Office, typed: dict[str, str], blamed: str) -> None:
    settings, _ = office.site()
    add(office, settings, "Taken", path="/taken")
    form = {"name": "Fine", "kind": "path", "path": "/fine", "event": "fine"} | typed
    answer = office.person.post(f"{settings}/goals", {**blank(office, settings), **form})
    assert (answer.status, list(wrong(answer))) == (400, [blamed])
    kept = fields(answer, f"{settings}/goals")
    assert {name: kept[name] for name in form} == {name: [value] for name, value in form.items()}
    assert [name for name, _, _ in goals(office, settings)] == ["Taken"]


def test_all_that_is_wrong_is_told_at_once(office: Office) -> None:
    settings, _ = office.site()
    answer = office.person.post(f"{settings}/goals", {"name": " ", "kind": "path", "path": "x"})
    assert set(wrong(answer)) == {"name", "path"}


def test_two_sites_have_goals_of_the_same_name(office: Office) -> None:
    for settings in (office.site()[0], office.site()[0]):
        add(office, settings, "Same", path="/same")


def test_how_often_a_goal_was_met_counts_what_came_before_it_too(office: Office) -> None:
    settings, key = office.site()
    other, others_key = office.site()
    for path in ("/checkout/done", "/checkout/a/b?x=1#y", "/elsewhere"):
        assert office.pageview(settings, key, f"https://example.com{path}").status == 201
    office.event(settings, key, "signup")
    office.event(settings, key, "checkout", url="https://example.com/checkout/done")
    office.pageview(settings, key, "https://example.com/checkout/done", user_agent=GOOGLEBOT)
    office.pageview(other, others_key, "https://example.com/checkout/done")
    office.event(other, others_key, "signup")
    add(office, settings, "Checkout", path="/checkout/**")
    add(office, settings, "Signup", event="signup")
    add(office, settings, "Never", event="never")
    assert met(office, settings) == {"Checkout": "2", "Signup": "1", "Never": "0"}
    office.pageview(settings, key, "https://example.com/checkout/again")
    assert met(office, settings)["Checkout"] == "3"


TRIED = [
    ("/checkout/done", ["Checkout", "All"]),
    ("  /checkout/done  ", ["Checkout", "All"]),
    ("https://example.com/checkout/done?order=1#top", ["Checkout", "All"]),
    ("https://example.com", ["All"]),
    ("/checkout/done?order=1", ["Checkout", "All"]),
    ("/gr%C3%B6%C3%9Fe", ["Größe", "All"]),
    ("/größe", ["Größe", "All"]),
    ("signup", ["Signup"]),
    ("Signup", []),
    ("nothing", []),
    ("https://[", []),
    ("<script>alert(1)</script>", []),
    ("/" + "a" * 5000, ["All"]),
]


@pytest.fixture(scope="module")
def with_goals(office: Office) -> str:
    settings, _ = office.site()
    add(office, settings, "Checkout", path="/checkout/done")
    add(office, settings, "Größe", path="/größe")
    add(office, settings, "Signup", event="signup")
    add(office, settings, "All", path="/**")
    return settings


@pytest.mark.parametrize(("tried", "expected"), TRIED)
def test_what_a_path_a_url_or_an_event_meets_is_tried(
    office: Office, with_goals: str, tried: str, expected: list[str]
) -> None:
    action = f"{with_goals}/goals"
    form = read(office.person.get(action)).one("form", method="get", action=action)
    assert form.one("input").attrs["name"] == "try"
    page = read(office.person.get(f"{action}?{urlencode({'try': tried})}"))
    assert [row.one("th").text.removesuffix(" meets it") for row in page.all("tr", "met")] == expected
    assert page.one("input", id="try").attrs["value"] == tried.strip()[:2000]
    count = {0: "none of the goals", 1: "1 goal", 2: "2 of the goals"}[len(expected)]
    assert page.one(role="status").text.endswith(f"meets {count}.")


@pytest.mark.parametrize("query", ["", "?try=", "?try=%20%20"])
def test_nothing_is_tried(office: Office, with_goals: str, query: str) -> None:
    page = read(office.person.get(f"{with_goals}/goals{query}"))
    assert (page.all("tr", "met"), page.one(role="status").text) == ([], "")


def test_a_goal_is_removed(office: Office) -> None:
    settings, _ = office.site()
    id = add(office, settings, "Old", path="/old")
    add(office, settings, "New", path="/new")
    assert notice(office.done(f"{settings}/goals/{id}/remove")) == "The goal Old is removed."
    assert [name for name, _, _ in goals(office, settings)] == ["New"]
    answer = office.person.post(f"{settings}/goals/{id}/remove")
    assert (answer.status, "no such goal" in read(answer).text) == (404, True)
    add(office, settings, "Old", event="old")


def test_another_sites_goal_is_not_here(office: Office) -> None:
    settings, _ = office.site()
    other, _ = office.site()
    id = add(office, other, "Theirs", path="/")
    for wanted in (id, "nonsense", "goal_000000000000", "%00"):
        assert office.person.post(f"{settings}/goals/{wanted}/remove").status == 404
    assert [name for name, _, _ in goals(office, other)] == ["Theirs"]


def test_a_form_that_is_sent_twice_makes_one_goal(office: Office) -> None:
    settings, _ = office.site()
    for made in range(1, 4):
        form: dict[str, str | list[str]] = {**blank(office, settings), "name": f"Goal {made}", "path": "/"}

        def send(_: int, form: Mapping[str, str | list[str]] = form) -> Answer:
            return office.person.post(f"{settings}/goals", form)

        with ThreadPoolExecutor(3) as pool:
            assert {answer.status for answer in pool.map(send, range(3))} == {303}
        assert send(0).status == 303
        assert len(goals(office, settings)) == made
