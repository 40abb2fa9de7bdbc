"""A receiver for webhooks: it answers with the statuses in its URL, and keeps what it received."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.errors import ApiError

_MAX_NAMES = 1000
_MAX_REQUESTS_PER_NAME = 1000
_MAX_BODY_BYTES = 64 * 1024
_MAX_REPLIES = 1000


class WebhookReceiver:
    """Keeps the requests to each name, and how often each sequence of replies was used. All of it is in memory."""

    def __init__(self) -> None:
        self._requests: dict[str, deque[dict[str, Any]]] = {}
        self._reply_counts: dict[tuple[str, Sequence[int]], int] = {}

    def clear(self) -> None:
        """Delete everything."""
        self._requests.clear()
        self._reply_counts.clear()

    def receive(
        self,
        name: str,
        replies: Sequence[int],
        method: str,
        headers: Mapping[str, str],
        body: bytes,
        signatures: Mapping[str, bool | None],
        now_ms: int,
    ) -> int:
        """Keep a request. Returns the status to answer with: the next of `replies`, of which the last one repeats.

        With other `replies`, a name starts from the first one. Without any, the status is 200.
        """
        key = (name, tuple(replies))
        count = self._reply_counts.get(key, 0)
        self._reply_counts[key] = count + 1
        status = replies[min(count, len(replies) - 1)] if replies else 200
        if name not in self._requests and len(self._requests) >= _MAX_NAMES:
            self._evict_oldest_name()
        request = {
            "at": format_utc(now_ms),
            "method": method,
            "headers": dict(headers),
            "body": body[:_MAX_BODY_BYTES].decode("utf-8", "replace"),
            "signatures": dict(signatures),
            "answered": status,
        }
        self._requests.setdefault(name, deque(maxlen=_MAX_REQUESTS_PER_NAME)).append(request)
        return status

    def requests(self, name: str) -> list[dict[str, Any]]:
        """Return the latest requests to a name as JSON, the oldest first."""
        return list(self._requests.get(name, ()))

    def _evict_oldest_name(self) -> None:
        oldest = next(iter(self._requests))
        del self._requests[oldest]
        self._reply_counts = {key: count for key, count in self._reply_counts.items() if key[0] != oldest}


def parse_replies(text: str) -> list[int]:
    """Return the statuses in `500,500,200`. Raises `ApiError`."""
    if not text:
        return []
    parts = text.split(",")
    if len(parts) > _MAX_REPLIES or not all(part.strip().isdecimal() and 200 <= int(part[:9]) <= 599 for part in parts):
        message = f"`reply` must be a list of at most {_MAX_REPLIES:,} statuses from 200 to 599, such as 500,500,200."
        raise ApiError("invalid_request", message, "reply")
    return [int(part) for part in parts]
