"""What the Stats API's numbers are, counted plainly from the events that are stored: see `tests/test_recount.py`."""

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

from ovx_lite.domain.models import Goal
from ovx_lite.storage.read.events import Stored

ORIGINS = ("source", "channel", "referrer", "utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term")
CLIENTS = ("device", "browser", "os", "country")
OF_EVENTS = ("event:page", "event:hostname", "event:name", "event:goal", "event:currency")
OF_VISITS = tuple(f"visit:{name}" for name in ("entry_page", "exit_page", *ORIGINS, *CLIENTS))
TIMES = ("time:minute", "time:hour", "time:day", "time:week", "time:month")
ALWAYS_THERE = {f"visit:{name}" for name in ("source", "channel", *CLIENTS)}
COUNTS = ("visitors", "visits", "pageviews", "events")
RATES = ("views_per_visit", "bounce_rate", "visit_duration")
OF_MONEY = ("total_revenue", "average_revenue")
OF_PAGES = ("time_on_page", "scroll_depth")
DAYS = {"day": 1, "7d": 7, "28d": 28, "30d": 30, "91d": 91}
MONTHS = {"month": 1, "6mo": 6, "12mo": 12}
SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
DECIMALS = {"EUR": 2, "USD": 2, "JPY": 0}

Key = tuple[str, ...]
Value = int | Fraction | None | tuple[Fraction, str]
"""A metric: a number, nothing, or an amount of a currency; none is rounded yet."""


class Span(NamedTuple):
    """From `since` to before `until`, in Unix ms; and its days, if it has whole ones."""

    since: int
    until: int
    days: tuple[date, date] | None = None


def is_engagement(event: Stored) -> bool:
    return event.api == "apex" and event.name == "engagement"


class Recount:
    """The events of a site, looked at one by one."""

    def __init__(self, events: Iterable[Stored], timezone: str, goals: Iterable[Goal]) -> None:
        self.zone, self.goals = ZoneInfo(timezone), list(goals)
        told = sorted(event for event in events if not event.excluded)
        self.events = [event for event in told if not is_engagement(event)]
        self.looks = [event for event in told if is_engagement(event)]
        self.lengths = dict[int, int]()
        for visit in {event.visit for event in told} - {None}:
            times = [event.ts for event in told if event.visit == visit]
            self.lengths[visit or 0] = max(times) - min(times)
        self.visits = defaultdict[int | None, list[Stored]](list)
        for event in self.events:
            self.visits[event.visit].append(event)
        self.words = cache(self._words)

    def local(self, ts: int) -> datetime:
        return datetime.fromtimestamp(ts // SECOND, UTC).astimezone(self.zone)

    def day(self, event: Stored) -> date:
        return self.local(event.ts).date()

    def span(self, told: str | list[str], now: int) -> Span:
        today = self.local(now).date()
        if told == "24h":
            return Span(now - 24 * HOUR + 1, now + 1)
        if told == "yesterday":
            return self._days(today - timedelta(1), today - timedelta(1))
        if told == "year":
            return self._days(today.replace(month=1, day=1), today)
        if told == "all":
            return self._days(min([today, *map(self.day, [*self.events, *self.looks])]), today)
        if isinstance(told, str) and told in DAYS:
            return self._days(today - timedelta(DAYS[told] - 1), today)
        if isinstance(told, str):
            months = today.year * 12 + today.month - MONTHS[told]
            return self._days(date(months // 12, months % 12 + 1, 1), today)
        if len(told[0]) == 10:
            return self._days(date.fromisoformat(told[0]), date.fromisoformat(told[1]))
        since, until = (int(datetime.fromisoformat(time).timestamp()) * SECOND for time in told)
        whole = [datetime.combine(self.local(time).date(), datetime.min.time(), self.zone) for time in (since, until)]
        if since < until and [int(time.timestamp()) * SECOND for time in whole] == [since, until]:
            return self._days(whole[0].date(), whole[1].date() - timedelta(1))
        return Span(since, until)

    def _days(self, first: date, last: date) -> Span:
        ends = (datetime.combine(day, datetime.min.time(), self.zone) for day in (first, last + timedelta(1)))
        since, until = (int(end.timestamp()) * SECOND for end in ends)
        return Span(since, until, (first, last))

    def before(self, span: Span) -> Span:
        """The time of the same length that ends where this one begins."""
        if span.days is None:
            return Span(2 * span.since - span.until, span.since)
        first, last = span.days
        return self._days(first - (last - first) - timedelta(1), first - timedelta(1))

    def _is_in(self, span: Span, event: Stored) -> bool:
        if span.days:
            return span.days[0] <= self.day(event) <= span.days[1]
        return span.since <= event.ts < span.until

    def _words(self, event: Stored, dimension: str) -> list[str]:
        """What stands in a dimension of an event, which is several for goals, and "" where it has none."""
        of, _, name = dimension.partition(":")
        if dimension == "event:goal":
            return [goal.name for goal in self.goals if meets(event, goal)]
        if dimension.startswith("event:props:"):
            props = json.loads(event.props or "{}")
            key = name.removeprefix("props:")
            value = props.get(key)
            return [] if value is None else [value if isinstance(value, str) else json.dumps(value)]
        if of == "event":
            return [str(getattr(event, {"page": "path", "hostname": "host"}.get(name, name)))]
        if of == "time":
            return [self._label(event.ts, name)]
        if event.visit is None:
            return []
        told = self.visits[event.visit]
        if name in ("entry_page", "exit_page"):
            views = [one.path for one in told if one.type == "pageview" and one.path] or [""]
            return [views[0 if name == "entry_page" else -1]]
        return [str(getattr(told[0], name))]

    def _label(self, ts: int, unit: str) -> str:
        time = self.local(ts)
        if unit in ("minute", "hour"):
            return time.strftime("%Y-%m-%d %H:%M:00" if unit == "minute" else "%Y-%m-%d %H:00:00")
        day = time.date()
        first = {"day": day, "week": day - timedelta(day.weekday()), "month": day.replace(day=1)}[unit]
        return first.isoformat()

    def passes(self, event: Stored, told: list[Any]) -> bool:
        return self._told(event, told) is True

    def _told(self, event: Stored, told: list[Any]) -> bool | None:
        """Whether an event passes; None where nobody can tell, since it is in no visit."""
        if told[0] == "not":
            inner = self._told(event, told[1])
            return None if inner is None else not inner
        if told[0] in ("and", "or"):
            decides = told[0] == "or"
            answers = [self._told(event, one) for one in told[1]]
            return decides if decides in answers else None if None in answers else not decides
        operator, dimension, values, *modifiers = told
        if dimension.startswith("visit:") and event.visit is None:
            return None
        folded = bool(modifiers) and modifiers[0].get("case_sensitive") is False
        asked = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
        words = self.words(event, dimension)
        fits = any(_fits(operator.removesuffix("_not"), word, value, folded) for word in words for value in asked)
        return fits is not str(operator).endswith("_not")

    def _groups(self, events: Iterable[Stored], dimensions: list[str]) -> dict[Key, list[Stored]]:
        groups = defaultdict[Key, list[Stored]](list)
        for event in events:
            told = [
                [
                    word
                    for word in self.words(event, one)
                    if word or one in ALWAYS_THERE or one.startswith("event:props:")
                ]
                for one in dimensions
            ]
            for key in product(*told):
                groups[key].append(event)
        return dict(groups) if groups or dimensions else {(): []}

    def _passing(self, events: Iterable[Stored], span: Span, filters: list[Any]) -> Iterator[Stored]:
        return (e for e in events if self._is_in(span, e) and all(self.passes(e, one) for one in filters))

    def rows(self, query: dict[str, Any], span: Span) -> tuple[dict[Key, list[Value]], bool]:
        """The metrics of each group, and whether any has several currencies."""
        dimensions, filters = query.get("dimensions", []), query.get("filters", [])
        groups = self._groups(self._passing(self.events, span, filters), dimensions)
        looks = self._groups(self._passing(self.looks, span, filters), dimensions)
        times = [at for at, one in enumerate(dimensions) if one in TIMES]
        goalless = [one for one in filters if one[1] != "event:goal"]
        everybody = self._groups(self._passing(self.events, span, goalless), [dimensions[at] for at in times])
        rows = {}
        for key, events in groups.items():
            others = everybody[tuple(key[at] for at in times)]
            rows[key] = [self._metric(name, events, looks.get(key, []), others) for name in query["metrics"]]
        return rows, any(len({e.currency for e in events if e.revenue is not None}) > 1 for events in groups.values())

    def nothing(self, metrics: list[str]) -> list[Value]:
        return [self._metric(name, [], [], []) for name in metrics]

    def visitors(self, events: Iterable[Stored]) -> int:
        return len({(self.day(event), event.visitor) for event in events if event.visitor is not None})

    def _metric(self, name: str, events: list[Stored], looks: list[Stored], others: list[Stored]) -> Value:
        visits = {event.visit for event in events if event.visit is not None}
        views = sum(event.type == "pageview" for event in events)
        if name in COUNTS:
            return {
                "visitors": self.visitors(events),
                "visits": len(visits),
                "pageviews": views,
                "events": len(events),
            }[name]
        if name == "views_per_visit":
            return _per(views, len(visits))
        if name == "bounce_rate":
            return _per(100 * sum(len(self.visits[visit]) == 1 for visit in visits), len(visits))
        if name == "visit_duration":
            return _per(sum(self.lengths[visit] for visit in visits), SECOND * len(visits))
        if name == "conversion_rate":
            return _per(100 * self.visitors(events), self.visitors(others))
        if name in OF_MONEY:
            return _money(events, name == "average_revenue")
        pairs = defaultdict[tuple[int, str], list[Any]](list)
        for look in looks:
            if look.visit is not None:
                pairs[look.visit, look.path].append(json.loads(look.props or "{}"))
        if name == "time_on_page":
            return _per(sum(one["ms"] for told in pairs.values() for one in told), SECOND * len(pairs))
        return _per(sum(max(one["scroll"] for one in told) for told in pairs.values()), len(pairs))


def meets(event: Stored, goal: Goal) -> bool:
    if goal.event:
        return event.type != "pageview" and event.name == goal.event
    pieces = (re.escape(piece) for piece in re.split(r"(\*+)", goal.path))
    pattern = "".join({r"\*": "[^/]*", r"\*\*": ".*"}.get(piece, piece) for piece in pieces)
    return event.type == "pageview" and re.fullmatch(pattern, event.path) is not None


def _fits(operator: str, word: str, value: str, folded: bool) -> bool:
    if operator == "matches":
        return re.search(value, word, re.IGNORECASE if folded else 0) is not None
    if folded:
        word, value = word.casefold(), value.casefold()
    return word == value if operator == "is" else value in word


def _per(of: int, by: int) -> Fraction | None:
    return Fraction(of, by) if by else None


def _money(events: list[Stored], average: bool) -> Value:
    paid = [(event.currency, event.revenue) for event in events if event.revenue is not None]
    if len({currency for currency, _ in paid}) != 1:
        return None
    currency = paid[0][0]
    total = Fraction(sum(amount for _, amount in paid), 10 ** DECIMALS[currency])
    return (total / len(paid) if average else total, currency)
