"""Days, as a site has them: in its own time zone; and times as people and programs read them. Pure."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

_EPOCH_ORDINAL = 719_163  # 1970-01-01, as Python counts days


def local_day(timestamp_ms: int, timezone: str) -> int:
    """The day (days since 1970-01-01) that it is at `ts` (Unix milliseconds) in an IANA time zone.

    Every zone's midnights since 1972 fall on a quarter of an hour of UTC, so a quarter has one day.
    """
    return _day_of_quarter(timestamp_ms // 900_000, timezone)


@lru_cache(maxsize=4096)
def _day_of_quarter(quarter_hour: int, timezone: str) -> int:
    return datetime.fromtimestamp(quarter_hour * 900, ZoneInfo(timezone)).toordinal() - _EPOCH_ORDINAL


def monday(day: int) -> int:
    """The Monday of a day's week; both in days since 1970-01-01, which was a Thursday."""
    return day - (day + 3) % 7


def day_start_ms(day: int, timezone: str) -> int:
    """When a day (days since 1970-01-01) begins in an IANA time zone, in Unix milliseconds."""
    midnight = datetime(1970, 1, 1, tzinfo=ZoneInfo(timezone)) + timedelta(days=day)  # of the wall clock
    return int(midnight.timestamp() * 1000)


def format_day(day: int) -> str:
    """A day (days since 1970-01-01) as `2025-03-15`."""
    return date.fromordinal(day + _EPOCH_ORDINAL).isoformat()


def parse_day(text: str) -> int:
    """`2025-03-15` as a day (days since 1970-01-01). Raises ValueError for what is no date."""
    return date.fromisoformat(text).toordinal() - _EPOCH_ORDINAL


def format_utc_ms(timestamp_ms: int) -> str:
    """A time in Unix milliseconds as ISO 8601 in UTC, to the millisecond: `2025-03-15T14:32:18.005Z`."""
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_utc(timestamp_ms: int) -> str:
    """A time in Unix milliseconds as ISO 8601 in UTC, to the second: `2025-03-15T14:32:18Z`."""
    return datetime.fromtimestamp(timestamp_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
