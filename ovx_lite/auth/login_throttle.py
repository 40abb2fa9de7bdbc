"""Limits on password attempts, per IP address and in total. Pure."""

from typing import NamedTuple

from ovx_lite.domain.errors import ApiError


class AttemptLimit(NamedTuple):
    """At most `burst` wrong passwords at once, and then one more every `refill_s` seconds."""

    burst: int
    refill_s: int


PER_ADDRESS_LIMIT = AttemptLimit(burst=10, refill_s=60)
GLOBAL_LIMIT = AttemptLimit(burst=100, refill_s=5)

_MAX_TRACKED_ADDRESSES = 10_000


class LoginThrottle:
    """Counts wrong passwords in leaky buckets: one for each address, and one for all addresses.

    An attempt counts before its password is verified, so that simultaneous attempts count too. A correct password is
    taken off again.
    """

    def __init__(self) -> None:
        self._levels: dict[
            str | None, tuple[float, int]
        ] = {}  # level and time of its last change; under None the bucket of all addresses

    def record_attempt(self, address: str, now_ms: int, trusted: bool = False) -> None:
        """Count an attempt from an address. Raises `ApiError` (`rate_limit_exceeded`) if there were too many.

        `trusted` is for a browser that was logged in before: the attempts of others cannot lock it out.
        """
        limits = {address: PER_ADDRESS_LIMIT} if trusted else {address: PER_ADDRESS_LIMIT, None: GLOBAL_LIMIT}
        for key, limit in limits.items():
            level = self._level(key, limit, now_ms)
            if level > limit.burst - 1:
                wait_s = max(int((level - (limit.burst - 1)) * limit.refill_s), 1)
                message = f"Too many attempts: try again in {wait_s} seconds."
                raise ApiError("rate_limit_exceeded", message, retry_after_s=wait_s)
        for key, limit in limits.items():
            self._levels[key] = (self._level(key, limit, now_ms) + 1, now_ms)
        if len(self._levels) > _MAX_TRACKED_ADDRESSES:
            self._evict_empty(now_ms)

    def record_success(self, address: str, now_ms: int, trusted: bool = False) -> None:
        """Reset the count of an address after a correct password, and take that attempt off the global count."""
        self._levels.pop(address, None)
        if not trusted:
            self._levels[None] = (max(self._level(None, GLOBAL_LIMIT, now_ms) - 1, 0.0), now_ms)

    def _level(self, key: str | None, limit: AttemptLimit, now_ms: int) -> float:
        level, updated_at_ms = self._levels.get(key, (0.0, now_ms))
        return max(level - max(now_ms - updated_at_ms, 0) / 1000 / limit.refill_s, 0.0)

    def _evict_empty(self, now_ms: int) -> None:
        self._levels = {
            key: entry
            for key, entry in self._levels.items()
            if key is None or self._level(key, PER_ADDRESS_LIMIT, now_ms)
        }
