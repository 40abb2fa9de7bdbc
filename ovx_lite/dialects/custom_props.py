"""Custom properties with any JSON values, for the products that do not restrict them. Pure."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from ovx_lite.dialects.validation import MAX_STRING_BYTES, has_too_long_string
from ovx_lite.domain.errors import ApiError

MAX_PROPS = 50
"""Properties of one event (OpenAnalytics, Server-side tracking, Event payload)."""

FreeProps = Annotated[Raw, Meta(extra_json_schema={"type": ["object", "null"], "maxProperties": MAX_PROPS})]
"""The type of a field with such properties. They stay undecoded until the other fields are valid."""

_object_decoder = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


def parse_props(raw: Raw, field: str) -> dict[str, Any]:
    """Decode up to 50 properties with any JSON values; an empty `Raw` and null give none.

    Raises `ApiError` with the field: `invalid_props`, or `invalid_request` for a string over 4 KiB.
    """
    raw_bytes = bytes(raw)
    if not raw_bytes or raw_bytes == b"null":
        return {}
    if raw_bytes[:1] != b"{":
        raise ApiError("invalid_props", f"{field} must be an object.", field)
    try:
        props = _object_decoder.decode(raw_bytes)
    except (msgspec.DecodeError, RecursionError):  # it is valid JSON, so only a number can be the cause
        raise ApiError("invalid_props", f"{field} contains a number that is out of range.", field) from None
    if len(props) > MAX_PROPS:
        raise ApiError("invalid_props", f"{field} has {len(props)} properties: at most {MAX_PROPS} are allowed.", field)
    if len(raw_bytes) > MAX_STRING_BYTES and has_too_long_string(props):
        raise ApiError(
            "invalid_request",
            f"{field} contains a string that is too long: at most {MAX_STRING_BYTES // 1024} KiB are allowed.",
            field,
        )
    return props


def encode_props(props: dict[str, Any]) -> str | None:
    """Encode properties as compact JSON; returns None for an empty dict."""
    return _encode(props).decode() if props else None
