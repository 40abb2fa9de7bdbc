"""What arrived: each event that was stored, and each request that was not, the latest of them in memory."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ovx_lite.emulator.journal_entries import Told

MOST = 10_000
"""So many entries are kept, if they are not large."""

_LARGEST = 12 * 1024 * 1024  # bytes of them all
_MOST_CHANGES = 1000


class Entry(msgspec.Struct, frozen=True):
    """An entry by its number; `json` is what is told of it.

    `body` is the request's, as it came, of which so many are `sharing` it.
    """

    number: int
    status: str
    api: str
    site: str
    name: str
    json: bytes
    body: bytes
    sharing: int


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
        for status, api, site, name, document, body in entries:
            self._number += 1
            told = msgspec.json.encode({"number": self._number, **document})
            self._entries.appendleft(Entry(self._number, status, api, site, name, told, body, len(entries)))
            self._size += len(told) + len(body) // len(entries)
            self.good += status == "good"
            self.bad += status == "bad"
        while len(self._entries) > MOST or self._size > _LARGEST:
            oldest = self._entries.pop()
            self._size -= len(oldest.json) + len(oldest.body) // oldest.sharing
        self.wake()
        return range(begin, self._number + 1)

    def amend(self, numbers: range, forwarded: Mapping[str, Any], problems: Sequence[Mapping[str, Any]]) -> None:
        """Add what came of forwarding a request to its entries, as far as they are still there."""
        for number in numbers:
            entry = self.find(number)
            if entry is None:
                continue
            told = msgspec.json.decode(entry.json)
            told |= {"forwarded": forwarded, "problems": [*told["problems"], *problems]}
            amended = msgspec.structs.replace(entry, json=msgspec.json.encode(told))
            self._entries[self._entries[0].number - number] = amended
            self._changes.append(msgspec.structs.replace(amended, body=b""))  # a thousand bodies would take 5 GB
            self.changed += 1
            self._size += len(amended.json) - len(entry.json)
        self.wake()

    def find(self, number: int) -> Entry | None:
        """The entry of a number, if it is still there."""
        at = (self._entries[0].number if self._entries else 0) - number
        return self._entries[at] if 0 <= at < len(self._entries) else None

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
