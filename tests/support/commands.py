"""How commands end, and what comes of them in a while."""

import time
from collections.abc import Callable

from tests.conftest import Ran


def fails(ran: Ran) -> bool:
    """Whether a command failed as it should: status 1, nothing on stdout, one sentence on stderr."""
    return (ran.status, ran.out) == (1, "") and ran.err.startswith("Error: ") and ran.err.rstrip("\n").count("\n") == 0


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()
