"""Parsers of field values that all dialects share (docs/api/README.md). Pure.

Each function raises `ApiError` (`invalid_request`) if the value is invalid. `field` is the field's name in that error.
"""

from datetime import UTC, datetime, timedelta
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton  # these do no I/O: they parse, much faster than ipaddress

from ovx_lite.domain import urls
from ovx_lite.domain.calendar import DAY_MS
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Campaign, PageUrl

_IPV4_MAPPED_PREFIX = bytes(10) + b"\xff\xff"  # of ::ffff:203.0.113.42
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_UNIX_MS = 100_000_000_000  # smaller numbers are taken for seconds: this is 1973 in milliseconds, 5138 in seconds


def url(value: str, field: str) -> tuple[PageUrl, Campaign]:
    """Return the page and the campaign of an absolute URL of any scheme."""
    try:
        return urls.parse_url(value)
    except ValueError:
        raise ApiError(
            "invalid_request", f"{field} is not an absolute URL: send one like https://example.com/page.", field
        ) from None


def url_or_path(value: str, field: str) -> tuple[PageUrl, Campaign]:
    """Like `url`, but also accepts a path on the site (`/pricing`). The page then has no host."""
    if not value.startswith("/") or value.startswith("//"):
        return url(value, field)
    page, campaign = url(f"https://localhost{value}", field)
    return page._replace(host=""), campaign


def hostname(value: str, field: str) -> str:
    """Return a host name in lower case, without its port."""
    try:
        if not set(value) & set("/?#@ "):
            return urls.parse_url(f"https://{value}")[0].host
    except ValueError:
        pass  # reported below, like the characters that separate the other parts of a URL
    raise ApiError("invalid_request", f"{field} is not a host name: send one like app.example.com.", field)


def referrer(value: str | None, field: str) -> str:
    """Return the host and path of the referring URL; `""` for None, empty and `about:` URLs."""
    if not value:
        return ""
    try:
        return urls.parse_referrer(value)
    except ValueError:
        raise ApiError(
            "invalid_request",
            f"{field} is not an absolute URL: send one like https://google.com/, or leave it out.",
            field,
        ) from None


def address(value: str | None, field: str) -> str:
    """Return an IP address in its usual notation, IPv4-mapped IPv6 as IPv4; `""` for None and empty text."""
    if not value:
        return ""
    try:
        if ":" in value:
            packed = inet_pton(AF_INET6, value)
            is_ipv4 = packed[:12] == _IPV4_MAPPED_PREFIX
            return inet_ntop(AF_INET, packed[12:]) if is_ipv4 else inet_ntop(AF_INET6, packed)
        inet_pton(AF_INET, value)
    except (OSError, ValueError):
        raise ApiError(
            "invalid_request",
            f"{field} is not an IPv4 or IPv6 address: send one like 203.0.113.42, or leave it out.",
            field,
        ) from None
    return value


def timestamp(value: float | str | None, now_ms: int, field: str, forms: str = "ISO 8601 or Unix milliseconds") -> int:
    """Return the Unix milliseconds of a time in ISO 8601 or Unix milliseconds; `now_ms` for None.

    A time without an offset is UTC. It may be from 1970 to 24 hours ahead (docs/api/README.md, Timestamps). `forms`
    names the accepted formats in the error.
    """
    if value is None:
        return now_ms
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
            timestamp_ms = ((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)) - _EPOCH) // timedelta(
                milliseconds=1
            )
        except (ValueError, OverflowError):
            raise ApiError(
                "invalid_request",
                f"{field} is not a time: send {forms}, for example 2025-01-15T10:30:00Z.",
                field,
            ) from None
    elif -_MIN_UNIX_MS < value < _MIN_UNIX_MS:
        raise ApiError(
            "invalid_request",
            f"{field} looks like seconds: send Unix milliseconds, of a time since 1973.",
            field,
        )
    else:
        timestamp_ms = int(value)
    if timestamp_ms > now_ms + DAY_MS:
        raise ApiError("invalid_request", f"{field} is more than 24 hours ahead: check the sender's clock.", field)
    if timestamp_ms < 0:
        raise ApiError("invalid_request", f"{field} is before 1970: send a time since then.", field)
    return timestamp_ms
