"""A clock that can be moved forward."""

import asyncio
import re

from ovx_lite.dialects.fields import timestamp
from ovx_lite.domain.calendar import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import ApiError

_UNITS_MS = {"ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)")
_NO_LIMIT = 1 << 60
_MAX_TIME_MS = 4_000_000_000_000  # in the year 2096


class ManualClock:
    """Runs at the speed of the real clock, but can show another time and be moved forward.

    Moving it does not wake anyone who sleeps. `Emulator.move_clock` does what falls due.
    """

    def __init__(self, real: Clock, start_ms: int | None = None) -> None:
        """`start_ms` is the time that it shows first (Unix ms); `None` for the real time."""
        self._real = real
        self._offset_ms = self._initial_offset_ms = 0 if start_ms is None else start_ms - real.now_ms()
        self._stopped_at_ms: int | None = None

    def now_ms(self) -> int:
        """Return the Unix time in milliseconds."""
        return self._real.now_ms() + self._offset_ms if self._stopped_at_ms is None else self._stopped_at_ms

    def stop(self) -> None:
        """Show the same time until `resume` or `reset` is called."""
        self._stopped_at_ms = self.now_ms()

    def resume(self) -> None:
        """Run on from the time at which the clock was stopped."""
        self._offset_ms, self._stopped_at_ms = self.now_ms() - self._real.now_ms(), None

    async def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        await asyncio.sleep(seconds)

    def move_to(self, time_ms: int) -> None:
        """Move forward to a time (Unix ms). A time in the past changes nothing. A stopped clock stays stopped."""
        if self._stopped_at_ms is None:
            self._offset_ms += max(time_ms - self.now_ms(), 0)
        else:
            self._stopped_at_ms = max(time_ms, self._stopped_at_ms)

    def reset(self) -> None:
        """Show the time that it would show if it had never been stopped or moved."""
        self._offset_ms, self._stopped_at_ms = self._initial_offset_ms, None


def parse_duration(value: object, field: str) -> int:
    """Return the milliseconds in `90s`, `5m`, `1h30m` or a number of seconds. Raises `ApiError`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MAX_TIME_MS:
        return int(value * 1000)
    if isinstance(value, str) and value and not _DURATION.sub("", value):
        return sum(int(number) * _UNITS_MS[unit] for number, unit in _DURATION.findall(value))
    message = f"`{field}` must be a duration such as 90s, 5m or 1h30m, or a number of seconds from 0 on."
    raise ApiError("invalid_request", message, field)


def parse_time(value: object, now_ms: int, field: str) -> int:
    """Return a time, given in ISO 8601 or Unix milliseconds, as Unix milliseconds. Raises `ApiError` if it is past."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        message = f"`{field}` must be a time, for example 2025-03-15T14:00:00Z."
        raise ApiError("invalid_request", message, field)
    time_ms = timestamp(value, _NO_LIMIT, field)
    if time_ms > _MAX_TIME_MS:
        raise ApiError("invalid_request", f"`{field}` is too far ahead: the clock ends in the year 2096.", field)
    if time_ms < now_ms:
        message = f"`{field}` is in the past: the clock only moves forward. POST /_dev/reset sets it back."
        raise ApiError("invalid_request", message, field)
    return time_ms
