"""The door of the Stats API: who may ask what, how a question is refused, and what an answer looks like."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import CHROME, Response, RunningSite

QUERY, OTHER = "/api/v1/stats/query", "/api/v2/query"
DAY = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(3)
ON_DAY = [DAY.date().isoformat()] * 2
PATHS = ["/", "/", "/", "/pricing", "/pricing", "/blog/one"]
STRANGE = ["__proto__", "');--", 'a"b', "a,b", "constructor", "a.b[0]", "ключ", "$", "%", "props"]


def at(minutes: int = 0) -> str:
    """A time on the day on which my-site was visited."""
    return (DAY + timedelta(minutes=minutes)).isoformat()


def view(path: str, host: int, **fields: object) -> dict[str, object]:
    """A pageview on that day, of one visitor of 250."""
    who = {"ip_address": f"203.0.113.{host}", "user_agent": CHROME}
    return {"type": "pageview", "url": f"https://example.com{path}", "timestamp": at(host), **who, **fields}


@pytest.fixture(scope="module", autouse=True)
def visited(running: RunningSite) -> None:
    """My-site has six visitors of three pages on a day, and one event of each strange property the day before."""
    views = [view(path, number) for number, path in enumerate(PATHS)]
    before = [
        view("/strange", 100, type="custom", event_name="odd", props={name: f"of {name}"}, timestamp=at(-1440))
        for name in STRANGE
    ]
    assert running.server.batch(running.key, *views, *before).status == 201


def ask(running: RunningSite, path: Any = QUERY, key: Any = None, **fields: Any) -> Response:
    """Ask for the visitors of that day, or for what is told."""
    body = {"site_id": "my-site", "metrics": ["visitors"], "date_range": ON_DAY} | fields
    return running.server.send(path, body, running.key if key is None else key)


def rows(answer: Response) -> list[tuple[Any, ...]]:
    """What stands in the dimensions and the metrics of each row."""
    assert answer.status == 200, answer.body
    return [(*row["dimensions"], *row["metrics"]) for row in answer.json["results"]]


def test_both_paths_give_the_same(running: RunningSite) -> None:
    asked: dict[str, Any] = {"dimensions": ["event:page"], "metrics": ["visitors", "pageviews"]}
    one, other = (ask(running, path, **asked) for path in (QUERY, OTHER))
    assert one.body == other.body
    assert rows(one) == [("/", 3, 3), ("/pricing", 2, 2), ("/blog/one", 1, 1)]
    assert (one.headers["content-type"], one.headers["cache-control"]) == ("application/json", "no-store")


def test_the_answer_tells_how_the_question_was_understood(running: RunningSite) -> None:
    told = ask(running, dimensions=["time"], filters=[["is", "event:page", ["/"], {"case_sensitive": False}]]).json
    day = ON_DAY[0]
    assert told["query"] == {
        "site_id": "my-site",
        "metrics": ["visitors"],
        "date_range": [f"{day}T00:00:00+00:00", f"{day}T23:59:59+00:00"],
        "dimensions": ["time:day"],
        "filters": [["is", "event:page", ["/"], {"case_sensitive": False}]],
        "order_by": [["time:day", "asc"]],
        "pagination": {"limit": 10_000, "offset": 0},
    }


@pytest.mark.parametrize("path", [QUERY, OTHER])
@pytest.mark.parametrize("key", ["", "nobody's", "ovx_" + "0" * 40])
def test_who_is_not_known_may_ask_nothing(running: RunningSite, path: str, key: str) -> None:
    assert ask(running, path, key).error == (401, "unauthorized", None)


def test_a_key_that_was_revoked_may_ask_nothing(running: RunningSite) -> None:
    added = running.store.call("key", "add", "my-site")
    assert ask(running, key=added["key"]).status == 200
    running.store.call("key", "revoke", added["id"])
    time.sleep(2)  # the server looks each second
    assert ask(running, key=added["key"]).error[:2] == (401, "unauthorized")


@pytest.mark.parametrize("site", ["my-site", "nowhere", ""])
def test_a_key_is_of_one_site(running: RunningSite, site: str) -> None:
    key = running.store.key("other-site")
    assert ask(running, key=key, site_id=site).error == (404, "invalid_site_id", "site_id")
    answer = running.server.send(f"/api/v1/stats/realtime?site_id={site}", None, key, method="GET")
    assert answer.error == ((404, "invalid_site_id", "site_id") if site else (400, "invalid_request", "site_id"))


@pytest.mark.parametrize("body", [b"", b"{", b"visitors", b"\xff", b'{"site_id": "my-site",}', b"[" * 100_000, b"NaN"])
def test_what_is_not_json(running: RunningSite, body: bytes) -> None:
    assert running.server.send(QUERY, body, running.key).error[:2] == (400, "invalid_request")


@pytest.mark.parametrize("body", [None, [], "x", 1, {}, {"site_id": 1}, {"site_id": None, "metrics": ["visitors"]}])
def test_what_is_no_query(running: RunningSite, body: object) -> None:
    sent = json.dumps(body).encode()
    assert running.server.send(QUERY, sent, running.key).error == (400, "invalid_request", "site_id")


def test_a_mebibyte_is_the_most(running: RunningSite) -> None:
    body = json.dumps({"site_id": "my-site", "metrics": ["visitors"], "date_range": "7d"}).encode()
    assert running.server.send(QUERY, body.ljust(1 << 20), running.key).status == 200
    assert running.server.send(QUERY, body.ljust((1 << 20) + 1), running.key).error[:2] == (413, "payload_too_large")


DEEP: list[Any] = ["is", "event:page", ["/"]]
for _ in range(11):
    DEEP = ["not", DEEP]
GOAL = ["is", "event:goal", ["none"]]
MANY = [["is", "event:page", ["/"]]]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"metric": ["visitors"]}, "metric"),
    ({"metrics": []}, "metrics"),
    ({"metrics": ["visitors", "hackers"]}, "metrics[1]"),
    ({"metrics": ["conversion_rate"]}, "metrics[0]"),
    ({"metrics": ["visits", "time_on_page"]}, "metrics[1]"),
    ({"metrics": ["conversion_rate"], "filters": [["not", GOAL]]}, "metrics[0]"),
    ({"metrics": ["scroll_depth"], "dimensions": ["event:page", "event:name"]}, "metrics[0]"),
    ({"dimensions": ["visit:page"]}, "dimensions[0]"),
    ({"dimensions": ["event:page", "event:props:"]}, "dimensions[1]"),
    ({"dimensions": ["time", "time:month"]}, "dimensions"),
    ({"dimensions": ["event:page", "event:name", "event:goal", "visit:os", "visit:device"]}, "dimensions"),
    ({"dimensions": ["time:minute"], "date_range": "7d"}, "dimensions"),
    ({"date_range": "3d"}, "date_range"),
    ({"date_range": ["2026-01-01"]}, "date_range"),
    ({"date_range": ["2026-03-02", "2026-03-01"]}, "date_range"),
    ({"date_range": ["2026-02-29", "2026-03-01"]}, "date_range"),
    ({"date_range": ["0001-01-01", "9999-12-31"]}, "date_range"),
    ({"date_range": ["2026-03-01T10:00:00Z", "2026-03-01T09:00:00Z"]}, "date_range"),
    ({"date_range": ["0001-01-01T00:00:00+14:00", "2026-03-01T09:00:00Z"]}, "date_range"),
    ({"filters": [["like", "event:page", ["/"]]]}, "filters[0][0]"),
    ({"filters": [["is", "visit:page", ["/"]]]}, "filters[0][1]"),
    ({"filters": [["is", "time:day", ["2026-01-01"]]]}, "filters[0][1]"),
    ({"filters": [["is", "event:page", []]]}, "filters[0][2]"),
    ({"filters": [["is", "event:page", ["/", None]]]}, "filters[0][2][1]"),
    ({"filters": [["is", "event:page", ["/"], {"fold": True}]]}, "filters[0][3]"),
    ({"filters": [["is", "event:page", ["/"], {"case_sensitive": "no"}]]}, "filters[0][3]"),
    ({"filters": [["contains", "event:goal", ["a"]]]}, "filters[0][0]"),
    ({"filters": [["is", "event:goal", ["no such goal"]]]}, "filters"),
    ({"filters": [["matches", "event:page", ["/", "("]]]}, "filters[0][2][1]"),
    ({"filters": [["and", [["not", ["matches", "event:page", "(?=x)"]]]]]}, "filters[0][1][0][1][2][0]"),
    ({"filters": MANY * 10_000}, "filters"),
    ({"filters": [["or", MANY * 26], ["and", MANY * 25]]}, "filters"),
    ({"filters": [DEEP]}, "filters[0]" + "[1]" * 10),
    ({"order_by": [["pageviews", "desc"]]}, "order_by[0]"),
    ({"limit": 0}, "limit"),
    ({"limit": 10_001}, "limit"),
    ({"offset": -1}, "offset"),
    ({"pagination": {"limit": "all"}}, "limit"),
    ({"pagination": []}, "pagination"),
    ({"include": []}, "include"),
    ({"include": {"total_rows": "yes"}}, "include.total_rows"),
    ({"include": {"time_labels": True}}, "include.time_labels"),
    ({"include": {"comparisons": {"mode": "custom"}}}, "include.comparisons.date_range"),
]


@pytest.mark.parametrize(("told", "field"), WRONG, ids=lambda told: str(told)[:60])
def test_what_is_wrong_is_told_with_its_field(running: RunningSite, told: dict[str, Any], field: str) -> None:
    answer = ask(running, **told)
    assert answer.error == (400, "invalid_request", field)
    assert len(answer.json["error"]["message"]) < 700


@pytest.mark.parametrize("span", [["1970-02-01", "1970-02-03"], ["1971-06-01", "1999-01-01"], ["1970-01-01"] * 2])
@pytest.mark.parametrize("mode", ["previous_period", "year_over_year"])
def test_before_the_first_day_there_is_nothing_to_compare(running: RunningSite, span: list[str], mode: str) -> None:
    assert ask(running, date_range=span, include={"comparisons": {"mode": mode}}).status in (200, 400)


@pytest.mark.parametrize("pattern", ["(a*)*b", "((a{100}){100}){100}", "(x+x+)+y", "." * 2000, r"\pL{20}"])
def test_no_expression_takes_long(running: RunningSite, pattern: str) -> None:
    began = time.monotonic()
    patterns = [f"{pattern}{number}"[-2000:] for number in range(500)]
    answer = ask(running, dimensions=["event:page"], filters=[["matches", "event:page", patterns]])
    assert answer.status in (200, 400)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", STRANGE)
def test_a_property_may_have_any_name(running: RunningSite, name: str) -> None:
    before = [(DAY - timedelta(1)).date().isoformat()] * 2
    of = f"event:props:{name}"
    assert rows(ask(running, date_range=before, dimensions=[of])) == [(f"of {name}", 1)]
    assert rows(ask(running, date_range=before, filters=[["is", of, [f"of {name}"]]])) == [(1,)]
    assert rows(ask(running, date_range=before, filters=[["contains", of, ["nothing"]]])) == [(0,)]


@pytest.mark.parametrize("name", ["\0", "\ud800", "x" * 1900, "\n", "🙂"])
def test_no_property_has_such_a_name(running: RunningSite, name: str) -> None:
    answer = ask(running, dimensions=[f"event:props:{name}"], filters=[["is_not", f"event:props:{name}", [name]]])
    assert answer.status == 400 if name in ("\0", "\ud800") else rows(answer) == []


def test_an_empty_property_and_events_in_no_visit(running: RunningSite) -> None:
    """What a property has may be nothing at all; of events in no visit, nobody knows the source, or what it is not."""
    running.store.site("odd-site")
    key, now = running.store.key("odd-site"), {"site_id": "odd-site", "date_range": "day"}
    url = {"type": "custom", "event_name": "odd", "url": "https://example.com/"}
    agents: tuple[dict[str, str], ...] = ({}, {"user_agent": CHROME})
    events = [{**url, "props": {"plan": plan}, **who} for plan in ("", "pro") for who in agents]
    assert running.server.send("/api/v1/events/batch", {"site_id": "odd-site", "events": events}, key).status == 201
    plans = rows(ask(running, key=key, **now, metrics=["events"], dimensions=["event:props:plan"]))
    assert sorted(plans) == [("", 2), ("pro", 2)]
    source = ["is", "visit:source", ["direct"]]
    for filters, times in (([source], 2), ([["is_not", *source[1:]]], 0), ([["not", source]], 0)):
        assert rows(ask(running, key=key, **now, metrics=["events"], filters=filters)) == [(times,)]


def test_a_site_without_events_and_with_one(running: RunningSite) -> None:
    running.store.site("new-site")
    key = running.store.key("new-site")
    metrics = ["visitors", "visits", "pageviews", "events", "bounce_rate", "views_per_visit", "total_revenue"]
    for period in ("all", "7d", "24h"):
        asked = {"key": key, "site_id": "new-site", "metrics": metrics, "date_range": period}
        assert rows(ask(running, **asked)) == [(0, 0, 0, 0, None, None, None)]
        assert rows(ask(running, **asked, dimensions=["event:page"])) == []
    who = {"ip_address": "203.0.113.1", "user_agent": CHROME}
    assert running.server.pageview(key, site_id="new-site", **who).status == 201
    assert rows(ask(running, **asked)) == [(1, 1, 1, 1, 100, 1, None)]


def test_a_period_is_compared_with_another(running: RunningSite) -> None:
    asked = {"dimensions": ["time:day"], "metrics": ["events", "pageviews"]}
    previous = {"comparisons": {"mode": "previous_period"}}
    (row,) = ask(running, **asked, include=previous).json["results"]
    before = (DAY - timedelta(1)).date().isoformat()
    assert row["metrics"] == [6, 6]
    assert row["comparison"] == {"dimensions": [before], "metrics": [10, 0], "change": [-40, 100]}
    custom = {"comparisons": {"mode": "custom", "date_range": [before, before]}}
    assert ask(running, **asked, include=custom).json["results"] == [row]


def test_pages_of_an_answer(running: RunningSite) -> None:
    asked: dict[str, Any] = {"dimensions": ["event:page"], "include": {"total_rows": True}}
    found = [ask(running, **asked, limit=1, offset=offset) for offset in range(4)]
    assert [rows(one) for one in found] == [[("/", 3)], [("/pricing", 2)], [("/blog/one", 1)], []]
    assert {one.json["meta"]["total_rows"] for one in found} == {3}
    assert rows(ask(running, **asked, pagination={"limit": 1, "offset": 2})) == [("/blog/one", 1)]
    asked["order_by"] = [["event:page", "desc"]]
    assert [row[0] for row in rows(ask(running, **asked))] == ["/pricing", "/blog/one", "/"]


def test_time_labels_are_of_all_times(running: RunningSite) -> None:
    answer = ask(running, dimensions=["time:hour"], include={"time_labels": True})
    labels = [f"{ON_DAY[0]} {hour:02}:00:00" for hour in range(24)]
    assert (answer.json["meta"]["time_labels"], rows(answer)) == (labels, [(f"{ON_DAY[0]} 12:00:00", 6)])


def test_realtime_is_of_the_last_five_minutes(running: RunningSite) -> None:
    running.store.site("busy-site")
    key, now = running.store.key("busy-site"), datetime.now(UTC)
    for host, minutes in ((1, 0), (1, 1), (2, 4), (3, 6)):
        who = {"ip_address": f"203.0.113.{host}", "timestamp": (now - timedelta(minutes=minutes)).isoformat()}
        assert running.server.pageview(key, site_id="busy-site", user_agent=CHROME, **who).status == 201
    path = "/api/v1/stats/realtime?site_id=busy-site"
    assert running.server.send(path, None, key, method="GET").json == {"active_visitors": 2}
    # Each answer is of now, not of a moment ago.
    for host in (4, 5, 6):
        seen = {"site_id": "busy-site", "user_agent": CHROME, "ip_address": f"203.0.113.{host}"}
        assert running.server.pageview(key, **seen).status == 201
        assert running.server.send(path, None, key, method="GET").json == {"active_visitors": host - 1}
    assert running.server.send(path, None, method="GET").error == (401, "unauthorized", None)
    assert running.server.send("/api/v1/stats/realtime", None, key, method="GET").error[0] == 400
    assert running.server.send(QUERY, None, key, method="GET").error == (405, "method_not_allowed", None)
