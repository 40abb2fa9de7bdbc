"""Dimensions with many values: rollups store a limited number per day, and totals stay exact."""

import csv
import io
import os
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ovx_lite.domain.calendar import DAY_MS
from ovx_lite.domain.models import Site
from ovx_lite.stats import filters as conditions
from ovx_lite.stats.date_ranges import from_days
from ovx_lite.storage import integrity
from ovx_lite.storage.read import event_queries, filtered_scan, visitor_totals
from ovx_lite.storage.read.reader import SqliteReader
from ovx_lite.storage.rollups import goal_backfill, rebuild
from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.rollups.value_limit import OTHER, save_max_values
from ovx_lite.storage.sqlite import open_store, transaction
from ovx_lite.web.api.stats import run_query_document
from ovx_lite.web.ui.dashboard import data
from ovx_lite.web.ui.dashboard.state import DashboardState
from tests.conftest import CHROME, RunningSite, Start, Store
from tests.support.answers import metrics_match, run_query, sorted_rows
from tests.support.drawn import CLOCK_CHANGES, HITS, OPERATIONS
from tests.support.queries import FIXED_QUERIES, QUERIES, DrawnQuery, has_few_expressions
from tests.support.recount import TIME_DIMENSIONS
from tests.support.store import new_site
from tests.support.traffic import Traffic

RECOUNTS = os.environ.get("OVX_RECOUNTS")  # for a long run, with different cases each time
ADDITIVE = {"visit:": ("visits",), "event:": ("pageviews", "events")}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path_factory.mktemp("store"))) as opened:
        yield opened


def max_values_per_day(conn: sqlite3.Connection) -> int:
    """Return the largest number of values that rollups store for a dimension and day."""
    query = f"""
        SELECT max(n) FROM (
            SELECT count(*) AS n FROM rollups
            WHERE period_days = 1 AND value_id <> {OTHER} AND dimension <> {int(Dimension.GOAL)}
            GROUP BY site_id, start_day, dimension
        )
    """
    return int(conn.execute(query).fetchone()[0] or 0)


def check_query(traffic: Traffic, drawn_query: DrawnQuery) -> None:
    """Check that a result equals the recount, or adds up to it if it has a row for other values."""
    query, now_ms = drawn_query.as_json(traffic), traffic.midnight_ms + drawn_query.now_offset_ms
    response = run_query(traffic, query | {"include": {"total_rows": True}}, now_ms)
    rows, _ = traffic.recount.rows(query, traffic.recount.time_range(query["date_range"], now_ms))
    assert response["meta"]["total_rows"] == len(response["results"])
    assert response["results"] == sorted_rows(response["results"], query)
    if not any("(other)" in row["dimensions"] for row in response["results"]):
        assert metrics_match({tuple(row["dimensions"]): row["metrics"] for row in response["results"]}, rows), (
            f"{query} {now_ms}"
        )
        return
    event("an answer with other values")
    (dimension,) = (candidate for candidate in drawn_query.dimensions if candidate not in TIME_DIMENSIONS)
    for name in set(query["metrics"]) & {*ADDITIVE[dimension[:6]]}:
        index = query["metrics"].index(name)
        assert sum(row["metrics"][index] for row in response["results"]) == sum(
            int(row[index]) for row in rows.values()
        )
    if "visitors" in query["metrics"]:
        index = query["metrics"].index("visitors")
        visitors_by_key = {tuple(row["dimensions"]): row["metrics"][index] for row in response["results"]}
        for key, visitors in visitors_by_key.items():
            if "(other)" not in key:
                assert 0 <= visitors <= rows[key][index]


@given(
    st.integers(1, 3),
    st.sampled_from(CLOCK_CHANGES),
    st.lists(OPERATIONS, min_size=3, max_size=10),
    st.lists(QUERIES.filter(has_few_expressions), min_size=5, max_size=15),
)
@settings(
    max_examples=int(RECOUNTS or 15),
    deadline=None,
    derandomize=RECOUNTS is None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_totals_stay_exact_when_few_values_are_stored(
    empty: sqlite3.Connection,
    limit: int,
    clock_change: tuple[str, str],
    operations: list[tuple[str, Any]],
    queries: list[DrawnQuery],
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        empty.backup(conn)
        conn.execute("PRAGMA foreign_keys = ON")
        save_max_values(conn, limit)
        traffic = Traffic(conn, *clock_change)
        for action, argument in operations:
            traffic.apply(action, argument)
            assert integrity.problems(conn) == []
            assert max_values_per_day(conn) <= limit
        traffic.add_remaining_goals()
        queries = [*FIXED_QUERIES, *queries]
        for again in (False, True):
            assert integrity.problems(conn) == []
            assert max_values_per_day(conn) <= limit
            for query in queries:
                check_query(traffic, query)
            if not again:
                rebuild.mark_all_dirty(conn, traffic.site)
                while goal_backfill.catch_up(conn):
                    pass
        with transaction(conn):
            changed_rows = conn.execute("UPDATE rollups SET visits = visits + 1 WHERE period_days = 1").rowcount
        assert integrity.problems(conn) or not changed_rows


@pytest.fixture(scope="module")
def flooded(tmp_path_factory: pytest.TempPathFactory, start: Start) -> RunningSite:
    """A server that stores three values per dimension; my-site has two visitors, six pages and five persons."""
    store = Store(tmp_path_factory.mktemp("flooded") / "data")
    site = store.site("my-site", "--domain", "example.com")
    running = RunningSite(store, start(store, "--rollup-values", "3"), store.key(), site["jwt_secret"])
    views = [
        {"type": "pageview", "url": f"https://example.com/{path}", "ip_address": address, "user_agent": CHROME}
        for address, paths in (("203.0.113.1", (1, 2, 3, 4, 5, 6)), ("203.0.113.2", (5, 6)))
        for path in paths
    ]
    assert running.server.batch(running.key, *views).status == 201
    for number in range(5):
        body = {"event_type": "conversion", "event_name": "sale", "user_id": f"person-{number}", "properties": {}}
        assert running.server.send("/v1/projects/my-site/events", body, running.key).status == 202
    with store.connect() as conn, conn:
        conn.execute("INSERT INTO shared_links SELECT id, 'open', '', 0 FROM sites")
    return running


def page_rows(running: RunningSite, metrics: list[str], *filters: object) -> list[tuple[Any, ...]]:
    body = {"site_id": "my-site", "date_range": "7d", "dimensions": ["event:page"]}
    query = body | {"metrics": metrics, "filters": filters, "order_by": [[metrics[0], "desc"]]}
    response = running.server.send("/api/v1/stats/query", query, running.key)
    assert response.status == 200, response.body
    return [(*row["dimensions"], *row["metrics"]) for row in response.json["results"]]


def test_values_over_the_limit_count_as_other_with_distinct_visitors(flooded: RunningSite) -> None:
    assert page_rows(flooded, ["pageviews", "visitors", "visits"]) == [
        ("(other)", 5, 2, 2),
        *((f"/{path}", 1, 1, 1) for path in (1, 2, 3)),
    ]


def test_numbers_computed_from_events_are_exact(flooded: RunningSite) -> None:
    expected = {(f"/{path}", 1 + (path > 4)) for path in range(1, 7)}
    assert {row[:2] for row in page_rows(flooded, ["visitors", "bounce_rate"])} == expected
    assert page_rows(flooded, ["visitors"], ["is", "event:page", ["/6"]]) == [("/6", 2)]
    exported = [event["path"] for event in flooded.store.events() if event["name"] == "pageview"]
    assert sorted(exported) == [f"/{path}" for path in (1, 2, 3, 4, 5, 5, 6, 6)]


def test_the_dashboard_and_its_csv_show_other_without_a_filter_link(flooded: RunningSite) -> None:
    page = flooded.server.send("/share/open", method="GET")
    assert (page.status, b"(other)" in page.body) == (200, True)
    assert b"is,page,/1" in page.body or b"is%2Cpage%2C%2F1" in page.body
    assert b"page%2C%28other%29" not in page.body
    assert b"page,(other)" not in page.body
    table = flooded.server.send("/share/open/csv/pages", method="GET").body.decode()
    assert ["(other)", "2", "2", "5", "5"] in list(csv.reader(io.StringIO(table)))


def test_neither_rollups_nor_their_values_grow(flooded: RunningSite) -> None:
    with flooded.store.connect() as conn:
        assert max_values_per_day(conn) == 3
        query = "SELECT count(*), sum(events) FROM rollups WHERE dimension = ? AND period_days = 1"
        assert conn.execute(query, (Dimension.PERSON,)).fetchone() == (4, 5)
        values = {value for (value,) in conn.execute("SELECT value FROM dimension_values WHERE value LIKE '/%'")}
        assert values == {"/1", "/2", "/3", "/5"}  # /5 is an entry page
    assert flooded.store.spawn("check").exit_status == 0


def test_commands_use_the_same_limit(flooded: RunningSite) -> None:
    line = '203.0.113.9 - - [{}] "GET /{} HTTP/1.1" 200 1 "-" "' + CHROME + '"\n'
    lines = "".join(line.format("02/Jan/2026:10:00:00 +0000", path) for path in range(10))
    flooded.store.call("import", "access-log", "my-site", "-", stdin=lines)
    with flooded.store.connect() as conn:
        assert max_values_per_day(conn) == 3
    assert flooded.store.spawn("check").exit_status == 0
    assert flooded.store.spawn("check", "--rebuild").exit_status == 0
    with flooded.store.connect() as conn:
        assert max_values_per_day(conn) == 3


VALUES_PER_DAY = 50_000


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[sqlite3.Connection, Site]]:
    """A site with very many values on each of two days, as without a limit on values."""
    with closing(open_store(tmp_path_factory.mktemp("crowded"))) as conn:
        site = new_site(conn)
        numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {2 * VALUES_PER_DAY})"
        with transaction(conn):
            conn.execute(f"{numbers} INSERT INTO dimension_values SELECT i, '/page/' || i FROM n")
            page = int(Dimension.PAGE)
            conn.execute(
                f"{numbers} INSERT INTO rollups SELECT ?, 1, 100 + i % 2, {page}, 1 + i / 2, i, i, i, i FROM n",
                (site.id,),
            )
            conn.execute("INSERT INTO daily_totals VALUES (?, 100, 9, 9, 9, 9, 0, 0, 0)", (site.id,))
        yield conn, site


def test_a_query_holds_only_the_rows_it_returns_in_memory(crowded: tuple[sqlite3.Connection, Site]) -> None:
    conn, site = crowded
    first, last = "1970-04-11", "1970-04-12"
    base_query = {
        "site_id": site.slug,
        "metrics": ["visitors"],
        "date_range": [first, last],
        "dimensions": ["event:page"],
    }
    query = base_query | {
        "limit": 3,
        "include": {"total_rows": True, "comparisons": {"mode": "custom", "date_range": [first, first]}},
    }
    tracemalloc.start()
    response = run_query_document(SqliteReader(conn), site, query, 200 * DAY_MS)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response["meta"]["total_rows"] == VALUES_PER_DAY + 1
    assert [row["metrics"] for row in response["results"]] == [
        [4 * VALUES_PER_DAY - 3],
        [4 * VALUES_PER_DAY - 7],
        [4 * VALUES_PER_DAY - 11],
    ]
    assert peak_bytes < 4 * 2**20  # all rows at once would be 20 times as much


FILTERS = [
    (conditions.Condition("visit:source", "is", ("google",)),),
    (conditions.Condition("visit:country", "is", ("FR",)),),
    (
        conditions.Condition("event:page", "contains", ("blog",)),
        conditions.Condition("visit:browser", "is", ("Chrome", "")),
    ),
    (conditions.Condition("visit:os", "is", ("nothing",), True),),
    (
        conditions.Condition("event:page", "contains", ("blog",), True),
        conditions.Condition("visit:os", "is", ("nothing",), True),
    ),
]


@given(st.sampled_from(CLOCK_CHANGES), st.lists(HITS, min_size=10, max_size=40), st.sampled_from(FILTERS))
@settings(
    max_examples=int(RECOUNTS or 10),
    deadline=None,
    derandomize=RECOUNTS is None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_counting_in_parts_gives_the_same_result(
    empty: sqlite3.Connection, clock_change: tuple[str, str], hits: list[Any], filters: tuple[conditions.Condition, ...]
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn, pytest.MonkeyPatch.context() as patched:
        empty.backup(conn)
        traffic = Traffic(conn, *clock_change)
        traffic.apply("store", hits)
        traffic.add_remaining_goals()
        for name in ("_EVENTS_PER_PART", "_EVENTS_PER_BATCH", "_MANY_VALUES"):
            patched.setattr(filtered_scan, name, 2)
        patched.setattr(visitor_totals, "_VALUES_IN_MEMORY", 2)
        day = traffic.midnight_ms // DAY_MS
        period = from_days(day - 3, day + 3, traffic.site.timezone)
        scan_result = filtered_scan.scan(conn, traffic.site, period, filters, filtered_scan.DIMENSIONS, 5)
        assert scan_result is not None
        for dimension in filtered_scan.DIMENSIONS:
            rows = event_queries.rows(conn, traffic.site, period, (dimension,), filters)
            best, total = event_queries.top(
                (row for row in rows if (dimension, *row[0]) != event_queries.PAGEVIEW and row[1].visitors),
                "visitors",
                5,
            )
            assert scan_result.top[dimension] == ([(value, counts.visitors) for (value,), counts in best], total), (
                dimension
            )
        by_day = event_queries.groups(conn, traffic.site, period, ("time:day",), filters)
        assert sorted(scan_result.days.values()) == sorted(by_day.values())


@pytest.mark.parametrize("filters", [(), *FILTERS[:3]])
def test_an_interrupted_query_ends(
    crowded: tuple[sqlite3.Connection, Site], filters: tuple[conditions.Condition, ...]
) -> None:
    conn, site = crowded
    conn.set_progress_handler(lambda: True, 20)
    try:
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            data.load_dashboard(
                SqliteReader(conn), site, DashboardState(first="1970-04-11", last="1970-04-12", filters=filters), 0
            )
    finally:
        conn.set_progress_handler(None, 0)
