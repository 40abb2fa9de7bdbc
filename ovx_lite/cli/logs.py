"""How the server writes its log on stderr. Output that cannot be written is dropped: it stops nothing."""

import logging
import os
import select
import sys
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from ovx_lite.http import request_id

STDOUT, STDERR = 1, 2
_ATOMIC = 4096  # bytes that a pipe takes without blocking, once it says that it takes any (PIPE_BUF)


class LossyStream:
    """Writes text to a file descriptor, and drops what it does not take: the disk is full, or nobody reads the pipe.

    It has no buffer, so that a later message is written as soon as the descriptor takes one again.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, text: str) -> None:
        """Write text, or as much of it as can be written now."""
        data = text.encode("utf-8", "backslashreplace")
        with suppress(OSError):
            while data and self._is_writable():
                data = data[os.write(self._descriptor, data[:_ATOMIC]) :]

    def _is_writable(self) -> bool:
        """Whether a write would not block. A reader that has stopped reading would hold up every request."""
        if not hasattr(select, "poll"):  # Windows has none
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))

    def flush(self) -> None:
        """Do nothing: there is no buffer."""


class Plain(logging.Formatter):
    """For people: the level, the message, and the request's id where there is one, and the traceback if there is."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """One message as a line."""
        id = request_id.current.get()
        return f"{record.levelname} {record.message}" + (f" (request {id})" if id else "")


class AsJson(logging.Formatter):
    """A line of JSON for each message: `time`, `level`, `message`; `request` and `fault`, a traceback, if there are."""

    def format(self, record: logging.LogRecord) -> str:
        """One message as a line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"time": at.replace("+00:00", "Z"), "level": record.levelname, "message": record.getMessage()}
        if id := request_id.current.get():
            told["request"] = id
        if record.exc_info:
            told["fault"] = self.formatException(record.exc_info)
        return msgspec.json.encode(told).decode()


def begin(form: str) -> None:
    """Write the log from now on: `plain`, for people, or `json`, for programs."""
    _open_standard_streams()
    logging.raiseExceptions = False  # a handler that fails would print a traceback for each message
    handler = logging.StreamHandler(LossyStream(STDERR))
    handler.setFormatter(AsJson() if form == "json" else Plain())
    logging.basicConfig(handlers=[handler])


def _open_standard_streams() -> None:
    """Open the null device in place of standard streams that are closed: the next file would get their numbers."""
    for descriptor in range(STDERR + 1):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free


def end() -> None:
    """Drop what Python still has to write and cannot: its exit status would be 120."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # it was closed at the start
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def say(sentence: str) -> None:
    """Tell what is no trouble: to people as it is, to programs as a line of the log."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, AsJson):
            handler.handle(logging.LogRecord("ovx_lite", logging.INFO, "", 0, sentence, None, None))
            return
    LossyStream(STDERR).write(f"{sentence}\n")
