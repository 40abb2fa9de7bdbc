"""Answers of the Stats API, and whether they are those of a recount."""

import json
from decimal import Decimal
from typing import Any

import msgspec

from ovx_lite.web.api.stats import answer
from tests.support.recount import DECIMALS, TIMES, Key, Value
from tests.support.traffic import Traffic


def told(traffic: Traffic, query: dict[str, Any], now: int) -> dict[str, Any]:
    encoded = msgspec.json.encode(answer(traffic.conn, traffic.site, json.loads(json.dumps(query)), now))
    decoded: dict[str, Any] = json.loads(encoded, parse_float=Decimal)
    return decoded


def is_about(shown: Any, counted: Value) -> bool:
    """Whether a number is shown as what was counted, rounded."""
    if isinstance(counted, tuple):
        amount, currency = counted
        step = Decimal(1).scaleb(-DECIMALS[currency])
        right = (shown["currency"], shown["long"]) == (currency, f"{currency} {Decimal(shown['value']).quantize(step)}")
        return right and abs(float(shown["value"]) - float(amount)) <= float(step) / 2 + 1e-9
    if counted is None or isinstance(counted, int):
        return bool(shown == counted and isinstance(shown, type(counted)))
    return shown is not None and not isinstance(shown, dict) and abs(float(shown) - float(counted)) <= 0.005 + 1e-9


def in_order(rows: list[dict[str, Any]], query: dict[str, Any]) -> list[dict[str, Any]]:
    names, dimensions = query["metrics"], query["dimensions"]
    usual = [[word, "asc"] for word in dimensions if word in TIMES] or [[names[0], "desc"]]

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
