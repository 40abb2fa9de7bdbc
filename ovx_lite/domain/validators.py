"""Validators for values that people enter in commands and forms, one function per value. Pure.

Each takes the text and returns the value to store. It raises `ApiError` (`invalid_request`) with the name of the field.
"""

import re
from unicodedata import category
from zoneinfo import ZoneInfo

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.goal_patterns import PathPattern

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL = r"[^\x00-\x1f\x7f-\x9f\s!-,/:-@\[-^`{-~.]+"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MAX_HOST_LENGTH = 253
_DIRECTION_CONTROLS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_MAX_SHORT_TEXT_LENGTH = 100
_MAX_EVENT_NAME_LENGTH = 1000
_MAX_PATTERN_LENGTH = 2000


def site_slug(text: str) -> str:
    """Validate the public ID of a site, which callers send."""
    if not _SLUG.fullmatch(text):
        raise _invalid(
            "Use up to 64 letters, digits, dots, dashes and underscores, and start with a letter or digit.", "id"
        )
    return text


def host(text: str, field: str) -> str:
    """Validate a host name; returns it in lower case."""
    if not _HOST.fullmatch(text) or len(text) > _MAX_HOST_LENGTH:
        raise _invalid(f"{text} is not a host name: enter one like example.com.", field)
    return text.lower()


def hosts(text: str, field: str) -> tuple[str, ...]:
    """Validate host names that are separated by commas or white space; drops duplicates."""
    return tuple(dict.fromkeys(host(part, field) for part in re.split(r"[\s,]+", text) if part))


def timezone(text: str) -> str:
    """Validate the name of an IANA time zone."""
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise _invalid(f"{text} is not a time zone: enter one like Europe/Paris.", "timezone") from None
    return text


def short_text(text: str, field: str, min_length: int = 1) -> str:
    """Validate a name or label of up to 100 printable characters; strips white space around it."""
    stripped = text.strip()
    if not min_length <= len(stripped) <= _MAX_SHORT_TEXT_LENGTH or any(map(_is_control, stripped)):
        raise _invalid(f"Use {min_length} to {_MAX_SHORT_TEXT_LENGTH} printable characters.", field)
    return stripped


def _is_control(character: str) -> bool:
    """Return whether a character is invisible: a control, line end, surrogate, unassigned or direction control.

    `str.isprintable` does not serve here: it also rejects the joiners in Persian text and emoji.
    """
    return category(character) in ("Cc", "Cn", "Co", "Cs", "Zl", "Zp") or character in _DIRECTION_CONTROLS


def event_name(text: str) -> str:
    """Validate the name of an event, as callers send it."""
    if not 1 <= len(text) <= _MAX_EVENT_NAME_LENGTH:
        raise _invalid(f"Use 1 to {_MAX_EVENT_NAME_LENGTH} characters.", "event")
    return text


def path_pattern(text: str) -> str:
    """Validate the path pattern of a goal, for example `/blog/**`."""
    if not text:
        raise _invalid("Enter a path, for example /blog/**.", "path")
    if len(text) > _MAX_PATTERN_LENGTH:
        raise _invalid(f"Use at most {_MAX_PATTERN_LENGTH:,} characters.", "path")
    PathPattern(text)
    return text


def whole_number(text: str, field: str, maximum: int) -> int | None:
    """Parse a whole number from 1 to `maximum`, which may have separators (`10,000`). Returns None for empty text."""
    digits = re.sub(r"[\s,_'\N{NO-BREAK SPACE}]", "", text)
    if not digits:
        return None
    if not digits.isascii() or not digits.isdigit() or len(digits) > 20 or not 1 <= int(digits) <= maximum:
        raise _invalid(f"Enter a whole number from 1 to {maximum:,}, or leave it empty.", field)
    return int(digits)


def _invalid(message: str, field: str) -> ApiError:
    return ApiError("invalid_request", message, field)
