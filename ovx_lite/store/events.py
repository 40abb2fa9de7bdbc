"""The event log: appending to it, and reading it back.

A later engine for more than one machine would replace this module and those that report from it, nothing else.
"""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from ovx_lite.errors import no_such_site
from ovx_lite.model import COUNTER_BITS, Event
from ovx_lite.store.db import insert
from ovx_lite.store.persons import OWNER, Persons
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

_APPEND = "INSERT INTO events (site, id, kind, page, origin, client, visit, props, line, person, revenue)"


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
        self._visits = Visits(conn)
        self._persons = Persons(conn)
        self._sites: set[int] = set()
        self._added: list[tuple[int, int, Event]] = []

    def begin(self) -> bool:
        """Forget what another process may have changed since, and do not remember more than a fair amount.

        Returns whether all was forgotten.
        """
        (version,) = self._conn.execute("PRAGMA data_version").fetchone()
        remembered = max(len(self._visits), len(self._persons), *(len(codes.known) for codes in self._codes))
        if version != self._file_version or remembered > _MOST_REMEMBERED:
            self.forget()
            self._file_version = version
            return True
        return False

    def add(self, site: int, events: list[Event]) -> list[int]:
        """Take events of one site, to be appended. Returns their numbers; `model.event_id` makes their names of them.

        Raises `Refused` (`invalid_site_id`), with nothing taken, if the site was removed in the meantime.
        """
        if site not in self._sites:
            if self._conn.execute("SELECT 1 FROM sites WHERE number = ?", (site,)).fetchone() is None:
                raise no_such_site()
            self._sites.add(site)
        numbers = []
        for event in events:
            self._counter = (self._counter + 1) & _COUNTER_MASK
            number = event.ts << COUNTER_BITS | self._counter
            numbers.append(number)
            self._added.append((site, number, event))
        return numbers

    def flush(self) -> None:
        """Append what was added."""
        visits, persons = self._visits, self._persons
        visits.look_up((site, event.stay) for site, _, event in self._added if event.stay is not None)
        pages, origins, clients, kinds = self._codes
        rows = []
        for site, number, event in self._added:
            rows.append(
                (
                    site,
                    number,
                    kinds.known.get(event.kind) or kinds.learn(event.kind),
                    pages.known.get(event.page) or pages.learn(event.page),
                    origins.known.get(event.origin) or origins.learn(event.origin),
                    clients.known.get(event.client) or clients.learn(event.client),
                    None if event.stay is None else visits.place((site, event.stay), number, event),
                    event.props,
                    event.line,
                    None if event.person is None else persons.place(site, event, event.person),
                    event.revenue,
                )
            )
        insert(self._conn, _APPEND, rows)
        visits.flush()
        persons.flush()
        self._added.clear()

    def forget(self) -> None:
        """Drop what is remembered and what was added but not written."""
        for codes in self._codes:
            codes.known.clear()
        self._sites.clear()
        self._visits.forget()
        self._persons.forget()
        self._added.clear()


def lines(conn: sqlite3.Connection, site: int, ts: int) -> set[int]:
    """The digests of the log lines that were imported to a site for the millisecond `ts`."""
    span = (site, ts << COUNTER_BITS, (ts + 1) << COUNTER_BITS)
    found = conn.execute("SELECT line FROM events WHERE site = ? AND id >= ? AND id < ? AND line IS NOT NULL", span)
    return {line for (line,) in found}


_READ = f"""
SELECT events.id, events.id >> {COUNTER_BITS}, api, type, name, host, path,
       referrer, source, channel, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
       country, browser, os, device, visitor, visits.id AS visit, persons.id AS person,
       context, props, revenue, currency, excluded
FROM events
JOIN kinds ON kinds.id = kind
JOIN pages ON pages.id = page
JOIN origins ON origins.id = origin
JOIN clients ON clients.id = client
LEFT JOIN visits ON visits.site = events.site AND visits.id = events.id - visit
LEFT JOIN persons ON persons.number = {OWNER}
WHERE events.site = ? AND events.id >= ? AND events.id < ? AND (excluded = '' OR ?)
ORDER BY events.id
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


def read(conn: sqlite3.Connection, site: int, since: int, until: int, excluded: bool) -> Iterator[Stored]:
    """A site's events from `since` to before `until` (Unix milliseconds), oldest first, one at a time.

    With `excluded`, also those that are in no count.
    """
    span = (since << COUNTER_BITS, until << COUNTER_BITS)
    return map(Stored._make, conn.execute(_READ, (site, *span, excluded)))


def oldest(conn: sqlite3.Connection, site: int) -> int | None:
    """When the oldest event of a site was (Unix ms); None if it has none."""
    (id,) = conn.execute("SELECT min(id) FROM events WHERE site = ?", (site,)).fetchone()
    return None if id is None else id >> COUNTER_BITS


def forget_before(conn: sqlite3.Connection, site: int, ts: int) -> int:
    """Delete a site's events, and visits, from before `ts` (Unix ms), which is one of the site's midnights.

    Over those no visit goes on. Returns how many events. Inside a transaction.
    """
    until = ts << COUNTER_BITS
    for table in ("visits", "events"):
        deleted = conn.execute(f"DELETE FROM {table} WHERE site = ? AND id < ?", (site, until)).rowcount
    return deleted


def forget_all(conn: sqlite3.Connection, site: int) -> int:
    """Delete a site's events and visits, and the strings that no other site's have. Returns how many events.

    Inside a transaction, of another process than the server's: it notices, and looks up its codes again.
    """
    deleted = conn.execute("DELETE FROM events WHERE site = ?", (site,)).rowcount
    for table in ("visits", "open_visits"):
        conn.execute(f"DELETE FROM {table} WHERE site = ?", (site,))
    for table, code in (("pages", "page"), ("origins", "origin"), ("clients", "client"), ("kinds", "kind")):
        conn.execute(f"DELETE FROM {table} WHERE id NOT IN (SELECT {code} FROM events)")
    return deleted


def open_log(conn: sqlite3.Connection, counter: int) -> EventLog:
    """The event log over a connection, to be made in the thread that will use it."""
    return EventLog(conn, counter)
