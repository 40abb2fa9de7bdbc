"""Demo traffic: it is reproducible, stays within its day, and has the promised amount."""

from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from ovx_lite.domain.calendar import DAY_MS, HOUR_MS, day_start_ms, local_day
from ovx_lite.domain.models import Event, Site
from ovx_lite.emulator.demo_loader import load_traffic
from ovx_lite.emulator.demo_traffic import LARGE, SMALL, Shape, generate_day
from ovx_lite.storage import integrity, registry
from ovx_lite.storage.sqlite import open_store

PLAIN_DAY = 20_548  # 2026-04-05
SPRING_CHANGE_DAY, AUTUMN_CHANGE_DAY = 20_541, 20_751  # 2026-03-29 and 2026-10-25, the clock changes in Paris
VISIT_TIMEOUT_MS = 30 * 60_000


def site(timezone: str = "UTC", domain: str = "example.com") -> Site:
    return Site(1, "demo", "Demo", domain, timezone, "pk", "jwt", None, None, 0, b"")


def count_visits(events: list[Event]) -> int:
    last_seen_ms: dict[int, int] = {}
    visit_count = 0
    for event in events:
        if event.daily_visitor_id is not None:
            visit_count += event.timestamp_ms - last_seen_ms.get(event.daily_visitor_id, 0) > VISIT_TIMEOUT_MS
            last_seen_ms[event.daily_visitor_id] = event.timestamp_ms
    return visit_count


def test_the_same_seed_generates_the_same_events() -> None:
    events = generate_day(site(), 1, PLAIN_DAY, SMALL)
    assert events == generate_day(site(), 1, PLAIN_DAY, SMALL)
    assert events != generate_day(site(), 2, PLAIN_DAY, SMALL)
    offsets_ms = [event.timestamp_ms - PLAIN_DAY * DAY_MS for event in events]
    assert offsets_ms != [
        event.timestamp_ms - (PLAIN_DAY + 1) * DAY_MS for event in generate_day(site(), 1, PLAIN_DAY + 1, SMALL)
    ]


@pytest.mark.parametrize(("day", "hours"), [(PLAIN_DAY, 24), (SPRING_CHANGE_DAY, 23), (AUTUMN_CHANGE_DAY, 25)])
@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_events_are_within_their_day_and_ordered(day: int, hours: int, shape: Shape) -> None:
    start_ms, end_ms = (day_start_ms(day_number, "Europe/Paris") for day_number in (day, day + 1))
    assert end_ms - start_ms == hours * HOUR_MS
    events = generate_day(site("Europe/Paris"), 1, day, shape)
    assert all(earlier.timestamp_ms <= later.timestamp_ms for earlier, later in pairwise(events))
    assert start_ms <= events[0].timestamp_ms
    assert events[-1].timestamp_ms < end_ms
    assert (
        {event.day for event in events} == {day} == {local_day(event.timestamp_ms, "Europe/Paris") for event in events}
    )


def test_identified_visitors_return_and_anonymous_ones_do_not() -> None:
    first, *others = (generate_day(site(), 1, day, SMALL) for day in range(PLAIN_DAY, PLAIN_DAY + 7))
    later = [event for day in others for event in day]
    returning = {event.visitor_id for event in first} & {event.visitor_id for event in later} - {None}
    assert returning
    daily_ids = {event.visitor_id: event.daily_visitor_id for event in first if event.visitor_id in returning}
    assert all(visitor is not None and daily_id == visitor ^ PLAIN_DAY for visitor, daily_id in daily_ids.items())
    assert not {event.daily_visitor_id for event in first} & {event.daily_visitor_id for event in later} - {None}
    people = {event.person.user_id: event.person for event in first if event.person}
    persons = [event.person for event in later if event.person]
    assert any(person.user_id in people for person in persons)
    assert all(person == people.get(person.user_id, person) for person in persons)
    assert all(-(1 << 47) <= number < 1 << 47 for event in first if (number := event.visitor_id) is not None)


def test_the_demo_has_the_promised_amount_of_data() -> None:
    week = [generate_day(site(), 1, day, SMALL) for day in range(PLAIN_DAY, PLAIN_DAY + 7)]
    assert sum(map(count_visits, week)) / 7 == pytest.approx(SMALL.visits_per_day, rel=0.4)
    events = [event for day in week for event in day]
    assert {event.event_type.type for event in events} == {"pageview", "event", "conversion"}
    bots = [event for event in events if event.event_type.excluded]
    assert bots
    assert {(event.visitor_id, event.daily_visitor_id, event.person) for event in bots} == {(None, None, None)}
    assert {event.event_type.currency for event in events if event.revenue_minor} >= {"EUR", "USD"}
    assert any(event.event_type.is_engagement for event in events)


def test_the_large_demo_has_four_events_per_visit() -> None:
    week = [generate_day(site(), 1, day, LARGE) for day in range(PLAIN_DAY, PLAIN_DAY + 7)]
    assert sum(map(len, week)) / sum(map(count_visits, week)) == pytest.approx(4, rel=0.02)
    assert not any(event.event_type.is_engagement or event.event_type.excluded for day in week for event in day)


def test_a_demo_site_without_a_domain_also_has_pages() -> None:
    events = generate_day(site(domain=""), 1, PLAIN_DAY, SMALL)
    assert {event.page.host for event in events} == {"example.com"}
    assert {"direct", "own", "search"} <= {event.traffic_source.channel for event in events}


def test_checking_a_busy_day_takes_time_proportional_to_its_visits(tmp_path: Path) -> None:
    step_counts = []
    for visits_per_day in (500, 4000):
        with closing(open_store(tmp_path / str(visits_per_day))) as conn:
            added_site = registry.add_site(conn, site())
            load_traffic(
                conn, added_site, 1, 1, SMALL._replace(visits_per_day=visits_per_day), (PLAIN_DAY + 1) * DAY_MS - 1
            )
            steps: list[None] = []
            conn.set_progress_handler(partial(steps.append, None), 1000)
            assert integrity.problems(conn) == []
            step_counts.append(len(steps))
    assert step_counts[1] < 16 * step_counts[0], "eight times the visits must take less than 16 times the steps"
