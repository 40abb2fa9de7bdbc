"""Whose read query comes next: priority levels, and flows that take turns. Pure.

Modelled on API Priority and Fairness of Kubernetes. A level may have so many running and so many waiting queries. The
flows of a level take turns, so nobody crowds out others by asking more often.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from cachetools import FIFOCache

MAX_RUNNING = 3
"""How many read queries run at the same time."""


class PriorityLevel(NamedTuple):
    """How many queries of a level may run and wait, and how long one may run.

    A flow is a session, a site's API keys, or a site's public link.
    """

    name: str
    max_running: int
    max_waiting: int
    max_waiting_per_flow: int
    query_timeout_s: float


PEOPLE = PriorityLevel("people", 2, 64, 64, 20.0)
"""Those who are signed in. One thread is for them alone, and one they never have, so that all others go on, too."""

API_KEYS = PriorityLevel("api_keys", 2, 64, 32, 20.0)
PUBLIC = PriorityLevel("public", 1, 64, 16, 5.0)
"""Public links and badges. They share one thread: a slow query must end long before the others give up waiting."""

_MAX_REMEMBERED = 1_000

LEVELS = (PEOPLE, API_KEYS, PUBLIC)
"""All levels. People come first; the others take turns."""

_MAX_RUNNING_OF_OTHERS = MAX_RUNNING - 1


class Requester(NamedTuple):
    """Who asks: the level, and the flow within it."""

    level: PriorityLevel
    flow: str


class TurnHistory:
    """Remembers when each level and each asker had a turn last."""

    def __init__(self) -> None:
        self._count = 0
        self._last_turns: FIFOCache[PriorityLevel | Requester, int] = FIFOCache(_MAX_REMEMBERED)

    def record(self, requester: Requester) -> None:
        """Have an asker take a turn."""
        self._count += 1
        self._last_turns[requester.level] = self._last_turns[requester] = (
            self._count
        )  # which also makes them the last to be evicted

    def rank(self, requester: Requester) -> tuple[bool, int, int]:
        """Return a sort key: people first, then the level, and in it the asker, that has waited longest for a turn."""
        return (
            requester.level is not PEOPLE,
            self._last_turns.get(requester.level, 0),
            self._last_turns.get(requester, 0),
        )


def comes_before(requester: Requester, other: Requester) -> bool:
    """Return whether an asker is of a higher level than another one."""
    return LEVELS.index(requester.level) < LEVELS.index(other.level)


def may_start(level: PriorityLevel, running: Mapping[PriorityLevel, int]) -> bool:
    """Return whether a query of a level may start, beside so many of each level that run."""
    total = sum(running.values())
    if total >= MAX_RUNNING or running.get(level, 0) >= level.max_running:
        return False
    return level is PEOPLE or total - running.get(PEOPLE, 0) < _MAX_RUNNING_OF_OTHERS


def is_full(requester: Requester, waiting: Collection[Requester]) -> bool:
    """Return whether so many queries wait already that this asker may not add another one."""
    of_level = sum(other.level is requester.level for other in waiting)
    of_flow = sum(other == requester for other in waiting)
    return of_level >= requester.level.max_waiting or of_flow >= requester.level.max_waiting_per_flow
