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


def told(traffic: Traffic, query: dict[str, Any], now: int) -> dict[str, Any]:
    encoded = msgspec.json.encode(run_query_document(traffic.conn, traffic.site, json.loads(json.dumps(query)), now))
    decoded: dict[str, Any] = json.loads(encoded, parse_float=Decimal)
    return decoded


def is_about(shown: Any, counted: Value) -> bool:
    """Whether a number is shown as what was counted, rounded."""
    if isinstance(counted, tuple):
        amount, currency = counted
        step = Decimal(1).scaleb(-CURRENCY_DECIMALS[currency])
        right = (shown["currency"], shown["long"]) == (currency, f"{currency} {Decimal(shown['value']).quantize(step)}")
        return right and abs(float(shown["value"]) - float(amount)) <= float(step) / 2 + 1e-9
    if counted is None or isinstance(counted, int):
        return bool(shown == counted and isinstance(shown, type(counted)))
    return shown is not None and not isinstance(shown, dict) and abs(float(shown) - float(counted)) <= 0.005 + 1e-9


def in_order(rows: list[dict[str, Any]], query: dict[str, Any]) -> list[dict[str, Any]]:
    names, dimensions = query["metrics"], query["dimensions"]
    usual = [[word, "asc"] for word in dimensions if word in TIME_DIMENSIONS] or [[names[0], "desc"]]

    def number(shown: Any) -> Decimal:
        return Decimal("-inf") if shown is None else Decimal(shown["value"] if isinstance(shown, dict) else shown)

    rows = sorted(rows, key=lambda row: row["dimensions"])
    for name, way in reversed(query["order_by"] or usual):
        if name in names:
            rows.sort(key=lambda row: number(row["metrics"][names.index(name)]), reverse=way == "desc")
        else:
            rows.sort(key=lambda row: row["dimensions"][dimensions.index(name)], reverse=way == "desc")
    return rows


def same(shown: dict[Key, list[Any]], counted: dict[Key, list[Value]]) -> bool:
    return shown.keys() == counted.keys() and all(
        len(values) == len(counted[key]) and all(is_about(*pair) for pair in zip(values, counted[key], strict=True))
        for key, values in shown.items()
    )


def ask(traffic: Traffic, asked: DrawnQuery) -> dict[str, Any]:
    """All of an answer, with what there was before (but of times, which are compared by their places)."""
    by_time = any(one in TIME_DIMENSIONS for one in asked.dimensions)
    include = {"total_rows": True} | ({} if by_time else {"comparisons": {"mode": "previous_period"}})
    return told(traffic, asked.as_json(traffic) | {"include": include}, traffic.midnight_ms + asked.now_offset_ms)


def see(traffic: Traffic, asked: DrawnQuery, found: dict[str, Any]) -> None:
    """See that an answer is what a recount says, and in order."""
    query, now, recount = asked.as_json(traffic), traffic.midnight_ms + asked.now_offset_ms, traffic.recount
    span = recount.time_range(query["date_range"], now)
    rows, mixed = recount.rows(query, span)
    shown = {tuple(row["dimensions"]): row["metrics"] for row in found["results"]}
    assert same(shown, rows), f"{query} {now}\ntold: {shown}\ncounted: {rows}"
    assert found["meta"]["total_rows"] == len(rows)
    warned = set(query["metrics"]) & set(REVENUE_METRICS) if mixed else set()
    assert set(found["meta"].get("metric_warnings", {})) == warned
    assert found["results"] == in_order(found["results"], query), query
    if not any(one in TIME_DIMENSIONS for one in asked.dimensions):
        before, nothing = recount.rows(query, recount.previous_range(span))[0], recount.empty_metrics(query["metrics"])
        compared = {tuple(row["dimensions"]): row["comparison"]["metrics"] for row in found["results"]}
        assert same(compared, {key: before.get(key, nothing) for key in rows}), f"{query} {now}\n{compared}\n{before}"
    if asked not in FIXED_QUERIES:
        limit, offset = asked.page
        cut = told(traffic, query | {"limit": limit, "offset": offset}, now)["results"]
        uncut = [{key: row[key] for key in ("metrics", "dimensions")} for row in found["results"]]
        assert cut == uncut[offset : offset + limit]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path_factory.mktemp("store"))) as opened:
        yield opened


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
    empty: sqlite3.Connection, changed: tuple[str, str], done: list[tuple[str, Any]], asked: list[DrawnQuery]
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        empty.backup(conn)
        conn.execute("PRAGMA foreign_keys = ON")
        traffic = Traffic(conn, *changed)
        for what, told in done:
            traffic.apply(what, told)
            assert integrity.problems(conn) == []
        traffic.add_remaining_goals()
        assert integrity.problems(conn) == []
        asked = [*FIXED_QUERIES, *asked]
        answers = [ask(traffic, one) for one in asked]
        for one, found in zip(asked, answers, strict=True):
            see(traffic, one, found)
        rebuild.mark_all_dirty(conn, traffic.site)
        assert [ask(traffic, one) for one in asked] == answers, "from the events"
        while goal_backfill.catch_up(conn):
            pass
        assert integrity.problems(conn) == []
        assert [ask(traffic, one) for one in asked] == answers, "counted anew"
