"""How often a password may be tried: per address, and in all. Pure."""

from ovx_lite.errors import Refused

PER_ADDRESS = (10, 60)
"""So many wrong passwords from one address, and then one more every so many seconds."""

IN_ALL = (100, 5)
"""The same for all addresses together."""


class Tries:
    """Counts wrong passwords. Each address has a measure that fills with every try, and empties as time goes by.

    A try counts before it is known to be wrong, so that many at once count, too; a right one is uncounted.
    """

    def __init__(self) -> None:
        self._full: dict[str, tuple[float, int]] = {}

    def take(self, address: str, now: int) -> None:
        """Count a try from an address at `now` (Unix ms). Raises `Refused` (`rate_limit_exceeded`)."""
        for name, (most, seconds) in (address, PER_ADDRESS), ("", IN_ALL):
            level = self._level(name, seconds, now)
            if level > most - 1:
                wait = max(int((level - (most - 1)) * seconds), 1)
                raise Refused("rate_limit_exceeded", f"Too many tries: try again in {wait} seconds.", None, wait)
        self._add(address, PER_ADDRESS[1], 1, now)
        self._add("", IN_ALL[1], 1, now)
        if len(self._full) > 10_000:
            self._forget_empty(now)

    def forgive(self, address: str, now: int) -> None:
        """Uncount the tries of an address that knew the password in the end, and this last one in all."""
        self._full.pop(address, None)
        self._add("", IN_ALL[1], -1, now)

    def _level(self, name: str, seconds: int, now: int) -> float:
        level, at = self._full.get(name, (0.0, now))
        return max(level - max(now - at, 0) / 1000 / seconds, 0.0)

    def _add(self, name: str, seconds: int, count: int, now: int) -> None:
        self._full[name] = (max(self._level(name, seconds, now) + count, 0.0), now)

    def _forget_empty(self, now: int) -> None:
        seconds = PER_ADDRESS[1]
        self._full = {name: full for name, full in self._full.items() if not name or self._level(name, seconds, now)}
