"""The Stats API: whatever came, in whatever order, its numbers are those of a plain recount (`tests/recount.py`)."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ovx_lite.storage import integrity
from ovx_lite.storage.rollups import goal_backfill, rebuild
from ovx_lite.storage.sqlite import open_store
from ovx_lite.web.api.stats import run_query_document
from tests.drawn import CLOCK_CHANGES, OPERATIONS
from tests.queries import FIXED_QUERIES, QUERIES, DrawnQuery, has_few_expressions
from tests.recount import CURRENCY_DECIMALS, REVENUE_METRICS, TIME_DIMENSIONS, Key, Value
from tests.traffic import Traffic

RECOUNTS = os.environ.get("OVX_RECOUNTS")  # for a long run, with other cases each time


def run_query(traffic: Traffic, query: dict[str, Any], now_ms: int) -> dict[str, Any]:
    encoded = msgspec.json.encode(run_query_document(traffic.conn, traffic.site, json.loads(json.dumps(query)), now_ms))
    decoded: dict[str, Any] = json.loads(encoded, parse_float=Decimal)
    return decoded


def is_rounded_value_of(actual: Any, expected: Value) -> bool:
    """Whether a number is shown as what was counted, rounded."""
    if isinstance(expected, tuple):
        amount, currency = expected
        step = Decimal(1).scaleb(-CURRENCY_DECIMALS[currency])
        has_labels = (actual["currency"], actual["long"]) == (
            currency,
            f"{currency} {Decimal(actual['value']).quantize(step)}",
        )
        return has_labels and abs(float(actual["value"]) - float(amount)) <= float(step) / 2 + 1e-9
    if expected is None or isinstance(expected, int):
        return bool(actual == expected and isinstance(actual, type(expected)))
    return actual is not None and not isinstance(actual, dict) and abs(float(actual) - float(expected)) <= 0.005 + 1e-9


def sorted_rows(rows: list[dict[str, Any]], query: dict[str, Any]) -> list[dict[str, Any]]:
    metrics, dimensions = query["metrics"], query["dimensions"]
    default_order = [[dimension, "asc"] for dimension in dimensions if dimension in TIME_DIMENSIONS] or [
        [metrics[0], "desc"]
    ]

    def sort_key(value: Any) -> Decimal:
        return Decimal("-inf") if value is None else Decimal(value["value"] if isinstance(value, dict) else value)

    rows = sorted(rows, key=lambda row: row["dimensions"])
    for name, direction in reversed(query["order_by"] or default_order):
        if name in metrics:
            rows.sort(key=lambda row: sort_key(row["metrics"][metrics.index(name)]), reverse=direction == "desc")
        else:
            rows.sort(key=lambda row: row["dimensions"][dimensions.index(name)], reverse=direction == "desc")
    return rows


def metrics_match(actual: dict[Key, list[Any]], expected: dict[Key, list[Value]]) -> bool:
    return actual.keys() == expected.keys() and all(
        len(values) == len(expected[key])
        and all(is_rounded_value_of(*pair) for pair in zip(values, expected[key], strict=True))
        for key, values in actual.items()
    )


def run_drawn_query(traffic: Traffic, drawn_query: DrawnQuery) -> dict[str, Any]:
    """All of an answer, with what there was before (but of times, which are compared by their places)."""
    is_by_time = any(dimension in TIME_DIMENSIONS for dimension in drawn_query.dimensions)
    include = {"total_rows": True} | ({} if is_by_time else {"comparisons": {"mode": "previous_period"}})
    return run_query(
        traffic, drawn_query.as_json(traffic) | {"include": include}, traffic.midnight_ms + drawn_query.now_offset_ms
    )


def check_response(traffic: Traffic, drawn_query: DrawnQuery, response: dict[str, Any]) -> None:
    """See that an answer is what a recount says, and in order."""
    query, now_ms, recount = (
        drawn_query.as_json(traffic),
        traffic.midnight_ms + drawn_query.now_offset_ms,
        traffic.recount,
    )
    time_range = recount.time_range(query["date_range"], now_ms)
    rows, has_several_currencies = recount.rows(query, time_range)
    metrics_by_key = {tuple(row["dimensions"]): row["metrics"] for row in response["results"]}
    assert metrics_match(metrics_by_key, rows), f"{query} {now_ms}\ntold: {metrics_by_key}\ncounted: {rows}"
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
def test_its_numbers_are_those_of_a_recount(
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
        assert [run_drawn_query(traffic, drawn_query) for drawn_query in drawn_queries] == responses, "from the events"
        while goal_backfill.catch_up(conn):
            pass
        assert integrity.problems(conn) == []
        assert [run_drawn_query(traffic, drawn_query) for drawn_query in drawn_queries] == responses, "counted anew"
