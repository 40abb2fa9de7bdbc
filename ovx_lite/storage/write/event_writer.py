"""The event log: appending to it.

A later engine for more than one machine would replace this module, `events` and those that report from them.
"""

import sqlite3
from collections.abc import Sized

from ovx_lite.domain.errors import no_such_site
from ovx_lite.domain.models import COUNTER_BITS, Event
from ovx_lite.storage.sqlite import insert
from ovx_lite.storage.write.identity_links import Persons
from ovx_lite.storage.write.rollup_writer import Rollups
from ovx_lite.storage.write.sessionizer import Visits

_COUNTER_MASK = (1 << COUNTER_BITS) - 1
_MOST_REMEMBERED, _MOST_EVER = 20_000, 200_000

_COLUMNS = {
    "pages": ("scheme", "host", "path"),
    "traffic_sources": (
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
    "event_types": ("api", "type", "name", "excluded_reason", "context", "currency"),
}

_APPEND = """
INSERT INTO events (
    site_id, visit_id, id_offset, event_type_id, page_id, traffic_source_id, client_id, props, import_line_hash,
    person_id, revenue_minor
)
"""


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
        self._since = 0

    def begin(self) -> bool:
        """Forget what another process may have changed since, and do not remember more than a fair amount.

        Returns whether all was forgotten.
        """
        (version,) = self._conn.execute("PRAGMA data_version").fetchone()
        parts: tuple[Sized, ...] = (self._visits, self._persons, self._rollups, *(codes.known for codes in self._codes))
        remembered = max(map(len, parts))
        # If those who are there now have seen much, it is much to learn again, and worth it only after as many events.
        worn = remembered > _MOST_REMEMBERED and (remembered < self._since or remembered > _MOST_EVER)
        # Of which goals a visit has met, nothing is known of those that are new.
        if self._rollups.begin() or version != self._file_version or worn:
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
            found = self._conn.execute("SELECT timezone FROM sites WHERE id = ?", (site,)).fetchone()
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
            origin = origins.known.get(event.origin) or origins.learn(event.origin)
            client = clients.known.get(event.client) or clients.learn(event.client)
            later = None if event.guest is None else visits.place(site, number, event, codes, (origin, client))
            rollups.add_event(site, event, codes, later is None)
            later = later or 0
            rows.append(
                (
                    site,
                    number - later,
                    later,
                    kind,
                    page,
                    origin,
                    client,
                    event.props,
                    event.line,
                    None if event.person is None else persons.place(site, event, event.person),
                    event.revenue,
                )
            )
        insert(self._conn, _APPEND, rows)
        visits.flush()
        persons.flush()
        rollups.flush()
        self._since += len(self._added)
        self._added.clear()

    def forget(self) -> None:
        """Drop what is remembered and what was added but not written."""
        for codes in self._codes:
            codes.known.clear()
        self._timezones.clear()
        self._visits.forget()
        self._persons.forget()
        self._rollups.forget()
        self._added.clear()
        self._since = 0


def open_log(conn: sqlite3.Connection, counter: int) -> EventLog:
    """The event log over a connection, to be made in the thread that will use it."""
    return EventLog(conn, counter)
