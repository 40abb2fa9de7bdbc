"""Checks that every row has values that ovx-lite could have written: valid UTF-8, JSON, numbers within their bounds.

SQLite's own check covers types, constraints and indexes. These checks find other invalid values of a damaged or crafted
file before any code computes with them.
"""

import sqlite3
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import msgspec

from ovx_lite.domain.calendar import DAY_MS
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import MAX_TIMESTAMP_MS
from ovx_lite.domain.validators import site_slug
from ovx_lite.storage.ledger import event_journal
from ovx_lite.storage.ledger.event_journal import MAX_EVENTS_PER_ROW, JournalEvent

_LAST_ID = (MAX_TIMESTAMP_MS + 1 << 21) - 1
_LAST_DAY = MAX_TIMESTAMP_MS // DAY_MS + 2
_IS_DAY = f"BETWEEN -2 AND {_LAST_DAY}"
_IS_TIME = f"BETWEEN 0 AND {MAX_TIMESTAMP_MS}"
_IS_FLAG = "IN (0, 1)"
_HAS_COUNTS = "visitors >= 0 AND visits >= 0 AND pageviews >= 0 AND events >= 0"

# A condition that every row of a table must meet. NULL counts as not met, so nullable columns need `coalesce`.
_RULES = {
    "meta": "name IN ('registry_version', 'write_checked_at', 'retention_ran_at', 'rollup_values') AND value >= 0",
    "sites": f"id > 0 AND slug <> '' AND created_at {_IS_TIME} AND coalesce(monthly_limit, 0) >= 0"
    " AND coalesce(retention_days, 0) >= 0 AND coalesce(hourly_limit, 0) >= 0"
    " AND coalesce(hourly_events, 0) >= 0",
    "api_keys": f"length(key_hash) = 32 AND created_at {_IS_TIME} AND coalesce(revoked_at, 0) {_IS_TIME}"
    f" AND coalesce(last_used_at, 0) {_IS_TIME} AND coalesce(hourly_limit, 0) >= 0",
    "salts": f"day {_IS_DAY}",
    "event_journal": f"event_count BETWEEN 1 AND {MAX_EVENTS_PER_ROW}",
    "events": f"visit_id BETWEEN 0 AND {_LAST_ID} AND visit_id + id_offset BETWEEN 0 AND {_LAST_ID}",
    "event_revenue": "(SELECT currency <> '' FROM events JOIN event_types ON event_types.id = event_type_id"
    " WHERE events.site_id = event_revenue.site_id AND events.visit_id = event_revenue.visit_id"
    " AND events.id_offset = event_revenue.id_offset)",
    "imported_lines": f"logged_at {_IS_TIME} AND line_hash BETWEEN 0 AND 0x7fffffff",
    "visits": f"id BETWEEN 0 AND {_LAST_ID} AND is_identified {_IS_FLAG} AND is_only_visit_of_day {_IS_FLAG}"
    f" AND early_ms {_IS_TIME} AND elapsed_ms {_IS_TIME} AND pageviews BETWEEN 0 AND events",
    "open_visits": f"visit_id BETWEEN 0 AND {_LAST_ID}",
    "idempotent_responses": "credential_class IN ('key', 'public') AND http_status BETWEEN 200 AND 599"
    f" AND created_at {_IS_TIME}",
    "rate_limit_counters": f"unix_second BETWEEN 0 AND {MAX_TIMESTAMP_MS // 1000}",
    "persons": f"created_at {_IS_TIME}",
    "identity_links": f"linked_at BETWEEN 0 AND {_LAST_ID}",
    "goals": f"(event_name = '') <> (path_pattern = '') AND created_at {_IS_TIME} AND counted_from_day {_IS_DAY}",
    "webhooks": f"body_format IN ('json', 'slack', 'discord') AND is_enabled {_IS_FLAG} AND failed_deliveries >= 0"
    f" AND created_at {_IS_TIME} AND rotated_at {_IS_TIME} AND coalesce(first_failed_at, 0) {_IS_TIME}",
    "deliveries": "status IN ('pending', 'delivered', 'failed', 'throttled', 'skipped') AND attempts >= 0"
    f" AND id BETWEEN 0 AND {_LAST_ID} AND next_attempt_at {_IS_TIME} AND coalesce(lease_expires_at, 0) {_IS_TIME}",
    "attempts": f"started_at {_IS_TIME} AND duration_ms {_IS_TIME} AND coalesce(http_status, 200) BETWEEN 100 AND 999",
    "monthly_usage": "month GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]' AND events >= 0",
    "login_sessions": f"length(token_hash) = 32 AND started_at {_IS_TIME}",
    "daily_totals": f"day {_IS_DAY} AND {_HAS_COUNTS} AND bounces >= 0 AND duration_ms >= 0"
    " AND sessionless_events >= 0",
    "daily_revenue": f"day {_IS_DAY} AND transactions >= 0",
    "rollups": f"period_days IN (1, 7) AND start_day BETWEEN -9 AND {_LAST_DAY} AND {_HAS_COUNTS}",
    "finalized": f"before_day BETWEEN -9 AND {_LAST_DAY}",
    "dirty_days": f"day {_IS_DAY}",
    "shared_links": f"created_at {_IS_TIME} AND token <> ''",
    "annotations": f"day {_IS_DAY}",
}
_JSON_COLUMNS = {
    ("events", "props"),
    ("persons", "traits"),
    ("attempts", "request_headers"),
    ("deliveries", "body"),
}
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def problems(conn: sqlite3.Connection) -> Iterator[str]:
    """Yield the problems of the rows, a line of text each. Raises `sqlite3.DatabaseError` if the file is damaged."""
    for table, rule in _RULES.items():
        (count,) = conn.execute(f"SELECT count(*) FROM {table} WHERE NOT coalesce({rule}, 0)").fetchone()
        if count:
            yield f"rows of {table} with invalid values: {count}"
    columns = """
        SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND columns.type = 'TEXT' ORDER BY 1, 2
    """
    for table, column in [*conn.execute(columns), ("deliveries", "body")]:
        if count := _count_unreadable(conn, table, column, (table, column) in _JSON_COLUMNS):
            yield f"rows of {table} with an unreadable {column}: {count}"
    if count := sum(not _is_projectable(conn, event) for event in _journal_events(conn)):
        yield f"events of the journal that cannot be counted: {count}"
    slugs = [slug for (slug,) in conn.execute("SELECT CAST(slug AS BLOB) FROM sites")]
    if count := sum(not _is_slug(slug) for slug in slugs):
        yield f"sites with an invalid ID: {count}"
    zones = [zone for (zone,) in conn.execute("SELECT CAST(timezone AS BLOB) FROM sites")]
    if count := sum(not _is_zone(zone) for zone in zones):
        yield f"sites with an unknown time zone: {count}"


def _count_unreadable(conn: sqlite3.Connection, table: str, column: str, is_object: bool) -> int:
    """Count the texts of a column that are not valid UTF-8 or, if `is_object`, not JSON objects."""
    count = 0
    for (text,) in conn.execute(f"SELECT CAST({column} AS BLOB) FROM {table}"):
        if text is None:  # SQLite's own check finds a NULL that is not allowed
            continue
        try:
            text.decode()
            if is_object:
                _decode_object(text)
        except ValueError:  # msgspec's exceptions are subclasses
            count += 1
    return count


def _journal_events(conn: sqlite3.Connection) -> Iterator[JournalEvent | None]:
    """Yield the events of the journal, and None for each row that cannot be decoded."""
    for (seq,) in conn.execute("SELECT seq FROM event_journal").fetchall():
        try:
            yield from event_journal.read_row(conn, seq)
        except sqlite3.DatabaseError:
            yield None


def _is_projectable(conn: sqlite3.Connection, event: JournalEvent | None) -> bool:
    if event is None or not 0 <= event.id <= _LAST_ID or not -2 <= event.day <= _LAST_DAY:
        return False
    row_ids = {
        "event_types": event.event_type_id,
        "pages": event.page_id,
        "traffic_sources": event.traffic_source_id,
        "clients": event.client_id,
    }
    return all(
        conn.execute(f"SELECT 1 FROM {table} WHERE id = ?", (row_id,)).fetchone() for table, row_id in row_ids.items()
    )


def _is_slug(slug: bytes | None) -> bool:
    try:
        site_slug((slug or b"").decode())
    except (ApiError, ValueError):
        return False
    return True


def _is_zone(name: bytes | None) -> bool:
    try:
        ZoneInfo((name or b"").decode())
    except (LookupError, ValueError, OSError):
        return False
    return True
