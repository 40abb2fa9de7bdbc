"""The event log: appending to it, and reading it back.

A later engine for more than one machine would replace this module and those that report from it, nothing else.
"""

import sqlite3
from collections.abc import Iterator, Sized
from typing import NamedTuple

from ovx_lite.days import day_begins, local_day
from ovx_lite.errors import no_such_site
from ovx_lite.model import COUNTER_BITS, LATEST, Client, Event, Origin, Page, Site
from ovx_lite.store import sums
from ovx_lite.store.db import insert
from ovx_lite.store.persons import OWNER, Persons
from ovx_lite.store.rollups import Rollups
from ovx_lite.store.visits import Visits

_COUNTER_MASK = (1 << COUNTER_BITS) - 1
_MOST_REMEMBERED = 20_000

_COLUMNS = {
    "pages": ("scheme", "host", "path"),
    "origins": (
        "referrer",
        "source",
        "channel",
        "utm_source",
        "utm_medium",
        "utm_campaign",
        "utm_content",
        "utm_term",
    ),
    "clients": ("browser", "os", "device", "country"),
    "kinds": ("api", "type", "name", "excluded", "context", "currency"),
}

_APPEND = "INSERT INTO events (site, visit, later, kind, page, origin, client, props, line, person, revenue)"


class Codes:
    """The numbers of strings that repeat, in one table: looked up once, then remembered."""

    def __init__(self, conn: sqlite3.Connection, table: str) -> None:
        columns = _COLUMNS[table]
        self._conn = conn
        self._find = f"SELECT id FROM {table} WHERE " + " AND ".join(f"{column} = ?" for column in columns)
        self._add = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) RETURNING id"
        self.known: dict[tuple[str, ...], int] = {}

    def learn(self, words: tuple[str, ...]) -> int:
        """The number of `words`, which is not among the `known`: a new one if they are new. Inside a transaction."""
        found = self._conn.execute(self._find, words).fetchone() or self._conn.execute(self._add, words).fetchone()
        code = self.known[words] = int(found[0])
        return code


class EventLog:
    """Appends events over one connection. What it remembers of the file is only a shortcut, and checked.

    Use within a transaction: `begin`, `add` as often as there are requests, `flush`. After a transaction that
    failed: `forget`.
    """

    def __init__(self, conn: sqlite3.Connection, counter: int) -> None:
        """`counter` is where the numbers that tell apart events of one millisecond begin: any, best a random one."""
        self._conn = conn
        self._counter = counter
        self._file_version = -1
        self._codes = [Codes(conn, table) for table in _COLUMNS]
        self._rollups = Rollups(conn)
        self._visits = Visits(conn, self._rollups)
        self._persons = Persons(conn)
        self._timezones: dict[int, str] = {}
        self._added: list[tuple[int, int, Event]] = []

    def begin(self) -> bool:
        """Forget what another process may have changed since, and do not remember more than a fair amount.

        Returns whether all was forgotten.
        """
        (version,) = self._conn.execute("PRAGMA data_version").fetchone()
        parts: tuple[Sized, ...] = (self._visits, self._persons, self._rollups, *(codes.known for codes in self._codes))
        remembered = max(map(len, parts))
        # Of which goals a visit has met, nothing is known of those that are new.
        if self._rollups.begin() or version != self._file_version or remembered > _MOST_REMEMBERED:
            self.forget()
            self._rollups.begin()
            self._file_version = version
            return True
        return False

    def add(self, site: int, events: list[Event]) -> list[int]:
        """Take events of one site, to be appended. Returns their numbers; `model.event_id` makes their names of them.

        Raises `Refused` (`invalid_site_id`), with nothing taken, if the site was removed in the meantime.
        """
        if site not in self._timezones:
            found = self._conn.execute("SELECT timezone FROM sites WHERE number = ?", (site,)).fetchone()
            if found is None:
                raise no_such_site()
            self._timezones[site] = found[0]
        numbers = []
        for event in events:
            self._counter = (self._counter + 1) & _COUNTER_MASK
            number = event.ts << COUNTER_BITS | self._counter
            numbers.append(number)
            self._added.append((site, number, event))
        return numbers

    def flush(self) -> None:
        """Append what was added."""
        visits, persons, rollups = self._visits, self._persons, self._rollups
        visits.look_up(self._added, self._timezones)
        pages, origins, clients, kinds = self._codes
        rows = []
        for site, number, event in self._added:
            kind = kinds.known.get(event.kind) or kinds.learn(event.kind)
            page = pages.known.get(event.page) or pages.learn(event.page)
            codes = (kind, page)
            rollups.add_event(site, event, codes)
            later = 0 if event.guest is None else visits.place(site, number, event, codes)
            rows.append(
                (
                    site,
                    number - later,
                    later,
                    kind,
                    page,
                    origins.known.get(event.origin) or origins.learn(event.origin),
                    clients.known.get(event.client) or clients.learn(event.client),
                    event.props,
                    event.line,
                    None if event.person is None else persons.place(site, event, event.person),
                    event.revenue,
                )
            )
        insert(self._conn, _APPEND, rows)
        visits.flush(self._code_of)
        persons.flush()
        rollups.flush()
        self._added.clear()

    def _code_of(self, words: Page | Origin | Client) -> int:
        codes = self._codes[{Page: 0, Origin: 1, Client: 2}[type(words)]]
        return codes.known.get(words) or codes.learn(words)

    def forget(self) -> None:
        """Drop what is remembered and what was added but not written."""
        for codes in self._codes:
            codes.known.clear()
        self._timezones.clear()
        self._visits.forget()
        self._persons.forget()
        self._rollups.forget()
        self._added.clear()


def lines(conn: sqlite3.Connection, site: Site, day: int) -> set[tuple[int, int]]:
    """The log lines that were imported to a site for one of its days: of each its time (Unix ms) and its digest."""
    query = f"SELECT visit + later >> {COUNTER_BITS}, line FROM events WHERE {OF_DAY} AND line IS NOT NULL"
    return set(conn.execute(query, (site.number, *ids_of_day(day, site.timezone))))


OF_DAY = "site = ? AND visit >= ? AND visit < ?"
"""Events of a day, as SQL for a site's number and `ids_of_day`: no visit goes over midnight."""


def ids_of_day(day: int, timezone: str) -> tuple[int, int]:
    """The least number of an event, or visit, of a day in a time zone, and that of the next day."""
    begin, end = day_begins(day, timezone), day_begins(day + 1, timezone)
    return max(begin, 0) << COUNTER_BITS, min(end, LATEST) << COUNTER_BITS


_READ = f"""
SELECT visit + later AS id, visit + later >> {COUNTER_BITS}, api, type, name, host, path,
       referrer, source, channel, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
       country, browser, os, device, visitor, visits.id AS visit, persons.id AS person,
       context, props, revenue, currency, excluded
FROM events
JOIN kinds ON kinds.id = kind
JOIN pages ON pages.id = page
JOIN origins ON origins.id = events.origin
JOIN clients ON clients.id = events.client
LEFT JOIN visits ON visits.site = events.site AND visits.id = visit
LEFT JOIN persons ON persons.number = {OWNER}
WHERE events.{OF_DAY} AND visit + later >= ? AND visit + later < ? AND (excluded = '' OR ?)
ORDER BY visit + later
"""


class Stored(NamedTuple):
    """An event as it is read back; `ts` in Unix milliseconds, `revenue` in minor units."""

    id: int
    ts: int
    api: str
    type: str
    name: str
    host: str
    path: str
    referrer: str
    source: str
    channel: str
    utm_source: str
    utm_medium: str
    utm_campaign: str
    utm_content: str
    utm_term: str
    country: str
    browser: str
    os: str
    device: str
    visitor: int | None
    visit: int | None
    person: str | None
    context: str
    props: str | None
    revenue: int | None
    currency: str
    excluded: str


def read(conn: sqlite3.Connection, site: Site, since: int, until: int, excluded: bool) -> Iterator[Stored]:
    """A site's events from `since` to before `until` (Unix milliseconds), oldest first, one at a time.

    With `excluded`, also those that are in no count.
    """
    for day in days(conn, site, since, until):
        of_day = (site.number, *ids_of_day(day, site.timezone), since << COUNTER_BITS, until << COUNTER_BITS)
        yield from map(Stored._make, conn.execute(_READ, (*of_day, excluded)))


def days(conn: sqlite3.Connection, site: Site, since: int = 0, until: int = LATEST) -> range:
    """A site's days from that of its first event to that of its last, as far as they are in this time (Unix ms)."""
    # Each on its own is a look at one end of the table.
    first, last = (
        conn.execute(f"SELECT {end}(visit) FROM events WHERE site = ?", (site.number,)).fetchone()[0]
        for end in ("min", "max")
    )
    if first is None or since >= until:
        return range(0)
    begin, end = max(since, first >> COUNTER_BITS), min(until - 1, last >> COUNTER_BITS)
    # The visit that was told of first may have begun a little later than an event of it that was told late.
    return range(local_day(begin, site.timezone), local_day(max(end, begin), site.timezone) + 1)


def oldest(conn: sqlite3.Connection, site: int) -> int | None:
    """When the oldest visit of a site was told of first (Unix ms); None if it has no events."""
    (id,) = conn.execute("SELECT min(visit) FROM events WHERE site = ?", (site,)).fetchone()
    return None if id is None else id >> COUNTER_BITS


def forget_day(conn: sqlite3.Connection, site: Site, day: int) -> int:
    """Delete a day of a site, its events, visits and counts. Returns how many events. Inside a transaction."""
    span = (site.number, *ids_of_day(day, site.timezone))
    conn.execute("DELETE FROM visits WHERE site = ? AND id >= ? AND id < ?", span)
    sums.forget(conn, site.number, day)
    return conn.execute(f"DELETE FROM events WHERE {OF_DAY}", span).rowcount


def forget_all(conn: sqlite3.Connection, site: int) -> int:
    """Delete a site's events and visits, and the strings that no other site's have. Returns how many events.

    Inside a transaction, of another process than the server's: it notices, and looks up its codes again.
    """
    deleted = conn.execute("DELETE FROM events WHERE site = ?", (site,)).rowcount
    for table in ("visits", "open_visits"):
        conn.execute(f"DELETE FROM {table} WHERE site = ?", (site,))
    sums.forget_all(conn, site)
    for table, code in (("pages", "page"), ("origins", "origin"), ("clients", "client"), ("kinds", "kind")):
        conn.execute(f"DELETE FROM {table} WHERE id NOT IN (SELECT {code} FROM events)")
    conn.execute("DELETE FROM words WHERE id NOT IN (SELECT value FROM rollups)")
    return deleted


def open_log(conn: sqlite3.Connection, counter: int) -> EventLog:
    """The event log over a connection, to be made in the thread that will use it."""
    return EventLog(conn, counter)
