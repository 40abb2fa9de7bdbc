"""Cross-origin requests: pages of any origin may call the public endpoints, as Apex's and Overcentric's documents need.

The answers say so to browsers. A body that is sent as `text/plain`, as `sendBeacon` does, needs no preflight at all.
"""

from urllib.parse import urlsplit

from ovx_lite.web.answers import Headers

ALLOWED: Headers = [(b"access-control-allow-origin", b"*")]
"""On every answer of a public endpoint, errors too."""

EXPOSED: Headers = [
    (
        b"access-control-expose-headers",
        b"Idempotency-Replayed, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After",
    ),
]
"""Where a page of another origin asks, what it may read of the answer besides."""

PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"POST"),
    (b"access-control-allow-headers", b"Content-Type, Idempotency-Key, *"),
    (b"access-control-max-age", b"86400"),
]
"""What a browser that asks first is told, and remembers for a day, besides."""


def host_of(origin: str) -> str:
    """The host of an `Origin` header; `""` for what has none, like `null`."""
    try:
        return (urlsplit(origin).hostname or "").rstrip(".")
    except ValueError:
        return ""
