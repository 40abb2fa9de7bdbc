"""How commands end, and what comes of them in a while."""

import time
from collections.abc import Callable

from tests.conftest import CommandResult


def fails(result: CommandResult) -> bool:
    """Whether a command failed as it should: status 1, nothing on stdout, one sentence on stderr."""
    return (
        (result.exit_status, result.stdout) == (1, "")
        and result.stderr.startswith("Error: ")
        and result.stderr.rstrip("\n").count("\n") == 0
    )


def eventually(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return condition()
