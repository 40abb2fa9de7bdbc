"""Decides which read query runs next, by priority levels and flows. Pure.

Modelled on Kubernetes' API Priority and Fairness. Each level limits how many of its queries run and how many wait. The
flows of a level take turns, so nobody can crowd out others by sending more queries.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from cachetools import FIFOCache

MAX_RUNNING = 3
"""How many read queries run at the same time."""


class PriorityLevel(NamedTuple):
    """A priority level: how many of its queries may run and wait, and how long each may run.

    A flow is a login session, a site's API keys together, or a site's public link.
    """

    name: str
    max_running: int
    max_waiting: int
    max_waiting_per_flow: int
    query_timeout_s: float


PEOPLE = PriorityLevel("people", 2, 64, 64, 20.0)
"""People who are logged in. One thread is only for them, and one is never theirs, so that other levels progress too."""

API_KEYS = PriorityLevel("api_keys", 2, 64, 32, 20.0)
PUBLIC = PriorityLevel("public", 1, 64, 16, 5.0)
"""Public links and badges. They share one thread, so a slow query must end long before the waiting ones time out."""

_MAX_REMEMBERED = 1_000  # levels and requesters whose last turn is remembered

LEVELS = (PEOPLE, API_KEYS, PUBLIC)
"""All levels, highest priority first. People always come first; the other levels take turns."""

_MAX_RUNNING_OF_OTHERS = MAX_RUNNING - 1


class Requester(NamedTuple):
    """Who sent a query: its priority level and its flow within the level."""

    level: PriorityLevel
    flow: str


class TurnHistory:
    """Remembers when each level and each requester last had a turn."""

    def __init__(self) -> None:
        self._count = 0
        self._last_turns: FIFOCache[PriorityLevel | Requester, int] = FIFOCache(_MAX_REMEMBERED)

    def record(self, requester: Requester) -> None:
        """Record that a query of this requester has started."""
        self._count += 1
        # The assignment also moves both to the end of the eviction order.
        self._last_turns[requester.level] = self._last_turns[requester] = self._count

    def rank(self, requester: Requester) -> tuple[bool, int, int]:
        """Return a sort key: people first, then the level and the requester whose last turn is longest ago."""
        return (
            requester.level is not PEOPLE,
            self._last_turns.get(requester.level, 0),
            self._last_turns.get(requester, 0),
        )


def comes_before(requester: Requester, other: Requester) -> bool:
    """Return whether a requester has a higher priority level than another one."""
    return LEVELS.index(requester.level) < LEVELS.index(other.level)


def may_start(level: PriorityLevel, running: Mapping[PriorityLevel, int]) -> bool:
    """Return whether a query of a level may start now. `running` counts the running queries of each level."""
    total = sum(running.values())
    if total >= MAX_RUNNING or running.get(level, 0) >= level.max_running:
        return False
    return level is PEOPLE or total - running.get(PEOPLE, 0) < _MAX_RUNNING_OF_OTHERS


def is_full(requester: Requester, waiting: Collection[Requester]) -> bool:
    """Return whether the level or the flow of this requester has its maximum number of waiting queries."""
    of_level = sum(other.level is requester.level for other in waiting)
    of_flow = sum(other == requester for other in waiting)
    return of_level >= requester.level.max_waiting or of_flow >= requester.level.max_waiting_per_flow
