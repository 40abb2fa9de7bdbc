"""From a log file's bytes to its lines. Pure."""

import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

_LONGEST_LINE = 1 << 16
_LONGEST_PIECE = 1 << 18  # of what is unpacked: a few KiB of gzip can stand for a thousand times as much
_LINE_AND_BLANKS = re.compile(rb"([^\n]*+)\n(\n*+)")


def plain(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces of a file, unpacked if it is gzipped (in one part or several).

    What can be unpacked of a file that is cut off or damaged comes first. Then raises EOFError or zlib.error.
    """
    first = next(pieces, b"")
    pieces = chain([first], pieces)
    return _unpacked(pieces) if first.startswith(b"\x1f\x8b") else pieces


def _unpacked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    for piece in pieces:
        while piece:
            if unpacker.eof:
                unpacker = zlib.decompressobj(wbits=31)
            yield unpacker.decompress(piece, _LONGEST_PIECE)
            piece = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if not unpacker.eof:
        yield unpacker.flush()
        raise EOFError("it is cut off")


def lines(pieces: Iterable[bytes]) -> Iterator[str | int]:
    """The lines of a text in UTF-8, without their ends. A number stands for that many blank lines in a row.

    Of a line over 64 KiB, which no server writes, only the beginning is kept.
    """
    rest = b""
    for piece in pieces:
        rest += piece
        end = rest.rfind(b"\n") + 1
        for found in _LINE_AND_BLANKS.finditer(rest, 0, end):
            line, blanks = found.groups()
            if line:
                yield _text(line)
            if blank_lines := len(blanks) + (not line):
                yield blank_lines
        rest = rest[end : end + _LONGEST_LINE]
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    return line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")
