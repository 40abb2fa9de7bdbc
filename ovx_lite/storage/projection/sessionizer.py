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
    events: list[JournalEvent]
    began_with: SourceAndClient | None = None
    others: tuple[SourceAndClient, ...] = ()
    added_duration_ms: int = 0
    bounces: int = 0
    visitor_keys: set[int] = set()
    visit_keys: tuple[int, ...] = ()
    page_moves: tuple[PageMove, ...] = ()
    source_moves: tuple[SourceMove, ...] = ()


def sessionize(
    events: list[JournalEvent],
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
    if not counts_exit_pages and len(visits) <= 1 and (usual_change := _usual_change(events, visits, facts_by_ids)):
        return [usual_change]
    changes: list[VisitChange] = []
    event_count = sum(visit.events for visit in visits)
    for event in events:
        if event_count >= MAX_EVENTS_PER_VISITOR:
            break
        event_ms = event.id >> COUNTER_BITS
        facts = facts_by_ids[event.event_type_id, event.page_id]
        open_visit = _find_open_visit(visits, event, event_ms)
        if open_visit is not None:
            change = _change_of(open_visit, changes)
        elif facts.is_engagement:
            continue
        else:
            change = _begin_visit(event, visits, changes)
        visit = change.visit
        change.events.append(event)
        _extend_duration(change, event_ms)
        visit.page_type_bloom |= facts.bloom_bits
        if facts.is_engagement:
            continue
        event_count += 1
        visit.events += 1
        if visit.events == 2:
            change.bounces -= 1
        if event.id < visit.first_event_id:
            _replace_source_and_client(change, event, visits)
        _add_keys(change, facts.keys - visit.dimension_keys, visits)
        if facts.is_pageview:
            visit.pageviews += 1
            if facts.is_page:
                _record_page(change, event, visits, counts_exit_pages)
    return changes


def _usual_change(
    events: list[JournalEvent], visits: list[Visit], facts_by_ids: Mapping[tuple[int, int], EventFacts]
) -> VisitChange | None:
    """Return the change if the events, in their order, continue the visitor's only visit, or begin the first one.

    This is so for nearly all visitors, and takes half the time of looking at each event alone. Otherwise return None,
    and change nothing.
    """
    first_event, last_id = events[0], 0
    session_key = first_event.session_key
    keys: set[int] = set()
    bloom_bits = pageviews = 0
    entry: JournalEvent | None = None
    exit_: JournalEvent | None = None
    for event in events:
        facts = facts_by_ids[event.event_type_id, event.page_id]
        if event.id <= last_id or event.session_key != session_key or facts.is_engagement:
            return None
        last_id = event.id
        keys.update(facts.keys)
        bloom_bits |= facts.bloom_bits
        if facts.is_pageview:
            pageviews += 1
            if facts.is_page:
                entry, exit_ = entry or event, event
    if len(events) >= MAX_EVENTS_PER_VISITOR:
        return None
    last_ms = last_id >> COUNTER_BITS
    if visits:
        (visit,) = visits
        end_ms = (visit.id >> COUNTER_BITS) + visit.duration_ms
        if (
            visit.session_key != session_key
            or not visit.is_open
            or first_event.id >> COUNTER_BITS <= end_ms
            or last_ms - end_ms > VISIT_TIMEOUT_MS
            or visit.events + len(events) >= MAX_EVENTS_PER_VISITOR
        ):
            return None
        change = VisitChange(visit, events, bounces=-(visit.events == 1))
        keys -= visit.dimension_keys
    else:
        if last_ms - (first_event.id >> COUNTER_BITS) > VISIT_TIMEOUT_MS:
            return None
        visit = _new_visit(first_event)
        visits.append(visit)
        source_and_client = (first_event.traffic_source_id, first_event.client_id)
        change = VisitChange(visit, events, began_with=source_and_client, bounces=int(len(events) == 1))
    duration_ms = last_ms - (visit.id >> COUNTER_BITS)
    change.added_duration_ms = duration_ms - visit.duration_ms
    visit.duration_ms = duration_ms
    visit.page_type_bloom |= bloom_bits
    visit.events += len(events)
    visit.pageviews += pageviews
    change.visitor_keys = keys
    visit.dimension_keys |= keys
    if entry is not None and exit_ is not None:
        if visit.entry_page_id is None:
            visit.entry_page_id, visit.entry_event_id = entry.page_id, entry.id
            change.page_moves = (PageMove(Dimension.ENTRY, None, entry.page_id, ()),)
        visit.exit_page_id, visit.exit_event_id = exit_.page_id, exit_.id
    return change


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


def _new_visit(event: JournalEvent) -> Visit:
    """Return a visit that begins with an event, which is not counted in it yet."""
    assert event.visitor_id is not None, "an event with a daily visitor ID has a visitor ID"
    assert event.daily_visitor_id is not None, "events without a visitor are not sessionized"
    return Visit(
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


def _begin_visit(event: JournalEvent, visits: list[Visit], changes: list[VisitChange]) -> VisitChange:
    visit = _new_visit(event)
    change = VisitChange(visit, [], began_with=(event.traffic_source_id, event.client_id), bounces=1)
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
    changes.append(change := VisitChange(visit, []))
    return change


def _extend_duration(change: VisitChange, event_ms: int) -> None:
    visit = change.visit
    elapsed_ms = event_ms - (visit.id >> COUNTER_BITS)
    if elapsed_ms > visit.duration_ms:
        change.added_duration_ms += elapsed_ms - visit.duration_ms
        visit.duration_ms = elapsed_ms
    elif -elapsed_ms > visit.early_ms:
        change.added_duration_ms += -elapsed_ms - visit.early_ms
        visit.early_ms = -elapsed_ms


def _add_keys(change: VisitChange, new_keys: frozenset[int], visits: list[Visit]) -> None:
    """Add dimension keys to a visit that it did not have. Some are new for the visitor, others are in another visit."""
    for key in new_keys:
        if any(key in other.dimension_keys for other in visits if other is not change.visit):
            change.visit_keys += (key,)
        else:
            change.visitor_keys.add(key)
    change.visit.dimension_keys |= new_keys


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
