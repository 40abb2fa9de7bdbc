"""What people may enter for a site, a goal, a key: one function a value, for commands and forms. Pure.

Each takes what was typed, and returns it as it is kept; raises `Refused` with the name of the field.
"""

import re
from unicodedata import category
from zoneinfo import ZoneInfo

from ovx_lite.domain.errors import Refused
from ovx_lite.domain.goal_patterns import Pattern

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL = r"[^\x00-\x1f\x7f-\x9f\s!-,/:-@\[-^`{-~.]+"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LONGEST_HOST = 253
_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_LONGEST_WORDS = 100
_LONGEST_NAME = 1000
_LONGEST_PATTERN = 2000


def site_id(text: str) -> str:
    """The id of a site, which callers send."""
    if not _ID.fullmatch(text):
        raise _wrong(
            "Use up to 64 letters, digits, dots, dashes and underscores, and begin with a letter or digit.", "id"
        )
    return text


def host(text: str, field: str) -> str:
    """A host name; in lower case."""
    if not _HOST.fullmatch(text) or len(text) > _LONGEST_HOST:
        raise _wrong(f"{text} is not a host name: give one like example.com.", field)
    return text.lower()


def hosts(text: str, field: str) -> tuple[str, ...]:
    """Host names, separated by commas or white space."""
    return tuple(dict.fromkeys(host(one, field) for one in re.split(r"[\s,]+", text) if one))


def timezone(text: str) -> str:
    """The name of a time zone (IANA)."""
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise _wrong(f"{text} is no time zone: give one like Europe/Paris.", "timezone") from None
    return text


def words(text: str, field: str, least: int = 1) -> str:
    """A name or label: up to 100 characters that can be printed."""
    told = text.strip()
    if not least <= len(told) <= _LONGEST_WORDS or any(map(_is_control, told)):
        raise _wrong(f"Use {least} to {_LONGEST_WORDS} characters that can be printed.", field)
    return told


def _is_control(letter: str) -> bool:
    """Whether a character is none that is read: no control, line end, half of a pair, or change of direction.

    (`str.isprintable` would also refuse the joiners that Persian and emoji are written with.)
    """
    return category(letter) in ("Cc", "Cn", "Co", "Cs", "Zl", "Zp") or letter in _DIRECTIONS


def event_name(text: str) -> str:
    """The name of an event, as callers send it."""
    if not 1 <= len(text) <= _LONGEST_NAME:
        raise _wrong(f"Use 1 to {_LONGEST_NAME} characters.", "event")
    return text


def path_pattern(text: str) -> str:
    """Which paths meet a goal, like `/blog/**`."""
    if not text:
        raise _wrong("Give a path, like /blog/**.", "path")
    if len(text) > _LONGEST_PATTERN:
        raise _wrong(f"Use at most {_LONGEST_PATTERN:,} characters.", "path")
    Pattern(text)
    return text


def number(text: str, field: str, most: int) -> int | None:
    """A whole number from 1 on; None for nothing."""
    told = re.sub(r"[\s,_'\N{NO-BREAK SPACE}]", "", text)
    if not told:
        return None
    if not told.isascii() or not told.isdigit() or len(told) > 20 or not 1 <= int(told) <= most:
        raise _wrong(f"Give a whole number from 1 to {most:,}, or leave it empty.", field)
    return int(told)


def _wrong(message: str, field: str) -> Refused:
    return Refused("invalid_request", message, field)
