"""The current time. Code that needs it gets a `Clock`, so that tests can control it."""

import time
from typing import Protocol


class Clock(Protocol):
    """A source of the current time, and a way to wait."""

    def now_ms(self) -> int:
        """Return the Unix time in milliseconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for this many seconds."""
        ...


class SystemClock:
    """The clock of the operating system."""

    def now_ms(self) -> int:
        """Return the Unix time in milliseconds."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait for this many seconds. Changes of the operating system's clock do not affect it."""
        import asyncio  # not above: most commands read the clock and never wait

        await asyncio.sleep(seconds)
