"""Events as CSV, JSON lines or one JSON array. The columns are documented in docs/reference.md, and stable."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ovx_lite.domain import money
from ovx_lite.domain.calendar import utc_exactly
from ovx_lite.domain.models import event_id
from ovx_lite.storage.read.events import Stored

COLUMNS = (
    *("id", "ts", "api", "type", "name", "host", "path", "referrer", "source", "channel"),
    *("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term"),
    *("country", "browser", "os", "device", "visitor", "visit", "person", "context"),
    *("props", "revenue", "currency", "excluded"),
)

_encode = msgspec.json.Encoder().encode


def row(event: Stored) -> dict[str, Any]:
    """An event under its columns' names, None for what it does not have; `props` is still JSON text."""
    visitor = None if event.visitor is None else f"{event.visitor & 0xFFFF_FFFF_FFFF:012x}"
    found = event._asdict()
    found["id"] = event_id(event.id)
    found["ts"] = utc_exactly(event.ts)
    found["visitor"] = visitor
    found["visit"] = None if event.visit is None else event_id(event.visit).removeprefix("evt_")
    found["revenue"] = None if event.revenue is None else money.decimal(event.revenue, event.currency)
    return {column: found.get(column) or None for column in COLUMNS}


def as_csv(events: Iterable[Stored]) -> Iterator[str]:
    """CSV (RFC 4180), with a header, a piece at a time; `props` is a JSON object."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for event in events:
        yield _taken(buffer)
        writer.writerow(row(event).values())
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def as_jsonl(events: Iterable[Stored]) -> Iterator[str]:
    """One JSON object a line."""
    for event in events:
        found = row(event)
        found["props"] = msgspec.Raw(found["props"].encode()) if found["props"] else None
        yield _encode(found).decode() + "\n"


def as_json(events: Iterable[Stored]) -> Iterator[str]:
    """One JSON array of the same objects."""
    between = "["
    for line in as_jsonl(events):
        yield between + line.rstrip("\n")
        between = ",\n"
    yield "]\n" if between != "[" else "[]\n"
