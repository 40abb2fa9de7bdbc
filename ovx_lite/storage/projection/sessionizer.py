"""Visits: series of events of one visitor without a pause of more than 30 minutes. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from ovx_lite.domain.calendar import MINUTE_MS
from ovx_lite.domain.models import COUNTER_BITS
from ovx_lite.storage.ledger.event_journal import JournalEvent
from ovx_lite.storage.projection.dimension_keys import EventFacts
from ovx_lite.storage.projection.visits import Visit
from ovx_lite.storage.rollups.dimensions import Dimension

VISIT_TIMEOUT_MS = 30 * MINUTE_MS
"""The longest pause within a visit."""

MAX_EVENTS_PER_VISITOR = 5_000
"""How many events a visitor's visits of a day can have together.

Only programs send more, and comparing each of their events with all visits of the day would take too long.
"""

SourceAndClient = tuple[int, int]
"""The row IDs of a visit's traffic source and client."""


class PageMove(msgspec.Struct, frozen=True, gc=False):
    """A visit got another entry or exit page. `others` are those of the visitor's other visits of the day."""

    dimension: Dimension
    old_page_id: int | None
    new_page_id: int
    others: Sequence[int]


class SourceMove(msgspec.Struct, frozen=True, gc=False):
    """A visit got the traffic source and client of an earlier event, which arrived late. `others` as in `PageMove`."""

    old: SourceAndClient
    new: SourceAndClient
    others: Sequence[SourceAndClient]


class VisitChange(msgspec.Struct, gc=False):
    """How a batch of events changes one visit. `visit` is the visit after the change.

    - `events` are the events that the batch adds to the visit.
    - `began_with` are the traffic source and client of a visit that begins, `None` if it began before. `others` are
      those that the visitor's other visits of the day had then.
    - `visitor_keys` are the dimension keys that the visitor had in no visit of the day before, `visit_keys` those that
      only this visit did not have.
    - `bounces` is the change of the number of visits with one event: -1, 0 or 1.
    """

    visit: Visit
    events: list[JournalEvent] = []
    began_with: SourceAndClient | None = None
    others: tuple[SourceAndClient, ...] = ()
    added_duration_ms: int = 0
    bounces: int = 0
    visitor_keys: list[int] = []
    visit_keys: tuple[int, ...] = ()
    page_moves: tuple[PageMove, ...] = ()
    source_moves: tuple[SourceMove, ...] = ()


def sessionize(
    events: Sequence[JournalEvent],
    visits: list[Visit],
    facts_by_ids: Mapping[tuple[int, int], EventFacts],
    counts_exit_pages: bool,
) -> list[VisitChange]:
    """Assign the events of one visitor and day to the visitor's visits, and return how the visits change.

    `visits` are the visitor's visits of that day. They are changed, and visits that begin are appended. `facts_by_ids`
    has the facts of the events by the IDs of event type and page. `counts_exit_pages` says whether the day is over, so
    that a change of an exit page changes the rollups.

    Events may arrive late, in any order. An event that is in no change belongs to no visit: an engagement event without
    an open visit, and an event beyond `MAX_EVENTS_PER_VISITOR`.
    """
    changes: list[VisitChange] = []
    event_count = visits[0].events if len(visits) == 1 else sum(visit.events for visit in visits)
    change: VisitChange | None = None
    visit: Visit | None = None  # that of `change`
    for event in events:
        if event_count >= MAX_EVENTS_PER_VISITOR:
            break
        event_id = event.id
        event_ms = event_id >> COUNTER_BITS
        facts = facts_by_ids[event.event_type_id, event.page_id]
        if change is None or visit is None or len(visits) > 1 or not _continues(visit, event, event_ms):
            open_visit = _find_open_visit(visits, event, event_ms)
            if open_visit is not None:
                change = _change_of(open_visit, changes)
            elif facts.is_engagement:
                continue
            else:
                change = _begin_visit(event, visits, changes)
            visit = change.visit
        change.events.append(event)
        elapsed_ms = event_ms - (visit.id >> COUNTER_BITS)
        if elapsed_ms > visit.duration_ms:
            change.added_duration_ms += elapsed_ms - visit.duration_ms
            visit.duration_ms = elapsed_ms
        elif -elapsed_ms > visit.early_ms:
            change.added_duration_ms += -elapsed_ms - visit.early_ms
            visit.early_ms = -elapsed_ms
        visit.page_type_bloom |= facts.bloom_bits
        if facts.is_engagement:
            continue
        event_count += 1
        visit.events += 1
        if visit.events == 2:
            change.bounces -= 1
        if event_id < visit.first_event_id:
            _replace_source_and_client(change, event, visits)
        if new_keys := facts.keys - visit.dimension_keys:
            visit.dimension_keys |= new_keys
            if len(visits) == 1:
                change.visitor_keys += new_keys
            else:
                _divide_keys(change, new_keys, visits)
        if facts.is_pageview:
            visit.pageviews += 1
            if facts.is_page:
                if event_id > visit.exit_event_id and visit.entry_event_id and not counts_exit_pages:  # most of them
                    visit.exit_page_id, visit.exit_event_id = event.page_id, event_id
                else:
                    _record_page(change, event, visits, counts_exit_pages)
    return changes


def _continues(visit: Visit, event: JournalEvent, event_ms: int) -> bool:
    """Return whether an event continues a visit: by its session key, or, without one, by the pause between them."""
    if not visit.is_open or visit.session_key != event.session_key:
        return False
    if event.session_key is not None:
        return True
    offset_ms = event_ms - (visit.id >> COUNTER_BITS)
    return -visit.early_ms - VISIT_TIMEOUT_MS <= offset_ms <= visit.duration_ms + VISIT_TIMEOUT_MS


def _find_open_visit(visits: list[Visit], event: JournalEvent, event_ms: int) -> Visit | None:
    """Return the visit that an event continues, the latest one if there are several."""
    for visit in reversed(visits):
        if _continues(visit, event, event_ms):
            return visit
    return None


def _begin_visit(event: JournalEvent, visits: list[Visit], changes: list[VisitChange]) -> VisitChange:
    assert event.visitor_id is not None, "an event with a daily visitor ID has a visitor ID"
    assert event.daily_visitor_id is not None, "events without a visitor are not sessionized"
    visit = Visit(
        event.site_id,
        event.day,
        event.daily_visitor_id,
        event.id,
        event.visitor_id,
        event.visitor_id != event.daily_visitor_id,
        event.session_key,
        event.traffic_source_id,
        event.client_id,
        event.id,
    )
    change = VisitChange(visit, began_with=(event.traffic_source_id, event.client_id), bounces=1)
    changes.append(change)
    if visits:
        visit.is_only_visit_of_day = False
        change.others = tuple((other.traffic_source_id, other.client_id) for other in visits)
        if len(visits) == 1:
            visits[0].is_only_visit_of_day = False
            _change_of(visits[0], changes)
    visits.append(visit)
    return change


def _change_of(visit: Visit, changes: list[VisitChange]) -> VisitChange:
    for change in changes:
        if change.visit is visit:
            return change
    changes.append(change := VisitChange(visit))
    return change


def _divide_keys(change: VisitChange, new_keys: frozenset[int], visits: list[Visit]) -> None:
    """Divide keys that are new for a visit: some are new for the visitor, others are in another visit."""
    for key in new_keys:
        is_new_for_visitor = not any(key in other.dimension_keys for other in visits if other is not change.visit)
        if is_new_for_visitor:
            change.visitor_keys.append(key)
        else:
            change.visit_keys += (key,)


def _replace_source_and_client(change: VisitChange, event: JournalEvent, visits: list[Visit]) -> None:
    """Give a visit the traffic source and client of an event that is earlier than those it had."""
    visit = change.visit
    old, new = (visit.traffic_source_id, visit.client_id), (event.traffic_source_id, event.client_id)
    visit.first_event_id = event.id
    visit.traffic_source_id, visit.client_id = new
    if old != new:
        others = [(other.traffic_source_id, other.client_id) for other in visits if other is not visit]
        change.source_moves += (SourceMove(old, new, others),)


def _record_page(change: VisitChange, event: JournalEvent, visits: list[Visit], counts_exit_pages: bool) -> None:
    """Make a pageview the entry or exit page of its visit, if it is the earliest or latest one."""
    visit, page_id = change.visit, event.page_id
    if visit.entry_page_id is None or event.id < visit.entry_event_id:
        old_page_id, visit.entry_page_id, visit.entry_event_id = visit.entry_page_id, page_id, event.id
        if old_page_id != page_id:
            others = [other.entry_page_id for other in visits if other is not visit and other.entry_page_id is not None]
            change.page_moves += (PageMove(Dimension.ENTRY, old_page_id, page_id, others),)
    if visit.exit_page_id is None or event.id > visit.exit_event_id:
        old_page_id, visit.exit_page_id, visit.exit_event_id = visit.exit_page_id, page_id, event.id
        if counts_exit_pages and old_page_id != page_id:
            others = [other.exit_page_id for other in visits if other is not visit and other.exit_page_id is not None]
            change.page_moves += (PageMove(Dimension.EXIT, old_page_id, page_id, others),)
