"""Valid and invalid events of Apex, shared with other APIs that are like it."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.conftest import Response, RunningSite

NOW_MS = int(time.time() * 1000)
TOO_LONG = "x" * 4097
FIFTY = {f"p{number}": number for number in range(50)}
Fields = dict[str, Any]


def iso_time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def without_omitted(fields: Mapping[str, object]) -> Fields:
    """Return fields without those whose value is `...`."""
    return {name: value for name, value in fields.items() if value is not ...}


def status_or_error(response: Response) -> object:
    """Return the error of a response, or its status if it has no error."""
    return response.error if response.status >= 400 else response.status


def new_events(running: RunningSite, before: list[Fields]) -> list[Fields]:
    """Return the events that are not in `before`, in the order of time."""
    ids = {event["id"] for event in before}
    return [event for event in running.store.events() if event["id"] not in ids]


FREE = {"deep": {"list": [1, [2.5, None]], "ok": True}, "": "", "k" * 500: "s" * 4096, "big": 10**30, "é": "🎉"}
# fmt: off
REQUIRED: list[Any] = [..., None, "", 5, True, [], {}, TOO_LONG]
