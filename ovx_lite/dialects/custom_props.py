"""Custom properties that are free in form, for the products that put no bounds on their values. Pure."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from ovx_lite.dialects.validation import LONGEST, has_too_long
from ovx_lite.domain.errors import Refused

MOST = 50
"""Properties of one event (contract 4 and 6)."""

Free = Annotated[Raw, Meta(extra_json_schema={"type": ["object", "null"], "maxProperties": MOST})]
"""A field of such properties, left as it came until the fields are checked. Its default is a `Raw` without anything."""

_object = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


def free(sent: Raw, field: str) -> dict[str, Any]:
    """JSON as it came, or nothing → at most 50 properties of any JSON values.

    Raises `Refused` with the field: `invalid_props`, or `invalid_request` for a string over 4 KiB.
    """
    raw = bytes(sent)
    if not raw or raw == b"null":
        return {}
    if raw[:1] != b"{":
        raise Refused("invalid_props", f"{field} must be an object.", field)
    try:
        props = _object.decode(raw)
    except (msgspec.DecodeError, RecursionError):  # it was JSON already, so a number is all that can be wrong
        raise Refused("invalid_props", f"{field} has a number that is beyond all bounds.", field) from None
    if len(props) > MOST:
        raise Refused("invalid_props", f"{field} has {len(props)} properties: at most {MOST} are taken.", field)
    if len(raw) > LONGEST and has_too_long(props):
        raise Refused(
            "invalid_request", f"{field} has a string that is too long: at most {LONGEST // 1024} KiB are taken.", field
        )
    return props


def text(props: dict[str, Any]) -> str | None:
    """Properties as compact JSON; None where there are none."""
    return _encode(props).decode() if props else None
