"""The Stats API: its numbers equal a plain recount of any events in any order (`tests/support/recount.py`)."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ovx_lite.storage import integrity
from ovx_lite.storage.rollups import goal_backfill, rebuild
from ovx_lite.storage.sqlite import open_store
from tests.support.answers import metrics_match, run_query, sorted_rows
from tests.support.drawn import CLOCK_CHANGES, OPERATIONS
from tests.support.queries import FIXED_QUERIES, QUERIES, DrawnQuery, has_few_expressions
from tests.support.recount import REVENUE_METRICS, TIME_DIMENSIONS
from tests.support.traffic import Traffic

RECOUNTS = os.environ.get("OVX_RECOUNTS")  # for a long run with random cases


def run_drawn_query(traffic: Traffic, drawn_query: DrawnQuery) -> dict[str, Any]:
    """Run a query without a limit, compared with the previous period unless it has a time dimension."""
    is_by_time = any(dimension in TIME_DIMENSIONS for dimension in drawn_query.dimensions)
    include = {"total_rows": True} | ({} if is_by_time else {"comparisons": {"mode": "previous_period"}})
    return run_query(
        traffic, drawn_query.as_json(traffic) | {"include": include}, traffic.midnight_ms + drawn_query.now_offset_ms
    )


def check_response(traffic: Traffic, drawn_query: DrawnQuery, response: dict[str, Any]) -> None:
    """Check that a response equals a recount and is in order."""
    query, now_ms, recount = (
        drawn_query.as_json(traffic),
        traffic.midnight_ms + drawn_query.now_offset_ms,
        traffic.recount,
    )
    time_range = recount.time_range(query["date_range"], now_ms)
    rows, has_several_currencies = recount.rows(query, time_range)
    metrics_by_key = {tuple(row["dimensions"]): row["metrics"] for row in response["results"]}
    assert metrics_match(metrics_by_key, rows), f"{query} {now_ms}\nactual: {metrics_by_key}\nexpected: {rows}"
    assert response["meta"]["total_rows"] == len(rows)
    warned_metrics = set(query["metrics"]) & set(REVENUE_METRICS) if has_several_currencies else set()
    assert set(response["meta"].get("metric_warnings", {})) == warned_metrics
    assert response["results"] == sorted_rows(response["results"], query), query
    if not any(dimension in TIME_DIMENSIONS for dimension in drawn_query.dimensions):
        previous_rows, empty_metrics = (
            recount.rows(query, recount.previous_range(time_range))[0],
            recount.empty_metrics(query["metrics"]),
        )
        compared_metrics = {tuple(row["dimensions"]): row["comparison"]["metrics"] for row in response["results"]}
        assert metrics_match(compared_metrics, {key: previous_rows.get(key, empty_metrics) for key in rows}), (
            f"{query} {now_ms}\n{compared_metrics}\n{previous_rows}"
        )
    if drawn_query not in FIXED_QUERIES:
        limit, offset = drawn_query.page
        page_rows = run_query(traffic, query | {"limit": limit, "offset": offset}, now_ms)["results"]
        all_rows = [{key: row[key] for key in ("metrics", "dimensions")} for row in response["results"]]
        assert page_rows == all_rows[offset : offset + limit]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path_factory.mktemp("store"))) as connection:
        yield connection


@given(
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
def test_query_results_match_a_recount(
    empty_store: sqlite3.Connection,
    clock_change: tuple[str, str],
    operations: list[tuple[str, Any]],
    drawn_queries: list[DrawnQuery],
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        empty_store.backup(conn)
        conn.execute("PRAGMA foreign_keys = ON")
        traffic = Traffic(conn, *clock_change)
        for operation, argument in operations:
            traffic.apply(operation, argument)
            assert integrity.problems(conn) == []
        traffic.add_remaining_goals()
        assert integrity.problems(conn) == []
        drawn_queries = [*FIXED_QUERIES, *drawn_queries]
        responses = [run_drawn_query(traffic, drawn_query) for drawn_query in drawn_queries]
        for drawn_query, response in zip(drawn_queries, responses, strict=True):
            check_response(traffic, drawn_query, response)
        rebuild.mark_all_dirty(conn, traffic.site)
        assert [run_drawn_query(traffic, drawn_query) for drawn_query in drawn_queries] == responses, (
            "all days read from the events"
        )
        while goal_backfill.catch_up(conn):
            pass
        assert integrity.problems(conn) == []
        assert [run_drawn_query(traffic, drawn_query) for drawn_query in drawn_queries] == responses, (
            "after the rollups were rebuilt"
        )
