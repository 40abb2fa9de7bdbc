"""Days in a site's time zone, dates and times as text, and units of time in milliseconds. Pure."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
HOUR_S = HOUR_MS // SECOND_MS
DAY_S = DAY_MS // SECOND_MS

_EPOCH_ORDINAL = 719_163  # `date.toordinal()` of 1970-01-01

QUARTER_HOUR_MS = 15 * MINUTE_MS
"""Since 1972, midnights and clock changes in every time zone fall on a multiple of this, in Unix milliseconds."""


def local_day(timestamp_ms: int, timezone: str) -> int:
    """Return the day (days since 1970-01-01) of a time (Unix milliseconds) in an IANA time zone.

    All times of a quarter hour (UTC) are on the same day, so one cache entry serves a quarter hour.
    """
    return _day_of_quarter(timestamp_ms // QUARTER_HOUR_MS, timezone)


@lru_cache(maxsize=4096)
def _day_of_quarter(quarter_hour: int, timezone: str) -> int:
    return datetime.fromtimestamp(quarter_hour * 900, ZoneInfo(timezone)).toordinal() - _EPOCH_ORDINAL


def monday(day: int) -> int:
    """Return the Monday of the week that contains a day. Both are days since 1970-01-01, which was a Thursday."""
    return day - (day + 3) % 7


def day_start_ms(day: int, timezone: str) -> int:
    """Return the start of a day (days since 1970-01-01) in an IANA time zone, in Unix milliseconds."""
    midnight = datetime(1970, 1, 1, tzinfo=ZoneInfo(timezone)) + timedelta(days=day)  # local (wall clock) time
    return int(midnight.timestamp() * 1000)


def format_day(day: int) -> str:
    """Format a day (days since 1970-01-01) as `2025-03-15`."""
    return date.fromordinal(day + _EPOCH_ORDINAL).isoformat()


def parse_day(text: str) -> int:
    """Parse `2025-03-15` into days since 1970-01-01. Raises ValueError if the text is not a date."""
    return date.fromisoformat(text).toordinal() - _EPOCH_ORDINAL


def format_utc_ms(timestamp_ms: int) -> str:
    """Format Unix milliseconds as ISO 8601 in UTC, with milliseconds: `2025-03-15T14:32:18.005Z`."""
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_utc(timestamp_ms: int) -> str:
    """Format Unix milliseconds as ISO 8601 in UTC, without the milliseconds: `2025-03-15T14:32:18Z`."""
    return datetime.fromtimestamp(timestamp_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
