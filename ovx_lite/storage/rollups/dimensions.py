"""The dimensions of rollups, and the values that visits and events have in them. Pure."""

from collections.abc import Iterator
from enum import IntEnum

from ovx_lite.domain.goal_patterns import GoalMatcher
from ovx_lite.domain.models import ClientInfo, EventType, PageUrl, TrafficSource


class Dimension(IntEnum):
    """A dimension of rollups. The numbers are stored, so never change them."""

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


TRAFFIC_SOURCE_DIMENSIONS = tuple(Dimension(number) for number in range(7, 15))
"""The dimensions of a visit's traffic source, in the order of the fields of `TrafficSource`."""

CLIENT_DIMENSIONS = tuple(Dimension(number) for number in range(15, 19))
"""The dimensions of a visit's client, in the order of the fields of `ClientInfo`."""

ID_DIMENSIONS = (Dimension.GOAL, Dimension.PERSON)
"""The dimensions whose `value_id` is the ID of a goal or a person. In the others, it refers to `dimension_values`."""

REQUIRED_DIMENSIONS = {Dimension.SOURCE, Dimension.CHANNEL, *CLIENT_DIMENSIONS}
"""The dimensions in which every visit counts, also with the value `""`. The others skip visits without a value."""

DimensionKey = tuple[Dimension, str | int]
"""A dimension and a value in it: a text, or the ID of a goal or person."""


def visit_dimension_keys(traffic_source: TrafficSource, client: ClientInfo) -> Iterator[tuple[Dimension, str]]:
    """Yield the dimensions of a visit's traffic source and client, with their values."""
    for dimension, value in zip(
        (*TRAFFIC_SOURCE_DIMENSIONS, *CLIENT_DIMENSIONS), (*traffic_source, *client), strict=True
    ):
        if value or dimension in REQUIRED_DIMENSIONS:
            yield dimension, value


def dimension_keys(event_type: EventType, page: PageUrl, goals: GoalMatcher | None, day: int) -> list[DimensionKey]:
    """Return the dimensions of an event with their values: its name, page and host, and the goals that it reaches."""
    keys: list[DimensionKey] = [(Dimension.NAME, event_type.name)]
    if page.path:
        keys.append((Dimension.PAGE, page.path))
    if page.host:
        keys.append((Dimension.HOST, page.host))
    if goals:
        matched = goals.match(event_type.type, event_type.name, page.path)
        keys += [(Dimension.GOAL, goal.id) for goal in matched if goal.counted_from_day <= day]
    return keys
