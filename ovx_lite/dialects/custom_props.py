"""Custom properties that are free in form, for the products that put no bounds on their values. Pure."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from ovx_lite.dialects.validation import MAX_STRING_BYTES, has_too_long_string
from ovx_lite.domain.errors import ApiError

MAX_PROPS = 50
"""Properties of one event (contract 4 and 6)."""

FreeProps = Annotated[Raw, Meta(extra_json_schema={"type": ["object", "null"], "maxProperties": MAX_PROPS})]
"""A field of such properties, left as it came until the fields are checked. Its default is a `Raw` without anything."""

_object_decoder = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


def parse_props(raw: Raw, field: str) -> dict[str, Any]:
    """JSON as it came, or nothing → at most 50 properties of any JSON values.

    Raises `ApiError` with the field: `invalid_props`, or `invalid_request` for a string over 4 KiB.
    """
    raw_bytes = bytes(raw)
    if not raw_bytes or raw_bytes == b"null":
        return {}
    if raw_bytes[:1] != b"{":
        raise ApiError("invalid_props", f"{field} must be an object.", field)
    try:
        props = _object_decoder.decode(raw_bytes)
    except (msgspec.DecodeError, RecursionError):  # it was JSON already, so a number is all that can be wrong
        raise ApiError("invalid_props", f"{field} has a number that is beyond all bounds.", field) from None
    if len(props) > MAX_PROPS:
        raise ApiError("invalid_props", f"{field} has {len(props)} properties: at most {MAX_PROPS} are taken.", field)
    if len(raw_bytes) > MAX_STRING_BYTES and has_too_long_string(props):
        raise ApiError(
            "invalid_request",
            f"{field} has a string that is too long: at most {MAX_STRING_BYTES // 1024} KiB are taken.",
            field,
        )
    return props


def encode_props(props: dict[str, Any]) -> str | None:
    """Properties as compact JSON; None where there are none."""
    return _encode(props).decode() if props else None
