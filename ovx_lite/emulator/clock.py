"""A clock that can be put forward."""

import asyncio
import re

from ovx_lite.dialects.fields import timestamp
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import ApiError

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LENGTH = re.compile(r"(\d{1,12})(ms|s|m|h|d)")
_ANY = 1 << 60
_FARTHEST = 4_000_000_000_000  # Unix milliseconds, in the year 2096


class TurnedClock:
    """Goes as the real one does, from another time on.

    Nobody who sleeps wakes earlier for it: whoever turns it does what falls due (`Standin.turn`).
    """

    def __init__(self, real: Clock, begin: int | None = None) -> None:
        """`begin` is what it shows at first (Unix ms); None for the real time."""
        self._real = real
        self._ahead = self._ahead_at_first = 0 if begin is None else begin - real.now_ms()
        self._held: int | None = None

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return self._real.now_ms() + self._ahead if self._held is None else self._held

    def hold(self) -> None:
        """Stand still, until `release` or `reset`."""
        self._held = self.now_ms()

    def release(self) -> None:
        """Go on from where it stood."""
        self._ahead, self._held = self.now_ms() - self._real.now_ms(), None

    async def sleep(self, seconds: float) -> None:
        """Wait so long."""
        await asyncio.sleep(seconds)

    def turn(self, to: int) -> None:
        """Put it forward to a time (Unix ms)."""
        if self._held is None:
            self._ahead += max(to - self.now_ms(), 0)
        else:
            self._held = max(to, self._held)

    def reset(self) -> None:
        """Put it back to where it would be, had nobody touched it."""
        self._ahead, self._held = self._ahead_at_first, None


def length(told: object, field: str) -> int:
    """A length of time as people write it, `90s`, `5m`, `1h30m`, or seconds → milliseconds. Raises `ApiError`."""
    if isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told < _FARTHEST:
        return int(told * 1000)
    if isinstance(told, str) and told and not _LENGTH.sub("", told):
        return sum(int(number) * _UNITS[unit] for number, unit in _LENGTH.findall(told))
    raise ApiError("invalid_request", f"{field} is a length of time like 90s, 5m or 1h30m, and not negative.", field)


def time_of(told: object, now: int, field: str) -> int:
    """A time, ISO 8601 or Unix milliseconds → Unix milliseconds. Raises `ApiError` for one before `now`."""
    if not isinstance(told, str | int | float) or isinstance(told, bool):
        raise ApiError("invalid_request", f"{field} is a time like 2025-03-15T14:00:00Z.", field)
    found = timestamp(told, _ANY, field)
    if found > _FARTHEST:
        raise ApiError("invalid_request", f"{field} is too far ahead: the clock goes up to the year 2096.", field)
    if found < now:
        raise ApiError("invalid_request", f"{field} is in the past: the clock goes forward only; reset it.", field)
    return found
