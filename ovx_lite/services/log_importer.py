"""From a web server's access log into the store, with the log's own times.

A second import of the same lines adds nothing. What is remembered of a line is a digest without its address, but with
how often it was there before in its file: two lines of one second that are alike in all else count twice, and each of
them is a repeat the next time.
"""

import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b

import msgspec
from cachetools import FIFOCache

from ovx_lite.domain import urls
from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Event, Hit, Site
from ovx_lite.enrichment import access_log
from ovx_lite.enrichment.enrich import enrich
from ovx_lite.enrichment.geoip import CountryOf
from ovx_lite.services.disk_space import DiskSpace, measure
from ovx_lite.storage import salts
from ovx_lite.storage.read import events
from ovx_lite.storage.sqlite import transaction
from ovx_lite.storage.write import event_writer

_TOGETHER = 2000  # lines
_MOST_REMEMBERED = 20_000  # seconds
_MOST_LINES_REMEMBERED = 1_000_000
_MOST_DAYS = 30
_LONGEST = 4096
MAX_LINE_NUMBERS = 20
"""Numbers of broken lines that are reported for a file."""


class Report(msgspec.Struct):
    """What came of an import. `read` is `imported` and all of `skipped` together.

    `broken` has the numbers of the first broken lines of the last file, and `broken_lines` is how many there were.
    """

    read: int = 0
    imported: int = 0
    skipped: Counter[str] = msgspec.field(default_factory=Counter)
    broken: list[int] = []
    broken_lines: int = 0


class Importer:
    """Imports logs into one site, as if their visitors came by now, but for the time."""

    def __init__(
        self, conn: sqlite3.Connection, site: Site, country_of: CountryOf, now: int, disk: DiskSpace | None = None
    ) -> None:
        """Nothing is stored while `disk` is low."""
        self._conn = conn
        self._site = site
        self._country_of = country_of
        self._disk = disk
        self._known: FIFOCache[int, set[tuple[int, int]]] = FIFOCache(_MOST_DAYS)  # lines that were imported, by day
        self._log = event_writer.open_log(conn, secrets.randbits(20))
        self._salt = salts.today(conn, site.number, local_day(now, site.timezone), secrets.token_bytes(32))

    def run(self, lines: Iterable[str | int], report: Report) -> None:
        """Import the lines of one file, adding to `report`; what was stored stays, whatever happens after.

        A number among the lines stands for that many blank lines.
        """
        report.broken, report.broken_lines = [], 0
        seen: dict[int, Counter[int]] = {}  # how often each line was there, by second
        together: list[Event] = []
        begin = report.read
        try:
            for line in lines:
                count = line if isinstance(line, int) else 1
                first = report.read - begin + 1
                report.read += count
                event = "broken" if isinstance(line, int) else self._read(line, seen)
                if isinstance(event, Event):
                    together.append(event)
                else:
                    report.skipped[event] += count
                    if event == "broken":
                        report.broken_lines += count
                        report.broken += range(first, first + min(count, MAX_LINE_NUMBERS - len(report.broken)))
                if len(together) >= _TOGETHER:
                    self._store(together, report)
                    seen = _latest(seen)
        finally:
            self._store(together, report)

    def _read(self, line: str, seen: dict[int, Counter[int]]) -> Event | str:
        """The event of a page view in the log, or why the line is none."""
        request = access_log.parse(line)
        if isinstance(request, str):
            return request
        domain = self._site.domain
        try:
            page, campaign = urls.page(f"https://{domain or 'localhost'}{request.target}")
        except ValueError:
            return "broken"
        if len(request.target) > _LONGEST:
            return "broken"
        times = seen.setdefault(request.ts, Counter())
        times[request.digest] += 1
        hit = Hit(
            "pageview",
            "pageview",
            request.ts,
            page if domain else page._replace(host=""),
            campaign,
            _referrer(request.referrer),
            request.address,
            request.user_agent,
        )
        event = enrich(hit, "import", self._site, self._salt, self._country_of)
        return msgspec.structs.replace(event, line=_nth(request.digest, times[request.digest]))

    def _store(self, together: list[Event], report: Report) -> None:
        """Store those events that are not stored yet, whoever has stored them. Raises `Refused` if the disk is low."""
        if self._disk is not None and together:
            self._disk.update(measure(self._disk.data_dir))
            if self._disk.is_low:
                report.read -= len(together)
                together.clear()
                raise Refused("unavailable", f"The import stopped: {self._disk.reason}.")
        for last_try in (False, True):
            try:
                with transaction(self._conn):
                    if self._log.begin():  # somebody else has written
                        self._known.clear()
                    new = [event for event in together if self._is_new(event)]
                    self._log.add(self._site.number, new)
                    self._log.flush()
                break
            except sqlite3.IntegrityError:
                # Another process gave one of the numbers to an event of the same millisecond. The next are free.
                self._log.forget()
                self._known.clear()
                if last_try:
                    raise
        report.imported += len(new)
        if len(new) < len(together):
            report.skipped["repeats"] += len(together) - len(new)
        together.clear()

    def _is_new(self, event: Event) -> bool:
        """Whether a line was not imported yet, and remember that it is now."""
        lines = self._known.get(event.day)
        if lines is None:
            lines = self._known[event.day] = events.lines(self._conn, self._site, event.day)
        line = (event.ts, event.line or 0)
        if line in lines:
            return False
        lines.add(line)
        return True


def _latest(seen: dict[int, Counter[int]]) -> dict[int, Counter[int]]:
    """What is remembered of lines, without the older half if it is much."""
    if len(seen) > _MOST_REMEMBERED or sum(map(len, seen.values())) > _MOST_LINES_REMEMBERED:
        return dict(list(seen.items())[len(seen) // 2 + 1 :])
    return seen


def _nth(digest: int, times: int) -> int:
    """The digest of a line that is there the first, second, … time in its file: still 31 bits."""
    if times == 1:
        return digest
    return int.from_bytes(blake2b(b"%d %d" % (digest, times), digest_size=4).digest(), "big") >> 1


def _referrer(url: str) -> str:
    # What a visitor's browser sent is no fault of the log: what makes no sense counts as nothing.
    try:
        return urls.referrer(url[:_LONGEST])
    except ValueError:
        return ""
