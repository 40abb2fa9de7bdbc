"""What arrived: each event that was stored, and each request that was not, the latest of them in memory."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ovx_lite.standin.entries import Told

MOST = 10_000
"""So many entries are kept, if they are not large."""

_LARGEST = 24 * 1024 * 1024  # bytes of them all
_MOST_CHANGES = 1000


class Entry(msgspec.Struct, frozen=True):
    """An entry by its number; `json` is what is told of it."""

    number: int
    status: str
    api: str
    site: str
    name: str
    json: bytes


class Journal:
    """Keeps the latest entries in memory, counts them all, and wakes those who wait for more."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._changes: deque[Entry] = deque(maxlen=_MOST_CHANGES)
        self._size = 0
        self._number = 0
        self.good = self.bad = self.resets = self.changed = 0
        self._more = asyncio.Event()

    def put(self, entries: Sequence[Told]) -> range:
        """Take note of what came in a request. Returns the entries' numbers."""
        begin = self._number + 1
        for status, api, site, name, document in entries:
            self._number += 1
            told = msgspec.json.encode({"number": self._number, **document})
            self._entries.appendleft(Entry(self._number, status, api, site, name, told))
            self._size += len(told)
            self.good += status == "good"
            self.bad += status == "bad"
        while len(self._entries) > MOST or self._size > _LARGEST:
            self._size -= len(self._entries.pop().json)
        self.wake()
        return range(begin, self._number + 1)

    def amend(self, numbers: range, forwarded: Mapping[str, Any], problems: Sequence[Mapping[str, Any]]) -> None:
        """Add what came of forwarding a request to its entries, as far as they are still there."""
        latest = self._entries[0].number if self._entries else 0
        for number in numbers:
            at = latest - number
            if not 0 <= at < len(self._entries):
                continue
            entry = self._entries[at]
            told = msgspec.json.decode(entry.json)
            told |= {"forwarded": forwarded, "problems": [*told["problems"], *problems]}
            amended = msgspec.structs.replace(entry, json=msgspec.json.encode(told))
            self._entries[at] = amended
            self._changes.append(amended)
            self.changed += 1
            self._size += len(amended.json) - len(entry.json)
        self.wake()

    def clear(self) -> None:
        """Forget all entries, and count anew."""
        self._entries.clear()
        self._changes.clear()
        self.resets += 1
        self._size = self.good = self.bad = 0
        self.wake()

    def wake(self) -> None:
        """Wake those who wait for more."""
        self._more.set()
        self._more = asyncio.Event()

    async def more(self) -> None:
        """Wait until there is more, or less."""
        await self._more.wait()

    def entries(self, wanted: Mapping[str, str], after: int = 0) -> Iterator[Entry]:
        """The entries after that number, the latest first, whose fields are as wanted (`""`: any)."""
        for entry in self._entries:
            if entry.number <= after:
                return
            if all(not value or getattr(entry, field) == value for field, value in wanted.items()):
                yield entry

    def changes(self, after: int) -> list[Entry]:
        """The entries that were amended since there were so many changes, as far as they are still there."""
        return list(self._changes)[max(len(self._changes) - (self.changed - after), 0) :]
