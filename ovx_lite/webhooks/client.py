"""One POST to a vetted address: everything that a receiver can do ends here as an `Outcome`."""

import asyncio
import socket
import ssl
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from ovx_lite.domain.errors import Refused
from ovx_lite.webhooks.message import Outcome
from ovx_lite.webhooks.ssrf import Network, Target, may_be_looked_up, target, vet

if TYPE_CHECKING:
    import httpx2

SECONDS = 10
"""For everything: DNS, TLS, sending, and reading the answer ("Timeout: 10 seconds per request")."""

KEPT = 4096
"""Bytes of an answer that are read and kept."""

_LONGEST_WORD = 300  # characters of a receiver's that we repeat
_BROKEN_OFF = Outcome(None, "reset", "the connection broke off before the answer")
_MOST_OPEN = 64  # receivers to whom a connection is kept


class Outgoing:
    """Sends messages. Connections are kept for a while, to each receiver its own."""

    def __init__(self, allowed: Sequence[Network], now: Callable[[], int], seconds: float = SECONDS) -> None:
        """`allowed` are networks that are open to webhooks though they are not public; `now` gives Unix ms."""
        self._allowed = allowed
        self._now = now
        self._seconds = seconds
        self._roads: OrderedDict[Target, httpx2.AsyncHTTPTransport] = OrderedDict()
        self._used: Counter[Target] = Counter()
        self._tls: ssl.SSLContext | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """Send a message once. Never raises for what a receiver, its name or the net does."""
        began, begin = self._now(), time.monotonic()
        outcome = await self._try(url, body, headers)
        took = round((time.monotonic() - begin) * 1000)
        return outcome._replace(began=began, took=took, headers=dict(headers))

    async def _try(self, url: str, body: bytes, headers: Mapping[str, str]) -> Outcome:
        if self._tls is None:
            self._tls = await asyncio.to_thread(load_tls)
        import httpx2

        try:
            async with asyncio.timeout(self._seconds):
                where = target(url)
                may_be_looked_up(where, self._allowed)
                address = vet(where, await addresses(where), self._allowed)
                return await self._send(where, address, body, headers)
        except Refused as refused:
            return Outcome(None, "forbidden", refused.message)
        except (TimeoutError, httpx2.TimeoutException):
            return Outcome(None, "timeout", f"there was no whole answer within {self._seconds:g} seconds")
        except OSError as wrong:  # DNS's; those of connections come as httpx2's
            return Outcome(None, "dns", f"the name could not be looked up ({wrong.strerror or wrong})")
        except httpx2.RemoteProtocolError as wrong:
            if "without sending" in str(wrong):
                return _BROKEN_OFF
            return Outcome(None, "protocol", f"what was answered is not HTTP ({str(wrong)[:_LONGEST_WORD]})")
        except httpx2.TransportError as wrong:
            if (tls := _tls_error(wrong)) is not None:
                return Outcome(None, "tls", f"the receiver's certificate or TLS is not good: {tls}")
            if isinstance(wrong, httpx2.ConnectError):
                return Outcome(None, "connect", "nobody listens there, or a firewall is in between")
            return _BROKEN_OFF

    async def _send(self, where: Target, address: str, body: bytes, headers: Mapping[str, str]) -> Outcome:
        import httpx2

        usual = {"https": 443, "http": 80}[where.scheme]
        name = f"[{where.host}]" if ":" in where.host else where.host
        host = name if where.port == usual else f"{name}:{where.port}"
        number = f"[{address}]" if ":" in address else address
        request = httpx2.Request(
            "POST",
            f"{where.scheme}://{number}:{where.port}{where.path}",
            content=body,
            headers={"Host": host, "Accept": "*/*", **headers},
            # Cancelled while it connects, the library would leave the socket open; by its own time-out it does not.
            extensions={"sni_hostname": where.host, "timeout": {"connect": self._seconds * 0.9}},
        )
        async with self._road(where) as road:
            response = await road.handle_async_request(request)
            answer = b""
            try:
                async with aclosing(response.aiter_raw()) as pieces:  # as they came: nothing is unpacked
                    async for piece in pieces:
                        answer += piece
                        if len(answer) >= KEPT:
                            break
            finally:
                await response.aclose()
        return read(response.status_code, response.headers, answer[:KEPT], where.host, self._now())

    @asynccontextmanager
    async def _road(self, where: Target) -> "AsyncIterator[httpx2.AsyncHTTPTransport]":
        """The connections to a URL, each its own: none is used under another's name, and small pools are fast."""
        from ovx_lite.webhooks.response_limits import transport

        assert self._tls is not None, "nothing is sent before it is loaded"
        road = self._roads.get(where)
        if road is None:
            road = self._roads[where] = transport(self._tls, _limits())
        self._roads.move_to_end(where)
        self._used[where] += 1
        try:
            yield road
        finally:
            self._used[where] -= 1
            idle = (other for other in self._roads if not self._used[other])
            if len(self._roads) > _MOST_OPEN and (oldest := next(idle, None)) is not None:
                del self._used[oldest]
                await self._roads.pop(oldest).aclose()

    async def close(self) -> None:
        """Close all connections."""
        for road in self._roads.values():
            await road.aclose()
        self._roads.clear()


def _limits() -> "httpx2.Limits":
    """Room for all who send at once, lest webhooks of one host wait for each other."""
    import httpx2

    return httpx2.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=2)


def load_tls() -> ssl.SSLContext:
    """Load the library, which takes a while and most servers never need, and the certificates that are trusted."""
    import httpx2  # noqa: F401
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def check(url: str, allowed: Sequence[Network]) -> None:
    """See that a webhook may have this URL, as it is seen again at every send. Raises `Refused` (field `url`)."""
    where = target(url)
    may_be_looked_up(where, allowed)
    try:
        async with asyncio.timeout(SECONDS):
            found = await addresses(where)
    except OSError as wrong:
        words = f"{where.host} could not be looked up ({wrong.strerror or wrong}): see that its name is right."
        raise Refused("invalid_request", words, "url") from None
    vet(where, found, allowed)


async def addresses(where: Target) -> list[str]:
    """The addresses of a target's host. Raises OSError if its name cannot be looked up."""
    if ":" in where.host or where.host.rpartition(".")[2].isdecimal():
        return [where.host]  # an address already
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def read(status: int, headers: Mapping[str, str], answer: bytes, host: str, now: int) -> Outcome:
    """What an answer means, and what is to be done about it (contract 7). Pure."""
    text = answer.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    if 200 <= status < 300:
        return Outcome(status, "", answer=text)
    if 300 <= status < 400:
        to = headers.get("location", "nowhere")[:_LONGEST_WORD]
        words = f"redirect to {to} not followed: change the URL"
        return Outcome(status, "redirect", words, text)
    if status == 410:
        return Outcome(status, "gone", "the receiver wants no more of this", text)
    hint = _milliseconds(headers.get("retry-after", ""), now) if status in (429, 503) else 0
    return Outcome(status, "status", _words(status, text, host), text, hint)


def _words(status: int, text: str, host: str) -> str:
    if host == "hooks.slack.com" and status == 400:
        return "Slack wants `text`: choose format slack"
    if host in ("discord.com", "discordapp.com") and status == 400:
        return "Discord wants `content`: choose format discord"
    return {
        401: "the receiver wants a credential: see what its URL should hold",
        403: "the receiver does not let us in: see what its URL should hold",
        404: "there is nothing at this URL: see that it is right",
        405: "the receiver takes no POST there: see that the URL is right",
        429: "the receiver has had enough for now",
        503: "the receiver cannot take it now",
    }.get(status, f"the receiver answered {status}: see its answer and its log")


def _milliseconds(hint: str, now: int) -> int:
    """A `Retry-After` (seconds, or a date) in milliseconds from `now` on; 0 for what is none."""
    if hint.strip().isdecimal():
        return int(hint.strip()[:9]) * 1000
    try:
        return max(int(parsedate_to_datetime(hint).timestamp() * 1000) - now, 0)
    except (ValueError, OverflowError):
        return 0


def _tls_error(wrong: BaseException) -> ssl.SSLError | None:
    cause: BaseException | None = wrong
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    return cause
