"""From a log file's bytes to its lines. Pure."""

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

_LONGEST_LINE = 1 << 16


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
            yield unpacker.decompress(piece)
            piece = unpacker.unused_data
    if not unpacker.eof:
        raise EOFError("it is cut off")


def lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of a text in UTF-8, without their ends. Of a line over 64 KiB, which no server writes, a part."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace").rstrip("\r")
        rest = rest[:_LONGEST_LINE]
    if rest:
        yield rest.decode("utf-8", "replace").rstrip("\r")
