"""Goals: which paths match a pattern, which events meet a goal, and the commands that add and remove goals."""

import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.goal_patterns import PathPattern
from tests.conftest import CHROME, CommandResult, RunningSite, Start, Store
from tests.support.commands import fails
from tests.support.goals import add_webhook, met_goals
from tests.support.visitors import GOOGLEBOT, Place, browser_headers


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, start: Start) -> tuple[Store, Any]:
    store = Store(tmp_path_factory.mktemp("goals") / "data")
    return store, start(store, "--trusted-proxies", "127.0.0.0/8")


@pytest.fixture
def goal_site(proxied: tuple[Store, Any]) -> Place:
    """A site with a webhook that receives met goals."""
    new_place = Place(*proxied)
    add_webhook(new_place.store, new_place.slug, "--on", "goal.completed")
    return new_place


def pageview(goal_site: Place, path: str) -> None:
    body = {"site_id": goal_site.slug, "url": f"https://example.com{path}"}
    assert goal_site.server.send("/api/v1/events/pageview", body, goal_site.key).status == 201


def custom(goal_site: Place, name: str, path: str = "/", **headers: str) -> None:
    body = {"site_id": goal_site.slug, "event_name": name, "url": f"https://example.com{path}"}
    assert goal_site.server.send("/api/v1/events/custom", body, goal_site.key, headers).status == 201


def test_pageviews_meet_paths_and_other_events_meet_names(goal_site: Place) -> None:
    goal_site.store.call("goal", "add", goal_site.slug, "Bought", "--path", "/checkout/*")
    goal_site.store.call("goal", "add", goal_site.slug, "Signed up", "--event", "signup")
    goal_site.store.call("goal", "add", goal_site.slug, "Viewed", "--event", "pageview")
    custom(goal_site, "other", "/checkout/done")
    custom(goal_site, "Signup", "/signup")
    pageview(goal_site, "/signup")
    pageview(goal_site, "/")
    assert met_goals(goal_site.store, goal_site.slug) == []
    pageview(goal_site, "/checkout/done?step=2#end")
    custom(goal_site, "signup", "/checkout/done")
    custom(goal_site, "pageview")
    assert met_goals(goal_site.store, goal_site.slug) == ["Bought", "Signed up", "Viewed"]


def test_an_event_meets_all_matching_goals(goal_site: Place) -> None:
    for name, option in {"a": "--path=/**", "b": "--path=/x/*", "c": "--event=x", "d": "--event=x"}.items():
        goal_site.store.call("goal", "add", goal_site.slug, name, option)
    pageview(goal_site, "/x/y")
    assert sorted(met_goals(goal_site.store, goal_site.slug)) == ["a", "b"]
    custom(goal_site, "x", "/x/y")
    assert sorted(met_goals(goal_site.store, goal_site.slug)) == ["a", "b", "c", "d"]


def test_goals_are_met_over_every_api(goal_site: Place) -> None:
    goal_site.store.call("goal", "add", goal_site.slug, "Bought", "--path", "/done")
    goal_site.store.call("goal", "add", goal_site.slug, "Paid", "--event", "paid")
    send = goal_site.server.send
    custom(goal_site, "paid")
    pageview(goal_site, "/done")
    goal_site.headers = browser_headers()
    assert send("/api/events", {"projectKey": goal_site.slug, "events": [{"type": "paid", "url": "/"}]}).status == 200
    assert (
        send("/api/events", {"projectKey": goal_site.slug, "events": [{"type": "pageview", "url": "/done"}]}).status
        == 200
    )
    for type in ("event", "conversion"):
        body: dict[str, Any] = {"event_type": type, "event_name": "paid", "user_id": "ada"}
        assert send(f"/v1/projects/{goal_site.slug}/events", body, goal_site.key).status == 202
    named = {"project_id": goal_site.slug, "device_id": "d", "session_id": "s", "context": "product", "name": "paid"}
    assert send("/api/v1/event", {"event": named}, headers={"User-Agent": CHROME}).status == 200
    assert met_goals(goal_site.store, goal_site.slug) == ["Paid", "Bought", "Paid", "Bought", "Paid", "Paid", "Paid"]


def test_bots_meet_no_goal(goal_site: Place) -> None:
    goal_site.store.call("goal", "add", goal_site.slug, "All", "--path", "/**")
    goal_site.store.call("goal", "add", goal_site.slug, "Done", "--event", "done")
    goal_site.headers = {"User-Agent": GOOGLEBOT}
    for type in ("pageview", "done"):
        body = {"projectKey": goal_site.slug, "events": [{"type": type, "url": "/"}]}
        assert goal_site.server.send("/api/events", body, headers=goal_site.headers).status == 200
    assert met_goals(goal_site.store, goal_site.slug) == []


def test_events_that_are_refused_or_repeated_meet_no_goal(goal_site: Place) -> None:
    goal_site.store.call("goal", "add", goal_site.slug, "All", "--path", "/**")
    good, bad = {"type": "pageview", "url": "https://example.com/"}, {"type": "pageview", "url": "nonsense"}
    batch = {"site_id": goal_site.slug, "events": [good, bad]}
    assert goal_site.server.send("/api/v1/events/batch", batch, goal_site.key).status == 400
    assert met_goals(goal_site.store, goal_site.slug) == []
    for _ in range(3):
        body, headers = batch | {"events": [good, good]}, {"Idempotency-Key": "once"}
        assert goal_site.server.send("/api/v1/events/batch", body, goal_site.key, headers).status == 201
    assert met_goals(goal_site.store, goal_site.slug) == ["All", "All"]


def test_a_running_server_notices_goals_within_a_second(goal_site: Place) -> None:
    added = goal_site.store.run("goal", "add", goal_site.slug, "Seen", "--path", "/seen", "--json").json
    time.sleep(1)
    pageview(goal_site, "/seen")
    assert met_goals(goal_site.store, goal_site.slug) == ["Seen"]
    goal_site.store.run("goal", "remove", added["id"])
    time.sleep(1)
    pageview(goal_site, "/seen")
    assert met_goals(goal_site.store, goal_site.slug) == ["Seen"]


def test_goals_apply_only_to_their_own_site(goal_site: Place, proxied: tuple[Store, Any]) -> None:
    other = Place(*proxied)
    add_webhook(other.store, other.slug, "--on", "goal.completed")
    goal_site.store.call("goal", "add", goal_site.slug, "Seen", "--path", "/seen")
    goal_site.store.call("goal", "add", other.slug, "Seen", "--event", "x")
    pageview(other, "/seen")
    pageview(goal_site, "/seen")
    assert (met_goals(goal_site.store, goal_site.slug), met_goals(other.store, other.slug)) == (["Seen"], [])


def test_goals_are_listed_as_they_were_added_until_they_are_removed(running: RunningSite) -> None:
    call = running.store.call
    first = call("goal", "add", "my-site", " Größe <b> ", "--path", "/a/**")
    second = call("goal", "add", "my-site", "x" * 100, "--event", "sign up")
    assert first == {"id": first["id"], "name": "Größe <b>", "event": None, "path": "/a/**"}
    assert second == {"id": second["id"], "name": "x" * 100, "event": "sign up", "path": None}
    assert call("goal", "list", "my-site") == [first, second]
    assert call("goal", "list", "other-site") == []
    assert "/a/**" in running.store.run("goal", "list", "my-site").stdout
    assert call("goal", "remove", first["id"]) == {"id": first["id"], "removed": True}
    assert call("goal", "list", "my-site") == [second]
    assert fails(running.store.run("goal", "remove", first["id"]))
    call("goal", "add", "my-site", first["name"], "--path", "/a/**")


INVALID_ARGS: list[list[str]] = [
    ["Both", "--path", "/a", "--event", "a"],
    ["Neither"],
    ["Neither", "--path", "", "--event", ""],
    ["", "--path", "/a"],
    [" \t", "--path", "/a"],
    ["x" * 101, "--path", "/a"],
    ["--path", "/a"],
    ["No slash", "--path", "a/**"],
]


@pytest.mark.parametrize("args", INVALID_ARGS, ids=" ".join)
def test_invalid_usage_exits_with_status_2_and_adds_nothing(running: RunningSite, args: list[str]) -> None:
    before = running.store.call("goal", "list", "my-site")
    result = running.store.run("goal", "add", "my-site", *args, "--json")
    assert (result.exit_status, result.stdout) == (2, "")
    assert "Error: " in result.stderr
    assert running.store.call("goal", "list", "my-site") == before


def test_a_failed_command_prints_one_sentence(running: RunningSite) -> None:
    def add(site: str, name: str, path: str) -> CommandResult:
        return running.store.run("goal", "add", site, name, "--path", path, "--json")

    assert add("my-site", "Twice", "/a").exit_status == 0
    results = [add("my-site", "Twice", "/b"), add("nowhere", "x", "/a")]
    results += [running.store.run("goal", *args) for args in (["list", "nowhere"], ["remove", "goal_nowhere"])]
    assert [fails(result) for result in results] == [True] * 4
    for result, named in zip(results, ("Twice", "nowhere", "nowhere", "goal_nowhere"), strict=True):
        assert named in result.stderr
    assert add("other-site", "Twice", "/a").exit_status == 0


MATCHING = """
/ /|/blog /blog|/blog/* /blog/a|/blog/* /blog/|/blog/** /blog/a/b|/** /|/** /a/b/c|/*/edit /7/edit|/a*c /abc|/a*c /ac
/**/done /a/b/done|/**/done //done|/a/**/z /a/b/c/z|/*.html /index.html|/a** /a/b|/a** /abc|/a*** /a/b|/*/* /a/b
/a.c /a.c|/a+ /a+|/(a) /(a)|/[a] /[a]|/a? /a?|/^$ /^$|/\\d /\\d|/a|/{2} /{2}|/**a** /xx/a/yy|/%C3%A4 /%C3%A4|/* /ä
/** /ä/ö
"""
NOT_MATCHING = """
/ /a|/blog /blog/|/blog /Blog|/blog/* /blog|/blog/* /blog/a/b|/blog/** /blog|/blog/** /blogs/a|/*/edit /a/b/edit
/a*c /a/c|/a*c /abcd|/a.c /abc|/a+ /aa|/(a) /a|/[a] /a|/a? /a|/a? /ab|/^$ /|/\\d /7|/{2} //|/**/done /done
/*.html /a/b.html|/* /a/
"""


def split_rows(text: str) -> list[list[str]]:
    return [row.split() for row in text.strip().replace("\n", "|").split("|") if len(row.split()) == 2]


@pytest.mark.parametrize(("pattern", "path"), split_rows(MATCHING), ids=str)
def test_matching_paths_match(pattern: str, path: str) -> None:
    assert PathPattern(pattern).matches(path)


@pytest.mark.parametrize(("pattern", "path"), split_rows(NOT_MATCHING), ids=str)
def test_other_paths_do_not_match(pattern: str, path: str) -> None:
    assert not PathPattern(pattern).matches(path)


@pytest.mark.parametrize("pattern", ["", "a", "*", "**/a", " /a", "https://example.com/a", "\n/"])
def test_a_pattern_begins_with_a_slash(pattern: str) -> None:
    with pytest.raises(ApiError) as exc_info:
        PathPattern(pattern)
    assert (exc_info.value.code, exc_info.value.field) == ("invalid_request", "path")


TEXT = st.text("a/.*\n", max_size=10)


@given(pattern=TEXT.map("/".__add__), path=st.text("a/.\n", max_size=12))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_patterns_match_like_their_regular_expressions(pattern: str, path: str) -> None:
    tokens = re.findall(r"\*+|[^*]", pattern)
    regex_by_token = {
        token: "[^/]*" if token == "*" else ".*" if token[0] == "*" else re.escape(token) for token in tokens
    }
    expected = re.fullmatch("".join(regex_by_token[token] for token in tokens), "/" + path, re.DOTALL)
    assert PathPattern(pattern).matches("/" + path) == bool(expected)


@pytest.mark.parametrize(
    "pattern", ["/" + "**a" * 30, "/" + "*a" * 30 + "b", "/**" * 30 + "/b", "/" + "a**" * 30 + "b"]
)
@pytest.mark.parametrize("path", ["/" + "a" * 4000, "/" + "a/" * 2000, "/" + "aab" * 1333 + "c"])
def test_pattern_matching_is_fast(pattern: str, path: str) -> None:
    compiled, started_s = PathPattern(pattern), time.process_time()
    compiled.matches(path)
    assert time.process_time() - started_s < 0.1
