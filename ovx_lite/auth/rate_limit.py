"""Rate limits: counts per caller in a sliding hour. No I/O: the caller loads and saves the counts."""

import msgspec

from ovx_lite.auth.api_keys import Principal
from ovx_lite.domain.calendar import HOUR_S
from ovx_lite.domain.errors import ApiError


class RateLimitStatus(msgspec.Struct, frozen=True):
    """The values of the `RateLimit-…` headers: limit per hour, how many are left, and seconds until more are."""

    limit: int
    remaining: int
    reset_s: int


class RateLimiter:
    """Counts per caller and second in a sliding hour.

    The counts are kept in memory. `unsaved` holds the changes that the next group commit saves, by caller and second.
    """

    def __init__(self) -> None:
        self.unsaved: dict[tuple[str, int], int] = {}
        self._windows: dict[str, SlidingWindow] = {}

    def restore(self, counts: list[tuple[str, int, int]]) -> None:
        """Load saved counts: (caller, Unix second, count), oldest first."""
        for key, second, count in counts:
            self._windows.setdefault(key, SlidingWindow()).add(second, count)

    def consume(self, principal: Principal, events: int, now_ms: int) -> RateLimitStatus:
        """Count a request with this many events. The caller must have a limit. Returns the status afterwards.

        Raises `ApiError` (`rate_limit_exceeded`) if any limit would be exceeded. Then nothing is counted.
        """
        key, limit, second = principal.rate_limit_key, principal.hourly_limit or 0, now_ms // 1000
        cost = 1 if principal.counts_requests else events
        window = self._current_window(key, second)
        if window.used + cost > limit:
            unit = "requests an hour from one address" if principal.counts_requests else "events an hour"
            raise _exceeded(limit, cost, unit, window.seconds_until(limit - cost, second))
        if principal.hourly_event_limit is None:
            self._record(key, window, second, cost)
            return RateLimitStatus(limit, limit - window.used, window.oldest_second + HOUR_S - second)
        event_window = self._current_window(_event_key(principal), second)
        if event_window.used + events > principal.hourly_event_limit:
            wait_s = event_window.seconds_until(principal.hourly_event_limit - events, second)
            raise _exceeded(principal.hourly_event_limit, events, "events an hour from one address", wait_s)
        self._record(key, window, second, cost)
        self._record(_event_key(principal), event_window, second, events)
        return _reached_first(
            RateLimitStatus(limit, limit - window.used, window.oldest_second + HOUR_S - second),
            RateLimitStatus(
                principal.hourly_event_limit,
                principal.hourly_event_limit - event_window.used,
                event_window.oldest_second + HOUR_S - second,
            ),
            events,
        )

    def refund(self, principal: Principal, events: int, now_ms: int) -> None:
        """Undo `consume` at `now_ms`, for a request that is a replay or could not be stored."""
        self._refund(principal.rate_limit_key, 1 if principal.counts_requests else events, now_ms // 1000)
        if principal.hourly_event_limit is not None:
            self._refund(_event_key(principal), events, now_ms // 1000)

    def status(self, principal: Principal, now_ms: int, events: int = 1) -> RateLimitStatus:
        """Return the status of a caller with a limit, without counting the request or its `events`."""
        request_status = self._status(principal.rate_limit_key, principal.hourly_limit or 0, now_ms // 1000)
        if principal.hourly_event_limit is None:
            return request_status
        event_status = self._status(_event_key(principal), principal.hourly_event_limit, now_ms // 1000)
        return _reached_first(request_status, event_status, events)

    def clear(self) -> None:
        """Delete all counts."""
        self.unsaved.clear()
        self._windows.clear()

    def evict_idle(self, now_ms: int) -> int:
        """Drop the windows without counts in the last hour. Returns how many."""
        second = now_ms // 1000 - HOUR_S
        idle_keys = [key for key, window in self._windows.items() if window.latest_second <= second]
        for key in idle_keys:
            del self._windows[key]
        return len(idle_keys)

    def restore_unsaved(self, counts: dict[tuple[str, int], int]) -> None:
        """Add counts that could not be saved to `unsaved` again."""
        for key, count in counts.items():
            self.unsaved[key] = self.unsaved.get(key, 0) + count

    def _record(self, key: str, window: "SlidingWindow", second: int, cost: int) -> None:
        window.add(second, cost)
        self.unsaved[key, second] = self.unsaved.get((key, second), 0) + cost

    def _refund(self, key: str, cost: int, second: int) -> None:
        window = self._windows.get(key)
        if window is not None and window.refund(second, cost):
            self.unsaved[key, second] = self.unsaved.get((key, second), 0) - cost

    def _status(self, key: str, limit: int, second: int) -> RateLimitStatus:
        window = self._current_window(key, second)
        return RateLimitStatus(limit, max(limit - window.used, 0), window.seconds_until(window.used - 1, second))

    def _current_window(self, key: str, second: int) -> "SlidingWindow":
        """Return the window of a key, without the counts that are older than an hour."""
        window = self._windows.get(key)
        # If the clock was set back by more than an hour, the old counts lie in the future and are dropped.
        if window is None or second < window.latest_second - HOUR_S:
            window = self._windows[key] = SlidingWindow()
        elif window.oldest_second <= second - HOUR_S:
            window.evict_until(second - HOUR_S)
        return window


class SlidingWindow:
    """The counts of one limit in the last hour by second, oldest first, and their sum `used`."""

    __slots__ = ("counts_by_second", "latest_second", "oldest_second", "used")

    def __init__(self) -> None:
        self.used = self.oldest_second = self.latest_second = 0
        self.counts_by_second: dict[int, int] = {}

    def add(self, second: int, count: int) -> None:
        """Add a count to a second, or to the latest one if the clock was set back, so that seconds stay in order."""
        if not self.counts_by_second:
            self.oldest_second = self.latest_second = second
        elif second > self.latest_second:
            self.latest_second = second
        self.counts_by_second[self.latest_second] = self.counts_by_second.get(self.latest_second, 0) + count
        self.used += count

    def refund(self, second: int, count: int) -> bool:
        """Take back a count of a second. Returns False if that second is no longer in the window."""
        second = second if second in self.counts_by_second else max(second, self.latest_second)  # as in `add`
        if second not in self.counts_by_second:
            return False
        self.counts_by_second[second] -= count
        self.used -= count
        return True

    def evict_until(self, second: int) -> None:
        """Drop the counts up to and including a second."""
        while self.counts_by_second and (oldest_second := next(iter(self.counts_by_second))) <= second:
            self.used -= self.counts_by_second.pop(oldest_second)
        self.oldest_second = next(iter(self.counts_by_second), 0)

    def seconds_until(self, max_count: int, now_s: int) -> int:
        """Return the seconds from `now_s` until the window counts at most `max_count`: from 1 to 3,600."""
        used = self.used
        for second, count in self.counts_by_second.items():
            used -= count
            if used <= max_count:
                return min(max(second + HOUR_S - now_s, 1), HOUR_S)
        return HOUR_S if used > max_count else 1


def _event_key(principal: Principal) -> str:
    """Return the key of the second window, which counts the events of a caller whose requests are counted."""
    return f"{principal.rate_limit_key}:events"


def _reached_first(requests: RateLimitStatus, events: RateLimitStatus, events_each: int) -> RateLimitStatus:
    """Return the status of the limit that further requests with `events_each` events reach first."""
    return requests if requests.remaining * events_each <= events.remaining else events


def _exceeded(limit: int, cost: int, unit: str, wait_s: int) -> ApiError:
    if cost > limit:
        message = f"This request has {cost} events: the limit is {limit} {unit}. Send fewer at once."
    else:
        message = f"The limit of {limit} {unit} is reached. Try again in {wait_s} seconds."
    return ApiError("rate_limit_exceeded", message, retry_after_s=wait_s)
