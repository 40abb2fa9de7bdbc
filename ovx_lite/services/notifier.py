"""Who waits to hear that a site has stored something."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class News:
    """Tells those who listen to a site. Costs those who store nothing while nobody does."""

    def __init__(self) -> None:
        self._listening: dict[int, set[asyncio.Event]] = {}
        self.closed = False

    @contextmanager
    def listen(self, site: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever that site has stored something, and when there will be no more news."""
        heard = asyncio.Event()
        self._listening.setdefault(site, set()).add(heard)
        try:
            yield heard
        finally:
            self._listening[site].discard(heard)
            if not self._listening[site]:
                del self._listening[site]

    def tell(self, site: int) -> None:
        """A site has stored something."""
        for heard in self._listening.get(site, ()):
            heard.set()

    def close(self) -> None:
        """There will be no more news, so that nobody waits for it any longer."""
        self.closed = True
        for site in self._listening:
            self.tell(site)
