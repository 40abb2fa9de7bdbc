"""Forward mode: what was accepted goes on to the real product, and both answers stand in the journal."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ovx_lite.domain.config import is_web_address
from ovx_lite.domain.errors import ApiError
from ovx_lite.emulator.journal_entries import as_told
from ovx_lite.services.observer import RequestOutcome
from ovx_lite.webhooks.client import load_tls

if TYPE_CHECKING:
    import httpx2

SECONDS = 10
"""For everything: to connect, to send, and to read the answer."""

_MOST_WAITING = 1000
_LONGEST = 16 * 1024
_MARK = "x-ovx-forwarded"
# What is between two neighbours only, or ours. `accept-encoding` is: the answer is kept as it comes.
_NOT_SENT = {
    *("host", "content-length", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
    *("accept-encoding", "x-ovx-fault", "x-forwarded-for", "x-forwarded-proto", "forwarded"),
}
_log = logging.getLogger("ovx_lite")


class Relay:
    """Sends what was accepted on, one request after the other, as they came."""

    def __init__(self, url: str, note: Callable[[range, dict[str, Any], list[dict[str, Any]]], None]) -> None:
        """`note` is told of the entries that a request has in the journal, what was answered, and what is odd in it."""
        self._url = url
        self._note = note
        self._waiting: asyncio.Queue[tuple[RequestOutcome, range]] = asyncio.Queue(_MOST_WAITING)
        self._sending = 0

    def take(self, verdict: RequestOutcome, numbers: range) -> None:
        """Send a request on, if it is one that was stored, for the first time, and not sent on to us."""
        if not verdict.events or verdict.error is not None or verdict.reply is None or verdict.reply.replayed:
            return
        if any(name == _MARK.encode() for name, _ in verdict.headers):
            return  # two that forward to each other would never end
        try:
            self._waiting.put_nowait((verdict, numbers))
        except asyncio.QueueFull:
            words = f"not sent on: {_MOST_WAITING:,} requests wait for {self._url} already"
            self._note(numbers, self._failed(words, 0), [])

    async def run(self) -> None:
        """Send on what is there to be sent, until one is cancelled."""
        tls = await asyncio.to_thread(load_tls)
        import httpx2

        from ovx_lite.webhooks.response_limits import build_transport

        async with build_transport(tls, httpx2.Limits()) as road:  # a client would add headers
            try:
                while True:
                    verdict, numbers = await self._waiting.get()
                    self._sending = 1
                    forwarded = await self._send(road, verdict)
                    self._note(numbers, forwarded, _differences(verdict, forwarded))
                    self._sending = 0
            finally:
                if unsent := self._waiting.qsize() + self._sending:
                    _log.warning("%d requests were not sent on to %s, as the server stops", unsent, self._url)

    async def _send(self, road: "httpx2.AsyncHTTPTransport", verdict: RequestOutcome) -> dict[str, Any]:
        import httpx2

        assert verdict.raw_request is not None, "it was read, as it is stored"
        headers = [(name, value) for name, value in verdict.headers if name.decode("latin-1").lower() not in _NOT_SENT]
        headers.append((_MARK.encode(), b"1"))
        begun, body = time.monotonic(), b""
        try:
            url = self._url + verdict.path
            request = httpx2.Request(verdict.method, url, headers=headers, content=verdict.raw_request.body)
            async with asyncio.timeout(SECONDS):
                answer = await road.handle_async_request(request)
                try:
                    async with aclosing(answer.aiter_raw()) as pieces:
                        async for piece in pieces:
                            body += piece
                            if len(body) > _LONGEST:
                                break
                finally:
                    await answer.aclose()
        except TimeoutError:
            return self._failed(f"there was no whole answer within {SECONDS} seconds", _since(begun))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as wrong:
            return self._failed(str(wrong) or type(wrong).__name__, _since(begun))
        told = {"url": self._url, "status": answer.status_code, "body": as_told(body, _LONGEST)}
        return told | {"ms": _since(begun)}

    def _failed(self, words: str, ms: int) -> dict[str, Any]:
        return {"url": self._url, "status": None, "error": words, "ms": ms}


def _since(begun: float) -> int:
    return round((time.monotonic() - begun) * 1000)


def _differences(verdict: RequestOutcome, forwarded: dict[str, Any]) -> list[dict[str, Any]]:
    """What one should look at, as a problem: that the real product answers otherwise."""
    assert verdict.reply is not None, "it was accepted"
    if forwarded["status"] == verdict.reply.status:
        return []
    said = f"answered {forwarded['status']}" if forwarded["status"] else f"gave no answer ({forwarded['error']})"
    words = f"{forwarded['url']} {said}, where the stand-in answered {verdict.reply.status}."
    return [{"code": "forwarded", "message": words, "field": ""}]


def where_to(told: str) -> str:
    """The URL that is forwarded to, without a slash at its end. Raises `ApiError` for what is none."""
    if not is_web_address(told):
        raise ApiError("invalid_request", f"{told!r} is not the URL of an API: give one like https://api.ovyxa.com.")
    return told.rstrip("/")
