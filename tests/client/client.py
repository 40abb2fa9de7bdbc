"""A program of a user of the API. It waits when the server asks for it, and never sends an event twice."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from uuid import uuid4


class Client:
    """Sends custom events to Ovyxa."""

    def __init__(self, url: str, key: str, site: str, sleep: Callable[[float], object]) -> None:
        self._url = url
        self._key = key
        self._site = site
        self._sleep = sleep

    def track(self, name: str, **props: object) -> str:
        """Send an event, and again with the same key if the outcome is unknown. Return its ID."""
        event = {"site_id": self._site, "event_name": name, "url": "https://shop.example/pricing", "props": props}
        headers = {"Authorization": f"Bearer {self._key}", "Idempotency-Key": str(uuid4())}
        for _ in range(5):
            request = urllib.request.Request(
                f"{self._url}/api/v1/events/custom", json.dumps(event).encode(), headers, method="POST"
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as response:
                    return str(json.load(response)["event_id"])
            except urllib.error.HTTPError as exc:
                if exc.code < 500 and exc.code != 429:
                    raise
                self._sleep(float(exc.headers.get("Retry-After", "1")))
            except (urllib.error.URLError, ConnectionError):
                self._sleep(1)
        raise RuntimeError("no success in five attempts")
