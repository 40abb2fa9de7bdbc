"""From a web server's access log into the store, with the log's own times.

A second import of the same lines adds nothing. What is remembered of a line is a digest without its address: so
two lines of one second that are alike in all else count as often as they are in one file, and a line is a repeat
if the store has it as often already.
"""

import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from ovx_lite import accesslog, urls
from ovx_lite.enrich import enrich
from ovx_lite.geo import CountryOf
from ovx_lite.model import Event, Hit, Site, local_day
from ovx_lite.store import events, salts
from ovx_lite.store.db import transaction

_TOGETHER = 2000  # lines
_MOST_REMEMBERED = 100_000


class Report(msgspec.Struct):
    """What came of an import. `read` is `imported` and all of `skipped` together; `broken` has line numbers."""

    read: int = 0
    imported: int = 0
    skipped: Counter[str] = msgspec.field(default_factory=Counter)
    broken: list[int] = []


class Importer:
    """Imports logs into one site, as if their visitors came by now, but for the time."""

    def __init__(self, conn: sqlite3.Connection, site: Site, country_of: CountryOf, now: int) -> None:
        self._conn = conn
        self._site = site
        self._country_of = country_of
        self._log = events.open_log(conn, secrets.randbits(20))
        self._salt = salts.today(conn, site.number, local_day(now, site.timezone), secrets.token_bytes(32))

    def run(self, lines: Iterable[str], report: Report) -> None:
        """Import the lines of one file, adding to `report`; what was stored stays, whatever happens after."""
        stored: dict[int, set[int]] = {}  # by second, the digests that were in the store before
        seen: Counter[int] = Counter()
        together: list[Event] = []
        for number, line in enumerate(lines, 1):
            report.read += 1
            request = accesslog.parse(line)
            if isinstance(request, str):
                report.skipped[request] += 1
                if request == "broken":
                    report.broken.append(number)
                continue
            if len(seen) > _MOST_REMEMBERED:
                seen.clear()
                stored.clear()
            digest = _nth(request.digest, seen[request.digest])
            seen[request.digest] += 1
            if request.ts not in stored:
                stored[request.ts] = events.lines(self._conn, self._site.number, request.ts)
            if digest in stored[request.ts]:
                report.skipped["repeats"] += 1
                continue
            together.append(self._event(request, digest))
            if len(together) == _TOGETHER:
                self._store(together, report)
        self._store(together, report)

    def _event(self, request: accesslog.Request, digest: int) -> Event:
        domain = self._site.domain
        page, campaign = urls.page(f"https://{domain or 'localhost'}{request.target}")
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
        return msgspec.structs.replace(event, line=digest)

    def _store(self, together: list[Event], report: Report) -> None:
        for last_try in (False, True):
            try:
                with transaction(self._conn):
                    self._log.begin()
                    self._log.add(self._site.number, together)
                    self._log.flush()
                break
            except sqlite3.IntegrityError:
                # Another process gave one of the numbers to an event of the same millisecond. The next are free.
                self._log.forget()
                if last_try:
                    raise
        report.imported += len(together)
        together.clear()


def _nth(digest: int, times: int) -> int:
    """The digest of a line that was there so many `times` before, in the same file: still 31 bits."""
    if not times:
        return digest
    return int.from_bytes(blake2b(b"%d %d" % (digest, times), digest_size=4).digest(), "big") >> 1


def _referrer(url: str) -> str:
    # What a visitor's browser sent is no fault of the log: what makes no sense counts as nothing.
    try:
        return urls.referrer(url)
    except ValueError:
        return ""
