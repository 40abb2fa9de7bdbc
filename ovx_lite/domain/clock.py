"""What time it is. Everything that needs to know is given a `Clock`, so that tests can hold it still."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait so long."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait so long, whatever is done to the machine's clock meanwhile."""
        import asyncio  # not above: most commands read the clock and never wait

        await asyncio.sleep(seconds)
