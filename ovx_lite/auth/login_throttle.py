"""How often a password may be tried: per address, and in all. Pure."""

from ovx_lite.domain.errors import ApiError

PER_ADDRESS_LIMIT = (10, 60)
"""So many wrong passwords from one address, and then one more every so many seconds."""

GLOBAL_LIMIT = (100, 5)
"""The same for all addresses together."""

_MAX_TRACKED_ADDRESSES = 10_000


class LoginThrottle:
    """Counts wrong passwords. Each address has a measure that fills with every try, and empties as time goes by.

    A try counts before it is known to be wrong, so that many at once count, too; a right one is uncounted.
    """

    def __init__(self) -> None:
        self._levels: dict[str | None, tuple[float, int]] = {}  # under None, those of all

    def record_attempt(self, address: str, now_ms: int, trusted: bool = False) -> None:
        """Count a try from an address, or of a browser that was logged in before, at `now` (Unix ms).

        Nobody else's tries hold up the latter, who is `trusted`. Raises `ApiError` (`rate_limit_exceeded`).
        """
        limits = {address: PER_ADDRESS_LIMIT} if trusted else {address: PER_ADDRESS_LIMIT, None: GLOBAL_LIMIT}
        for key, (max_attempts, refill_s) in limits.items():
            level = self._level(key, refill_s, now_ms)
            if level > max_attempts - 1:
                wait_s = max(int((level - (max_attempts - 1)) * refill_s), 1)
                raise ApiError("rate_limit_exceeded", f"Too many tries: try again in {wait_s} seconds.", None, wait_s)
        for key, (_, refill_s) in limits.items():
            self._levels[key] = (self._level(key, refill_s, now_ms) + 1, now_ms)
        if len(self._levels) > _MAX_TRACKED_ADDRESSES:
            self._evict_empty(now_ms)

    def record_success(self, address: str, now_ms: int, trusted: bool = False) -> None:
        """Uncount the tries of one who knew the password in the end, and this last one in all, if it counted there."""
        self._levels.pop(address, None)
        if not trusted:
            self._levels[None] = (max(self._level(None, GLOBAL_LIMIT[1], now_ms) - 1, 0.0), now_ms)

    def _level(self, key: str | None, refill_s: int, now_ms: int) -> float:
        level, updated_at_ms = self._levels.get(key, (0.0, now_ms))
        return max(level - max(now_ms - updated_at_ms, 0) / 1000 / refill_s, 0.0)

    def _evict_empty(self, now_ms: int) -> None:
        refill_s = PER_ADDRESS_LIMIT[1]
        self._levels = {
            key: entry for key, entry in self._levels.items() if key is None or self._level(key, refill_s, now_ms)
        }
