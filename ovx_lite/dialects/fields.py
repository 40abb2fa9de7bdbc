"""From one field's value, as a caller wrote it, to ours. Shared by all dialects (contract 2). Pure.

Each function takes the field's name for the error, and raises `ApiError` (`invalid_request`) with it.
"""

from datetime import UTC, datetime, timedelta
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton  # no I/O: these only parse, much faster than ipaddress

from ovx_lite.domain import urls
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Campaign, PageUrl

DAY_MS = 86_400_000
_MAPPED = bytes(10) + b"\xff\xff"  # how an IPv4 address begins that is written as IPv6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_NOT_MILLISECONDS = 100_000_000_000  # as milliseconds this is 1973, as seconds the year 5138


def url(value: str, field: str) -> tuple[PageUrl, Campaign]:
    """An absolute URL of any scheme → its page and campaign."""
    try:
        return urls.parse_url(value)
    except ValueError:
        raise ApiError(
            "invalid_request", f"{field} is not an absolute URL: send one like https://example.com/page.", field
        ) from None


def url_or_path(value: str, field: str) -> tuple[PageUrl, Campaign]:
    """An absolute URL, or a path on the site itself (`/pricing`), whose page then has no host."""
    if not value.startswith("/") or value.startswith("//"):
        return url(value, field)
    page, campaign = url(f"https://localhost{value}", field)
    return page._replace(host=""), campaign


def hostname(value: str, field: str) -> str:
    """A host name, maybe with a port → the host alone, in lower case."""
    try:
        if not set(value) & set("/?#@ "):
            return urls.parse_url(f"https://{value}")[0].host
    except ValueError:
        pass  # told below, as is what could hide in a URL beside its host
    raise ApiError("invalid_request", f"{field} is not a host name: send one like app.example.com.", field)


def referrer(value: str | None, field: str) -> str:
    """The referring URL → its host and path; none, empty and `about:` URLs → `""`."""
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
    """An IPv4 or IPv6 address → itself as it is usually written, IPv4-mapped IPv6 as IPv4; none or empty → `""`."""
    if not value:
        return ""
    try:
        if ":" in value:
            packed = inet_pton(AF_INET6, value)
            return inet_ntop(AF_INET, packed[12:]) if packed[:12] == _MAPPED else inet_ntop(AF_INET6, packed)
        inet_pton(AF_INET, value)
    except (OSError, ValueError):
        raise ApiError(
            "invalid_request",
            f"{field} is not an IPv4 or IPv6 address: send one like 203.0.113.42, or leave it out.",
            field,
        ) from None
    return value


def timestamp(value: float | str | None, now_ms: int, field: str, forms: str = "ISO 8601 or Unix milliseconds") -> int:
    """ISO 8601 or Unix milliseconds → Unix milliseconds; none → `now`. A time without an offset is UTC's.

    "Up to 24 h ahead, any time in the past" (contract 2), that is since 1970.
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
                f"{field} is not a time: send {forms}, like 2025-01-15T10:30:00Z.",
                field,
            ) from None
    elif -_SECONDS_NOT_MILLISECONDS < value < _SECONDS_NOT_MILLISECONDS:
        raise ApiError(
            "invalid_request",
            f"{field} looks like seconds, or is no time of ours: send Unix milliseconds, since 1973.",
            field,
        )
    else:
        timestamp_ms = int(value)
    if timestamp_ms > now_ms + DAY_MS:
        raise ApiError("invalid_request", f"{field} is more than 24 hours ahead: check the sender's clock.", field)
    if timestamp_ms < 0:
        raise ApiError("invalid_request", f"{field} is before 1970: send a time since then.", field)
    return timestamp_ms
