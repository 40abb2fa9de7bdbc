"""Checks of how commands fail, and of their delayed effects."""

import time
from collections.abc import Callable

from tests.conftest import CommandResult


def fails(result: CommandResult) -> bool:
    """Return whether a command failed properly: status 1, nothing on stdout, one line on stderr."""
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
