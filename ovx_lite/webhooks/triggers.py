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

HOUR_MS = 60 * 60 * 1000
_RESET_PERCENT = 80  # percent of a spike's threshold


class Change(NamedTuple):
    """A counter, before and after."""

    before: int
    after: int


class TriggerContext(NamedTuple):
    """All that a trigger may see of a request that is being stored.

    `month` is the month (UTC) as `2026-11`, `used` the site's events in it; `active` are its visitors in the last 5
    minutes, None if no webhook asks; `webhooks` are those that are enabled; `now` is Unix milliseconds.
    """

    site: Site
    events: Sequence[Event]
    matched_goals: Sequence[tuple[Goal, Event]]
    month: str
    monthly_usage: Change
    active_visitors: Change | None
    webhooks: Sequence[Webhook]
    now_ms: int


class Alert(NamedTuple):
    """What there is to tell: to all webhooks of the site that want this `event`, or to one, by its id.

    `ts` is Unix milliseconds, `text` the same in words. One with a `mark` is told once, until the mark is taken away.
    """

    event: str
    timestamp_ms: int
    data: dict[str, Any]
    text: str
    webhook_public_id: str = ""
    dedupe_key: str = ""


class ResetAlert(NamedTuple):
    """A mark to take away."""

    dedupe_key: str


def goal_completed(context: TriggerContext) -> Iterator[Alert | ResetAlert]:
    """Every event that meets a goal."""
    for goal, event in context.matched_goals:
        page, traffic_source, country = event.page, event.traffic_source, event.client.country
        data = {
            "goal_name": goal.name,
            "visitor_count": 1,
            "url": page.path,
            "source": traffic_source.source,
            "country": country,
        }
        location = f" on {page.path}" if page.path else ""
        source_text = ", ".join(filter(None, (traffic_source.source, country)))
        text = f"{goal.name}: goal completed on {context.site.slug}{location}" + (
            f" ({source_text})" if source_text else ""
        )
        yield Alert("goal.completed", event.timestamp_ms, data, text)


def usage_threshold(context: TriggerContext) -> Iterator[Alert | ResetAlert]:
    """80 and 100 % of the site's monthly limit, once each a month; events over the limit are taken all the same."""
    limit, used = context.site.monthly_limit, context.monthly_usage.after
    if limit is None:
        return
    for threshold in THRESHOLDS:
        if used * 100 >= limit * threshold:
            data = {"threshold": threshold, "usage": used, "limit": limit, "period": context.month}
            text = f"{context.site.slug} has used {threshold} % of its events of {context.month}: {used:,} of {limit:,}"
            yield Alert("usage.threshold", context.now_ms, data, text, dedupe_key=f"usage {context.month} {threshold}")


def realtime_spike(context: TriggerContext) -> Iterator[Alert | ResetAlert]:
    """More visitors active than a webhook's threshold; armed again once they are under 80 % of it."""
    if context.active_visitors is None:
        return
    before, after = context.active_visitors
    for webhook in context.webhooks:
        threshold, dedupe_key = webhook.spike_threshold, f"spike {webhook.public_id}"
        if threshold is None:
            continue
        if before * 100 < threshold * _RESET_PERCENT:
            yield ResetAlert(dedupe_key)
        if after > threshold:
            data = {"active_visitors": after, "threshold": threshold}
            text = f"{context.site.slug} has {after:,} active visitors, more than {threshold:,}"
            yield Alert(
                "realtime.spike", context.now_ms, data, text, webhook_public_id=webhook.public_id, dedupe_key=dedupe_key
            )


class Trigger(NamedTuple):
    """What finds the alerts of a moment, and data as these have it, to try a webhook out with."""

    check: Callable[[TriggerContext], Iterator[Alert | ResetAlert]]
    sample_data: dict[str, Any]


TRIGGERS = {
    "goal.completed": Trigger(
        goal_completed,
        {"goal_name": "Sample", "visitor_count": 1, "url": "/a/sample", "source": "direct", "country": "FR"},
    ),
    "usage.threshold": Trigger(usage_threshold, {"threshold": 80, "usage": 8000, "limit": 10_000, "period": "2026-11"}),
    "realtime.spike": Trigger(realtime_spike, {"active_visitors": 101, "threshold": 100}),
}


def sample_alert(event: str, site_slug: str, now_ms: int) -> Alert:
    """An alert of this trigger as it could be at `now` (Unix ms)."""
    return Alert(event, now_ms, TRIGGERS[event].sample_data, f"A sample of {event} from {site_slug}")


def month_of(timestamp_ms: int) -> str:
    """The month (UTC) of a time in Unix milliseconds, as `2026-11`."""
    return _month_of_hour(timestamp_ms // HOUR_MS)


@lru_cache(maxsize=64)
def _month_of_hour(hour: int) -> str:
    return datetime.fromtimestamp(hour * HOUR_MS / 1000, UTC).strftime("%Y-%m")
