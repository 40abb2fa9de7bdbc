"""Settings → Goals: adding, counting, trying and removing goals."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest

from tests.conftest import Response
from tests.support.pages import AdminSession, Fields, field_errors, flash_text, form_fields, parse_page, table_rows
from tests.support.pages import admin as admin

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def blank_form(admin: AdminSession, settings: str) -> Fields:
    """Return the blank form to add a goal."""
    return form_fields(admin.client.get(f"{settings}/goals"), f"{settings}/goals")


def add_goal(admin: AdminSession, settings: str, name: str, **typed: str) -> str:
    """Add a goal and return its id."""
    defaults = {"kind": "event" if "event" in typed else "path", "name": name} | typed
    form = blank_form(admin, settings) | defaults
    assert flash_text(admin.submit(f"{settings}/goals", form)) == f"The goal {name} was added."
    return form["new"][0]


def goal_rows(admin: AdminSession, settings: str, query: str = "") -> list[list[str]]:
    """Return the table of goals: name, condition, number of times met."""
    return [row[:3] for row in table_rows(admin.client.get(f"{settings}/goals{query}"))]


def goal_counts(admin: AdminSession, settings: str) -> dict[str, str]:
    return {name: times for name, _, times in goal_rows(admin, settings)}


def test_goals_are_added_by_path_and_by_event(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    assert "No goals yet" in parse_page(admin.client.get(f"{settings}/goals")).text
    add_goal(admin, settings, "Bought <b>it</b>", path="/checkout/**")
    add_goal(admin, settings, "Signed up", event="signup")
    assert goal_rows(admin, settings) == [
        ["Bought <b>it</b>", "path /checkout/**", "0"],
        ["Signed up", "event signup", "0"],
    ]


def test_a_goal_has_either_a_path_or_an_event(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    add_goal(admin, settings, "By path", kind="path", path="/a", event="typed before")
    add_goal(admin, settings, "By event", kind="event", path="typed before", event="b")
    assert [condition for _, condition, _ in goal_rows(admin, settings)] == ["path /a", "event b"]


INVALID_FORMS = [
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


@pytest.mark.parametrize(("typed", "field"), INVALID_FORMS)
def test_an_invalid_goal_is_reported_beside_its_field(admin: AdminSession, typed: dict[str, str], field: str) -> None:
    settings, _ = admin.add_site()
    add_goal(admin, settings, "Taken", path="/taken")
    form = {"name": "Fine", "kind": "path", "path": "/fine", "event": "fine"} | typed
    response = admin.client.post(f"{settings}/goals", {**blank_form(admin, settings), **form})
    assert (response.status, list(field_errors(response))) == (400, [field])
    form_values = form_fields(response, f"{settings}/goals")
    assert {name: form_values[name] for name in form} == {name: [value] for name, value in form.items()}
    assert [name for name, _, _ in goal_rows(admin, settings)] == ["Taken"]


def test_all_errors_are_shown_at_once(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    response = admin.client.post(f"{settings}/goals", {"name": " ", "kind": "path", "path": "x"})
    assert set(field_errors(response)) == {"name", "path"}


def test_two_sites_can_have_goals_with_the_same_name(admin: AdminSession) -> None:
    for settings in (admin.add_site()[0], admin.add_site()[0]):
        add_goal(admin, settings, "Same", path="/same")


def test_goal_counts_include_events_from_before_the_goal_was_added(admin: AdminSession) -> None:
    settings, key = admin.add_site()
    other, others_key = admin.add_site()
    for path in ("/checkout/done", "/checkout/a/b?x=1#y", "/elsewhere"):
        assert admin.pageview(settings, key, f"https://example.com{path}").status == 201
    admin.event(settings, key, "signup")
    admin.event(settings, key, "checkout", url="https://example.com/checkout/done")
    admin.pageview(settings, key, "https://example.com/checkout/done", user_agent=GOOGLEBOT)
    admin.pageview(other, others_key, "https://example.com/checkout/done")
    admin.event(other, others_key, "signup")
    add_goal(admin, settings, "Checkout", path="/checkout/**")
    add_goal(admin, settings, "Signup", event="signup")
    add_goal(admin, settings, "Never", event="never")
    assert goal_counts(admin, settings) == {"Checkout": "2", "Signup": "1", "Never": "0"}
    admin.pageview(settings, key, "https://example.com/checkout/again")
    assert goal_counts(admin, settings)["Checkout"] == "3"


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
def with_goals(admin: AdminSession) -> str:
    settings, _ = admin.add_site()
    add_goal(admin, settings, "Checkout", path="/checkout/done")
    add_goal(admin, settings, "Größe", path="/größe")
    add_goal(admin, settings, "Signup", event="signup")
    add_goal(admin, settings, "All", path="/**")
    return settings


@pytest.mark.parametrize(("tried", "expected"), TRIED)
def test_trying_a_path_url_or_event_shows_the_goals_it_meets(
    admin: AdminSession, with_goals: str, tried: str, expected: list[str]
) -> None:
    action = f"{with_goals}/goals"
    form = parse_page(admin.client.get(action)).find_one("form", method="get", action=action)
    assert form.find_one("input").attrs["name"] == "try"
    page = parse_page(admin.client.get(f"{action}?{urlencode({'try': tried})}"))
    assert [row.find_one("th").text.removesuffix(" matches") for row in page.find_all("tr", "met")] == expected
    assert page.find_one("input", id="try").attrs["value"] == tried.strip()[:2000]
    count = {0: "no goals", 1: "1 goal", 2: "2 goals"}[len(expected)]
    assert page.find_one(role="status").text.endswith(f"matches {count}.")


@pytest.mark.parametrize("query", ["", "?try=", "?try=%20%20"])
def test_an_empty_try_shows_no_result(admin: AdminSession, with_goals: str, query: str) -> None:
    page = parse_page(admin.client.get(f"{with_goals}/goals{query}"))
    assert (page.find_all("tr", "met"), page.find_one(role="status").text) == ([], "")


def test_a_goal_is_removed(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    id = add_goal(admin, settings, "Old", path="/old")
    add_goal(admin, settings, "New", path="/new")
    assert flash_text(admin.submit(f"{settings}/goals/{id}/remove")) == "The goal Old was removed."
    assert [name for name, _, _ in goal_rows(admin, settings)] == ["New"]
    response = admin.client.post(f"{settings}/goals/{id}/remove")
    assert (response.status, "no such goal" in parse_page(response).text) == (404, True)
    add_goal(admin, settings, "Old", event="old")


def test_the_goal_of_another_site_is_not_found(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    other, _ = admin.add_site()
    id = add_goal(admin, other, "Theirs", path="/")
    for wanted in (id, "nonsense", "goal_000000000000", "%00"):
        assert admin.client.post(f"{settings}/goals/{wanted}/remove").status == 404
    assert [name for name, _, _ in goal_rows(admin, other)] == ["Theirs"]


def test_a_form_submitted_twice_adds_one_goal(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    for number in range(1, 4):
        form: dict[str, str | list[str]] = {**blank_form(admin, settings), "name": f"Goal {number}", "path": "/"}

        def send(_: int, form: Mapping[str, str | list[str]] = form) -> Response:
            return admin.client.post(f"{settings}/goals", form)

        with ThreadPoolExecutor(3) as pool:
            assert {response.status for response in pool.map(send, range(3))} == {303}
        assert send(0).status == 303
        assert len(goal_rows(admin, settings)) == number
