"""Exports events as CSV, JSON lines or one JSON array. The columns are stable (docs/reference.md, Export columns)."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ovx_lite.domain import money
from ovx_lite.domain.calendar import format_utc_ms
from ovx_lite.domain.models import public_event_id
from ovx_lite.storage.read.events import StoredEvent

COLUMNS = (
    *("id", "ts", "api", "type", "name", "host", "path", "referrer", "source", "channel"),
    *("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term"),
    *("country", "browser", "os", "device", "visitor", "visit", "person", "context"),
    *("props", "revenue", "currency", "excluded"),
)

_encode = msgspec.json.Encoder().encode


def row(event: StoredEvent) -> dict[str, Any]:
    """Return an event as a dict of all `COLUMNS`. Empty values are `None`; `props` is JSON text."""
    record = event._asdict()
    record["id"] = public_event_id(event.id)
    record["ts"] = format_utc_ms(event.timestamp_ms)
    if event.visitor_id is not None:
        record["visitor"] = f"{event.visitor_id & 0xFFFF_FFFF_FFFF:012x}"
    if event.visit_id is not None:
        record["visit"] = public_event_id(event.visit_id).removeprefix("evt_")
    if event.revenue_minor is not None:
        record["revenue"] = money.format_amount(event.revenue_minor, event.currency)
    return {column: record.get(column) or None for column in COLUMNS}


def as_csv(events: Iterable[StoredEvent]) -> Iterator[str]:
    """Yield the events as CSV (RFC 4180) with a header, a row at a time. `props` is a JSON object."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for event in events:
        yield _drain_buffer(buffer)
        writer.writerow(row(event).values())
    yield _drain_buffer(buffer)


def _drain_buffer(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def as_jsonl(events: Iterable[StoredEvent]) -> Iterator[str]:
    """Yield the events as JSON lines: one object, with the columns as keys, per line."""
    for event in events:
        record = row(event)
        record["props"] = msgspec.Raw(record["props"].encode()) if record["props"] else None
        yield _encode(record).decode() + "\n"


def as_json(events: Iterable[StoredEvent]) -> Iterator[str]:
    """Yield one JSON array of the same objects, in parts."""
    separator = "["
    for line in as_jsonl(events):
        yield separator + line.rstrip("\n")
        separator = ",\n"
    yield "]\n" if separator != "[" else "[]\n"
