"""Whether each row of a store can be what ovx-lite has written: UTF-8, JSON, numbers within their bounds.

SQLite's own check sees to types, constraints and indexes. What a damaged or crafted file has beyond that is found here,
before anything computes with it.
"""

import sqlite3
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import msgspec

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import MAX_TIMESTAMP_MS
from ovx_lite.domain.validators import site_slug

_LAST_ID = (MAX_TIMESTAMP_MS + 1 << 21) - 1
_LAST_DAY = MAX_TIMESTAMP_MS // 86_400_000 + 2
_IS_DAY = f"BETWEEN -2 AND {_LAST_DAY}"
_IS_TIME = f"BETWEEN 0 AND {MAX_TIMESTAMP_MS}"
_IS_FLAG = "IN (0, 1)"
_HAS_COUNTS = "visitors >= 0 AND visits >= 0 AND pageviews >= 0 AND events >= 0"

# What holds for each row of a table; `IS NULL` where a column may be.
_RULES = {
    "meta": "name IN ('registry', 'touched', 'retention_ran_at_ms', 'rollup_values') AND value >= 0",
    "sites": f"number > 0 AND id <> '' AND created {_IS_TIME} AND coalesce(monthly_limit, 0) >= 0"
    " AND coalesce(retention_days, 0) >= 0 AND coalesce(hourly_limit, 0) >= 0"
    " AND coalesce(hourly_events, 0) >= 0",
    "keys": f"length(digest) = 32 AND created {_IS_TIME} AND coalesce(revoked, 0) {_IS_TIME}"
    f" AND coalesce(last_used, 0) {_IS_TIME} AND coalesce(hourly_limit, 0) >= 0",
    "salts": f"day {_IS_DAY}",
    "events": f"visit BETWEEN 0 AND {_LAST_ID} AND visit + later BETWEEN 0 AND {_LAST_ID}"
    " AND coalesce(line, 0) BETWEEN 0 AND 0x7fffffff"
    " AND (revenue IS NULL OR (SELECT currency <> '' FROM kinds WHERE id = kind))",
    "visits": f"id BETWEEN 0 AND {_LAST_ID} AND named {_IS_FLAG} AND alone {_IS_FLAG} AND before {_IS_TIME} AND after {_IS_TIME}"
    " AND pageviews BETWEEN 0 AND events",
    "open_visits": f"visit BETWEEN 0 AND {_LAST_ID}",
    "answers": f"credential_class IN ('key', 'public') AND status BETWEEN 200 AND 599 AND answered {_IS_TIME}",
    "usage": f"second BETWEEN 0 AND {MAX_TIMESTAMP_MS // 1000}",
    "persons": f"created {_IS_TIME}",
    "ties": f"since BETWEEN 0 AND {_LAST_ID}",
    "goals": f"(event = '') <> (path = '') AND created {_IS_TIME} AND since {_IS_DAY}",
    "webhooks": f"format IN ('json', 'slack', 'discord') AND enabled {_IS_FLAG} AND exhausted >= 0 AND created {_IS_TIME}"
    f" AND rotated {_IS_TIME} AND coalesce(failing_since, 0) {_IS_TIME}",
    "deliveries": "status IN ('pending', 'delivered', 'failed', 'throttled', 'skipped') AND tries >= 0"
    f" AND number BETWEEN 0 AND {_LAST_ID} AND due {_IS_TIME} AND coalesce(lease, 0) {_IS_TIME}",
    "attempts": f"began {_IS_TIME} AND took {_IS_TIME} AND coalesce(status, 200) BETWEEN 100 AND 999",
    "months": "month GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]' AND events >= 0",
    "sessions": f"length(digest) = 32 AND began {_IS_TIME}",
    "days": f"day {_IS_DAY} AND {_HAS_COUNTS} AND bounces >= 0 AND duration >= 0 AND strays >= 0",
    "takings": f"day {_IS_DAY} AND times >= 0",
    "rollups": f"span IN (1, 7) AND begins BETWEEN -9 AND {_LAST_DAY} AND {_HAS_COUNTS}",
    "settled": f"until BETWEEN -9 AND {_LAST_DAY}",
    "stale": f"day {_IS_DAY}",
    "shares": f"created {_IS_TIME} AND token <> ''",
    "annotations": f"day {_IS_DAY}",
}
_JSON_COLUMNS = {("events", "props"), ("persons", "traits"), ("attempts", "headers"), ("deliveries", "body")}  # JSON
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def problems(conn: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with the rows of a store, a sentence each. Raises `sqlite3.DatabaseError`."""
    for table, rule in _RULES.items():
        (count,) = conn.execute(f"SELECT count(*) FROM {table} WHERE NOT coalesce({rule}, 0)").fetchone()
        if count:
            yield f"{count} rows of {table} with numbers or words that cannot be"
    columns = """
        SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND columns.type = 'TEXT' ORDER BY 1, 2
    """
    for table, column in [*conn.execute(columns), ("deliveries", "body")]:
        if count := _count_unreadable(conn, table, column, (table, column) in _JSON_COLUMNS):
            yield f"{count} rows of {table} whose {column} cannot be read"
    slugs = [slug for (slug,) in conn.execute("SELECT CAST(id AS BLOB) FROM sites")]
    if count := sum(not _is_slug(slug) for slug in slugs):
        yield f"{count} sites with an id that no site can have"
    zones = [zone for (zone,) in conn.execute("SELECT CAST(timezone AS BLOB) FROM sites")]
    if count := sum(not _is_zone(zone) for zone in zones):
        yield f"{count} sites with a time zone that is not known here"


def _count_unreadable(conn: sqlite3.Connection, table: str, column: str, is_object: bool) -> int:
    """How many texts of a column are not valid UTF-8, or, if they should be, not JSON objects."""
    count = 0
    for (text,) in conn.execute(f"SELECT CAST({column} AS BLOB) FROM {table}"):
        if text is None:  # where it must not be, SQLite's own check has found it
            continue
        try:
            text.decode()
            if is_object:
                _decode_object(text)
        except ValueError:  # msgspec's own are, too
            count += 1
    return count


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
