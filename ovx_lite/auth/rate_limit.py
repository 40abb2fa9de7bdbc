"""Rate limits: counts per caller in a sliding hour. No I/O: the store's counts come in, unsaved ones go out."""

import msgspec

from ovx_lite.auth.api_keys import HOUR, Caller
from ovx_lite.domain.errors import Refused


class Allowance(msgspec.Struct, frozen=True):
    """Where a caller stands: how many an hour, how many are left, and in how many seconds the next become free."""

    limit: int
    remaining: int
    reset: int


class Limits:
    """Counts per caller in a sliding hour, by the second.

    The counts live here; `unsaved` holds what the store has not seen yet, to be saved with the next group.
    """

    def __init__(self) -> None:
        self.unsaved: dict[tuple[str, int], int] = {}
        self._windows: dict[str, _Window] = {}

    def restore(self, counts: list[tuple[str, int, int]]) -> None:
        """Take over what the store knows: (caller, Unix second, count), oldest first."""
        for caller, second, count in counts:
            self._windows.setdefault(caller, _Window()).add(second, count)

    def take(self, caller: Caller, events: int, now: int) -> Allowance:
        """Count a request with so many events of a limited caller at `now` (Unix ms). Returns where they stand then.

        Raises `Refused` (`rate_limit_exceeded`), with nothing counted against any limit.
        """
        name, limit, second = caller.name, caller.limit or 0, now // 1000
        cost = 1 if caller.counts_requests else events
        window = self._window(name, second)
        if window.used + cost > limit:
            unit = "requests an hour from one address" if caller.counts_requests else "events an hour"
            raise _exceeded(limit, cost, unit, window.seconds_until(limit - cost, second))
        if caller.event_limit is None:
            self._count(name, window, second, cost)
            return Allowance(limit, limit - window.used, window.oldest + HOUR - second)
        of_events = self._window(_event_window(caller), second)
        if of_events.used + events > caller.event_limit:
            wait_s = of_events.seconds_until(caller.event_limit - events, second)
            raise _exceeded(caller.event_limit, events, "events an hour from one address", wait_s)
        self._count(name, window, second, cost)
        self._count(_event_window(caller), of_events, second, events)
        return _reached_first(
            Allowance(limit, limit - window.used, window.oldest + HOUR - second),
            Allowance(caller.event_limit, caller.event_limit - of_events.used, of_events.oldest + HOUR - second),
            events,
        )

    def give_back(self, caller: Caller, events: int, now: int) -> None:
        """Uncount a request that was taken at `now` and turned out to be a replay, or could not be stored."""
        self._give_back(caller.name, 1 if caller.counts_requests else events, now // 1000)
        if caller.event_limit is not None:
            self._give_back(_event_window(caller), events, now // 1000)

    def standing(self, caller: Caller, now: int, events: int = 1) -> Allowance:
        """Where a limited caller stands after a request with so many events that is not counted."""
        standing = self._standing(caller.name, caller.limit or 0, now // 1000)
        if caller.event_limit is None:
            return standing
        of_events = self._standing(_event_window(caller), caller.event_limit, now // 1000)
        return _reached_first(standing, of_events, events)

    def clear(self) -> None:
        """Forget all counts."""
        self.unsaved.clear()
        self._windows.clear()

    def forget_old(self, now: int) -> int:
        """Drop the windows that have counted nothing for an hour. Returns how many."""
        second = now // 1000 - HOUR
        old = [name for name, window in self._windows.items() if window.latest <= second]
        for name in old:
            del self._windows[name]
        return len(old)

    def keep_unsaved(self, counts: dict[tuple[str, int], int]) -> None:
        """Take back counts that could not be saved."""
        for caller, count in counts.items():
            self.unsaved[caller] = self.unsaved.get(caller, 0) + count

    def _count(self, name: str, window: "_Window", second: int, cost: int) -> None:
        window.add(second, cost)
        self.unsaved[name, second] = self.unsaved.get((name, second), 0) + cost

    def _give_back(self, name: str, cost: int, second: int) -> None:
        window = self._windows.get(name)
        if window is not None and window.give_back(second, cost):
            self.unsaved[name, second] = self.unsaved.get((name, second), 0) - cost

    def _standing(self, name: str, limit: int, second: int) -> Allowance:
        window = self._window(name, second)
        return Allowance(limit, max(limit - window.used, 0), window.seconds_until(window.used - 1, second))

    def _window(self, name: str, second: int) -> "_Window":
        """The hour before a second, of the window of that name."""
        window = self._windows.get(name)
        if window is None or second < window.latest - HOUR:  # the clock was put back: those counts are of no hour now
            window = self._windows[name] = _Window()
        elif window.oldest <= second - HOUR:
            window.forget(second - HOUR)
        return window


class _Window:
    """One limit's hour: counts by second, oldest first, and their sum."""

    __slots__ = ("latest", "oldest", "seconds", "used")

    def __init__(self) -> None:
        self.used = self.oldest = self.latest = 0
        self.seconds: dict[int, int] = {}

    def add(self, second: int, count: int) -> None:
        if not self.seconds:
            self.oldest = self.latest = second
        elif second > self.latest:
            self.latest = second
        # A clock that was put back counts as standing still, so that the seconds stay in order.
        self.seconds[self.latest] = self.seconds.get(self.latest, 0) + count
        self.used += count

    def give_back(self, second: int, count: int) -> bool:
        """Uncount what was counted in a second. Returns False if that second is forgotten already."""
        second = second if second in self.seconds else max(second, self.latest)  # as in `add`
        if second not in self.seconds:
            return False
        self.seconds[second] -= count
        self.used -= count
        return True

    def forget(self, second: int) -> None:
        """Drop the counts up to and including `second`."""
        while self.seconds and (oldest := next(iter(self.seconds))) <= second:
            self.used -= self.seconds.pop(oldest)
        self.oldest = next(iter(self.seconds), 0)

    def seconds_until(self, most: int, now: int) -> int:
        """Seconds from `now` (Unix seconds) until no more than `most` are counted: at least 1, at most 3,600."""
        used = self.used
        for second, count in self.seconds.items():
            used -= count
            if used <= most:
                return min(max(second + HOUR - now, 1), HOUR)
        return HOUR if used > most else 1


def _event_window(caller: Caller) -> str:
    """The name of the window that counts the events of a caller whose requests are counted, too."""
    return f"{caller.name}:events"


def _reached_first(requests: Allowance, events: Allowance, events_each: int) -> Allowance:
    """The limit that more requests with so many events each reach first: the one in requests, or the one in events."""
    return requests if requests.remaining * events_each <= events.remaining else events


def _exceeded(limit: int, cost: int, unit: str, wait_s: int) -> Refused:
    if cost > limit:
        message = f"This request has {cost} events: the limit is {limit} {unit}. Send fewer at once."
    else:
        message = f"The limit of {limit} {unit} is reached. Try again in {wait_s} seconds."
    return Refused("rate_limit_exceeded", message, retry_after=wait_s)
