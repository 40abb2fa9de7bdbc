"""`EventReader` over SQLite. The queries are in the other modules of this package."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import Filter
from ovx_lite.stats.metrics import Counts, GroupKey, MetricInputs
from ovx_lite.stats.query import Query
from ovx_lite.stats.summary import RangeSummary, TopList
from ovx_lite.storage import site_activity
from ovx_lite.storage.ledger import alerts
from ovx_lite.storage.read import (
    custom_props,
    event_queries,
    events,
    metric_inputs,
    persons,
    range_summary,
    revenue,
    rollup_queries,
)
from ovx_lite.storage.read.events import StoredEvent
from ovx_lite.storage.read.persons import PersonActivity, PersonRecord
from ovx_lite.storage.rollups.dimensions import Dimension
from ovx_lite.storage.site_activity import LatestEvent


class SqliteReader:
    """Reads over one connection, in its thread. It keeps nothing between two calls."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    def summarize(
        self,
        site: Site,
        date_range: DateRange,
        filters: Sequence[Filter],
        time_dimension: str,
        top_dimensions: Sequence[str],
        limit: int,
    ) -> RangeSummary:
        """Return totals, a series, revenue and top values."""
        return range_summary.load(self._conn, site, date_range, filters, time_dimension, top_dimensions, limit)

    def top(
        self,
        site: Site,
        date_range: DateRange,
        dimensions: Sequence[str],
        filters: Sequence[Filter],
        count_names: Sequence[str],
        limit: int,
    ) -> tuple[list[tuple[GroupKey, Counts]], int]:
        """Return the groups with the highest count of the first name, and the number of all groups."""
        return event_queries.top_groups(self._conn, site, date_range, dimensions, filters, count_names, limit)

    def groups(self, site: Site, query: Query, date_range: DateRange) -> Iterator[tuple[GroupKey, MetricInputs]]:
        """Yield the groups of a query with the inputs for its metrics."""
        return metric_inputs.load(self._conn, site, query, date_range)

    def revenue(self, site: Site, date_range: DateRange, filters: Sequence[Filter]) -> Mapping[str, tuple[int, int]]:
        """Return transactions and their sum by currency."""
        return revenue.by_currency(self._conn, site, date_range, filters)

    def prop_names(self, site: Site, date_range: DateRange, filters: Sequence[Filter]) -> list[str]:
        """Return the names of custom properties."""
        return custom_props.prop_names(self._conn, site, date_range, filters)

    def excluded_reasons(self, site: Site, date_range: DateRange, limit: int) -> TopList:
        """Return why events are in no count."""
        return TopList(*rollup_queries.top(self._conn, site, date_range, Dimension.EXCLUDED, limit, "events"))

    def active_persons(self, site: Site, date_range: DateRange, limit: int) -> tuple[list[tuple[int, str, int]], int]:
        """Return the persons with most events."""
        return rollup_queries.persons(self._conn, site, date_range, limit)

    def count_active_visitors(self, site_id: int, now_ms: int) -> int:
        """Return how many visitors are active."""
        return len(alerts.recent_visitors(self._conn, site_id, now_ms))

    def oldest_event_ms(self, site_id: int) -> int | None:
        """Return the time of the event that began a site's oldest visit."""
        return events.oldest_event_ms(self._conn, site_id)

    def latest_events(self, site_ids: Iterable[int]) -> dict[int, LatestEvent]:
        """Return the latest event of sites."""
        return site_activity.latest_events(self._conn, site_ids)

    def events(self, site: Site, since_ms: int, until_ms: int, with_excluded: bool) -> Iterator[StoredEvent]:
        """Yield a site's events, oldest first."""
        return events.read(self._conn, site, since_ms, until_ms, with_excluded)

    def import_line_hashes(self, site: Site, day: int) -> set[tuple[int, int]]:
        """Return the log lines that were imported for a day."""
        return events.import_line_hashes(self._conn, site, day)

    def persons(
        self, site_id: int, text: str = "", before: tuple[int, int] | None = None, limit: int | None = None
    ) -> list[PersonRecord]:
        """Return the persons of a site, newest first."""
        return persons.page(self._conn, site_id, text, before, limit)

    def find_person(self, site_id: int, person_id: int | str) -> PersonRecord | None:
        """Return the person with an ID."""
        return persons.find(self._conn, site_id, person_id)

    def person_activity(self, site_id: int, person: PersonRecord) -> PersonActivity:
        """Return the activity of a person."""
        return persons.activity(self._conn, site_id, person)
