"""Date ranges of queries, and their buckets, in a site's time zone (docs/stats-api.md, `date_range`). Pure."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ovx_lite.domain.calendar import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    QUARTER_HOUR_MS,
    day_start_ms,
    format_day,
    local_day,
    monday,
    parse_day,
)
from ovx_lite.domain.models import MAX_TIMESTAMP_MS

LAST_DAY = MAX_TIMESTAMP_MS // DAY_MS
"""The last day of a range (days since 1970-01-01), in the year 2109: no event can be later."""

DAYS_BY_NAME = {"day": 1, "7d": 7, "28d": 28, "30d": 30, "91d": 91}
MONTHS_BY_NAME = {"month": 1, "6mo": 6, "12mo": 12}
RANGE_NAMES = ("day", "yesterday", "24h", "7d", "28d", "30d", "91d", "month", "6mo", "12mo", "year", "all")
"""The names of ranges. All except `yesterday` end today. `year` is the calendar year."""


class DateRange(NamedTuple):
    """The times from `since_ms` to before `until_ms`; `first_day` and `last_day` are days since 1970-01-01.

    `whole_days` says that the range starts and ends at a midnight of the site.
    """

    since_ms: int
    until_ms: int
    first_day: int
    last_day: int
    whole_days: bool = True

    @property
    def day_count(self) -> int:
        """The number of days that the range touches."""
        return self.last_day - self.first_day + 1


def from_days(first_day: int, last_day: int, timezone: str) -> DateRange:
    """Return the range from one day to another, both included."""
    return DateRange(day_start_ms(first_day, timezone), day_start_ms(last_day + 1, timezone), first_day, last_day)


def from_times(since_ms: int, until_ms: int, timezone: str) -> DateRange:
    """Return the range from one time to before another."""
    first_day, last_day = local_day(since_ms, timezone), local_day(max(until_ms - 1, since_ms), timezone)
    whole_days = day_start_ms(first_day, timezone) == since_ms and day_start_ms(last_day + 1, timezone) == until_ms
    return DateRange(since_ms, until_ms, first_day, last_day, whole_days)


def from_name(name: str, now_ms: int, timezone: str, oldest_day: int | None) -> DateRange:
    """Return the range with a name from `RANGE_NAMES` at `now_ms`. `oldest_day` is the day of the site's first event.

    Raises KeyError for any other name.
    """
    today = local_day(now_ms, timezone)
    if name == "24h":
        return from_times(now_ms - DAY_MS + 1, now_ms + 1, timezone)
    if name == "yesterday":
        return from_days(today - 1, today - 1, timezone)
    if name == "year":
        return from_days(parse_day(f"{format_day(today)[:4]}-01-01"), today, timezone)
    if name == "all":
        return from_days(min(today if oldest_day is None else oldest_day, today), today, timezone)
    if name in MONTHS_BY_NAME:
        return from_days(_shift_months(today, 1 - MONTHS_BY_NAME[name]), today, timezone)
    return from_days(today - DAYS_BY_NAME[name] + 1, today, timezone)


def from_text(start: str, end: str, timezone: str) -> DateRange:
    """Return the range from one date to another, both included, or from one time (ISO 8601) to before another.

    A time without an offset is UTC. Raises ValueError, with a message for the user, if the texts are not dates or
    times, or in the wrong order.
    """
    if len(start) == len(end) == 10:
        first_day, last_day = _parse_day(start), _parse_day(end)
        if last_day < first_day:
            raise ValueError(f"{end} is before {start}: give the earlier day first.")
        return from_days(first_day, last_day, timezone)
    since_ms, until_ms = _parse_time(start), _parse_time(end)
    if until_ms < since_ms:
        raise ValueError(f"{end} is before {start}: give the earlier time first.")
    return from_times(since_ms, until_ms, timezone)


def _parse_day(text: str) -> int:
    try:
        if text[4:8:3] != "--":
            raise ValueError(text)
        day = parse_day(text)
    except ValueError:
        raise ValueError(f"{text} is not a date: give one like 2025-03-15.") from None
    if not 0 <= day <= LAST_DAY:
        raise ValueError(f"{text} is out of range: give a date from 1970 to 2109.")
    return day


def _parse_time(text: str) -> int:
    try:
        parsed = datetime.fromisoformat(text)
        timestamp_ms = int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError(f"{text} is not a date or time: give one like 2025-03-15 or 2025-03-15T14:00:00Z.") from None
    if not 0 <= timestamp_ms <= MAX_TIMESTAMP_MS:
        raise ValueError(f"{text} is out of range: give a time from 1970 to 2109.")
    return timestamp_ms


def previous_range(date_range: DateRange, timezone: str) -> DateRange:
    """Return the range of the same length that ends where this one starts."""
    if not date_range.whole_days:
        return from_times(
            date_range.since_ms - (date_range.until_ms - date_range.since_ms), date_range.since_ms, timezone
        )
    return from_days(date_range.first_day - date_range.day_count, date_range.first_day - 1, timezone)


def previous_year_range(date_range: DateRange, timezone: str) -> DateRange:
    """Return the same dates a year earlier (28 February for the 29th), or the same times 364 days earlier."""
    if not date_range.whole_days:
        return from_times(date_range.since_ms - 364 * DAY_MS, date_range.until_ms - 364 * DAY_MS, timezone)
    first_day, last_day = (_shift_months(day, -12, exact=True) for day in (date_range.first_day, date_range.last_day))
    return from_days(first_day, last_day, timezone)


def _shift_months(day: int, months: int, exact: bool = False) -> int:
    """Return the first day of the month that is `months` months later; if `exact`, the same day of that month."""
    start = date.fromisoformat(format_day(day))
    month_index = start.year * 12 + start.month - 1 + months
    month_start = date(month_index // 12, month_index % 12 + 1, 1)
    if not exact:
        return parse_day(month_start.isoformat())
    next_month_start = date((month_index + 1) // 12, (month_index + 1) % 12 + 1, 1)
    return parse_day(min(month_start + timedelta(start.day - 1), next_month_start - timedelta(1)).isoformat())


def rollup_blocks(date_range: DateRange, finalized_before_day: int) -> Iterator[tuple[int, int]]:
    """Split a range into weeks from Monday on and single days: pairs of the number of days (7 or 1) and the first day.

    Only weeks that end before `finalized_before_day` have weekly rollups, so other weeks are split into days.
    """
    day = date_range.first_day
    while day <= date_range.last_day:
        period_days = (
            7 if day == monday(day) and day + 6 <= date_range.last_day and day + 7 <= finalized_before_day else 1
        )
        yield period_days, day
        day += period_days


def format_day_bucket(day: int, unit: str) -> str:
    """Return the label of the `day`, `week` or `month` that contains a day: its first day, as `2025-03-10`."""
    if unit == "month":
        return format_day(day)[:7] + "-01"
    return format_day(monday(day) if unit == "week" else day)


CLOCK_UNITS_MS = {"time:minute": MINUTE_MS, "time:hour": HOUR_MS}
"""The time dimensions that are shorter than a day, in milliseconds."""


def format_time_bucket(unit: str, local_time: datetime) -> str:
    """Return the label of the minute or hour that contains a time, as `2025-03-10 14:00:00`."""
    return f"{local_time:%Y-%m-%d %H:%M:00}" if unit == "time:minute" else f"{local_time:%Y-%m-%d %H:00:00}"


def bucket_labels(date_range: DateRange, unit: str, timezone: str) -> list[str]:
    """Return the labels of all buckets of a range. `unit` is a time dimension such as `time:day`."""
    if unit in ("time:day", "time:week", "time:month"):
        days = range(date_range.first_day, date_range.last_day + 1)
        return list(dict.fromkeys(format_day_bucket(day, unit.removeprefix("time:")) for day in days))
    step_ms, zone = CLOCK_UNITS_MS[unit], ZoneInfo(timezone)
    times_ms = range(date_range.since_ms // step_ms * step_ms, date_range.until_ms, min(step_ms, QUARTER_HOUR_MS))
    buckets = (
        format_time_bucket(unit, datetime.fromtimestamp(max(timestamp_ms, date_range.since_ms) / 1000, zone))
        for timestamp_ms in times_ms
    )
    return list(dict.fromkeys(buckets))


class DstSegment(NamedTuple):
    """A part of a day (days since 1970-01-01) with one UTC offset. Almost every day is a single segment."""

    day: int
    since_ms: int
    until_ms: int
    utc_offset_ms: int


def dst_segments(date_range: DateRange, timezone: str) -> Iterator[DstSegment]:
    """Yield the days of a range, split where the clocks change."""
    zone = ZoneInfo(timezone)
    for day in range(date_range.first_day, date_range.last_day + 1):
        since_ms = max(day_start_ms(day, timezone), date_range.since_ms)
        until_ms = min(day_start_ms(day + 1, timezone), date_range.until_ms)
        while since_ms < until_ms:
            end_ms = _next_offset_change_ms(since_ms, until_ms, zone)
            yield DstSegment(day, since_ms, end_ms, _utc_offset_ms(since_ms, zone))
            since_ms = end_ms


def _utc_offset_ms(timestamp_ms: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(timestamp_ms // 1000, zone).utcoffset()
    assert offset is not None, "the time has a zone"
    return int(offset.total_seconds() * 1000)


def _next_offset_change_ms(since_ms: int, until_ms: int, zone: ZoneInfo) -> int:
    """Return when (Unix ms) the UTC offset of `since_ms` ends, or `until_ms` if it does not change until then."""
    if _utc_offset_ms(since_ms, zone) == _utc_offset_ms(until_ms - 1, zone):
        return until_ms
    low, high = since_ms // QUARTER_HOUR_MS, -(-until_ms // QUARTER_HOUR_MS)
    while high - low > 1:
        middle = (low + high) // 2
        if _utc_offset_ms(middle * QUARTER_HOUR_MS, zone) == _utc_offset_ms(since_ms, zone):
            low = middle
        else:
            high = middle
    return high * QUARTER_HOUR_MS
