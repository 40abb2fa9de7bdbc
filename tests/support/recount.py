"""The expected numbers of the Stats API, counted plainly from the stored events: see `tests/test_recount.py`."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from ovx_lite.domain.calendar import HOUR_MS, SECOND_MS
from ovx_lite.domain.models import Goal
from ovx_lite.storage.read.events import StoredEvent

SOURCE_FIELDS = ("source", "channel", "referrer", "utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term")
CLIENT_FIELDS = ("device", "browser", "os", "country")
EVENT_DIMENSIONS = ("event:page", "event:hostname", "event:name", "event:goal", "event:currency")
VISIT_DIMENSIONS = tuple(f"visit:{name}" for name in ("entry_page", "exit_page", *SOURCE_FIELDS, *CLIENT_FIELDS))
TIME_DIMENSIONS = ("time:minute", "time:hour", "time:day", "time:week", "time:month")
DIMENSIONS_WITH_EMPTY = {f"visit:{name}" for name in ("source", "channel", *CLIENT_FIELDS)}
COUNT_METRICS = ("visitors", "visits", "pageviews", "events")
RATE_METRICS = ("views_per_visit", "bounce_rate", "visit_duration")
REVENUE_METRICS = ("total_revenue", "average_revenue")
PAGE_METRICS = ("time_on_page", "scroll_depth")
DAYS = {"day": 1, "7d": 7, "28d": 28, "30d": 30, "91d": 91}
MONTHS = {"month": 1, "6mo": 6, "12mo": 12}
CURRENCY_DECIMALS = {"EUR": 2, "USD": 2, "JPY": 0}

Key = tuple[str, ...]
Value = int | Fraction | None | tuple[Fraction, str]
"""A metric: a number, `None`, or an amount with its currency; not rounded yet."""


class TimeRange(NamedTuple):
    """From `since_ms` to before `until_ms`; `days` are its first and last day if it consists of whole days."""

    since_ms: int
    until_ms: int
    days: tuple[date, date] | None = None


def is_engagement(event: StoredEvent) -> bool:
    return event.api == "apex" and event.name == "engagement"


class Recount:
    """Computes metrics from all events of a site, one by one."""

    def __init__(self, events: Iterable[StoredEvent], timezone: str, goals: Iterable[Goal]) -> None:
        self.zone, self.goals = ZoneInfo(timezone), list(goals)
        counted_events = sorted(event for event in events if not event.excluded)
        self.events = [event for event in counted_events if not is_engagement(event)]
        self.engagements = [event for event in counted_events if is_engagement(event)]
        self.visit_durations_ms = dict[int, int]()
        for visit in {event.visit_id for event in counted_events} - {None}:
            times_ms = [event.timestamp_ms for event in counted_events if event.visit_id == visit]
            self.visit_durations_ms[visit or 0] = max(times_ms) - min(times_ms)
        self.visits = defaultdict[int | None, list[StoredEvent]](list)
        for event in self.events:
            self.visits[event.visit_id].append(event)
        self.dimension_values = cache(self._dimension_values)

    def local_time(self, time_ms: int) -> datetime:
        return datetime.fromtimestamp(time_ms // SECOND_MS, UTC).astimezone(self.zone)

    def day(self, event: StoredEvent) -> date:
        return self.local_time(event.timestamp_ms).date()

    def time_range(self, date_range: str | list[str], now_ms: int) -> TimeRange:
        today = self.local_time(now_ms).date()
        if date_range == "24h":
            return TimeRange(now_ms - 24 * HOUR_MS + 1, now_ms + 1)
        if date_range == "yesterday":
            return self._from_days(today - timedelta(1), today - timedelta(1))
        if date_range == "year":
            return self._from_days(today.replace(month=1, day=1), today)
        if date_range == "all":
            return self._from_days(min([today, *map(self.day, [*self.events, *self.engagements])]), today)
        if isinstance(date_range, str) and date_range in DAYS:
            return self._from_days(today - timedelta(DAYS[date_range] - 1), today)
        if isinstance(date_range, str):
            months = today.year * 12 + today.month - MONTHS[date_range]
            return self._from_days(date(months // 12, months % 12 + 1, 1), today)
        if len(date_range[0]) == 10:
            return self._from_days(date.fromisoformat(date_range[0]), date.fromisoformat(date_range[1]))
        since_ms, until_ms = (int(datetime.fromisoformat(time).timestamp()) * SECOND_MS for time in date_range)
        midnights = [
            datetime.combine(self.local_time(time).date(), datetime.min.time(), self.zone)
            for time in (since_ms, until_ms)
        ]
        if since_ms < until_ms and [int(time.timestamp()) * SECOND_MS for time in midnights] == [since_ms, until_ms]:
            return self._from_days(midnights[0].date(), midnights[1].date() - timedelta(1))
        return TimeRange(since_ms, until_ms)

    def _from_days(self, first: date, last: date) -> TimeRange:
        midnights = (datetime.combine(day, datetime.min.time(), self.zone) for day in (first, last + timedelta(1)))
        since_ms, until_ms = (int(midnight.timestamp()) * SECOND_MS for midnight in midnights)
        return TimeRange(since_ms, until_ms, (first, last))

    def previous_range(self, time_range: TimeRange) -> TimeRange:
        """Return the range of the same length that ends where this one begins."""
        if time_range.days is None:
            return TimeRange(2 * time_range.since_ms - time_range.until_ms, time_range.since_ms)
        first, last = time_range.days
        return self._from_days(first - (last - first) - timedelta(1), first - timedelta(1))

    def _is_in(self, time_range: TimeRange, event: StoredEvent) -> bool:
        if time_range.days:
            return time_range.days[0] <= self.day(event) <= time_range.days[1]
        return time_range.since_ms <= event.timestamp_ms < time_range.until_ms

    def _dimension_values(self, event: StoredEvent, dimension: str) -> list[str]:
        """Return the values of an event in a dimension: several for goals, `""` if it has none."""
        scope, _, name = dimension.partition(":")
        if dimension == "event:goal":
            return [goal.name for goal in self.goals if meets_goal(event, goal)]
        if dimension.startswith("event:props:"):
            props = json.loads(event.props or "{}")
            key = name.removeprefix("props:")
            value = props.get(key)
            return [] if value is None else [value if isinstance(value, str) else json.dumps(value)]
        if scope == "event":
            return [str(getattr(event, {"page": "path", "hostname": "host"}.get(name, name)))]
        if scope == "time":
            return [self.time_label(event.timestamp_ms, name)]
        if event.visit_id is None:
            return []
        visit_events = self.visits[event.visit_id]
        if name in ("entry_page", "exit_page"):
            views = [other.path for other in visit_events if other.type == "pageview" and other.path] or [""]
            return [views[0 if name == "entry_page" else -1]]
        return [str(getattr(visit_events[0], name))]

    def time_label(self, time_ms: int, unit: str) -> str:
        time = self.local_time(time_ms)
        if unit in ("minute", "hour"):
            return time.strftime("%Y-%m-%d %H:%M:00" if unit == "minute" else "%Y-%m-%d %H:00:00")
        day = time.date()
        first = {"day": day, "week": day - timedelta(day.weekday()), "month": day.replace(day=1)}[unit]
        return first.isoformat()

    def passes(self, event: StoredEvent, condition: list[Any]) -> bool:
        return self._evaluate(event, condition) is True

    def _evaluate(self, event: StoredEvent, condition: list[Any]) -> bool | None:
        """Return whether an event passes; None if that is unknown because the event has no visit."""
        if condition[0] == "not":
            inner = self._evaluate(event, condition[1])
            return None if inner is None else not inner
        if condition[0] in ("and", "or"):
            is_or = condition[0] == "or"
            results = [self._evaluate(event, inner_condition) for inner_condition in condition[1]]
            return is_or if is_or in results else None if None in results else not is_or
        operator, dimension, values, *modifiers = condition
        if dimension.startswith("visit:") and event.visit_id is None:
            return None
        folded = bool(modifiers) and modifiers[0].get("case_sensitive") is False
        texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
        event_values = self.dimension_values(event, dimension)
        matches = any(
            _matches(operator.removesuffix("_not"), event_value, value, folded)
            for event_value in event_values
            for value in texts
        )
        return matches is not str(operator).endswith("_not")

    def _groups(self, events: Iterable[StoredEvent], dimensions: list[str]) -> dict[Key, list[StoredEvent]]:
        groups = defaultdict[Key, list[StoredEvent]](list)
        for event in events:
            values_by_dimension = [
                [
                    value
                    for value in self.dimension_values(event, dimension)
                    if value or dimension in DIMENSIONS_WITH_EMPTY or dimension.startswith("event:props:")
                ]
                for dimension in dimensions
            ]
            for key in product(*values_by_dimension):
                groups[key].append(event)
        return dict(groups) if groups or dimensions else {(): []}

    def _passing(
        self, events: Iterable[StoredEvent], time_range: TimeRange, filters: list[Any]
    ) -> Iterator[StoredEvent]:
        return (
            event
            for event in events
            if self._is_in(time_range, event) and all(self.passes(event, condition) for condition in filters)
        )

    def rows(self, query: dict[str, Any], time_range: TimeRange) -> tuple[dict[Key, list[Value]], bool]:
        """Return the metrics of each group, and whether a group has several currencies."""
        dimensions, filters = query.get("dimensions", []), query.get("filters", [])
        groups = self._groups(self._passing(self.events, time_range, filters), dimensions)
        engagements = self._groups(self._passing(self.engagements, time_range, filters), dimensions)
        time_indices = [index for index, dimension in enumerate(dimensions) if dimension in TIME_DIMENSIONS]
        conditions_without_goal = [condition for condition in filters if condition[1] != "event:goal"]
        all_visitors = self._groups(
            self._passing(self.events, time_range, conditions_without_goal),
            [dimensions[index] for index in time_indices],
        )
        rows = {}
        for key, events in groups.items():
            base_events = all_visitors[tuple(key[index] for index in time_indices)]
            rows[key] = [self._metric(name, events, engagements.get(key, []), base_events) for name in query["metrics"]]
        return rows, any(
            len({event.currency for event in events if event.revenue_minor is not None}) > 1
            for events in groups.values()
        )

    def empty_metrics(self, metrics: list[str]) -> list[Value]:
        return [self._metric(name, [], [], []) for name in metrics]

    def visitors(self, events: Iterable[StoredEvent]) -> int:
        return len({(self.day(event), event.visitor_id) for event in events if event.visitor_id is not None})

    def _metric(
        self, name: str, events: list[StoredEvent], engagements: list[StoredEvent], base_events: list[StoredEvent]
    ) -> Value:
        visits = {event.visit_id for event in events if event.visit_id is not None}
        views = sum(event.type == "pageview" for event in events)
        if name in COUNT_METRICS:
            return {
                "visitors": self.visitors(events),
                "visits": len(visits),
                "pageviews": views,
                "events": len(events),
            }[name]
        if name == "views_per_visit":
            return _ratio(views, len(visits))
        if name == "bounce_rate":
            return _ratio(100 * sum(len(self.visits[visit]) == 1 for visit in visits), len(visits))
        if name == "visit_duration":
            return _ratio(sum(self.visit_durations_ms[visit] for visit in visits), SECOND_MS * len(visits))
        if name == "conversion_rate":
            return _ratio(100 * self.visitors(events), self.visitors(base_events))
        if name in REVENUE_METRICS:
            return _revenue_metric(events, name == "average_revenue")
        props_by_visit_page = defaultdict[tuple[int, str], list[Any]](list)
        for engagement in engagements:
            if engagement.visit_id is not None:
                props_by_visit_page[engagement.visit_id, engagement.path].append(json.loads(engagement.props or "{}"))
        if name == "time_on_page":
            return _ratio(
                sum(props["ms"] for props_list in props_by_visit_page.values() for props in props_list),
                SECOND_MS * len(props_by_visit_page),
            )
        return _ratio(
            sum(max(props["scroll"] for props in props_list) for props_list in props_by_visit_page.values()),
            len(props_by_visit_page),
        )


def meets_goal(event: StoredEvent, goal: Goal) -> bool:
    if goal.event_name:
        return event.type != "pageview" and event.name == goal.event_name
    parts = (re.escape(part) for part in re.split(r"(\*+)", goal.path_pattern))
    pattern = "".join({r"\*": "[^/]*", r"\*\*": ".*"}.get(part, part) for part in parts)
    return event.type == "pageview" and re.fullmatch(pattern, event.path) is not None


def _matches(operator: str, event_value: str, value: str, folded: bool) -> bool:
    if operator == "matches":
        return re.search(value, event_value, re.IGNORECASE if folded else 0) is not None
    if folded:
        event_value, value = event_value.casefold(), value.casefold()
    return event_value == value if operator == "is" else value in event_value


def _ratio(numerator: int, denominator: int) -> Fraction | None:
    return Fraction(numerator, denominator) if denominator else None


def _revenue_metric(events: list[StoredEvent], average: bool) -> Value:
    revenues = [(event.currency, event.revenue_minor) for event in events if event.revenue_minor is not None]
    if len({currency for currency, _ in revenues}) != 1:
        return None
    currency = revenues[0][0]
    total = Fraction(sum(amount_minor for _, amount_minor in revenues), 10 ** CURRENCY_DECIMALS[currency])
    return (total / len(revenues) if average else total, currency)
