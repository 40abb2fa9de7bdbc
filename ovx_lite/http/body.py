"""Reading request bodies, with a limit on their size and on the time they take."""

import asyncio

from starlette.types import Receive

from ovx_lite.domain.errors import ApiError

_TIMED_OUT = -1.0
_SHUTDOWN_TIMEOUT_S = 3.0
_MAX_DRAINED_BYTES = 8 * 1024 * 1024
_DRAIN_TIMEOUT_S = 1


class BodyReader:
    """Reads request bodies, and rejects those that take too long to arrive.

    `enforce_timeouts` looks at all bodies once a second. That costs far less than a timer for each request.
    """

    def __init__(self, timeout_s: float = 30) -> None:
        self._timeout_s = timeout_s
        self._started_at_s: dict[asyncio.Task[object], float] = {}

    async def read(self, receive: Receive, content_length: bytes | None, max_bytes: int) -> bytes:
        """Return the body of a request that has this `Content-Length` header (`None` if it has none).

        Raises `ApiError`: `payload_too_large` above `max_bytes`, `invalid_request` if the body does not arrive.
        """
        if content_length is not None and _parse_content_length(content_length) > max_bytes:
            raise too_large(max_bytes)
        task = asyncio.current_task()
        assert task is not None, "requests are answered in tasks"
        self._started_at_s[task] = asyncio.get_running_loop().time()
        try:
            message = await receive()
            body: bytes = message.get("body", b"")
            if message.get("more_body") or message["type"] == "http.disconnect":
                body = await _read_rest(receive, message["type"], body, max_bytes)
        except asyncio.CancelledError:
            if self._started_at_s[task] != _TIMED_OUT:
                raise
            task.uncancel()
            raise ApiError("invalid_request", f"The body did not arrive within {self._timeout_s:g} seconds.") from None
        finally:
            del self._started_at_s[task]
        if len(body) > max_bytes:
            raise too_large(max_bytes)
        return body

    def shorten_timeouts(self) -> None:
        """Give all bodies, also those that are being read, a few seconds from now on. Called when the server stops."""
        self._timeout_s = min(self._timeout_s, _SHUTDOWN_TIMEOUT_S)
        self._started_at_s = dict.fromkeys(self._started_at_s, asyncio.get_running_loop().time())

    async def enforce_timeouts(self) -> None:
        """Once a second, cancel the reading of bodies that take too long. Never returns."""
        while True:
            await asyncio.sleep(1)
            cutoff_s = asyncio.get_running_loop().time() - self._timeout_s
            for task, started_at_s in self._started_at_s.items():
                if started_at_s < cutoff_s:
                    self._started_at_s[task] = _TIMED_OUT
                    task.cancel()


async def drain(receive: Receive) -> None:
    """Read and discard what still arrives, up to a limit.

    A client that sends its whole request before it reads would otherwise never see the response.
    """
    drained_bytes = 0
    try:
        async with asyncio.timeout(_DRAIN_TIMEOUT_S):
            while drained_bytes < _MAX_DRAINED_BYTES:
                message = await receive()
                drained_bytes += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return


async def _read_rest(receive: Receive, message_type: str, first_part: bytes, max_bytes: int) -> bytes:
    parts, size_bytes = [first_part], len(first_part)
    while size_bytes <= max_bytes:
        if message_type == "http.disconnect":
            parts.clear()  # the exception's traceback holds this frame
            raise ApiError(
                "invalid_request", "The connection was closed before the whole body arrived: send the request again."
            )
        message = await receive()
        message_type = message["type"]
        parts.append(message.get("body", b""))
        size_bytes += len(parts[-1])
        if message_type == "http.request" and not message.get("more_body"):
            return b"".join(parts)
    raise too_large(max_bytes)


def _parse_content_length(content_length: bytes) -> int:
    digits = content_length.lstrip(b"0")[:20]  # longer numbers are slow to parse, and 20 digits exceed every limit
    return int(digits) if digits.isdigit() else 0


def too_large(max_bytes: int) -> ApiError:
    """Return the error for a body of more than `max_bytes`."""
    return ApiError("payload_too_large", f"The body is too large: send at most {max_bytes // 1024} KiB.")
