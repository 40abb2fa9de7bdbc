"""Who waits to hear that a site has stored something."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Notifier:
    """Tells those who listen to a site. Costs those who store nothing while nobody does."""

    def __init__(self) -> None:
        self._subscribers: dict[int, set[asyncio.Event]] = {}
        self.closed = False

    @contextmanager
    def subscribe(self, site_id: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever that site has stored something, and when there will be no more news."""
        event = asyncio.Event()
        self._subscribers.setdefault(site_id, set()).add(event)
        try:
            yield event
        finally:
            self._subscribers[site_id].discard(event)
            if not self._subscribers[site_id]:
                del self._subscribers[site_id]

    def publish(self, site_id: int) -> None:
        """A site has stored something."""
        for event in self._subscribers.get(site_id, ()):
            event.set()

    def close(self) -> None:
        """There will be no more news, so that nobody waits for it any longer."""
        self.closed = True
        for site_id in self._subscribers:
            self.publish(site_id)
