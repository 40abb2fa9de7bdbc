"""Cross-origin requests: pages of any origin may call the public endpoints, as Apex's and Overcentric's documents need.

The answers say so to browsers. A body that is sent as `text/plain`, as `sendBeacon` does, needs no preflight at all.
"""

from urllib.parse import urlsplit

from ovx_lite.auth import api_keys
from ovx_lite.dialects.schema import ParsedRequest
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Site
from ovx_lite.http.responses import Headers

ALLOW_ORIGIN_HEADERS: Headers = [(b"access-control-allow-origin", b"*")]
"""On every answer of a public endpoint, errors too."""

EXPOSE_HEADERS: Headers = [
    (
        b"access-control-expose-headers",
        b"Idempotency-Replayed, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, X-Request-Id",
    ),
]
"""Where a page of another origin asks, what it may read of the answer besides."""

PREFLIGHT_HEADERS: Headers = [
    (b"access-control-allow-methods", b"POST"),
    (b"access-control-allow-headers", b"Content-Type, Idempotency-Key, *"),
    (b"access-control-max-age", b"86400"),
]
"""What a browser that asks first is told, and remembers for a day, besides."""


def check_allowed_hosts(site: Site, origin: str, parsed: ParsedRequest) -> None:
    """See that a site's public key is not used in somebody else's pages, if the site says which are its own.

    `origin` is the header, `""` where there is none: then no page has sent it. Raises `ApiError` (`invalid_request`).
    """
    if not site.allowed_hosts:
        return
    allowed_hosts = ", ".join(site.allowed_hosts)
    host = _host_of(origin)
    if origin and not api_keys.may_send_from(site, host):  # a sandboxed frame's origin, say, is `null`
        message = f"{host or origin} is not among the hosts whose pages may send events: {allowed_hosts}."
        raise ApiError("invalid_request", message)
    for index, hit in enumerate(parsed.hits):
        if hit.page.host and not api_keys.may_send_from(site, hit.page.host):
            message = f"{hit.page.host} is not among the hosts whose pages may send events: {allowed_hosts}."
            raise ApiError("invalid_request", message, parsed.url_field.format(index))


def _host_of(origin: str) -> str:
    """The host of an `Origin` header; `""` for what has none, like `null`."""
    try:
        return (urlsplit(origin).hostname or "").rstrip(".")
    except ValueError:
        return ""
