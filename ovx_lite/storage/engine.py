"""The seam between the ledger, which stays in SQLite, and the engine that holds what is derived from events.

An engine is one implementation of each protocol. SQLite is the only one: `projection.Projection`,
`read.reader.SqliteReader` and the module `upkeep`.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from ovx_lite.domain.models import Goal, Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import Filter
from ovx_lite.stats.metrics import Counts, GroupKey, MetricInputs
from ovx_lite.stats.query import Query
from ovx_lite.stats.summary import RangeSummary, TopList
from ovx_lite.storage.ledger.event_journal import JournalEvent
from ovx_lite.storage.read.events import StoredEvent
from ovx_lite.storage.read.persons import PersonActivity, PersonRecord
from ovx_lite.storage.site_activity import LatestEvent


class EventWriter(Protocol):
    """Where the projector puts the events of the journal, a batch at a time: in visits, persons and counts.

    The journal's rows are deleted in the transaction in which `project` runs (`ledger.journal_drain`). If that
    transaction fails, or the process ends before its end, the same events come again, in the same order. SQLite takes
    part in the transaction, so it has forgotten the first attempt. An engine that does not take part must recognize
    events that it has, by site and ID. The transaction holds the store's write lock, so no request is accepted
    meanwhile: an engine that takes more than some milliseconds needs a drain that calls `project` before its
    transaction.

    Events refer to rows of the ledger's lookup tables, and may belong to sites that were removed meanwhile. When
    `project` has returned and the transaction has ended, an `EventReader` sees them.
    """

    def begin(self) -> bool:
        """Empty caches that may be outdated. Call it in each transaction, first. Return whether they were emptied."""

    def project(self, events: Sequence[JournalEvent]) -> None:
        """Write events, and what follows from them.

        Raises `sqlite3.IntegrityError` if the ID of one of them is taken by another event. The caller then rolls back.
        """

    def reset(self) -> None:
        """Empty the caches. Call it after a failed transaction, and after an `EventUpkeep` has changed events."""


class EventReader(Protocol):
    """What dashboards, the Stats API, exports and pages read of events, visits, persons and counts.

    An engine must give the same numbers as `docs/dashboard.md` and `docs/stats-api.md` define, which
    `tests/test_recount.py` counts again. Whether they come from counts that it keeps or from the events is its own
    choice. A reader sees each event that was projected before it was created. A query can be cancelled while it runs.
    Goals are in the ledger, so a reader needs its connection. A function whose arguments include filters raises
    `ApiError` if they name a goal that the site does not have.
    """

    def summarize(
        self,
        site: Site,
        date_range: DateRange,
        filters: Sequence[Filter],
        time_dimension: str,
        top_dimensions: Sequence[str],
        limit: int,
    ) -> RangeSummary:
        """Return totals, a series, revenue and the top values of dimensions, with up to `limit` values in each.

        It is one function, because one pass over the filtered visits can answer all of it.
        """

    def top(
        self,
        site: Site,
        date_range: DateRange,
        dimensions: Sequence[str],
        filters: Sequence[Filter],
        count_names: Sequence[str],
        limit: int,
    ) -> tuple[list[tuple[GroupKey, Counts]], int]:
        """Return the `limit` groups with the highest count of the first name, and the number of all groups.

        Only the counts in `count_names` are right. Pageviews are left out of event names.
        """

    def groups(self, site: Site, query: Query, date_range: DateRange) -> Iterator[tuple[GroupKey, MetricInputs]]:
        """Yield the groups of a query in a date range, in any order, with the inputs for the query's metrics.

        There may be millions of groups. A query without dimensions has one group, also without events.
        """

    def revenue(self, site: Site, date_range: DateRange, filters: Sequence[Filter]) -> Mapping[str, tuple[int, int]]:
        """Return the number of transactions and their sum in minor units by currency, most transactions first."""

    def prop_names(self, site: Site, date_range: DateRange, filters: Sequence[Filter]) -> list[str]:
        """Return the names of the custom properties that events have, most frequent first, at most 20."""

    def excluded_reasons(self, site: Site, date_range: DateRange, limit: int) -> TopList:
        """Return why events of a range are in no count, with the number of events for each reason."""

    def active_persons(self, site: Site, date_range: DateRange, limit: int) -> tuple[list[tuple[int, str, int]], int]:
        """Return the persons with most events (ID, the caller's ID, events), and the number of persons with events."""

    def count_active_visitors(self, site_id: int, now_ms: int) -> int:
        """Return how many visitors had an event in the 5 minutes before `now_ms`."""

    def oldest_event_ms(self, site_id: int) -> int | None:
        """Return the time (Unix ms) of the event that began a site's oldest visit, or None."""

    def latest_events(self, site_ids: Iterable[int]) -> dict[int, LatestEvent]:
        """Return the latest event of each of these sites that has events, by site ID."""

    def events(self, site: Site, since_ms: int, until_ms: int, with_excluded: bool) -> Iterator[StoredEvent]:
        """Yield a site's events from `since_ms` to before `until_ms`, oldest first."""

    def import_line_hashes(self, site: Site, day: int) -> set[tuple[int, int]]:
        """Return the log lines that were imported for a day, as pairs of the time (Unix ms) and the line's hash."""

    def persons(
        self, site_id: int, text: str = "", before: tuple[int, int] | None = None, limit: int | None = None
    ) -> list[PersonRecord]:
        """Return the persons whose ID, name or email contains `text`, newest first, at most `limit`.

        `before` is the end of the page before: `created_at_ms` and `id` of its last person.
        """

    def find_person(self, site_id: int, person_id: int | str) -> PersonRecord | None:
        """Return the person with an ID: as a number, the ID in the store; as a text, the caller's."""

    def person_activity(self, site_id: int, person: PersonRecord) -> PersonActivity:
        """Return the activity of a person, including events of linked visitors from before they were identified."""


class EventUpkeep(Protocol):
    """What changes or checks stored events, apart from the projection of new ones.

    Each function gets the ledger's connection, because `Database` sends functions of a connection to its threads. So
    SQLite's implementation is a module. On the server, `GroupCommitWriter.change` runs those that write: all accepted
    events are projected before, and an `EventWriter` is reset after. What a function does must survive a crash, and
    repeating a function that failed half-way must complete it. What is deleted or erased is in no answer of an
    `EventReader` after the function has returned.
    """

    def forget_day(self, conn: sqlite3.Connection, site: Site, day: int) -> int:
        """Delete the events of a site's day and what follows from them. Return the number of events.

        Call it inside a transaction.
        """

    def forget_site(self, conn: sqlite3.Connection, site_id: int) -> int:
        """Delete a site's events and what follows from them. Return the number of events.

        Call it inside the transaction that removes the site from the registry.
        """

    def erase_person(
        self, conn: sqlite3.Connection, site: Site, person: PersonRecord, new_visitor_ids: Iterator[int]
    ) -> int:
        """Delete a person. Their events stay, but belong to nobody. Return the number of these events.

        The events go to new visitors, whose IDs (48 bits) come from `new_visitor_ids`, so that no event that follows
        leads back to the person.
        """

    def add_goal(self, conn: sqlite3.Connection, goal: Goal, site: Site, now_ms: int) -> None:
        """Add a goal to the registry, unless it exists, and count it on the last 7 days.

        `catch_up` counts it on earlier days. Raises `ApiError` if the site has another goal of that name.
        """

    def remove_goal(self, conn: sqlite3.Connection, public_id: str) -> None:
        """Remove a goal from the registry, and its counts. Raises `ApiError` (`not_found`) if there is none."""

    def mark_all_dirty(self, conn: sqlite3.Connection, site: Site) -> int:
        """Have `catch_up` count all days of a site again. Return how many days there are."""

    def is_behind(self, conn: sqlite3.Connection) -> bool:
        """Return whether `catch_up` has anything to do."""

    def catch_up(self, conn: sqlite3.Connection) -> int:
        """Count a day again, or a goal on an earlier day. Return 0 if there is nothing to do.

        It does little at once, because requests wait for it.
        """

    def sites_to_finalize(self, conn: sqlite3.Connection, sites: Iterable[Site], now_ms: int) -> list[Site]:
        """Return the sites with a day that is over at `now_ms` but not finalized yet."""

    def finalize_next_day(self, conn: sqlite3.Connection, site: Site, now_ms: int) -> bool:
        """Count what is only certain once a day is over, for the next such day. Return whether there was one."""

    def problems(self, conn: sqlite3.Connection) -> list[str]:
        """Return what is wrong with the stored events and counts, a line of text each. SQLite checks its whole file."""
