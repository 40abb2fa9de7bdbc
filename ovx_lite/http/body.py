"""Reading a request's body: not beyond its limit, and not for ever."""

import asyncio

from starlette.types import Receive

from ovx_lite.domain.errors import Refused

_LATE = -1.0
_HURRY = 3.0
_SPILL = 8 * 1024 * 1024
_SPILL_SECONDS = 1


class Bodies:
    """Reads bodies, and gives up those that take too long.

    One look a second at all that are being read costs a request far less than a timer of its own.
    """

    def __init__(self, seconds: float = 30) -> None:
        self._seconds = seconds
        self._begun: dict[asyncio.Task[object], float] = {}

    async def read(self, receive: Receive, length: bytes | None, limit: int) -> bytes:
        """The body of a request with this `Content-Length`, of at most `limit` bytes. Raises `Refused`."""
        if length is not None and _number(length) > limit:
            raise _too_large(limit)
        task = asyncio.current_task()
        assert task is not None, "requests are answered in tasks"
        self._begun[task] = asyncio.get_running_loop().time()
        try:
            message = await receive()
            body: bytes = message.get("body", b"")
            if message.get("more_body") or message["type"] == "http.disconnect":
                body = await _rest(receive, message["type"], body, limit)
        except asyncio.CancelledError:
            if self._begun[task] != _LATE:
                raise
            task.uncancel()
            raise Refused("invalid_request", f"The body did not arrive within {self._seconds:g} seconds.") from None
        finally:
            del self._begun[task]
        if len(body) > limit:
            raise _too_large(limit)
        return body

    def hurry(self) -> None:
        """Give all bodies a few seconds from now on, as the server stops."""
        self._seconds = min(self._seconds, _HURRY)
        self._begun = dict.fromkeys(self._begun, asyncio.get_running_loop().time())

    async def watch(self) -> None:
        """Give up what takes too long, for ever."""
        while True:
            await asyncio.sleep(1)
            latest = asyncio.get_running_loop().time() - self._seconds
            for task, begun in self._begun.items():
                if begun < latest:
                    self._begun[task] = _LATE
                    task.cancel()


async def spill(receive: Receive) -> None:
    """Pour away some of what still comes, so that a caller who sends first and listens then hears the answer."""
    poured = 0
    try:
        async with asyncio.timeout(_SPILL_SECONDS):
            while poured < _SPILL:
                message = await receive()
                poured += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return


async def _rest(receive: Receive, kind: str, first: bytes, limit: int) -> bytes:
    pieces, size = [first], len(first)
    while size <= limit:
        if kind == "http.disconnect":
            pieces.clear()  # whoever keeps the exception keeps this frame, too
            raise Refused("invalid_request", "The body broke off.")
        message = await receive()
        kind = message["type"]
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if kind == "http.request" and not message.get("more_body"):
            return b"".join(pieces)
    raise _too_large(limit)


def _number(length: bytes) -> int:
    digits = length.lstrip(b"0")[:20]  # more of them are no number that anybody can send, and take long to read
    return int(digits) if digits.isdigit() else 0


def _too_large(limit: int) -> Refused:
    return Refused("payload_too_large", f"The body is too large: at most {limit // 1024} KiB are taken here.")
