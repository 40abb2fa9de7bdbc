"""When a webhook is told: one function a trigger, from a moment to what there is to tell. Pure.

A new trigger is a function here, a row in `TRIGGERS`, and its test.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from ovx_lite.domain.models import Event, Goal, Site, Webhook

THRESHOLDS = (80, 100)
"""Percents of a site's monthly limit at which `usage.threshold` tells (Ovyxa Webhooks, Trigger Events)."""

_HOUR = 60 * 60 * 1000
_ARMED_AGAIN = 80  # percent of a spike's threshold


class Span(NamedTuple):
    """A counter, before and after."""

    before: int
    after: int


class Moment(NamedTuple):
    """All that a trigger may see of a request that is being stored.

    `month` is the month (UTC) as `2026-11`, `used` the site's events in it; `active` are its visitors in the last 5
    minutes, None if no webhook asks; `webhooks` are those that are enabled; `now` is Unix milliseconds.
    """

    site: Site
    events: Sequence[Event]
    met: Sequence[tuple[Goal, Event]]
    month: str
    used: Span
    active: Span | None
    webhooks: Sequence[Webhook]
    now: int


class Alert(NamedTuple):
    """What there is to tell: to all webhooks of the site that want this `event`, or to one, by its id.

    `ts` is Unix milliseconds, `text` the same in words. One with a `mark` is told once, until the mark is taken away.
    """

    event: str
    ts: int
    data: dict[str, Any]
    text: str
    to: str = ""
    mark: str = ""


class Rearmed(NamedTuple):
    """A mark to take away."""

    mark: str


def goal_completed(moment: Moment) -> Iterator[Alert | Rearmed]:
    """Every event that meets a goal."""
    for goal, event in moment.met:
        page, origin, country = event.page, event.origin, event.client.country
        data = {
            "goal_name": goal.name,
            "visitor_count": 1,
            "url": page.path,
            "source": origin.source,
            "country": country,
        }
        place = f" on {page.path}" if page.path else ""
        whence = ", ".join(filter(None, (origin.source, country)))
        text = f"{goal.name}: goal completed on {moment.site.id}{place}" + (f" ({whence})" if whence else "")
        yield Alert("goal.completed", event.ts, data, text)


def usage_threshold(moment: Moment) -> Iterator[Alert | Rearmed]:
    """80 and 100 % of the site's monthly limit, once each a month; events over the limit are taken all the same."""
    limit, used = moment.site.monthly_limit, moment.used.after
    if limit is None:
        return
    for threshold in THRESHOLDS:
        if used * 100 >= limit * threshold:
            data = {"threshold": threshold, "usage": used, "limit": limit, "period": moment.month}
            text = f"{moment.site.id} has used {threshold} % of its events of {moment.month}: {used:,} of {limit:,}"
            yield Alert("usage.threshold", moment.now, data, text, mark=f"usage {moment.month} {threshold}")


def realtime_spike(moment: Moment) -> Iterator[Alert | Rearmed]:
    """More visitors active than a webhook's threshold; armed again once they are under 80 % of it."""
    if moment.active is None:
        return
    before, after = moment.active
    for webhook in moment.webhooks:
        threshold, mark = webhook.spike_above, f"spike {webhook.id}"
        if threshold is None:
            continue
        if before * 100 < threshold * _ARMED_AGAIN:
            yield Rearmed(mark)
        if after > threshold:
            data = {"active_visitors": after, "threshold": threshold}
            text = f"{moment.site.id} has {after:,} active visitors, more than {threshold:,}"
            yield Alert("realtime.spike", moment.now, data, text, to=webhook.id, mark=mark)


class Trigger(NamedTuple):
    """What finds the alerts of a moment, and data as these have it, to try a webhook out with."""

    check: Callable[[Moment], Iterator[Alert | Rearmed]]
    sample: dict[str, Any]


TRIGGERS = {
    "goal.completed": Trigger(
        goal_completed,
        {"goal_name": "Sample", "visitor_count": 1, "url": "/a/sample", "source": "direct", "country": "FR"},
    ),
    "usage.threshold": Trigger(usage_threshold, {"threshold": 80, "usage": 8000, "limit": 10_000, "period": "2026-11"}),
    "realtime.spike": Trigger(realtime_spike, {"active_visitors": 101, "threshold": 100}),
}


def sample(event: str, site: str, now: int) -> Alert:
    """An alert of this trigger as it could be at `now` (Unix ms)."""
    return Alert(event, now, TRIGGERS[event].sample, f"A sample of {event} from {site}")


def month_of(now: int) -> str:
    """The month (UTC) of a time in Unix milliseconds, as `2026-11`."""
    return _month_of_hour(now // _HOUR)


@lru_cache(maxsize=64)
def _month_of_hour(hour: int) -> str:
    return datetime.fromtimestamp(hour * _HOUR / 1000, UTC).strftime("%Y-%m")
