"""In-process notifications that a site has stored events."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Notifier:
    """Notifies the subscribers of a site. While a site has none, publishing costs next to nothing."""

    def __init__(self) -> None:
        self._subscribers: dict[int, set[asyncio.Event]] = {}
        self.closed = False

    @contextmanager
    def subscribe(self, site_id: int) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever the site has stored something, and when the notifier is closed.

        The subscriber clears it.
        """
        event = asyncio.Event()
        self._subscribers.setdefault(site_id, set()).add(event)
        try:
            yield event
        finally:
            self._subscribers[site_id].discard(event)
            if not self._subscribers[site_id]:
                del self._subscribers[site_id]

    def publish(self, site_id: int) -> None:
        """Notify the subscribers of a site that it has stored something."""
        for event in self._subscribers.get(site_id, ()):
            event.set()

    def close(self) -> None:
        """Wake all subscribers for the last time, so that they end. `closed` tells them why."""
        self.closed = True
        for site_id in self._subscribers:
            self.publish(site_id)
