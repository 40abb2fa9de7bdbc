"""Goals: which paths fit a pattern, which events meet a goal, and how goals come and go by command."""

import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovx_lite.domain.errors import Refused
from ovx_lite.domain.goal_patterns import Pattern
from tests.conftest import CHROME, Ran, Running, Start, Store
from tests.support.commands import fails
from tests.support.goals import add_webhook, met
from tests.support.visitors import GOOGLEBOT, Place, browser


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, start: Start) -> tuple[Store, Any]:
    store = Store(tmp_path_factory.mktemp("goals") / "data")
    return store, start(store, "--trusted-proxies", "127.0.0.0/8")


@pytest.fixture
def place(proxied: tuple[Store, Any]) -> Place:
    """A site with a webhook that is told of goals."""
    made = Place(*proxied)
    add_webhook(made.store, made.id, "--on", "goal.completed")
    return made


def pageview(place: Place, path: str) -> None:
    sent = {"site_id": place.id, "url": f"https://example.com{path}"}
    assert place.server.send("/api/v1/events/pageview", sent, place.key).status == 201


def custom(place: Place, name: str, path: str = "/", **headers: str) -> None:
    sent = {"site_id": place.id, "event_name": name, "url": f"https://example.com{path}"}
    assert place.server.send("/api/v1/events/custom", sent, place.key, headers).status == 201


def test_pageviews_meet_paths_and_other_events_meet_names(place: Place) -> None:
    place.store.call("goal", "add", place.id, "Bought", "--path", "/checkout/*")
    place.store.call("goal", "add", place.id, "Signed up", "--event", "signup")
    place.store.call("goal", "add", place.id, "Viewed", "--event", "pageview")
    custom(place, "other", "/checkout/done")
    custom(place, "Signup", "/signup")
    pageview(place, "/signup")
    pageview(place, "/")
    assert met(place.store, place.id) == []
    pageview(place, "/checkout/done?step=2#end")
    custom(place, "signup", "/checkout/done")
    custom(place, "pageview")
    assert met(place.store, place.id) == ["Bought", "Signed up", "Viewed"]


def test_an_event_meets_all_goals_that_it_fits(place: Place) -> None:
    for name, how in {"a": "--path=/**", "b": "--path=/x/*", "c": "--event=x", "d": "--event=x"}.items():
        place.store.call("goal", "add", place.id, name, how)
    pageview(place, "/x/y")
    assert sorted(met(place.store, place.id)) == ["a", "b"]
    custom(place, "x", "/x/y")
    assert sorted(met(place.store, place.id)) == ["a", "b", "c", "d"]


def test_goals_are_met_over_every_api(place: Place) -> None:
    place.store.call("goal", "add", place.id, "Bought", "--path", "/done")
    place.store.call("goal", "add", place.id, "Paid", "--event", "paid")
    send = place.server.send
    custom(place, "paid")
    pageview(place, "/done")
    place.headers = browser()
    assert send("/api/events", {"projectKey": place.id, "events": [{"type": "paid", "url": "/"}]}).status == 200
    assert send("/api/events", {"projectKey": place.id, "events": [{"type": "pageview", "url": "/done"}]}).status == 200
    for type in ("event", "conversion"):
        sent: dict[str, Any] = {"event_type": type, "event_name": "paid", "user_id": "ada"}
        assert send(f"/v1/projects/{place.id}/events", sent, place.key).status == 202
    named = {"project_id": place.id, "device_id": "d", "session_id": "s", "context": "product", "name": "paid"}
    assert send("/api/v1/event", {"event": named}, headers={"User-Agent": CHROME}).status == 200
    assert met(place.store, place.id) == ["Paid", "Bought", "Paid", "Bought", "Paid", "Paid", "Paid"]


def test_bots_meet_no_goal(place: Place) -> None:
    place.store.call("goal", "add", place.id, "All", "--path", "/**")
    place.store.call("goal", "add", place.id, "Done", "--event", "done")
    place.headers = {"User-Agent": GOOGLEBOT}
    for type in ("pageview", "done"):
        sent = {"projectKey": place.id, "events": [{"type": type, "url": "/"}]}
        assert place.server.send("/api/events", sent, headers=place.headers).status == 200
    assert met(place.store, place.id) == []


def test_what_is_not_stored_or_was_stored_already_meets_nothing(place: Place) -> None:
    place.store.call("goal", "add", place.id, "All", "--path", "/**")
    good, bad = {"type": "pageview", "url": "https://example.com/"}, {"type": "pageview", "url": "nonsense"}
    batch = {"site_id": place.id, "events": [good, bad]}
    assert place.server.send("/api/v1/events/batch", batch, place.key).status == 400
    assert met(place.store, place.id) == []
    for _ in range(3):
        sent, headers = batch | {"events": [good, good]}, {"Idempotency-Key": "once"}
        assert place.server.send("/api/v1/events/batch", sent, place.key, headers).status == 201
    assert met(place.store, place.id) == ["All", "All"]


def test_a_running_server_notices_goals_within_a_second(place: Place) -> None:
    added = place.store.run("goal", "add", place.id, "Seen", "--path", "/seen", "--json").json
    time.sleep(1)
    pageview(place, "/seen")
    assert met(place.store, place.id) == ["Seen"]
    place.store.run("goal", "remove", added["id"])
    time.sleep(1)
    pageview(place, "/seen")
    assert met(place.store, place.id) == ["Seen"]


def test_goals_are_the_sites_own(place: Place, proxied: tuple[Store, Any]) -> None:
    other = Place(*proxied)
    add_webhook(other.store, other.id, "--on", "goal.completed")
    place.store.call("goal", "add", place.id, "Seen", "--path", "/seen")
    place.store.call("goal", "add", other.id, "Seen", "--event", "x")
    pageview(other, "/seen")
    pageview(place, "/seen")
    assert (met(place.store, place.id), met(other.store, other.id)) == (["Seen"], [])


def test_goals_are_listed_as_they_were_added_until_they_are_removed(running: Running) -> None:
    call = running.store.call
    first = call("goal", "add", "my-site", " Größe <b> ", "--path", "/a/**")
    second = call("goal", "add", "my-site", "x" * 100, "--event", "sign up")
    assert first == {"id": first["id"], "name": "Größe <b>", "event": None, "path": "/a/**"}
    assert second == {"id": second["id"], "name": "x" * 100, "event": "sign up", "path": None}
    assert call("goal", "list", "my-site") == [first, second]
    assert call("goal", "list", "other-site") == []
    assert "/a/**" in running.store.run("goal", "list", "my-site").out
    assert call("goal", "remove", first["id"]) == {"id": first["id"], "removed": True}
    assert call("goal", "list", "my-site") == [second]
    assert fails(running.store.run("goal", "remove", first["id"]))
    call("goal", "add", "my-site", first["name"], "--path", "/a/**")


WRONG: list[list[str]] = [
    ["Both", "--path", "/a", "--event", "a"],
    ["Neither"],
    ["Neither", "--path", "", "--event", ""],
    ["", "--path", "/a"],
    [" \t", "--path", "/a"],
    ["x" * 101, "--path", "/a"],
    ["--path", "/a"],
    ["No slash", "--path", "a/**"],
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_a_wrong_call_is_status_2_and_adds_nothing(running: Running, words: list[str]) -> None:
    before = running.store.call("goal", "list", "my-site")
    ran = running.store.run("goal", "add", "my-site", *words, "--json")
    assert (ran.status, ran.out) == (2, "")
    assert "Error: " in ran.err
    assert running.store.call("goal", "list", "my-site") == before


def test_what_cannot_be_done_is_told_in_a_sentence(running: Running) -> None:
    def add(site: str, name: str, path: str) -> Ran:
        return running.store.run("goal", "add", site, name, "--path", path, "--json")

    assert add("my-site", "Twice", "/a").status == 0
    tried = [add("my-site", "Twice", "/b"), add("nowhere", "x", "/a")]
    tried += [running.store.run("goal", *words) for words in (["list", "nowhere"], ["remove", "goal_nowhere"])]
    assert [fails(ran) for ran in tried] == [True] * 4
    for ran, named in zip(tried, ("Twice", "nowhere", "nowhere", "goal_nowhere"), strict=True):
        assert named in ran.err
    assert add("other-site", "Twice", "/a").status == 0


FITS = """
/ /|/blog /blog|/blog/* /blog/a|/blog/* /blog/|/blog/** /blog/a/b|/** /|/** /a/b/c|/*/edit /7/edit|/a*c /abc|/a*c /ac
/**/done /a/b/done|/**/done //done|/a/**/z /a/b/c/z|/*.html /index.html|/a** /a/b|/a** /abc|/a*** /a/b|/*/* /a/b
/a.c /a.c|/a+ /a+|/(a) /(a)|/[a] /[a]|/a? /a?|/^$ /^$|/\\d /\\d|/a|/{2} /{2}|/**a** /xx/a/yy|/%C3%A4 /%C3%A4|/* /ä
/** /ä/ö
"""
FITS_NOT = """
/ /a|/blog /blog/|/blog /Blog|/blog/* /blog|/blog/* /blog/a/b|/blog/** /blog|/blog/** /blogs/a|/*/edit /a/b/edit
/a*c /a/c|/a*c /abcd|/a.c /abc|/a+ /aa|/(a) /a|/[a] /a|/a? /a|/a? /ab|/^$ /|/\\d /7|/{2} //|/**/done /done
/*.html /a/b.html|/* /a/
"""


def rows(text: str) -> list[list[str]]:
    return [row.split() for row in text.strip().replace("\n", "|").split("|") if len(row.split()) == 2]


@pytest.mark.parametrize(("pattern", "path"), rows(FITS), ids=str)
def test_a_path_that_fits(pattern: str, path: str) -> None:
    assert Pattern(pattern).matches(path)


@pytest.mark.parametrize(("pattern", "path"), rows(FITS_NOT), ids=str)
def test_a_path_that_does_not_fit(pattern: str, path: str) -> None:
    assert not Pattern(pattern).matches(path)


@pytest.mark.parametrize("pattern", ["", "a", "*", "**/a", " /a", "https://example.com/a", "\n/"])
def test_a_pattern_begins_with_a_slash(pattern: str) -> None:
    with pytest.raises(Refused) as refused:
        Pattern(pattern)
    assert (refused.value.code, refused.value.field) == ("invalid_request", "path")


TEXT = st.text("a/.*\n", max_size=10)


@given(pattern=TEXT.map("/".__add__), path=st.text("a/.\n", max_size=12))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_patterns_are_the_regular_expressions_that_they_stand_for(pattern: str, path: str) -> None:
    pieces = re.findall(r"\*+|[^*]", pattern)
    words = {piece: "[^/]*" if piece == "*" else ".*" if piece[0] == "*" else re.escape(piece) for piece in pieces}
    expected = re.fullmatch("".join(words[piece] for piece in pieces), "/" + path, re.DOTALL)
    assert Pattern(pattern).matches("/" + path) == bool(expected)


@pytest.mark.parametrize(
    "pattern", ["/" + "**a" * 30, "/" + "*a" * 30 + "b", "/**" * 30 + "/b", "/" + "a**" * 30 + "b"]
)
@pytest.mark.parametrize("path", ["/" + "a" * 4000, "/" + "a/" * 2000, "/" + "aab" * 1333 + "c"])
def test_no_pattern_takes_long(pattern: str, path: str) -> None:
    made, begin = Pattern(pattern), time.process_time()
    made.matches(path)
    assert time.process_time() - begin < 0.1
