"""How often a password may be tried: per address, and in all. Pure."""

from ovx_lite.domain.errors import Refused

PER_ADDRESS = (10, 60)
"""So many wrong passwords from one address, and then one more every so many seconds."""

IN_ALL = (100, 5)
"""The same for all addresses together."""

_MOST_REMEMBERED = 10_000


class Tries:
    """Counts wrong passwords. Each address has a measure that fills with every try, and empties as time goes by.

    A try counts before it is known to be wrong, so that many at once count, too; a right one is uncounted.
    """

    def __init__(self) -> None:
        self._full: dict[str | None, tuple[float, int]] = {}  # under None, those of all

    def take(self, whence: str, now: int, trusted: bool = False) -> None:
        """Count a try from an address, or of a browser that was logged in before, at `now` (Unix ms).

        Nobody else's tries hold up the latter, who is `trusted`. Raises `Refused` (`rate_limit_exceeded`).
        """
        limits = {whence: PER_ADDRESS} if trusted else {whence: PER_ADDRESS, None: IN_ALL}
        for name, (most, seconds) in limits.items():
            level = self._level(name, seconds, now)
            if level > most - 1:
                wait = max(int((level - (most - 1)) * seconds), 1)
                raise Refused("rate_limit_exceeded", f"Too many tries: try again in {wait} seconds.", None, wait)
        for name, (_, seconds) in limits.items():
            self._full[name] = (self._level(name, seconds, now) + 1, now)
        if len(self._full) > _MOST_REMEMBERED:
            self._forget_empty(now)

    def forgive(self, whence: str, now: int, trusted: bool = False) -> None:
        """Uncount the tries of one who knew the password in the end, and this last one in all, if it counted there."""
        self._full.pop(whence, None)
        if not trusted:
            self._full[None] = (max(self._level(None, IN_ALL[1], now) - 1, 0.0), now)

    def _level(self, name: str | None, seconds: int, now: int) -> float:
        level, at = self._full.get(name, (0.0, now))
        return max(level - max(now - at, 0) / 1000 / seconds, 0.0)

    def _forget_empty(self, now: int) -> None:
        seconds = PER_ADDRESS[1]
        self._full = {
            name: full for name, full in self._full.items() if name is None or self._level(name, seconds, now)
        }
