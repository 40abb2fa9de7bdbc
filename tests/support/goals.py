"""Webhooks, and the messages that were queued for them."""

import json
from typing import Any

from tests.conftest import Store

UNREACHABLE_URL = "https://127.0.0.1:1/hook"  # deliveries to it fail and remain in the log


def add_webhook(store: Store, site: str, *options: str) -> str:
    """Add a webhook with an unreachable URL, and return its id."""
    allowed = {"OVX_WEBHOOK_ALLOW_NET": "127.0.0.0/8"}
    result = store.spawn("webhook", "add", site, UNREACHABLE_URL, *options, "--json", env=allowed)
    assert result.exit_status == 0, result.stderr
    return str(result.json["id"])


def sent_messages(store: Store, site: str, event: str = "") -> list[dict[str, Any]]:
    """Return the messages to the webhooks of a site (of one event or all), oldest first."""
    ids = [delivery["id"] for delivery in store.call("delivery", "list", site) if event in ("", delivery["event"])]
    return [json.loads(store.call("delivery", "show", id)["body"]) for id in reversed(ids)]


def met_goals(store: Store, site: str) -> list[str]:
    """Return the names of the goals that were met on a site, in order."""
    return [message["data"]["goal_name"] for message in sent_messages(store, site, "goal.completed")]
