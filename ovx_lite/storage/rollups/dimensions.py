"""What visits and events are counted by."""

from collections.abc import Iterator
from enum import IntEnum

from ovx_lite.domain.goal_patterns import Goals
from ovx_lite.domain.models import Client, Kind, Origin, Page


class Dimension(IntEnum):
    """What is counted by, under the number that the store has for it."""

    PAGE = 1
    HOST = 2
    NAME = 3
    GOAL = 4
    ENTRY = 5
    EXIT = 6
    REFERRER = 7
    SOURCE = 8
    CHANNEL = 9
    UTM_SOURCE = 10
    UTM_MEDIUM = 11
    UTM_CAMPAIGN = 12
    UTM_CONTENT = 13
    UTM_TERM = 14
    BROWSER = 15
    OS = 16
    DEVICE = 17
    COUNTRY = 18
    PERSON = 19
    EXCLUDED = 20


OF_ORIGIN = tuple(Dimension(number) for number in range(7, 15))
"""The dimensions of a visit's origin, in its order."""

OF_CLIENT = tuple(Dimension(number) for number in range(15, 19))
"""The dimensions of a visit's client, in its order."""

NUMBERED = (Dimension.GOAL, Dimension.PERSON)
"""The dimensions whose values have numbers of their own, and are no words."""

ALWAYS = {Dimension.SOURCE, Dimension.CHANNEL, *OF_CLIENT}
"""What each visit has; the others count those that have one."""

Fact = tuple[Dimension, str | int]
"""A dimension, and what stands there: a word, but of goals and persons their number."""


def of_visit(origin: Origin, client: Client) -> Iterator[tuple[Dimension, str]]:
    """What a visit has in the dimensions of visits, without those that it does not have."""
    for dimension, word in zip((*OF_ORIGIN, *OF_CLIENT), (*origin, *client), strict=True):
        if word or dimension in ALWAYS:
            yield dimension, word


def facts(kind: Kind, page: Page, goals: Goals | None, day: int) -> list[Fact]:
    """What an event has in the dimensions of events."""
    found: list[Fact] = [(Dimension.NAME, kind.name)]
    if page.path:
        found.append((Dimension.PAGE, page.path))
    if page.host:
        found.append((Dimension.HOST, page.host))
    if goals:
        met = goals.of(kind.type, kind.name, page.path)
        found += [(Dimension.GOAL, goal.number) for goal in met if goal.since <= day]
    return found
