"""The made-up traffic: that it can be made again, stays within its day, and is as much as promised."""

from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from ovx_lite.domain.calendar import day_begins, local_day
from ovx_lite.domain.models import Event, Site
from ovx_lite.emulator.demo_loader import load_traffic
from ovx_lite.emulator.demo_traffic import LARGE, SMALL, Shape, generate_day
from ovx_lite.storage import integrity, registry
from ovx_lite.storage.sqlite import open_store

DAY = 20_548  # 2026-04-05
SPRING, AUTUMN = 20_541, 20_751  # 2026-03-29 and 2026-10-25, when the clocks of Paris change
SILENCE = 30 * 60_000


def site(timezone: str = "UTC", domain: str = "example.com") -> Site:
    return Site(1, "demo", "Demo", domain, timezone, "pk", "jwt", None, None, 0, b"")


def visits(events: list[Event]) -> int:
    seen: dict[int, int] = {}
    begun = 0
    for event in events:
        if event.guest is not None:
            begun += event.ts - seen.get(event.guest, 0) > SILENCE
            seen[event.guest] = event.ts
    return begun


def test_the_same_seed_makes_the_same_events() -> None:
    events = generate_day(site(), 1, DAY, SMALL)
    assert events == generate_day(site(), 1, DAY, SMALL)
    assert events != generate_day(site(), 2, DAY, SMALL)
    times = [event.ts - DAY * 86_400_000 for event in events]
    assert times != [event.ts - (DAY + 1) * 86_400_000 for event in generate_day(site(), 1, DAY + 1, SMALL)]


@pytest.mark.parametrize(("day", "hours"), [(DAY, 24), (SPRING, 23), (AUTUMN, 25)])
@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_events_are_within_their_day_and_in_order(day: int, hours: int, shape: Shape) -> None:
    begins, ends = (day_begins(one, "Europe/Paris") for one in (day, day + 1))
    assert ends - begins == hours * 3_600_000
    events = generate_day(site("Europe/Paris"), 1, day, shape)
    assert all(earlier.ts <= later.ts for earlier, later in pairwise(events))
    assert begins <= events[0].ts
    assert events[-1].ts < ends
    assert {event.day for event in events} == {day} == {local_day(event.ts, "Europe/Paris") for event in events}


def test_those_with_a_name_come_again_and_the_others_do_not() -> None:
    first, *others = (generate_day(site(), 1, day, SMALL) for day in range(DAY, DAY + 7))
    later = [event for day in others for event in day]
    again = {event.visitor for event in first} & {event.visitor for event in later} - {None}
    assert again
    whose = {event.visitor: event.guest for event in first if event.visitor in again}
    assert all(visitor is not None and guest == visitor ^ DAY for visitor, guest in whose.items())
    assert not {event.guest for event in first} & {event.guest for event in later} - {None}
    people = {event.person.id: event.person for event in first if event.person}
    persons = [event.person for event in later if event.person]
    assert any(person.id in people for person in persons)
    assert all(person == people.get(person.id, person) for person in persons)
    assert all(-(1 << 47) <= number < 1 << 47 for event in first if (number := event.visitor) is not None)


def test_there_is_as_much_as_promised() -> None:
    week = [generate_day(site(), 1, day, SMALL) for day in range(DAY, DAY + 7)]
    assert sum(map(visits, week)) / 7 == pytest.approx(SMALL.visits_per_day, rel=0.4)
    events = [event for day in week for event in day]
    assert {event.kind.type for event in events} == {"pageview", "event", "conversion"}
    bots = [event for event in events if event.kind.excluded]
    assert bots
    assert {(event.visitor, event.guest, event.person) for event in bots} == {(None, None, None)}
    assert {event.kind.currency for event in events if event.revenue} >= {"EUR", "USD"}
    assert any(event.kind.is_engagement for event in events)


def test_the_large_one_has_four_events_a_visit() -> None:
    week = [generate_day(site(), 1, day, LARGE) for day in range(DAY, DAY + 7)]
    assert sum(map(len, week)) / sum(map(visits, week)) == pytest.approx(4, rel=0.02)
    assert not any(event.kind.is_engagement or event.kind.excluded for day in week for event in day)


def test_a_site_without_a_domain_has_pages_too() -> None:
    events = generate_day(site(domain=""), 1, DAY, SMALL)
    assert {event.page.host for event in events} == {"example.com"}
    assert {"direct", "own", "search"} <= {event.origin.channel for event in events}


def test_a_check_of_a_busy_day_takes_its_share_and_no_more(tmp_path: Path) -> None:
    taken = []
    for visits_per_day in (500, 4000):
        with closing(open_store(tmp_path / str(visits_per_day))) as conn:
            filled = registry.add_site(conn, site())
            load_traffic(conn, filled, 1, 1, SMALL._replace(visits_per_day=visits_per_day), (DAY + 1) * 86_400_000 - 1)
            steps: list[None] = []
            conn.set_progress_handler(partial(steps.append, None), 1000)
            assert integrity.problems(conn) == []
            taken.append(len(steps))
    assert taken[1] < 16 * taken[0], "eight times the visits"
