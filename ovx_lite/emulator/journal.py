"""The journal: each stored event and each rejected request, the latest of them in memory."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ovx_lite.emulator.journal_entries import JournalEntry

MAX_ENTRIES = 10_000
_MAX_BYTES = 12 * 1024 * 1024
_MAX_CHANGES = 1000


class StoredEntry(msgspec.Struct, frozen=True):
    """An entry in the journal; `json` is what the API returns.

    `body` is the whole body of the request. `sharing` is the number of entries that share it, more than one for a
    batch.
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
    """Keeps the latest entries in memory, counts all of them, and notifies those who wait for changes.

    `good` and `bad` count the entries since the last reset, `changed` the amendments, `resets` the resets.
    """

    def __init__(self) -> None:
        self._entries: deque[StoredEntry] = deque()  # the latest first, their numbers without gaps
        self._changes: deque[StoredEntry] = deque(maxlen=_MAX_CHANGES)
        self._size_bytes = 0
        self._last_number = 0
        self.good = self.bad = self.resets = self.changed = 0
        self._changed = asyncio.Event()

    def record(self, entries: Sequence[JournalEntry]) -> range:
        """Add the entries of one request, and drop the oldest if there are too many. Returns their numbers."""
        first = self._last_number + 1
        for status, api, site, name, document, body in entries:
            self._last_number += 1
            json = msgspec.json.encode({"number": self._last_number, **document})
            stored = StoredEntry(
                number=self._last_number,
                status=status,
                api=api,
                site=site,
                name=name,
                json=json,
                body=body,
                sharing=len(entries),
            )
            self._entries.appendleft(stored)
            self._size_bytes += len(json) + len(body) // len(entries)
            self.good += status == "good"
            self.bad += status == "bad"
        while len(self._entries) > MAX_ENTRIES or self._size_bytes > _MAX_BYTES:
            oldest = self._entries.pop()
            self._size_bytes -= len(oldest.json) + len(oldest.body) // oldest.sharing
        self.notify()
        return range(first, self._last_number + 1)

    def amend(self, numbers: range, forwarded: Mapping[str, Any], problems: Sequence[Mapping[str, Any]]) -> None:
        """Add the result of forwarding a request to those of its entries that are still in memory."""
        for number in numbers:
            entry = self.find(number)
            if entry is None:
                continue
            document = msgspec.json.decode(entry.json)
            document |= {"forwarded": forwarded, "problems": [*document["problems"], *problems]}
            amended = msgspec.structs.replace(entry, json=msgspec.json.encode(document))
            self._entries[self._entries[0].number - number] = amended
            self._changes.append(msgspec.structs.replace(amended, body=b""))  # a thousand bodies would take 5 GB
            self.changed += 1
            self._size_bytes += len(amended.json) - len(entry.json)
        self.notify()

    def find(self, number: int) -> StoredEntry | None:
        """Return the entry with this number; `None` if it is no longer in memory."""
        index = (self._entries[0].number if self._entries else 0) - number
        return self._entries[index] if 0 <= index < len(self._entries) else None

    def clear(self) -> None:
        """Delete all entries and set the counts to 0. Numbers continue."""
        self._entries.clear()
        self._changes.clear()
        self.resets += 1
        self._size_bytes = self.good = self.bad = 0
        self.notify()

    def notify(self) -> None:
        """Wake everyone in `wait_for_change`."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for_change(self) -> None:
        """Wait until entries are added, amended or deleted, or `notify` is called."""
        await self._changed.wait()

    def entries(self, criteria: Mapping[str, str], after: int = 0) -> Iterator[StoredEntry]:
        """Yield the entries with higher numbers than `after` whose fields equal the criteria, the latest first.

        A criterion of `""` matches all entries.
        """
        for entry in self._entries:
            if entry.number <= after:
                return
            if all(not value or getattr(entry, field) == value for field, value in criteria.items()):
                yield entry

    def changes(self, after: int) -> list[StoredEntry]:
        """Return the entries that were amended since `changed` had this value, as far as they are in memory."""
        return list(self._changes)[max(len(self._changes) - (self.changed - after), 0) :]
