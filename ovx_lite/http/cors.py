"""CORS: pages of any origin may call the public endpoints, because Apex and Overcentric are called from browsers.

`sendBeacon` sends bodies as `text/plain`, for which browsers send no preflight request.
"""

from urllib.parse import urlsplit

from ovx_lite.auth import api_keys
from ovx_lite.dialects.schema import ParsedRequest
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Site
from ovx_lite.http.responses import Headers

ALLOW_ORIGIN_HEADERS: Headers = [(b"access-control-allow-origin", b"*")]
"""Headers of every response of a public endpoint, also of errors."""

EXPOSE_HEADERS: Headers = [
    (
        b"access-control-expose-headers",
        b"Idempotency-Replayed, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, X-Request-Id",
    ),
]
"""Extra headers of a response to a page of another origin: which response headers its script may read."""

PREFLIGHT_HEADERS: Headers = [
    (b"access-control-allow-methods", b"POST"),
    (b"access-control-allow-headers", b"Content-Type, Idempotency-Key, *"),
    (b"access-control-max-age", b"86400"),
]
"""Extra headers of the response to a preflight request, which browsers cache for a day."""


def check_allowed_hosts(site: Site, origin: str, parsed: ParsedRequest) -> None:
    """Check that a request without an API key comes from a page of one of the site's allowed hosts, if it has any.

    `origin` is the `Origin` header, `""` if there is none (then it was not sent by a page). The host of each hit's URL
    is checked too. Raises `ApiError` (`invalid_request`).
    """
    if not site.allowed_hosts:
        return
    allowed_hosts = ", ".join(site.allowed_hosts)
    host = _host_of(origin)
    if origin and not api_keys.may_send_from(site, host):  # the origin of a sandboxed frame is `null`
        raise ApiError("invalid_request", _not_allowed(host or origin, allowed_hosts))
    for index, hit in enumerate(parsed.hits):
        if hit.page.host and not api_keys.may_send_from(site, hit.page.host):
            message = _not_allowed(hit.page.host, allowed_hosts)
            raise ApiError("invalid_request", message, parsed.url_field.format(index))


def _not_allowed(host: str, allowed_hosts: str) -> str:
    return f"{host} is not among the hosts whose pages may send events: {allowed_hosts}."


def _host_of(origin: str) -> str:
    """Return the host of an `Origin` header; `""` if it has none, like `null`."""
    try:
        return (urlsplit(origin).hostname or "").rstrip(".")
    except ValueError:
        return ""
