"""What arrived: each event that was stored, and each request that was refused, with all that there is to say of it."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ovx_lite import money
from ovx_lite.days import utc_exactly
from ovx_lite.diagnosis import Problem, decoded
from ovx_lite.missing import Missing, problems_of
from ovx_lite.model import Event
from ovx_lite.verdicts import Verdict

MOST = 10_000
"""So many entries are kept, if they are not large."""

_LARGEST = 24 * 1024 * 1024  # bytes of them all
_LONGEST_BODY = 16 * 1024
_SECRET = (b"authorization", b"cookie")


class Entry(msgspec.Struct, frozen=True):
    """An event that was stored (`good`), or a request that was refused (`bad`); `json` is what is told of it."""

    number: int
    status: str
    api: str
    site: str
    name: str
    json: bytes


class Journal:
    """Keeps the latest entries in memory, counts them all, and wakes those who wait for more."""

    everything = True

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._size = 0
        self._number = 0
        self.good = self.bad = self.resets = 0
        self._more = asyncio.Event()
        self.missing = Missing()

    def take(self, verdict: Verdict) -> None:
        """Take note of a verdict."""
        if verdict.error is not None or any(event.kind.excluded for event in verdict.events):
            self.missing.take(verdict)
        if verdict.method == "OPTIONS":
            return
        problems = problems_of(verdict)
        if verdict.error is not None or verdict.reply is None:
            self._put(verdict, "bad", _name(verdict), None, problems, verdict.call.body if verdict.call else b"")
        parts = _parts(verdict)
        for number, event in enumerate(verdict.events if verdict.error is None else ()):
            id = verdict.ids[number] if number < len(verdict.ids) else None  # none where an answer is given again
            self._put(verdict, "good", event.kind.name, shown(event, id), problems, parts[number])
        self.wake()

    def _put(
        self,
        verdict: Verdict,
        status: str,
        name: str,
        stored: dict[str, Any] | None,
        problems: Sequence[Problem],
        body: bytes,
    ) -> None:
        self._number += 1
        api, site = verdict.endpoint.api, verdict.site.id if verdict.site else ""
        error = None
        if verdict.error is not None:
            error = {"code": verdict.error.code, "message": verdict.error.message, "field": verdict.error.field}
        told = {
            "number": self._number,
            "status": status,
            "api": api,
            "site": site,
            "name": name,
            "request": _request(verdict) | {"body": _body(body)},
            "stored": stored,
            "error": error,
            "problems": [one._asdict() for one in problems],
            "followed": list(verdict.followed),
            "replayed": verdict.reply is not None and verdict.reply.replayed,
        }
        entry = Entry(self._number, status, api, site, name, msgspec.json.encode(told))
        self._entries.appendleft(entry)
        self._size += len(entry.json)
        while len(self._entries) > MOST or self._size > _LARGEST:
            self._size -= len(self._entries.pop().json)
        self.good += status == "good"
        self.bad += status == "bad"

    def clear(self) -> None:
        """Forget all entries, and count anew."""
        self._entries.clear()
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


def _parts(verdict: Verdict) -> Sequence[bytes]:
    """What was sent of each event: of a batch, its own part, or a thousand entries would have all of it."""
    body = verdict.call.body if verdict.call else b""
    if len(verdict.events) > 1:
        document = decoded(body)
        items = document.get("events") if isinstance(document, dict) else document
        if isinstance(items, list) and len(items) == len(verdict.events):
            return [msgspec.json.encode(item) for item in items]
    return [body] * len(verdict.events)


def _name(verdict: Verdict) -> str:
    """What a refused event called itself, as far as it did."""
    document = decoded(verdict.call.body) if verdict.call else None
    if isinstance(document, dict) and isinstance(document.get("event"), dict):
        document = document["event"]
    if not isinstance(document, dict):
        return ""
    names = (document.get(key) for key in ("event_name", "name", "eventName", "event_type", "type"))
    return next((name[:200] for name in names if isinstance(name, str)), "")


def _request(verdict: Verdict) -> dict[str, Any]:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in verdict.headers}
    for name in _SECRET:
        if name.decode() in headers:
            headers[name.decode()] = headers[name.decode()].partition(" ")[0] + " …"
    status = verdict.error.status if verdict.error else verdict.reply.status if verdict.reply else 500
    return {
        "at": utc_exactly(verdict.at),
        "method": verdict.method,
        "path": verdict.path,
        "headers": headers,
        "answer": status,
    }


def _body(body: bytes) -> object:
    """A body as JSON, or as text if it is none, or is long."""
    if len(body) <= _LONGEST_BODY and decoded(body) is not None:
        return msgspec.Raw(body)
    text = body[:_LONGEST_BODY].decode("utf-8", "replace")
    return text if len(body) <= _LONGEST_BODY else f"{text}…"


def shown(event: Event, id: str | None) -> dict[str, Any]:
    """An event as it is stored, by the names that exports have for its parts."""
    kind = event.kind
    return {
        "id": id,
        "ts": utc_exactly(event.ts),
        "api": kind.api,
        "type": kind.type,
        "name": kind.name,
        "host": event.page.host,
        "path": event.page.path,
        **event.origin._asdict(),
        **event.client._asdict(),
        "visitor": None if event.visitor is None else f"{event.visitor & 0xFFFF_FFFF_FFFF:012x}",
        "person": event.person.id if event.person else None,
        "context": kind.context or None,
        "props": msgspec.Raw(event.props.encode()) if event.props else None,
        "revenue": None if event.revenue is None else money.decimal(event.revenue, kind.currency),
        "currency": kind.currency or None,
        "excluded": kind.excluded or None,
    }
