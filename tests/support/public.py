"""Requests to the endpoints that need no key."""

from itertools import count
from typing import Any

APEX, OVERCENTRIC = "/api/events", "/api/v1/event"
_addresses = count()


def new_address() -> str:
    """Return an address that no test has used yet."""
    return f"2001:db8:0:{next(_addresses):x}::1"


def apex(site: str = "my-site", **fields: object) -> dict[str, Any]:
    return {"type": "a", "visitorId": "anonymous", "projectKey": site, "url": "https://example.com/"} | fields


def overcentric(site: str = "my-site", **fields: object) -> dict[str, Any]:
    event = {"name": "a", "project_id": site, "device_id": "d", "session_id": "s", "context": "website", "url": None}
    return {"event": event | fields}


def pair(site: str = "my-site", url: str = "https://example.com/") -> dict[str, Any]:
    return {"projectKey": site, "events": [{"type": "a", "url": "/"}, {"type": "b", "url": url}]}
