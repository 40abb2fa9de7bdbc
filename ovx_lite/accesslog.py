"""A web server's access log, line by line: which page view a line tells of, or why it tells of none.

Understood are the Combined Log Format of Apache and nginx, with or without the virtual host in front and
with anything behind, and Caddy's JSON. Nothing here reads a file or knows the time.
"""

import re
import socket
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, NamedTuple

import msgspec

# Why a line is no page view: the first that holds, in this order.
Reason = Literal["broken", "methods", "errors", "redirects", "assets", "bots"]


class Request(NamedTuple):
    """A page view as logged; `""` for what the line does not say.

    `ts` is Unix milliseconds, `address` an IP address, `target` the path and the query. `digest`, 31 bits,
    tells lines apart and owes nothing to the client's address or name.
    """

    ts: int
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
    proto: str = ""
    client_ip: str = ""  # Since Caddy 2.7: the visitor's, where a trusted proxy tells it.
    remote_ip: str = ""


class _CaddyLine(msgspec.Struct, gc=False):
    msg: Literal["handled request"]  # Some of Caddy's other messages hold a request too, and would count it twice.
    ts: float | str
    request: _CaddyRequest
    status: int
    size: int = 0


_CADDY = msgspec.json.Decoder(_CaddyLine)

# Possessive (`++`, `*+`) where giving back gains nothing, so that no hostile line takes long to refuse.
# A user's name may have spaces, and so may a target that an old server let pass.
_QUOTED = r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_COMBINED = re.compile(
    r"(\S++) (\S++) .*?\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d):([0-5]\d) ([+-]\d{4})\] "
    rf"{_QUOTED} (\d{{3}}) (?:\d++|-) {_QUOTED} {_QUOTED}(?=\s|$)",
    re.ASCII,
)
_REQUEST = re.compile(r"([A-Za-z_-]++) (\S.*) HTTP/\d(?:\.\d)?", re.ASCII)
_ORIGIN = re.compile(r"https?://[^/?#]*+", re.IGNORECASE)
_ESCAPE = re.compile(rb'\\(?:x([0-9A-Fa-f]{2})|(["\\bfnrtv]))')
_ESCAPED = {b'"': b'"', b"\\": b"\\", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"

# What pages are made of, what programs fetch (feeds, data), and downloads. Documents (pdf, doc) are downloads: a
# script in a page would not count them either. What is not here is a page's, as in /release-1.2.
_ASSETS = """
css js mjs map json xml xsl txt wasm webmanifest rss atom rdf ics csv tsv yml yaml pdf ps doc docx xls xlsx ppt pptx
png jpg jpeg gif svg svgz ico cur webp avif bmp tif tiff woff woff2 ttf eot otf epub mobi odt ods odp rtf
mp3 mp4 m4a m4v webm ogg oga ogv wav flac avi mov mpg mpeg mkv wmv swf flv vtt m3u8
zip gz tgz bz2 tbz xz txz zst rar 7z tar rpm deb apk jar war gem exe msi dmg pkg iso img bin asc sig
"""
_EXTENSIONS = frozenset(_ASSETS.split())


def parse(line: str) -> Request | Reason:
    """The page view that a line (without its end of line) tells of, or why it tells of none."""
    return _caddy(line) if line.startswith("{") else _combined(line)


def _combined(line: str) -> Request | Reason:
    found = _COMBINED.match(line)
    asked = found and _REQUEST.fullmatch(found[6])
    if not found or not asked:
        return "broken"
    first, second, minute, seconds, zone, _, status, referrer, user_agent = found.groups()
    start = _minute(minute, zone)
    if start is None:
        return "broken"
    method, target = asked.groups()
    if "\\" in line:
        target, referrer, user_agent = _plain(target), _plain(referrer), _plain(user_agent)
    referrer, user_agent = "" if referrer == "-" else referrer, "" if user_agent == "-" else user_agent
    # With the virtual host in front, the address is second. What identifies the line stands together, behind both.
    return _judged(
        method,
        int(status),
        start + int(seconds) * 1000,
        (first, second),
        target,
        referrer,
        user_agent,
        line[found.start(3) : found.end(9)],
    )


def _caddy(line: str) -> Request | Reason:
    try:
        said = _CADDY.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return "broken"
    asked, status = said.request, said.status
    ts = _iso_time(said.ts) if isinstance(said.ts, str) else _millis(said.ts)
    if ts is None:
        return "broken"
    referrer, user_agent = "".join(asked.headers.referrer[:1]), "".join(asked.headers.user_agent[:1])
    identity = f"{said.ts} {asked.method} {asked.uri} {asked.proto} {status} {said.size} {referrer} {user_agent}"
    return _judged(
        asked.method, status, ts, (asked.client_ip, asked.remote_ip), asked.uri, referrer, user_agent, identity
    )


def _judged(
    method: str, status: int, ts: int, addresses: tuple[str, str], target: str, referrer: str, agent: str, identity: str
) -> Request | Reason:
    """What comes of a line that is in a format; of `addresses` the first that is one counts."""
    if not target.startswith("/"):
        target = _local(target)
    if not target.startswith("/") and method != "CONNECT":
        return "broken"
    if method != "GET":
        return "methods"
    if not 200 <= status < 300 and status != 304:
        return "redirects" if 300 <= status < 400 else "errors"
    path = target.partition("?")[0].partition("#")[0]
    if path[path.rfind(".") + 1 :].lower() in _EXTENSIONS or path.startswith(("/favicon", "/.well-known/")):
        return "assets"
    if not agent or _is_bot(agent[:512]):
        return "bots"
    address = next(filter(_is_address, addresses), "")
    digest = blake2b(identity.encode(errors="replace"), digest_size=4).digest()
    return Request(ts, address, target, referrer, agent, int.from_bytes(digest, "big") >> 1)


@lru_cache(maxsize=4096)
def _is_bot(user_agent: str) -> bool:
    from is_crawler import (
        is_crawler,
    )  # Not above: it takes a while to load, and serving does without this module's work.

    return is_crawler(user_agent)


def _is_address(text: str) -> bool:
    """Whether it is an IP address. Not cached: an address must not outlive its line."""
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def _plain(field: str) -> str:
    """A field without the server's escapes, which stand for bytes of UTF-8."""
    return _ESCAPE.sub(_unescaped, field.encode(errors="replace")).decode(errors="replace")


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode()) if found[1] else _ESCAPED[found[2]]


def _local(target: str) -> str:
    """The path and query of a target that is a whole URL, as a proxy is asked; any other target as it is."""
    origin = _ORIGIN.match(target)
    rest = target[origin.end() :] if origin else target
    return f"/{rest.removeprefix('/')}" if origin else rest


@lru_cache(maxsize=1024)
def _minute(text: str, zone: str) -> int | None:
    """When (Unix milliseconds) 17/May/2015:10:05 began in the zone +0000; None if there is no such time."""
    return _iso_time(f"{text[7:11]}-{_MONTHS.find(text[3:6]) // 3 + 1:02}-{text[:2]}T{text[12:]}{zone}")


def _iso_time(text: str) -> int | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return _millis(time.timestamp()) if time.tzinfo else None


def _millis(seconds: float) -> int | None:
    """None before 1970 and after 9999: no log is from then, and no calendar could take it."""
    return round(seconds * 1000) if 0 <= seconds < 253_402_300_800 else None
