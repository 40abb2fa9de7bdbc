"""How the server's log is written on stderr."""

import logging
import sys
from datetime import UTC, datetime

import msgspec


class AsJson(logging.Formatter):
    """A line of JSON for each message: `time`, `level`, `message`, and `fault`, a traceback, if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One message as a line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"time": at.replace("+00:00", "Z"), "level": record.levelname, "message": record.getMessage()}
        if record.exc_info:
            told["fault"] = self.formatException(record.exc_info)
        return msgspec.json.encode(told).decode()


def begin(form: str) -> None:
    """Write the log from now on: `plain`, for people, or `json`, for programs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(AsJson() if form == "json" else logging.Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler])
