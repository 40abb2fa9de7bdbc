"""The triggers of webhooks: one function per trigger, from the context of a request to alerts. Pure.

To add a trigger, write a function here, add it to `TRIGGERS`, and test it.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from ovx_lite.domain.calendar import HOUR_MS
from ovx_lite.domain.models import Event, Goal, Site, Webhook

THRESHOLDS = (80, 100)
"""Percentages of a site's monthly limit at which `usage.threshold` fires (Ovyxa, Webhooks, Trigger Events)."""

_RESET_PERCENT = 80  # of a spike's threshold


class Change(NamedTuple):
    """A count before and after the request."""

    before: int
    after: int


class TriggerContext(NamedTuple):
    """The data that triggers get about a request that is being stored.

    `month` is the month (UTC) as `2026-11`, and `monthly_usage` the site's events in it. `active_visitors` are those of
    the last 5 minutes, or None if no webhook needs them. `webhooks` are the enabled ones.
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
    """A message to all webhooks of the site that subscribe to `event`, or to one, if `webhook_public_id` is set.

    `text` describes `data` for people. An alert with a `dedupe_key` is sent once, until a `ResetAlert` removes the key.
    """

    event: str
    timestamp_ms: int
    data: dict[str, Any]
    text: str
    webhook_public_id: str = ""
    dedupe_key: str = ""


class ResetAlert(NamedTuple):
    """Lets the alert with this `dedupe_key` be sent again."""

    dedupe_key: str


def goal_completed(context: TriggerContext) -> Iterator[Alert | ResetAlert]:
    """Fire for every event that reaches a goal."""
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
    """Fire once a month each at 80 % and 100 % of the site's monthly limit. Events above it are still accepted."""
    limit, used = context.site.monthly_limit, context.monthly_usage.after
    if limit is None:
        return
    for threshold in THRESHOLDS:
        if used * 100 >= limit * threshold:
            data = {"threshold": threshold, "usage": used, "limit": limit, "period": context.month}
            text = f"{context.site.slug} has used {threshold} % of its events of {context.month}: {used:,} of {limit:,}"
            yield Alert("usage.threshold", context.now_ms, data, text, dedupe_key=f"usage {context.month} {threshold}")


def realtime_spike(context: TriggerContext) -> Iterator[Alert | ResetAlert]:
    """Fire when more visitors are active than a webhook's threshold.

    Fire again only after their number was below 80 % of it.
    """
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
    """The function that yields alerts, sample data to test a webhook with, and when it fires, for the settings page."""

    check: Callable[[TriggerContext], Iterator[Alert | ResetAlert]]
    sample_data: dict[str, Any]
    description: str


TRIGGERS = {
    "goal.completed": Trigger(
        goal_completed,
        {"goal_name": "Sample", "visitor_count": 1, "url": "/a/sample", "source": "direct", "country": "FR"},
        "every time a goal is completed",
    ),
    "usage.threshold": Trigger(
        usage_threshold,
        {"threshold": 80, "usage": 8000, "limit": 10_000, "period": "2026-11"},
        "at 80 % and 100 % of the monthly event limit",
    ),
    "realtime.spike": Trigger(
        realtime_spike, {"active_visitors": 101, "threshold": 100}, "when many visitors are active"
    ),
}


def sample_alert(event: str, site_slug: str, now_ms: int) -> Alert:
    """Return a sample alert of a trigger, to test a webhook with."""
    return Alert(event, now_ms, TRIGGERS[event].sample_data, f"A sample of {event} from {site_slug}")


def month_of(timestamp_ms: int) -> str:
    """Return the month (UTC) of a time in Unix milliseconds, as `2026-11`."""
    return _month_of_hour(timestamp_ms // HOUR_MS)


@lru_cache(maxsize=64)
def _month_of_hour(hour: int) -> str:
    return datetime.fromtimestamp(hour * HOUR_MS / 1000, UTC).strftime("%Y-%m")
