"""Responses of the Stats API, and their comparison with a recount."""

import json
from decimal import Decimal
from typing import Any

import msgspec

from ovx_lite.storage.read.reader import SqliteReader
from ovx_lite.web.api.stats import run_query_document
from tests.support.recount import CURRENCY_DECIMALS, TIME_DIMENSIONS, Key, Value
from tests.support.traffic import Traffic


def run_query(traffic: Traffic, query: dict[str, Any], now_ms: int) -> dict[str, Any]:
    reader, document = SqliteReader(traffic.conn), json.loads(json.dumps(query))
    encoded = msgspec.json.encode(run_query_document(reader, traffic.site, document, now_ms))
    decoded: dict[str, Any] = json.loads(encoded, parse_float=Decimal)
    return decoded


def is_rounded_value_of(actual: Any, expected: Value) -> bool:
    """Return whether a number in a response is the rounded expected value."""
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
