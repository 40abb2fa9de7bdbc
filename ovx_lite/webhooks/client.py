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

from ovx_lite.domain.errors import ApiError
from ovx_lite.webhooks.message import AttemptResult
from ovx_lite.webhooks.ssrf import Network, Target, check_address, check_scheme, parse_target

if TYPE_CHECKING:
    import httpx2

REQUEST_TIMEOUT_S = 10
"""For everything: DNS, TLS, sending, and reading the answer ("Timeout: 10 seconds per request")."""

MAX_RESPONSE_BYTES = 4096
"""Bytes of an answer that are read and kept."""

_MAX_QUOTED_LENGTH = 300  # characters of a receiver's that we repeat
_CONNECTION_RESET = AttemptResult(None, "reset", "the connection broke off before the answer")
_MAX_OPEN_TRANSPORTS = 64  # receivers to whom a connection is kept


class WebhookClient:
    """Sends messages. Connections are kept for a while, to each receiver its own."""

    def __init__(
        self, allowed_networks: Sequence[Network], now_ms: Callable[[], int], timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        """`allowed` are networks that are open to webhooks though they are not public; `now` gives Unix ms."""
        self._allowed_networks = allowed_networks
        self._now_ms = now_ms
        self._timeout_s = timeout_s
        self._transports: OrderedDict[Target, httpx2.AsyncHTTPTransport] = OrderedDict()
        self._use_counts: Counter[Target] = Counter()
        self._tls_context: ssl.SSLContext | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> AttemptResult:
        """Send a message once. Never raises for what a receiver, its name or the net does."""
        started_at_ms, started_monotonic_s = self._now_ms(), time.monotonic()
        outcome = await self._attempt(url, body, headers)
        duration_ms = round((time.monotonic() - started_monotonic_s) * 1000)
        return outcome._replace(started_at_ms=started_at_ms, duration_ms=duration_ms, headers=dict(headers))

    async def _attempt(self, url: str, body: bytes, headers: Mapping[str, str]) -> AttemptResult:
        if self._tls_context is None:
            self._tls_context = await asyncio.to_thread(load_tls)
        import httpx2

        try:
            async with asyncio.timeout(self._timeout_s):
                destination = parse_target(url)
                check_scheme(destination, self._allowed_networks)
                address = check_address(destination, await resolve_addresses(destination), self._allowed_networks)
                return await self._send(destination, address, body, headers)
        except ApiError as exc:
            return AttemptResult(None, "forbidden", exc.message)
        except (TimeoutError, httpx2.TimeoutException):
            return AttemptResult(None, "timeout", f"there was no whole answer within {self._timeout_s:g} seconds")
        except OSError as exc:  # DNS's; those of connections come as httpx2's
            return AttemptResult(None, "dns", f"the name could not be looked up ({exc.strerror or exc})")
        except httpx2.RemoteProtocolError as exc:
            if "without sending" in str(exc):
                return _CONNECTION_RESET
            return AttemptResult(None, "protocol", f"what was answered is not HTTP ({str(exc)[:_MAX_QUOTED_LENGTH]})")
        except httpx2.TransportError as exc:
            if (tls_error := _tls_error(exc)) is not None:
                return AttemptResult(None, "tls", f"the receiver's certificate or TLS is not good: {tls_error}")
            if isinstance(exc, httpx2.ConnectError):
                return AttemptResult(None, "connect", "nobody listens there, or a firewall is in between")
            return _CONNECTION_RESET

    async def _send(self, destination: Target, address: str, body: bytes, headers: Mapping[str, str]) -> AttemptResult:
        import httpx2

        default_port = {"https": 443, "http": 80}[destination.scheme]
        host_literal = f"[{destination.host}]" if ":" in destination.host else destination.host
        host_header = host_literal if destination.port == default_port else f"{host_literal}:{destination.port}"
        address_literal = f"[{address}]" if ":" in address else address
        request = httpx2.Request(
            "POST",
            f"{destination.scheme}://{address_literal}:{destination.port}{destination.path}",
            content=body,
            headers={"Host": host_header, "Accept": "*/*", **headers},
            # Cancelled while it connects, the library would leave the socket open; by its own time-out it does not.
            extensions={"sni_hostname": destination.host, "timeout": {"connect": self._timeout_s * 0.9}},
        )
        async with self._transport_for(destination) as http_transport:
            response = await http_transport.handle_async_request(request)
            response_body = b""
            try:
                async with aclosing(response.aiter_raw()) as chunks:  # as they came: nothing is unpacked
                    async for chunk in chunks:
                        response_body += chunk
                        if len(response_body) >= MAX_RESPONSE_BYTES:
                            break
            finally:
                await response.aclose()
        return interpret_response(
            response.status_code, response.headers, response_body[:MAX_RESPONSE_BYTES], destination.host, self._now_ms()
        )

    @asynccontextmanager
    async def _transport_for(self, destination: Target) -> "AsyncIterator[httpx2.AsyncHTTPTransport]":
        """The connections to a URL, each its own: none is used under another's name, and small pools are fast."""
        from ovx_lite.webhooks.response_limits import build_transport

        assert self._tls_context is not None, "nothing is sent before it is loaded"
        http_transport = self._transports.get(destination)
        if http_transport is None:
            http_transport = self._transports[destination] = build_transport(self._tls_context, _pool_limits())
        self._transports.move_to_end(destination)
        self._use_counts[destination] += 1
        try:
            yield http_transport
        finally:
            self._use_counts[destination] -= 1
            idle = (other for other in self._transports if not self._use_counts[other])
            if len(self._transports) > _MAX_OPEN_TRANSPORTS and (oldest := next(idle, None)) is not None:
                del self._use_counts[oldest]
                await self._transports.pop(oldest).aclose()

    async def close(self) -> None:
        """Close all connections."""
        for http_transport in self._transports.values():
            await http_transport.aclose()
        self._transports.clear()


def _pool_limits() -> "httpx2.Limits":
    """Room for all who send at once, lest webhooks of one host wait for each other."""
    import httpx2

    return httpx2.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=2)


def load_tls() -> ssl.SSLContext:
    """Load the library, which takes a while and most servers never need, and the certificates that are trusted."""
    import httpx2  # noqa: F401
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def check_url(url: str, allowed_networks: Sequence[Network]) -> None:
    """See that a webhook may have this URL, as it is seen again at every send. Raises `Refused` (field `url`)."""
    destination = parse_target(url)
    check_scheme(destination, allowed_networks)
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            host_addresses = await resolve_addresses(destination)
    except OSError as exc:
        message = f"{destination.host} could not be looked up ({exc.strerror or exc}): see that its name is right."
        raise ApiError("invalid_request", message, "url") from None
    check_address(destination, host_addresses, allowed_networks)


async def resolve_addresses(destination: Target) -> list[str]:
    """The addresses of a target's host. Raises OSError if its name cannot be looked up."""
    if ":" in destination.host or destination.host.rpartition(".")[2].isdecimal():
        return [destination.host]  # an address already
    loop = asyncio.get_running_loop()
    address_infos = await loop.getaddrinfo(destination.host, destination.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in address_infos))


def interpret_response(
    status: int, headers: Mapping[str, str], response_body: bytes, host: str, now_ms: int
) -> AttemptResult:
    """What an answer means, and what is to be done about it (contract 7). Pure."""
    text = response_body.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    if 200 <= status < 300:
        return AttemptResult(status, "", response_body=text)
    if 300 <= status < 400:
        location = headers.get("location", "nowhere")[:_MAX_QUOTED_LENGTH]
        hint = f"redirect to {location} not followed: change the URL"
        return AttemptResult(status, "redirect", hint, text)
    if status == 410:
        return AttemptResult(status, "gone", "the receiver wants no more of this", text)
    retry_after_ms = _retry_after_ms(headers.get("retry-after", ""), now_ms) if status in (429, 503) else 0
    return AttemptResult(status, "status", _hint_for_status(status, text, host), text, retry_after_ms)


def _hint_for_status(status: int, text: str, host: str) -> str:
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


def _retry_after_ms(header: str, now_ms: int) -> int:
    """A `Retry-After` (seconds, or a date) in milliseconds from `now` on; 0 for what is none."""
    if header.strip().isdecimal():
        return int(header.strip()[:9]) * 1000
    try:
        return max(int(parsedate_to_datetime(header).timestamp() * 1000) - now_ms, 0)
    except (ValueError, OverflowError):
        return 0


def _tls_error(exc: BaseException) -> ssl.SSLError | None:
    cause: BaseException | None = exc
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    return cause
