"""An ID for each request. The response has it as `X-Request-Id`, and log lines about the request contain it."""

import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from itertools import count

HEADER = b"x-request-id"

current: ContextVar[str] = ContextVar("request id", default="")
"""The ID of the request that is being answered; `""` outside of a request."""

_VALID = re.compile(rb"[\w.:@/+=-]{1,64}")
_process_prefix = secrets.token_hex(4).encode()  # random for each process, so that IDs in a log are unique
_counter = count(1)


def assign(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Set and return the ID of a request that begins."""
    id = choose(headers)
    current.set(id.decode())
    return id


def choose(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the ID of a request that begins: the one in its header if it is safe to log, else a new one."""
    for name, value in headers:
        if name == HEADER and _VALID.fullmatch(value):
            return value
    return new()


def new() -> bytes:
    """Return an ID that no other request has."""
    return b"%s-%x" % (_process_prefix, next(_counter))
