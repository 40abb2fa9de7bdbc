"""Import pageviews from a web server's access log, with the times of the log.

A second import of the same lines adds nothing: each event stores a digest of its line, without the IP address. Equal
lines of one second in a file are different requests. So the digest includes how often the line occurred before in its
file: both lines are imported, and both are recognized as repeats the next time.
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
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Event, Hit, Site
from ovx_lite.enrichment import access_log
from ovx_lite.enrichment.enrich import enrich
from ovx_lite.enrichment.geoip import CountryLookup
from ovx_lite.services.disk_space import DiskSpace, measure
from ovx_lite.storage import salts
from ovx_lite.storage.projection.bulk_writer import BulkWriter
from ovx_lite.storage.read.reader import SqliteReader
from ovx_lite.storage.sqlite import transaction

_BATCH_SIZE = 2000  # events per transaction
_MAX_REMEMBERED_SECONDS = 20_000  # seconds of the log whose lines are counted for the digests
_MAX_REMEMBERED_LINES = 1_000_000
_MAX_CACHED_DAYS = 30
_MAX_URL_LENGTH = 4096
MAX_REPORTED_LINES = 20
"""How many line numbers of broken lines to report for a file."""


class ImportReport(msgspec.Struct):
    """The result of an import. `lines_read` is the sum of `imported` and all counts in `skipped` (by reason).

    `broken_line_numbers` are the first broken lines of the last file, and `broken_line_count` is how many it has.
    """

    lines_read: int = 0
    imported: int = 0
    skipped: Counter[str] = msgspec.field(default_factory=Counter)
    broken_line_numbers: list[int] = []
    broken_line_count: int = 0


class LogImporter:
    """Imports logs into one site. Apart from their times, pageviews are handled like those that arrive now."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        site: Site,
        country_of: CountryLookup,
        now_ms: int,
        disk: DiskSpace | None = None,
    ) -> None:
        """Nothing is imported while `disk` is low; `None` turns that check off."""
        self._conn = conn
        self._site = site
        self._country_of = country_of
        self._disk = disk
        # The time and digest of the imported lines, by day
        self._imported_lines: FIFOCache[int, set[tuple[int, int]]] = FIFOCache(_MAX_CACHED_DAYS)
        self._reader = SqliteReader(conn)
        self._bulk_writer = BulkWriter(conn, secrets.randbits(20))
        self._salt = salts.of_day(conn, site.id, local_day(now_ms, site.timezone), secrets.token_bytes(32))

    def run(self, lines: Iterable[str | int], report: ImportReport) -> None:
        """Import the lines of one file, and add to `report`. A number among the lines stands for that many blank lines.

        It stores a batch at a time, and the last one also if reading the lines fails. Raises `ApiError` if the disk is
        low.
        """
        report.broken_line_numbers, report.broken_line_count = [], 0
        occurrences: dict[int, Counter[int]] = {}  # how often each line occurred, by its time and digest
        batch: list[Event] = []
        lines_before = report.lines_read
        try:
            for line in lines:
                count = line if isinstance(line, int) else 1
                first_line = report.lines_read - lines_before + 1
                report.lines_read += count
                event = "broken" if isinstance(line, int) else self._parse_line(line, occurrences)
                if isinstance(event, Event):
                    batch.append(event)
                else:
                    report.skipped[event] += count
                    if event == "broken":
                        _report_broken_lines(report, first_line, count)
                if len(batch) >= _BATCH_SIZE:
                    self._store_batch(batch, report)
                    occurrences = _drop_older_half(occurrences)
        finally:
            self._store_batch(batch, report)

    def _parse_line(self, line: str, occurrences: dict[int, Counter[int]]) -> Event | str:
        """Return the event of a pageview, or the reason why the line is skipped."""
        entry = access_log.parse(line)
        if isinstance(entry, str):
            return entry
        domain = self._site.domain
        try:
            page, campaign = urls.parse_url(f"https://{domain or 'localhost'}{entry.target}")
        except ValueError:
            return "broken"
        if len(entry.target) > _MAX_URL_LENGTH:
            return "broken"
        counts = occurrences.setdefault(entry.timestamp_ms, Counter())
        counts[entry.digest] += 1
        hit = Hit(
            type="pageview",
            name="pageview",
            timestamp_ms=entry.timestamp_ms,
            page=page if domain else page._replace(host=""),
            campaign=campaign,
            referrer=_referrer(entry.referrer),
            address=entry.address,
            user_agent=entry.user_agent,
        )
        event = enrich(hit, "import", self._site, self._salt, self._country_of)
        return msgspec.structs.replace(event, import_line_hash=_occurrence_digest(entry.digest, counts[entry.digest]))

    def _store_batch(self, batch: list[Event], report: ImportReport) -> None:
        """Store the events of a batch that were not imported before, and empty the batch.

        Raises `ApiError` (`unavailable`) if the disk is low.
        """
        if self._disk is not None and batch:
            self._disk.update(measure(self._disk.data_dir))
            if self._disk.is_low:
                report.lines_read -= len(batch)
                batch.clear()
                raise ApiError("unavailable", f"The import stopped: {self._disk.reason}.")
        for is_last_attempt in (False, True):
            try:
                with transaction(self._conn):
                    if self._bulk_writer.begin():  # another process has written to the store
                        self._imported_lines.clear()
                    new_events = [event for event in batch if self._is_new(event)]
                    self._bulk_writer.add(self._site.id, new_events)
                break
            except sqlite3.IntegrityError:
                # Another process has used one of the IDs for an event of the same millisecond. The next IDs are free.
                self._bulk_writer.reset()
                self._imported_lines.clear()
                if is_last_attempt:
                    raise
        report.imported += len(new_events)
        if len(new_events) < len(batch):
            report.skipped["repeats"] += len(batch) - len(new_events)
        batch.clear()

    def _is_new(self, event: Event) -> bool:
        """Return whether an event's line was not imported yet, and remember it as imported."""
        lines = self._imported_lines.get(event.day)
        if lines is None:
            lines = self._imported_lines[event.day] = self._reader.import_line_hashes(self._site, event.day)
        line = (event.timestamp_ms, event.import_line_hash or 0)
        if line in lines:
            return False
        lines.add(line)
        return True


def _report_broken_lines(report: ImportReport, first_line: int, count: int) -> None:
    report.broken_line_count += count
    reported_count = min(count, MAX_REPORTED_LINES - len(report.broken_line_numbers))
    report.broken_line_numbers += range(first_line, first_line + reported_count)


def _drop_older_half(occurrences: dict[int, Counter[int]]) -> dict[int, Counter[int]]:
    """Return the counts of lines, without the older half of the seconds if there are too many."""
    if len(occurrences) > _MAX_REMEMBERED_SECONDS or sum(map(len, occurrences.values())) > _MAX_REMEMBERED_LINES:
        return dict(list(occurrences.items())[len(occurrences) // 2 + 1 :])
    return occurrences


def _occurrence_digest(digest: int, occurrence: int) -> int:
    """Return the digest (31 bits) of a line that occurs for the first, second, … time in its file."""
    if occurrence == 1:
        return digest
    return int.from_bytes(blake2b(b"%d %d" % (digest, occurrence), digest_size=4).digest(), "big") >> 1


def _referrer(url: str) -> str:
    # The visitor's browser sent it. If it is invalid, the line is still good, so the event just has no referrer.
    try:
        return urls.parse_referrer(url[:_MAX_URL_LENGTH])
    except ValueError:
        return ""
