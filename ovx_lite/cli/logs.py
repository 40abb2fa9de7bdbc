"""The server's log on stderr. Output that cannot be written is dropped, so that it never holds up the server."""

import logging
import os
import select
import sys
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from ovx_lite.http import request_id

STDOUT, STDERR = 1, 2
_ATOMIC_WRITE_BYTES = 4096  # what a pipe accepts without blocking, once it accepts anything (PIPE_BUF)


class LossyStream:
    """Writes text to a file descriptor, and drops what it does not accept: the disk is full, or nobody reads the pipe.

    It has no buffer, so later messages are written as soon as the descriptor accepts them again.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, text: str) -> None:
        """Write text, or as much of it as can be written now."""
        data = text.encode("utf-8", "backslashreplace")
        with suppress(OSError):
            while data and self._is_writable():
                data = data[os.write(self._descriptor, data[:_ATOMIC_WRITE_BYTES]) :]

    def _is_writable(self) -> bool:
        """Return whether a write would not block. A reader that no longer reads would hold up every request."""
        if not hasattr(select, "poll"):  # Windows has none
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))

    def flush(self) -> None:
        """Do nothing: there is no buffer."""


class PlainFormatter(logging.Formatter):
    """For people: level, message, the id of the request if there is one, and the traceback if there is one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return a message as one line."""
        id = request_id.current.get()
        return f"{record.levelname} {record.message}" + (f" (request {id})" if id else "")


class JsonFormatter(logging.Formatter):
    """For programs: a line of JSON with `time`, `level`, `message`, and if any, `request` and `fault` (a traceback)."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a message as one line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = {"time": time, "level": record.levelname, "message": record.getMessage()}
        if id := request_id.current.get():
            entry["request"] = id
        if record.exc_info:
            entry["fault"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def set_up(log_format: str) -> None:
    """Write the log to stderr from now on, as the setting `log_format` says: `plain` or `json`."""
    _open_standard_streams()
    logging.raiseExceptions = False  # a handler that fails would print a traceback for each message
    handler = logging.StreamHandler(LossyStream(STDERR))
    handler.setFormatter(JsonFormatter() if log_format == "json" else PlainFormatter())
    logging.basicConfig(handlers=[handler])


def _open_standard_streams() -> None:
    """Open the null device in place of closed standard streams. Otherwise the next file would get their numbers."""
    for descriptor in range(STDERR + 1):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest free number


def discard_unwritable() -> None:
    """Flush the standard streams, and drop what cannot be written: Python would exit with status 120."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # it was closed at the start
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def notify(message: str) -> None:
    """Print an informational message: plain text without a level, or an entry of a JSON log."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonFormatter):
            handler.handle(logging.LogRecord("ovx_lite", logging.INFO, "", 0, message, None, None))
            return
    LossyStream(STDERR).write(f"{message}\n")
