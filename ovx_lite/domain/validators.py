"""What people may enter for a site, a goal, a key: one function a value, for commands and forms. Pure.

Each takes what was typed, and returns it as it is kept; raises `ApiError` with the name of the field.
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
    """The id of a site, which callers send."""
    if not _SLUG.fullmatch(text):
        raise _invalid(
            "Use up to 64 letters, digits, dots, dashes and underscores, and begin with a letter or digit.", "id"
        )
    return text


def host(text: str, field: str) -> str:
    """A host name; in lower case."""
    if not _HOST.fullmatch(text) or len(text) > _MAX_HOST_LENGTH:
        raise _invalid(f"{text} is not a host name: give one like example.com.", field)
    return text.lower()


def hosts(text: str, field: str) -> tuple[str, ...]:
    """Host names, separated by commas or white space."""
    return tuple(dict.fromkeys(host(part, field) for part in re.split(r"[\s,]+", text) if part))


def timezone(text: str) -> str:
    """The name of a time zone (IANA)."""
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise _invalid(f"{text} is no time zone: give one like Europe/Paris.", "timezone") from None
    return text


def short_text(text: str, field: str, min_length: int = 1) -> str:
    """A name or label: up to 100 characters that can be printed."""
    stripped = text.strip()
    if not min_length <= len(stripped) <= _MAX_SHORT_TEXT_LENGTH or any(map(_is_control, stripped)):
        raise _invalid(f"Use {min_length} to {_MAX_SHORT_TEXT_LENGTH} characters that can be printed.", field)
    return stripped


def _is_control(character: str) -> bool:
    """Whether a character is none that is read: no control, line end, half of a pair, or change of direction.

    (`str.isprintable` would also refuse the joiners that Persian and emoji are written with.)
    """
    return category(character) in ("Cc", "Cn", "Co", "Cs", "Zl", "Zp") or character in _DIRECTION_CONTROLS


def event_name(text: str) -> str:
    """The name of an event, as callers send it."""
    if not 1 <= len(text) <= _MAX_EVENT_NAME_LENGTH:
        raise _invalid(f"Use 1 to {_MAX_EVENT_NAME_LENGTH} characters.", "event")
    return text


def path_pattern(text: str) -> str:
    """Which paths meet a goal, like `/blog/**`."""
    if not text:
        raise _invalid("Give a path, like /blog/**.", "path")
    if len(text) > _MAX_PATTERN_LENGTH:
        raise _invalid(f"Use at most {_MAX_PATTERN_LENGTH:,} characters.", "path")
    PathPattern(text)
    return text


def whole_number(text: str, field: str, maximum: int) -> int | None:
    """A whole number from 1 on; None for nothing."""
    digits = re.sub(r"[\s,_'\N{NO-BREAK SPACE}]", "", text)
    if not digits:
        return None
    if not digits.isascii() or not digits.isdigit() or len(digits) > 20 or not 1 <= int(digits) <= maximum:
        raise _invalid(f"Give a whole number from 1 to {maximum:,}, or leave it empty.", field)
    return int(digits)


def _invalid(message: str, field: str) -> ApiError:
    return ApiError("invalid_request", message, field)
