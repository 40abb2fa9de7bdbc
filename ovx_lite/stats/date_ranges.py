"""Stretches of time that one asks about, in a site's own days ("Stats API v2", date ranges). Pure."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ovx_lite.domain.calendar import day_begins, day_of, iso, local_day, monday
from ovx_lite.domain.models import LATEST

LAST_DAY = LATEST // 86_400_000
"""The last day that an event can have, a year or two from it: no period ends later."""

DAYS = {"day": 1, "7d": 7, "28d": 28, "30d": 30, "91d": 91}
MONTHS = {"month": 1, "6mo": 6, "12mo": 12}
WORDS = ("day", "yesterday", "24h", "7d", "28d", "30d", "91d", "month", "6mo", "12mo", "year", "all")
"""What a period may be called. Those in days and months end today; `year` is the calendar's."""


class Period(NamedTuple):
    """From `since` to before `until` (Unix ms), which is from the day `first` to `last` (days since 1970-01-01).

    `whole` says that it begins and ends at midnights of the site.
    """

    since: int
    until: int
    first: int
    last: int
    whole: bool = True

    @property
    def days(self) -> int:
        """How many days it has."""
        return self.last - self.first + 1


def of_days(first: int, last: int, timezone: str) -> Period:
    """The period from one day to another."""
    return Period(day_begins(first, timezone), day_begins(last + 1, timezone), first, last)


def of_times(since: int, until: int, timezone: str) -> Period:
    """The period from one time to before another (Unix ms)."""
    first, last = local_day(since, timezone), local_day(max(until - 1, since), timezone)
    whole = day_begins(first, timezone) == since and day_begins(last + 1, timezone) == until
    return Period(since, until, first, last, whole)


def named(word: str, now: int, timezone: str, oldest: int | None) -> Period:
    """The period of one of `WORDS`, as of `now` (Unix ms); `oldest` is the day of the site's first event.

    Raises KeyError for any other word.
    """
    today = local_day(now, timezone)
    if word == "24h":
        return of_times(now - 86_400_000 + 1, now + 1, timezone)
    if word == "yesterday":
        return of_days(today - 1, today - 1, timezone)
    if word == "year":
        return of_days(day_of(f"{iso(today)[:4]}-01-01"), today, timezone)
    if word == "all":
        return of_days(min(today if oldest is None else oldest, today), today, timezone)
    if word in MONTHS:
        return of_days(_month(today, 1 - MONTHS[word]), today, timezone)
    return of_days(today - DAYS[word] + 1, today, timezone)


def between(one: str, other: str, timezone: str) -> Period:
    """The period from one date to another, both in it; or from one time (ISO 8601, UTC without an offset) to another.

    Raises ValueError with a sentence for what is neither, or backwards.
    """
    if len(one) == len(other) == 10:
        first, last = _day(one), _day(other)
        if last < first:
            raise ValueError(f"{other} is before {one}: give the earlier day first.")
        return of_days(first, last, timezone)
    since, until = _time(one), _time(other)
    if until < since:
        raise ValueError(f"{other} is before {one}: give the earlier time first.")
    return of_times(since, until, timezone)


def _day(text: str) -> int:
    try:
        if text[4:8:3] != "--":
            raise ValueError(text)
        day = day_of(text)
    except ValueError:
        raise ValueError(f"{text} is no date: give one like 2025-03-15.") from None
    if not 0 <= day <= LAST_DAY:
        raise ValueError(f"{text} is too far away: give a date from 1970 to 2109.")
    return day


def _time(text: str) -> int:
    try:
        told = datetime.fromisoformat(text)
        ts = int((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError(f"{text} is no date or time: give 2025-03-15 or 2025-03-15T14:00:00Z.") from None
    if not 0 <= ts <= LATEST:
        raise ValueError(f"{text} is too far away: give a time from 1970 to 2109.")
    return ts


def before(period: Period, timezone: str) -> Period:
    """The period of the same length that ends where this one begins."""
    if not period.whole:
        return of_times(period.since - (period.until - period.since), period.since, timezone)
    return of_days(period.first - period.days, period.first - 1, timezone)


def year_before(period: Period, timezone: str) -> Period:
    """The same days, a year before; of 29 February, the 28th."""
    if not period.whole:
        return of_times(period.since - 364 * 86_400_000, period.until - 364 * 86_400_000, timezone)
    first, last = (_month(day, -12, exact=True) for day in (period.first, period.last))
    return of_days(first, last, timezone)


def _month(day: int, months: int, exact: bool = False) -> int:
    """The first day of the month that is so many months from that of a day; or, `exact`, the same day of it."""
    told = date.fromisoformat(iso(day))
    number = told.year * 12 + told.month - 1 + months
    first = date(number // 12, number % 12 + 1, 1)
    if not exact:
        return day_of(first.isoformat())
    after = date((number + 1) // 12, (number + 1) % 12 + 1, 1)
    return day_of(min(first + timedelta(told.day - 1), after - timedelta(1)).isoformat())


def blocks(period: Period, settled: int) -> Iterator[tuple[int, int]]:
    """The days of a period as few stretches: of a week from Monday on (7 and its first day), and of a day (1, it).

    Weeks are those that end before the day `settled`.
    """
    day = period.first
    while day <= period.last:
        span = 7 if day == monday(day) and day + 6 <= period.last and day + 7 <= settled else 1
        yield span, day
        day += span


def label(day: int, unit: str) -> str:
    """What a day's `day`, `week` or `month` is called in answers: its first day, as `2025-03-10`."""
    if unit == "month":
        return iso(day)[:7] + "-01"
    return iso(monday(day) if unit == "week" else day)


CLOCK = {"time:minute": 60_000, "time:hour": 3_600_000}
"""The units of time within days, in milliseconds."""


def told_by_clock(unit: str, at: datetime) -> str:
    """What a minute or an hour is called in answers: `2025-03-10 14:00:00`."""
    return f"{at:%Y-%m-%d %H:%M:00}" if unit == "time:minute" else f"{at:%Y-%m-%d %H:00:00}"


def labels(period: Period, unit: str, timezone: str) -> list[str]:
    """What the times of a period are called in answers, all of them, by the `time:` that is asked for."""
    if unit in ("time:day", "time:week", "time:month"):
        days = range(period.first, period.last + 1)
        return list(dict.fromkeys(label(day, unit.removeprefix("time:")) for day in days))
    step, zone = CLOCK[unit], ZoneInfo(timezone)
    times = range(period.since // step * step, period.until, min(step, 900_000))
    told = (told_by_clock(unit, datetime.fromtimestamp(max(ts, period.since) / 1000, zone)) for ts in times)
    return list(dict.fromkeys(told))


class Piece(NamedTuple):
    """A part of a day (days since 1970-01-01) without a change of clocks: Unix ms, and ms ahead of UTC."""

    day: int
    since: int
    until: int
    offset: int


def pieces(period: Period, timezone: str) -> Iterator[Piece]:
    """The days of a period, cut where the clocks change."""
    zone = ZoneInfo(timezone)
    for day in range(period.first, period.last + 1):
        since = max(day_begins(day, timezone), period.since)
        until = min(day_begins(day + 1, timezone), period.until)
        while since < until:
            end = _unchanged(since, until, zone)
            yield Piece(day, since, end, _offset(since, zone))
            since = end


def _offset(ts: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(ts // 1000, zone).utcoffset()
    assert offset is not None, "the time has a zone"
    return int(offset.total_seconds() * 1000)


def _unchanged(since: int, until: int, zone: ZoneInfo) -> int:
    """Until when (Unix ms) the clocks stay as they are at `since`; they change on a quarter of an hour."""
    if _offset(since, zone) == _offset(until - 1, zone):
        return until
    low, high = since // 900_000, -(-until // 900_000)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle * 900_000, zone) == _offset(since, zone):
            low = middle
        else:
            high = middle
    return high * 900_000
