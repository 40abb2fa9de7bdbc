"""Forward mode: sends accepted requests on to the real product, and adds its responses to the journal."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ovx_lite.domain.config import is_web_address
from ovx_lite.domain.errors import ApiError
from ovx_lite.emulator.journal_entries import body_as_json
from ovx_lite.services.observer import RequestOutcome
from ovx_lite.webhooks.client import load_tls

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S = 10
"""For the whole request: to connect, send, and read the response."""

_MAX_QUEUED = 1000
_MAX_RESPONSE_BYTES = 16 * 1024
_FORWARDED_HEADER = "x-ovx-forwarded"
_REMOVED_HEADERS = {
    # Hop-by-hop, or set anew for this request.
    *("host", "content-length", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
    "accept-encoding",  # the journal shows the response as it comes
    *("x-ovx-fault", "x-forwarded-for", "x-forwarded-proto", "forwarded"),
}
_log = logging.getLogger("ovx_lite")


class Forwarder:
    """Sends accepted requests on, one after the other, in the order in which they came."""

    def __init__(self, url: str, on_result: Callable[[range, dict[str, Any], list[dict[str, Any]]], None]) -> None:
        """`on_result` gets the numbers of the request's journal entries, the response, and problems with it."""
        self._url = url
        self._on_result = on_result
        self._queue: asyncio.Queue[tuple[RequestOutcome, range]] = asyncio.Queue(_MAX_QUEUED)
        self._is_sending = False

    def submit(self, outcome: RequestOutcome, numbers: range) -> None:
        """Queue a request if it was stored, is no replay, and was not forwarded to us by another emulator."""
        if not outcome.events or outcome.error is not None or outcome.reply is None or outcome.reply.replayed:
            return
        if any(name == _FORWARDED_HEADER.encode() for name, _ in outcome.headers):
            return  # two emulators that forward to each other would never stop
        try:
            self._queue.put_nowait((outcome, numbers))
        except asyncio.QueueFull:
            error = f"not forwarded: the queue of {_MAX_QUEUED:,} requests for {self._url} is full"
            self._on_result(numbers, self._failure(error, 0), [])

    async def run(self) -> None:
        """Send what is queued until the task is cancelled."""
        tls = await asyncio.to_thread(load_tls)
        import httpx2

        from ovx_lite.webhooks.response_limits import build_transport

        async with build_transport(tls, httpx2.Limits()) as http:  # no client, as that would add headers
            try:
                while True:
                    outcome, numbers = await self._queue.get()
                    self._is_sending = True
                    forwarded = await self._send(http, outcome)
                    self._on_result(numbers, forwarded, _differences(outcome, forwarded))
                    self._is_sending = False
            finally:
                if unsent := self._queue.qsize() + self._is_sending:
                    _log.warning("stopping: %d requests were not forwarded to %s", unsent, self._url)

    async def _send(self, http: "httpx2.AsyncHTTPTransport", outcome: RequestOutcome) -> dict[str, Any]:
        """Send a request. Returns the response, or why there is none, as JSON."""
        import httpx2

        assert outcome.raw_request is not None, "a request that was stored has a body"
        headers = [
            (name, value) for name, value in outcome.headers if name.decode("latin-1").lower() not in _REMOVED_HEADERS
        ]
        headers.append((_FORWARDED_HEADER.encode(), b"1"))
        started_at_s, body = time.monotonic(), b""
        try:
            url = self._url + outcome.path
            request = httpx2.Request(outcome.method, url, headers=headers, content=outcome.raw_request.body)
            async with asyncio.timeout(TIMEOUT_S):
                response = await http.handle_async_request(request)
                try:
                    async with aclosing(response.aiter_raw()) as chunks:
                        async for chunk in chunks:
                            body += chunk
                            if len(body) > _MAX_RESPONSE_BYTES:
                                break
                finally:
                    await response.aclose()
        except TimeoutError:
            return self._failure(f"no complete response within {TIMEOUT_S} seconds", _ms_since(started_at_s))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as exc:
            return self._failure(str(exc) or type(exc).__name__, _ms_since(started_at_s))
        return {
            "url": self._url,
            "status": response.status_code,
            "body": body_as_json(body, _MAX_RESPONSE_BYTES),
            "ms": _ms_since(started_at_s),
        }

    def _failure(self, error: str, duration_ms: int) -> dict[str, Any]:
        return {"url": self._url, "status": None, "error": error, "ms": duration_ms}


def _ms_since(started_at_s: float) -> int:
    return round((time.monotonic() - started_at_s) * 1000)


def _differences(outcome: RequestOutcome, forwarded: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a problem if the real product responded with another status than the emulator."""
    assert outcome.reply is not None, "the request was accepted"
    if forwarded["status"] == outcome.reply.status:
        return []
    response = f"answered {forwarded['status']}" if forwarded["status"] else f"did not answer ({forwarded['error']})"
    message = f"{forwarded['url']} {response}, but the emulator answered {outcome.reply.status}."
    return [{"code": "forwarded", "message": message, "field": ""}]


def parse_url(text: str) -> str:
    """Return the URL of an API without a slash at its end. Raises `ApiError`."""
    if not is_web_address(text):
        message = f"{text!r} is not the URL of an API: use scheme, host and path only, such as https://api.ovyxa.com."
        raise ApiError("invalid_request", message)
    return text.rstrip("/")
