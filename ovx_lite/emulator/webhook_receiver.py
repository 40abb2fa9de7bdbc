"""A receiver in the box: it answers webhooks as it is told to, and keeps what came."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.errors import ApiError

_MOST_NAMES, _MOST_KEPT = 1000, 1000
_LONGEST = 64 * 1024


class Hooks:
    """What came to each name, and how often it answered."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[dict[str, Any]]] = {}
        self._times: dict[tuple[str, Sequence[int]], int] = {}

    def clear(self) -> None:
        """Forget all of it."""
        self._kept.clear()
        self._times.clear()

    def receive(
        self,
        name: str,
        replies: Sequence[int],
        method: str,
        headers: Mapping[str, str],
        body: bytes,
        signatures: Mapping[str, bool | None],
        now: int,
    ) -> int:
        """Keep a request that came at `now` (Unix ms). Returns the status to answer with: the last one goes on."""
        script = (name, tuple(replies))  # another one begins anew
        times = self._times.get(script, 0)
        self._times[script] = times + 1
        status = replies[min(times, len(replies) - 1)] if replies else 200
        if name not in self._kept and len(self._kept) >= _MOST_NAMES:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._times = {script: times for script, times in self._times.items() if script[0] != oldest}
        request = {
            "at": format_utc(now),
            "method": method,
            "headers": dict(headers),
            "body": body[:_LONGEST].decode("utf-8", "replace"),
            "signatures": dict(signatures),
            "answered": status,
        }
        self._kept.setdefault(name, deque(maxlen=_MOST_KEPT)).append(request)
        return status

    def requests(self, name: str) -> list[dict[str, Any]]:
        """What came to a name, the first first."""
        return list(self._kept.get(name, ()))


def replies_of(told: str) -> list[int]:
    """`500,500,200` → statuses. Raises `ApiError`."""
    if not told:
        return []
    parts = told.split(",")
    if len(parts) > 1000 or not all(part.strip().isdecimal() and 200 <= int(part[:9]) <= 599 for part in parts):
        raise ApiError("invalid_request", "reply is a list of statuses from 200 to 599, like 500,500,200.", "reply")
    return [int(part) for part in parts]
