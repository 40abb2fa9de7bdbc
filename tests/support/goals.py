"""Webhooks that wait for goals, and what they were sent."""

import json
from typing import Any

from tests.conftest import Store

UNREACHABLE_URL = "https://127.0.0.1:1/hook"  # what is sent there is refused, and stays in the log


def add_webhook(store: Store, site: str, *options: str) -> str:
    """Add a webhook to which nothing gets through; returns its id."""
    allowed = {"OVX_WEBHOOK_ALLOW_NET": "127.0.0.0/8"}
    result = store.spawn("webhook", "add", site, UNREACHABLE_URL, *options, "--json", env=allowed)
    assert result.exit_status == 0, result.stderr
    return str(result.json["id"])


def told(store: Store, site: str, event: str = "") -> list[dict[str, Any]]:
    """The messages to a site's webhooks (of one event), oldest first."""
    ids = [delivery["id"] for delivery in store.call("delivery", "list", site) if event in ("", delivery["event"])]
    return [json.loads(store.call("delivery", "show", id)["body"]) for id in reversed(ids)]


def met_goals(store: Store, site: str) -> list[str]:
    """The names of the goals that were met on a site, in order."""
    return [message["data"]["goal_name"] for message in told(store, site, "goal.completed")]
