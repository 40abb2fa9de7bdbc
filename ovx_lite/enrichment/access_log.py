"""Parse a web server's access log, line by line, into pageviews. Pure.

Formats: the Combined Log Format of Apache and nginx, also with the virtual host in front and further fields at the end,
and Caddy's JSON.
"""

import re
import socket
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, NamedTuple

import msgspec

from ovx_lite.domain.models import MAX_TIMESTAMP_MS
from ovx_lite.enrichment.user_agent import parse_user_agent

# Why a line is not a pageview. If several reasons apply, the first in this order counts.
SkipReason = Literal["broken", "methods", "errors", "redirects", "assets", "bots"]


class LoggedPageview(NamedTuple):
    """A pageview from a log; `""` for missing values. `target` is the path with the query.

    `digest` is a 31-bit hash of the line without the client's address and user name. It distinguishes lines.
    """

    timestamp_ms: int
    address: str
    target: str
    referrer: str
    user_agent: str
    digest: int


class _Headers(msgspec.Struct, gc=False):
    referrer: list[str] = msgspec.field(name="Referer", default_factory=list)
    user_agent: list[str] = msgspec.field(name="User-Agent", default_factory=list)


class _CaddyRequest(msgspec.Struct, gc=False):
    method: str
    uri: str
    headers: _Headers
    client_ip: str = ""  # since Caddy 2.7: the visitor's address, if a trusted proxy passes it on
    remote_ip: str = ""


class _CaddyLine(msgspec.Struct, gc=False):
    msg: Literal["handled request"]  # other messages repeat the request, which would count twice
    ts: float | str
    request: _CaddyRequest
    status: int
    size: int = 0


_CADDY_DECODER = msgspec.json.Decoder(_CaddyLine)

# Possessive quantifiers (`++`, `*+`) where backtracking cannot help, so that no hostile line is slow to reject.
# A user name may contain spaces, and so may a target that an old server accepted.
_QUOTED = r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_REQUEST_LINE = r'"([A-Za-z_-]++) ([^\s"\\]*+(?:(?:\\.| (?!HTTP/))[^\s"\\]*+)*+) HTTP/\d(?:\.\d)?"'
_LINE_START = r'(\S++) (\S++) [^"]*?\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d):([0-5]\d) ([+-]\d{4})\]'
_COMBINED = re.compile(rf"(?a){_LINE_START} {_REQUEST_LINE} (\d{{3}}) (?:\d++|-) {_QUOTED} {_QUOTED}(?=\s|$)")
_ORIGIN = re.compile(r"(?i)\Ahttps?://[^/?#]*+/?")
_ESCAPE = re.compile(rb'\\(?:x([0-9A-Fa-f]{2})|(["\\bfnrtv]))')
_ESCAPED = {b'"': b'"', b"\\": b"\\", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"

# Parts of pages, files that programs fetch (feeds, data), and downloads. Documents (pdf, doc) are downloads: a browser
# script would not count them either. Any other extension belongs to a page, as in /release-1.2.
_ASSETS = """
css js mjs map json xml xsl txt wasm webmanifest rss atom rdf ics csv tsv yml yaml pdf ps doc docx xls xlsx ppt pptx
png jpg jpeg gif svg svgz ico cur webp avif bmp tif tiff woff woff2 ttf eot otf epub mobi odt ods odp rtf
mp3 mp4 m4a m4v webm ogg oga ogv wav flac avi mov mpg mpeg mkv wmv swf flv vtt m3u8
zip gz tgz bz2 tbz xz txz zst rar 7z tar rpm deb apk jar war gem exe msi dmg pkg iso img bin asc sig
"""
_ASSET_EXTENSIONS = frozenset(_ASSETS.split())


def parse(line: str) -> LoggedPageview | SkipReason:
    """Return the pageview of a line (without its line end), or the reason why it is not one."""
    if line.startswith("{"):
        return _parse_caddy(line)
    match = _COMBINED.match(line)
    if not match or (minute_ms := _minute_start_ms(match[3], match[5])) is None:
        return "broken"
    first_field, second_field, _, seconds, _, method, target, status, referrer, user_agent = match.groups()
    if "\\" in line:
        target, referrer, user_agent = _unescape(target), _unescape(referrer), _unescape(user_agent)
    target = _ORIGIN.sub("/", target)
    referrer, user_agent = "" if referrer == "-" else referrer, "" if user_agent == "-" else user_agent
    timestamp_ms, identity = minute_ms + int(seconds) * 1000, line[match.start(3) : match.end(10)]
    # With the virtual host in front, the address is the second field. In a list (`client, proxy`), the client is first.
    return _skip_reason(method, target, int(status), user_agent) or LoggedPageview(
        timestamp_ms,
        _address(first_field.removesuffix(","), second_field),
        target,
        referrer,
        user_agent,
        _digest(identity),
    )


def _parse_caddy(line: str) -> LoggedPageview | SkipReason:
    try:
        entry = _CADDY_DECODER.decode(line)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return "broken"
    request, timestamp_ms = entry.request, _parse_time_ms(entry.ts)
    if timestamp_ms is None:
        return "broken"
    target, headers = _ORIGIN.sub("/", request.uri), request.headers
    referrer, user_agent = "".join(headers.referrer[:1]), "".join(headers.user_agent[:1])
    identity = f"{entry.ts} {request.method} {request.uri} {entry.status} {entry.size} {referrer} {user_agent}"
    return _skip_reason(request.method, target, entry.status, user_agent) or LoggedPageview(
        timestamp_ms, _address(request.client_ip, request.remote_ip), target, referrer, user_agent, _digest(identity)
    )


def _skip_reason(method: str, target: str, status: int, user_agent: str) -> SkipReason | None:
    """Return why a request is not a pageview, or None if it is one."""
    if not target.startswith("/") and method != "CONNECT":
        return "broken"
    if method != "GET":
        return "methods"
    if not 200 <= status < 300 and status != 304:
        return "redirects" if 300 <= status < 400 else "errors"
    path = target.partition("?")[0].partition("#")[0]
    if path[path.rfind(".") + 1 :].lower() in _ASSET_EXTENSIONS or path.startswith(("/favicon", "/.well-known/")):
        return "assets"
    return "bots" if not user_agent or parse_user_agent(user_agent).bot else None


def _address(*candidates: str) -> str:
    """Return the first candidate that is an IP address, or `""`. Not cached: addresses must not stay in memory."""
    for text in candidates:
        try:
            socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
            return text
        except (OSError, ValueError):
            continue
    return ""


def _digest(identity: str) -> int:
    return int.from_bytes(blake2b(identity.encode(errors="replace"), digest_size=4).digest(), "big") >> 1


def _unescape(field: str) -> str:
    """Return a field with the server's escapes (bytes of UTF-8) decoded."""
    raw_bytes = field.encode(errors="replace")
    return _ESCAPE.sub(
        lambda escape: bytes.fromhex(escape[1].decode()) if escape[1] else _ESCAPED[escape[2]], raw_bytes
    ).decode(errors="replace")


@lru_cache(maxsize=1024)
def _minute_start_ms(text: str, zone: str) -> int | None:
    """Return the start of a minute like `17/May/2015:10:05` in a zone like `+0000` (Unix ms); None if it is invalid."""
    return _parse_time_ms(f"{text[7:11]}-{_MONTHS.find(text[3:6]) // 3 + 1:02}-{text[:2]}T{text[12:]}{zone}")


def _parse_time_ms(value: float | str) -> int | None:
    """Convert Unix seconds, or ISO 8601 with a zone, to Unix milliseconds; None if no event can have this time."""
    try:
        seconds = (datetime.fromisoformat(value) - _EPOCH).total_seconds() if isinstance(value, str) else value
    except (ValueError, TypeError):  # TypeError: without a zone
        return None
    return round(seconds * 1000) if 0 <= seconds < MAX_TIMESTAMP_MS / 1000 else None
