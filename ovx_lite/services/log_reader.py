"""Split the bytes of a log file, gzipped or not, into lines. Pure."""

import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

_MAX_LINE_BYTES = 1 << 16
_MAX_CHUNK_BYTES = 1 << 18  # of decompressed data: a few KiB of gzip can expand a thousandfold
_LINE_AND_BLANKS = re.compile(rb"([^\n]*+)\n(\n*+)")


def decompress_if_gzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the chunks of a file, decompressed if it is gzipped (in one part or several).

    Of a truncated or damaged file, it yields what can be decompressed, then raises EOFError or zlib.error.
    """
    first_chunk = next(chunks, b"")
    chunks = chain([first_chunk], chunks)
    return _decompress(chunks) if first_chunk.startswith(b"\x1f\x8b") else chunks


def _decompress(chunks: Iterable[bytes]) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(wbits=31)
    for chunk in chunks:
        while chunk:
            if decompressor.eof:
                decompressor = zlib.decompressobj(wbits=31)
            yield decompressor.decompress(chunk, _MAX_CHUNK_BYTES)
            chunk = decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail
    if not decompressor.eof:
        yield decompressor.flush()
        raise EOFError("it is cut off")


def lines(chunks: Iterable[bytes]) -> Iterator[str | int]:
    """Yield the lines of a text in UTF-8, without line ends. A number stands for that many blank lines in a row.

    Lines are cut at 64 KiB; no server writes longer ones.
    """
    remainder = b""
    for chunk in chunks:
        remainder += chunk
        end = remainder.rfind(b"\n") + 1
        for match in _LINE_AND_BLANKS.finditer(remainder, 0, end):
            line, blank_line_ends = match.groups()
            if line:
                yield _text(line)
            if blank_line_count := len(blank_line_ends) + (not line):
                yield blank_line_count
        remainder = remainder[end : end + _MAX_LINE_BYTES]
    if remainder:
        yield _text(remainder)


def _text(line: bytes) -> str:
    return line[:_MAX_LINE_BYTES].decode("utf-8", "replace").rstrip("\r")
