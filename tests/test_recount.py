"""The Stats API: whatever came, in whatever order, its numbers are those of a recount (`tests/support/recount.py`)."""

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
from tests.support.answers import in_order, same, told
from tests.support.drawn import CHANGES, DONE
from tests.support.queries import ALL, ASKED, Asked, has_few_expressions
from tests.support.recount import OF_MONEY, TIMES
from tests.support.traffic import Traffic

RECOUNTS = os.environ.get("OVX_RECOUNTS")  # for a long run, with other cases each time


def ask(traffic: Traffic, asked: Asked) -> dict[str, Any]:
    """All of an answer, with what there was before (but of times, which are compared by their places)."""
    by_time = any(one in TIMES for one in asked.dimensions)
    include = {"total_rows": True} | ({} if by_time else {"comparisons": {"mode": "previous_period"}})
    return told(traffic, asked.query(traffic) | {"include": include}, traffic.midnight + asked.now)


def see(traffic: Traffic, asked: Asked, found: dict[str, Any]) -> None:
    """See that an answer is what a recount says, and in order."""
    query, now, recount = asked.query(traffic), traffic.midnight + asked.now, traffic.recount
    span = recount.span(query["date_range"], now)
    rows, mixed = recount.rows(query, span)
    shown = {tuple(row["dimensions"]): row["metrics"] for row in found["results"]}
    assert same(shown, rows), f"{query} {now}\ntold: {shown}\ncounted: {rows}"
    assert found["meta"]["total_rows"] == len(rows)
    warned = set(query["metrics"]) & set(OF_MONEY) if mixed else set()
    assert set(found["meta"].get("metric_warnings", {})) == warned
    assert found["results"] == in_order(found["results"], query), query
    if not any(one in TIMES for one in asked.dimensions):
        before, nothing = recount.rows(query, recount.before(span))[0], recount.nothing(query["metrics"])
        compared = {tuple(row["dimensions"]): row["comparison"]["metrics"] for row in found["results"]}
        assert same(compared, {key: before.get(key, nothing) for key in rows}), f"{query} {now}\n{compared}\n{before}"
    if asked not in ALL:
        limit, offset = asked.page
        cut = told(traffic, query | {"limit": limit, "offset": offset}, now)["results"]
        uncut = [{key: row[key] for key in ("metrics", "dimensions")} for row in found["results"]]
        assert cut == uncut[offset : offset + limit]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path_factory.mktemp("store"))) as opened:
        yield opened


@given(
    st.sampled_from(CHANGES),
    st.lists(DONE, min_size=3, max_size=10),
    st.lists(ASKED.filter(has_few_expressions), min_size=5, max_size=15),
)
@settings(
    max_examples=int(RECOUNTS or 15),
    deadline=None,
    derandomize=RECOUNTS is None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_its_numbers_are_those_of_a_recount(
    empty: sqlite3.Connection, changed: tuple[str, str], done: list[tuple[str, Any]], asked: list[Asked]
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        empty.backup(conn)
        conn.execute("PRAGMA foreign_keys = ON")
        traffic = Traffic(conn, *changed)
        for what, told in done:
            traffic.do(what, told)
            assert integrity.problems(conn) == []
        traffic.settle()
        assert integrity.problems(conn) == []
        asked = [*ALL, *asked]
        answers = [ask(traffic, one) for one in asked]
        for one, found in zip(asked, answers, strict=True):
            see(traffic, one, found)
        rebuild.mark_all(conn, traffic.site)
        assert [ask(traffic, one) for one in asked] == answers, "from the events"
        while goal_backfill.catch_up(conn):
            pass
        assert integrity.problems(conn) == []
        assert [ask(traffic, one) for one in asked] == answers, "counted anew"
