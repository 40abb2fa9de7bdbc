"""How the server's log is written on stderr."""

import logging
import sys
from datetime import UTC, datetime

import click
import msgspec

from ovx_lite.web import request_ids


class Plain(logging.Formatter):
    """For people: the level, the message, and the request's id where there is one, and the traceback if there is."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """One message as a line."""
        id = request_ids.current.get()
        return f"{record.levelname} {record.message}" + (f" (request {id})" if id else "")


class AsJson(logging.Formatter):
    """A line of JSON for each message: `time`, `level`, `message`; `request` and `fault`, a traceback, if there are."""

    def format(self, record: logging.LogRecord) -> str:
        """One message as a line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"time": at.replace("+00:00", "Z"), "level": record.levelname, "message": record.getMessage()}
        if id := request_ids.current.get():
            told["request"] = id
        if record.exc_info:
            told["fault"] = self.formatException(record.exc_info)
        return msgspec.json.encode(told).decode()


def begin(form: str) -> None:
    """Write the log from now on: `plain`, for people, or `json`, for programs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(AsJson() if form == "json" else Plain())
    logging.basicConfig(handlers=[handler])


def say(sentence: str) -> None:
    """Say what is no trouble: to people as it is, to programs as a line of the log."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, AsJson):
            handler.handle(logging.LogRecord("ovx_lite", logging.INFO, "", 0, sentence, None, None))
            return
    click.echo(sentence, err=True)
