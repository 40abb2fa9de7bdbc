"""Many values of a dimension: rollups keep a limited number of them a day, and the totals stay exact."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ovx_lite.store import check, goal_counts, recounts
from ovx_lite.store.db import open_store, transaction
from ovx_lite.store.dimensions import Dimension
from ovx_lite.store.kept_values import OTHER, save_max_values
from tests.drawn import CHANGES, DONE
from tests.queries import ALL, ASKED, Asked, has_few_expressions
from tests.recount import TIMES
from tests.test_recount import in_order, same, told
from tests.traffic import Traffic

RECOUNTS = os.environ.get("OVX_RECOUNTS")  # for a long run, with other cases each time
ADDITIVE = {"visit:": ("visits",), "event:": ("pageviews", "events")}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    with closing(open_store(tmp_path_factory.mktemp("store"))) as opened:
        yield opened


def most_values(conn: sqlite3.Connection) -> int:
    """How many values of a dimension a day keeps, where it keeps most."""
    query = f"""
        SELECT max(n) FROM (
            SELECT count(*) AS n FROM rollups
            WHERE span = 1 AND value <> {OTHER} AND dimension <> {int(Dimension.GOAL)} GROUP BY site, begins, dimension
        )
    """
    return int(conn.execute(query).fetchone()[0] or 0)


def see_all(traffic: Traffic, asked: Asked) -> None:
    """See that an answer is what a recount says, or adds up to it if it has a row for other values."""
    query, now = asked.query(traffic), traffic.midnight + asked.now
    found = told(traffic, query | {"include": {"total_rows": True}}, now)
    rows, _ = traffic.recount.rows(query, traffic.recount.span(query["date_range"], now))
    assert found["meta"]["total_rows"] == len(found["results"])
    assert found["results"] == in_order(found["results"], query)
    if not any("(other)" in row["dimensions"] for row in found["results"]):
        assert same({tuple(row["dimensions"]): row["metrics"] for row in found["results"]}, rows), f"{query} {now}"
        return
    event("an answer with other values")
    (dimension,) = (one for one in asked.dimensions if one not in TIMES)
    for name in set(query["metrics"]) & {*ADDITIVE[dimension[:6]]}:
        at = query["metrics"].index(name)
        assert sum(row["metrics"][at] for row in found["results"]) == sum(int(row[at]) for row in rows.values())
    if "visitors" in query["metrics"]:
        at = query["metrics"].index("visitors")
        counted = {tuple(row["dimensions"]): row["metrics"][at] for row in found["results"]}
        for key, visitors in counted.items():
            if "(other)" not in key:
                assert 0 <= visitors <= rows[key][at]


@given(
    st.integers(1, 3),
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
def test_with_few_values_kept_all_totals_stay_exact(
    empty: sqlite3.Connection,
    limit: int,
    changed: tuple[str, str],
    done: list[tuple[str, Any]],
    asked: list[Asked],
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        empty.backup(conn)
        conn.execute("PRAGMA foreign_keys = ON")
        save_max_values(conn, limit)
        traffic = Traffic(conn, *changed)
        for what, how in done:
            traffic.do(what, how)
            assert check.problems(conn) == []
            assert most_values(conn) <= limit
        traffic.settle()
        asked = [*ALL, *asked]
        for again in (False, True):
            assert check.problems(conn) == []
            assert most_values(conn) <= limit
            for one in asked:
                see_all(traffic, one)
            if not again:
                recounts.mark_all(conn, traffic.site)
                while goal_counts.catch_up(conn):
                    pass
        with transaction(conn):
            changed_rows = conn.execute("UPDATE rollups SET visits = visits + 1 WHERE span = 1").rowcount
        assert check.problems(conn) or not changed_rows
