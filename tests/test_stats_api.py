"""The Stats API over HTTP: keys, invalid queries, and the shape of responses."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import CHROME, Response, RunningSite

QUERY_PATH, V2_QUERY_PATH = "/api/v1/stats/query", "/api/v2/query"
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(3)
DATE_RANGE = [NOON.date().isoformat()] * 2
PATHS = ["/", "/", "/", "/pricing", "/pricing", "/blog/one"]
ODD_NAMES = ["__proto__", "');--", 'a"b', "a,b", "constructor", "a.b[0]", "ключ", "$", "%", "props"]


def time_at(minutes: int = 0) -> str:
    """Return a time in minutes from noon of the day of the visits."""
    return (NOON + timedelta(minutes=minutes)).isoformat()


def pageview(path: str, host: int, **fields: object) -> dict[str, object]:
    """Return a pageview on that day; `host` identifies the visitor."""
    visitor_fields = {"ip_address": f"203.0.113.{host}", "user_agent": CHROME}
    return {
        "type": "pageview",
        "url": f"https://example.com{path}",
        "timestamp": time_at(host),
        **visitor_fields,
        **fields,
    }


@pytest.fixture(scope="module", autouse=True)
def visited(running: RunningSite) -> None:
    """Give my-site six visitors of three pages on one day, and an event with each odd property on the day before."""
    views = [pageview(path, number) for number, path in enumerate(PATHS)]
    odd_events = [
        pageview("/strange", 100, type="custom", event_name="odd", props={name: f"of {name}"}, timestamp=time_at(-1440))
        for name in ODD_NAMES
    ]
    assert running.server.batch(running.key, *views, *odd_events).status == 201


def run_query(running: RunningSite, path: Any = QUERY_PATH, key: Any = None, **fields: Any) -> Response:
    """Query the visitors of that day; `fields` override the query."""
    body = {"site_id": "my-site", "metrics": ["visitors"], "date_range": DATE_RANGE} | fields
    return running.server.send(path, body, running.key if key is None else key)


def rows(response: Response) -> list[tuple[Any, ...]]:
    """Return the dimensions and the metrics of each row."""
    assert response.status == 200, response.body
    return [(*row["dimensions"], *row["metrics"]) for row in response.json["results"]]


def test_both_paths_return_the_same_result(running: RunningSite) -> None:
    query_fields: dict[str, Any] = {"dimensions": ["event:page"], "metrics": ["visitors", "pageviews"]}
    response, other_response = (run_query(running, path, **query_fields) for path in (QUERY_PATH, V2_QUERY_PATH))
    assert response.body == other_response.body
    assert rows(response) == [("/", 3, 3), ("/pricing", 2, 2), ("/blog/one", 1, 1)]
    assert (response.headers["content-type"], response.headers["cache-control"]) == ("application/json", "no-store")


def test_the_response_repeats_the_parsed_query(running: RunningSite) -> None:
    body = run_query(
        running, dimensions=["time"], filters=[["is", "event:page", ["/"], {"case_sensitive": False}]]
    ).json
    day = DATE_RANGE[0]
    assert body["query"] == {
        "site_id": "my-site",
        "metrics": ["visitors"],
        "date_range": [f"{day}T00:00:00+00:00", f"{day}T23:59:59+00:00"],
        "dimensions": ["time:day"],
        "filters": [["is", "event:page", ["/"], {"case_sensitive": False}]],
        "order_by": [["time:day", "asc"]],
        "pagination": {"limit": 10_000, "offset": 0},
    }


@pytest.mark.parametrize("path", [QUERY_PATH, V2_QUERY_PATH])
@pytest.mark.parametrize("key", ["", "unknown", "ovx_" + "0" * 40])
def test_an_unknown_key_is_refused(running: RunningSite, path: str, key: str) -> None:
    assert run_query(running, path, key).error == (401, "unauthorized", None)


def test_a_revoked_key_is_refused(running: RunningSite) -> None:
    added = running.store.call("key", "add", "my-site")
    assert run_query(running, key=added["key"]).status == 200
    running.store.call("key", "revoke", added["id"])
    time.sleep(2)  # the server checks every second
    assert run_query(running, key=added["key"]).error[:2] == (401, "unauthorized")


@pytest.mark.parametrize("site", ["my-site", "nowhere", ""])
def test_a_key_may_query_only_its_site(running: RunningSite, site: str) -> None:
    key = running.store.key("other-site")
    assert run_query(running, key=key, site_id=site).error == (404, "invalid_site_id", "site_id")
    response = running.server.send(f"/api/v1/stats/realtime?site_id={site}", None, key, method="GET")
    assert response.error == ((404, "invalid_site_id", "site_id") if site else (400, "invalid_request", "site_id"))


@pytest.mark.parametrize("body", [b"", b"{", b"visitors", b"\xff", b'{"site_id": "my-site",}', b"[" * 100_000, b"NaN"])
def test_a_body_that_is_not_json_is_rejected(running: RunningSite, body: bytes) -> None:
    assert running.server.send(QUERY_PATH, body, running.key).error[:2] == (400, "invalid_request")


@pytest.mark.parametrize("body", [None, [], "x", 1, {}, {"site_id": 1}, {"site_id": None, "metrics": ["visitors"]}])
def test_a_body_that_is_not_a_query_is_rejected(running: RunningSite, body: object) -> None:
    encoded = json.dumps(body).encode()
    assert running.server.send(QUERY_PATH, encoded, running.key).error == (400, "invalid_request", "site_id")


def test_a_query_may_have_up_to_one_mebibyte(running: RunningSite) -> None:
    body = json.dumps({"site_id": "my-site", "metrics": ["visitors"], "date_range": "7d"}).encode()
    assert running.server.send(QUERY_PATH, body.ljust(1 << 20), running.key).status == 200
    assert running.server.send(QUERY_PATH, body.ljust((1 << 20) + 1), running.key).error[:2] == (
        413,
        "payload_too_large",
    )


DEEP_FILTER: list[Any] = ["is", "event:page", ["/"]]
for _ in range(11):
    DEEP_FILTER = ["not", DEEP_FILTER]
GOAL_FILTER = ["is", "event:goal", ["none"]]
ONE_FILTER = [["is", "event:page", ["/"]]]
INVALID_QUERIES: list[tuple[dict[str, Any], str]] = [
    ({"metric": ["visitors"]}, "metric"),
    ({"metrics": []}, "metrics"),
    ({"metrics": ["visitors", "hackers"]}, "metrics[1]"),
    ({"metrics": ["conversion_rate"]}, "metrics[0]"),
    ({"metrics": ["visits", "time_on_page"]}, "metrics[1]"),
    ({"metrics": ["conversion_rate"], "filters": [["not", GOAL_FILTER]]}, "metrics[0]"),
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
    ({"filters": ONE_FILTER * 10_000}, "filters"),
    ({"filters": [["or", ONE_FILTER * 26], ["and", ONE_FILTER * 25]]}, "filters"),
    ({"filters": [DEEP_FILTER]}, "filters[0]" + "[1]" * 10),
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


@pytest.mark.parametrize(("query_fields", "field"), INVALID_QUERIES, ids=lambda value: str(value)[:60])
def test_an_error_names_its_field(running: RunningSite, query_fields: dict[str, Any], field: str) -> None:
    response = run_query(running, **query_fields)
    assert response.error == (400, "invalid_request", field)
    assert len(response.json["error"]["message"]) < 700


@pytest.mark.parametrize("date_range", [["1970-02-01", "1970-02-03"], ["1971-06-01", "1999-01-01"], ["1970-01-01"] * 2])
@pytest.mark.parametrize("mode", ["previous_period", "year_over_year"])
def test_a_comparison_before_the_first_day_is_no_internal_error(
    running: RunningSite, date_range: list[str], mode: str
) -> None:
    assert run_query(running, date_range=date_range, include={"comparisons": {"mode": mode}}).status in (200, 400)


@pytest.mark.parametrize("pattern", ["(a*)*b", "((a{100}){100}){100}", "(x+x+)+y", "." * 2000, r"\pL{20}"])
def test_regular_expressions_run_in_bounded_time(running: RunningSite, pattern: str) -> None:
    cpu_before_s = running.server.cpu_time_s
    patterns = [f"{pattern}{number}"[-2000:] for number in range(500)]
    response = run_query(running, dimensions=["event:page"], filters=[["matches", "event:page", patterns]])
    assert response.status in (200, 400)
    assert running.server.cpu_time_s - cpu_before_s < 5


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_property_may_have_any_name(running: RunningSite, name: str) -> None:
    before = [(NOON - timedelta(1)).date().isoformat()] * 2
    dimension = f"event:props:{name}"
    assert rows(run_query(running, date_range=before, dimensions=[dimension])) == [(f"of {name}", 1)]
    assert rows(run_query(running, date_range=before, filters=[["is", dimension, [f"of {name}"]]])) == [(1,)]
    assert rows(run_query(running, date_range=before, filters=[["contains", dimension, ["nothing"]]])) == [(0,)]


@pytest.mark.parametrize("name", ["\0", "\ud800", "x" * 1900, "\n", "🙂"])
def test_an_unused_property_name_has_no_rows_or_is_invalid(running: RunningSite, name: str) -> None:
    response = run_query(
        running, dimensions=[f"event:props:{name}"], filters=[["is_not", f"event:props:{name}", [name]]]
    )
    assert response.status == 400 if name in ("\0", "\ud800") else rows(response) == []


def test_empty_properties_count_and_events_without_a_visit_match_no_source_filter(running: RunningSite) -> None:
    """A property may be an empty string. The source of an event without a visit is unknown, so `is_not` fails too."""
    running.store.site("odd-site")
    key, today = running.store.key("odd-site"), {"site_id": "odd-site", "date_range": "day"}
    url = {"type": "custom", "event_name": "odd", "url": "https://example.com/"}
    visitors: tuple[dict[str, str], ...] = ({}, {"user_agent": CHROME})
    events = [{**url, "props": {"plan": plan}, **visitor_fields} for plan in ("", "pro") for visitor_fields in visitors]
    assert running.server.send("/api/v1/events/batch", {"site_id": "odd-site", "events": events}, key).status == 201
    plans = rows(run_query(running, key=key, **today, metrics=["events"], dimensions=["event:props:plan"]))
    assert sorted(plans) == [("", 2), ("pro", 2)]
    source = ["is", "visit:source", ["direct"]]
    for filters, event_count in (([source], 2), ([["is_not", *source[1:]]], 0), ([["not", source]], 0)):
        assert rows(run_query(running, key=key, **today, metrics=["events"], filters=filters)) == [(event_count,)]


def test_a_site_without_events_and_with_one_event(running: RunningSite) -> None:
    running.store.site("new-site")
    key = running.store.key("new-site")
    metrics = ["visitors", "visits", "pageviews", "events", "bounce_rate", "views_per_visit", "total_revenue"]
    for period in ("all", "7d", "24h"):
        query_fields = {"key": key, "site_id": "new-site", "metrics": metrics, "date_range": period}
        assert rows(run_query(running, **query_fields)) == [(0, 0, 0, 0, None, None, None)]
        assert rows(run_query(running, **query_fields, dimensions=["event:page"])) == []
    visitor_fields = {"ip_address": "203.0.113.1", "user_agent": CHROME}
    assert running.server.pageview(key, site_id="new-site", **visitor_fields).status == 201
    assert rows(run_query(running, **query_fields)) == [(1, 1, 1, 1, 100, 1, None)]


def test_a_period_is_compared_with_another(running: RunningSite) -> None:
    query_fields = {"dimensions": ["time:day"], "metrics": ["events", "pageviews"]}
    previous = {"comparisons": {"mode": "previous_period"}}
    (row,) = run_query(running, **query_fields, include=previous).json["results"]
    before = (NOON - timedelta(1)).date().isoformat()
    assert row["metrics"] == [6, 6]
    assert row["comparison"] == {"dimensions": [before], "metrics": [10, 0], "change": [-40, 100]}
    custom = {"comparisons": {"mode": "custom", "date_range": [before, before]}}
    assert run_query(running, **query_fields, include=custom).json["results"] == [row]


def test_results_are_paginated(running: RunningSite) -> None:
    query_fields: dict[str, Any] = {"dimensions": ["event:page"], "include": {"total_rows": True}}
    responses = [run_query(running, **query_fields, limit=1, offset=offset) for offset in range(4)]
    assert [rows(response) for response in responses] == [[("/", 3)], [("/pricing", 2)], [("/blog/one", 1)], []]
    assert {response.json["meta"]["total_rows"] for response in responses} == {3}
    assert rows(run_query(running, **query_fields, pagination={"limit": 1, "offset": 2})) == [("/blog/one", 1)]
    query_fields["order_by"] = [["event:page", "desc"]]
    assert [row[0] for row in rows(run_query(running, **query_fields))] == ["/pricing", "/blog/one", "/"]


def test_time_labels_cover_the_whole_range(running: RunningSite) -> None:
    response = run_query(running, dimensions=["time:hour"], include={"time_labels": True})
    labels = [f"{DATE_RANGE[0]} {hour:02}:00:00" for hour in range(24)]
    assert (response.json["meta"]["time_labels"], rows(response)) == (labels, [(f"{DATE_RANGE[0]} 12:00:00", 6)])


def test_realtime_counts_visitors_of_the_last_five_minutes(running: RunningSite) -> None:
    running.store.site("busy-site")
    key, current_time = running.store.key("busy-site"), datetime.now(UTC)
    for host, minutes in ((1, 0), (1, 1), (2, 4), (3, 6)):
        event_fields = {
            "ip_address": f"203.0.113.{host}",
            "timestamp": (current_time - timedelta(minutes=minutes)).isoformat(),
        }
        assert running.server.pageview(key, site_id="busy-site", user_agent=CHROME, **event_fields).status == 201
    path = "/api/v1/stats/realtime?site_id=busy-site"
    assert running.server.send(path, None, key, method="GET").json == {"active_visitors": 2}
    # Each response is up to date, not cached.
    for host in (4, 5, 6):
        visitor_event = {"site_id": "busy-site", "user_agent": CHROME, "ip_address": f"203.0.113.{host}"}
        assert running.server.pageview(key, **visitor_event).status == 201
        assert running.server.send(path, None, key, method="GET").json == {"active_visitors": host - 1}
    assert running.server.send(path, None, method="GET").error == (401, "unauthorized", None)
    assert running.server.send("/api/v1/stats/realtime", None, key, method="GET").error[0] == 400
    assert running.server.send(QUERY_PATH, None, key, method="GET").error == (405, "method_not_allowed", None)
