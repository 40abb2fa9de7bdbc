"""Events of Apex, and what the server makes of them."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.conftest import Response, RunningSite

NOW_MS = int(time.time() * 1000)
HOUR_MS = 3_600_000
TOO_LONG = "x" * 4097
FIFTY = {f"p{number}": number for number in range(50)}
Fields = dict[str, Any]


def iso_time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def without_omitted(fields: Mapping[str, object]) -> Fields:
    return {name: value for name, value in fields.items() if value is not ...}


def status_or_error(response: Response) -> object:
    """The error, or where there is none, the status."""
    return response.error if response.status >= 400 else response.status


def new_events(running: RunningSite, before: list[Fields]) -> list[Fields]:
    """What was stored since there was only that of `before`, in the order of time."""
    ids = {event["id"] for event in before}
    return [event for event in running.store.events() if event["id"] not in ids]


FREE = {"deep": {"list": [1, [2.5, None]], "ok": True}, "": "", "k" * 500: "s" * 4096, "big": 10**30, "é": "🎉"}
# fmt: off
REQUIRED: list[Any] = [..., None, "", 5, True, [], {}, TOO_LONG]
