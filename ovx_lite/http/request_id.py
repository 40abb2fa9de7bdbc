"""An id for each request: the answer has it as `X-Request-Id`, and what the log says on the way."""

import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from itertools import count

HEADER = b"x-request-id"

current: ContextVar[str] = ContextVar("request id", default="")
"""The id of the request that is being answered; `""` outside of one."""

_VALID = re.compile(rb"[\w.:@/+=-]{1,64}")
_process_prefix = secrets.token_hex(4).encode()  # of this process, so that no two requests in a log have one id
_counter = count(1)


def assign(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The id of a request that begins: its caller's or a proxy's own, if it is fit for a log's line, or a new one."""
    for name, value in headers:
        if name == HEADER and _VALID.fullmatch(value):
            break
    else:
        value = new()
    current.set(value.decode())
    return value


def new() -> bytes:
    """An id that no other request has."""
    return b"%s-%x" % (_process_prefix, next(_counter))
