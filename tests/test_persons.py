"""Persons: identification by the APIs, attribution of events, and erasure."""

import json
import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ovx_lite.domain.calendar import HOUR_MS, MINUTE_MS
from ovx_lite.domain.models import Event, Hit, Identity, PageUrl, Site
from ovx_lite.enrichment.enrich import enrich
from ovx_lite.storage import integrity, registry
from ovx_lite.storage.read import events, persons
from ovx_lite.storage.read.reader import SqliteReader
from tests.conftest import Start, Store
from tests.support.store import MAX_TIME_MS, NOW, open_writer, request, store_group
from tests.support.visitors import GOOGLEBOT, Place, browser_headers, file_bytes
from tests.support.visitors import conn as conn
from tests.support.visitors import proxied as proxied
from tests.support.visitors import site as site

DAY_MINUTES = 24 * 60
_numbers = count()


def test_all_apis_identify_the_same_person(site: Place) -> None:
    site.overcentric(0, "phone", "ada", email="ada@example.com", name="Ada")
    site.openanalytics(1, "ada", "identify", plan="pro", name="Ada L.")
    site.openanalytics(2, "ada")
    site.apex(3, person="ada")
    (other := Place(site.store, site.server)).openanalytics(0, "ada")
    assert set(site.values_by_event("person").values()) == {"ada"}
    (listed,), person, other_person = (
        site.run_person_command("list"),
        site.run_person_command("show", "ada"),
        other.run_person_command("show", "ada"),
    )
    assert listed["properties"] == {"email": "ada@example.com", "name": "Ada L.", "plan": "pro"}
    assert (listed["name"], listed["email"]) == ("Ada L.", "ada@example.com")
    assert (person["events"], person["visitors"], person["first_event"]) == (4, 2, "2025-11-21T10:00:00Z")
    assert (other_person["properties"], other_person["events"]) == ({}, 1)


@pytest.mark.parametrize(("first_value", "second_value"), [(1, [2, {"a": None}]), (1, True), ({"x": 1}, {"y": 2})])
def test_the_latest_traits_win(site: Place, first_value: object, second_value: object) -> None:
    site.openanalytics(0, "ada", "identify", trait=first_value, other=first_value)
    site.openanalytics(0, "ada", "identify", trait=second_value)
    assert json.dumps(site.run_person_command("show", "ada")["properties"]) == json.dumps(
        {"trait": second_value, "other": first_value}
    )


def test_the_traits_of_a_person_have_a_size_limit(site: Place) -> None:
    for first in range(0, 60, 15):
        site.overcentric(0, "phone", "ada", name="Ada", email="ada@example.com")
        site.openanalytics(1, "ada", "identify", **{f"trait {n}": "x" * 4000 for n in range(first, first + 15)})
    site.overcentric(2, "phone", "ada", name="Ada", email="ada@example.com")
    person = site.run_person_command("show", "ada")
    assert (person["name"], person["email"]) == ("Ada", "ada@example.com")
    assert ("trait 59" in person["properties"], len(json.dumps(person)) < 150_000) == (True, True)


def test_a_device_is_linked_to_a_person_with_its_earlier_events(site: Place) -> None:
    for minute, device in ((-2 * DAY_MINUTES, "phone"), (0, "phone"), (1, "laptop"), (2, "phone")):
        site.overcentric(minute, device)
    site.overcentric(3, "phone", "ada")
    site.overcentric(4, "phone", session="later")
    site.apex(5, "phone")
    assert site.values_by_event("person") == dict.fromkeys(
        [f"{-2 * DAY_MINUTES}", "0", "1", "2", "3", "4", "5"], "ada"
    ) | {"1": None}
    assert site.is_consistent()


def test_one_device_may_send_events_of_many_persons(site: Place) -> None:
    for minute in range(12):
        site.overcentric(minute, "webhook", f"customer {minute % 5}", "webhook")
    assert site.values_by_event("person") == {f"{minute}": f"customer {minute % 5}" for minute in range(12)}
    assert site.run_person_command("erase", "customer 1")["events"] == 3
    assert site.values_by_event("person") == {f"{m}": None if m % 5 == 1 else f"customer {m % 5}" for m in range(12)}
    assert [site.run_person_command("erase", f"customer {n}")["events"] for n in (0, 2, 3, 4)] == [3, 2, 2, 2]
    assert set(site.values_by_event("person").values()) == {None}
    assert site.is_consistent()


def test_a_bot_creates_no_person(site: Place) -> None:
    site.headers = {"User-Agent": GOOGLEBOT}
    site.apex(0, "phone", "ada")
    assert (site.values_by_event("person"), site.run_person_command("list")) == ({"0": None}, [])


def test_the_commands_list_show_and_erase_persons(site: Place) -> None:
    run, id = site.store.run, site.slug
    assert run("person", "list", id).exit_status == run("person", "show", id).exit_status - 2 == 0
    for args in (["list", "no-site"], ["show", id, "ada"], ["erase", id, "ada", "--yes"]):
        result = run("person", *args)
        assert (result.exit_status, result.stdout, result.stderr[:7]) == (1, "", "Error: "), args
    site.overcentric(0, "phone", "ada", email="ada@example.com")
    site.openanalytics(1, "ada", "identify", plan="pro")
    assert "ada@example.com" in run("person", "list", id).stdout
    assert {"ada@example.com", "pro"} <= set(run("person", "show", id, "ada").stdout.split())
    assert run("person", "erase", id, "ada", stdin=b"n\n").exit_status == 1, "a refused confirmation erases nothing"
    assert "2 events" in run("person", "erase", id, "ada", stdin=b"y\n").stdout
    assert site.values_by_event("person") == {"0": None, "identify": None}


def test_control_characters_in_a_name_are_not_printed(site: Place) -> None:
    site.overcentric(0, "phone", "a\x1b[2Jda", name="x\x1b]0;owned\x07\ny")
    outputs = [
        site.store.run("person", *args).stdout for args in (["list", site.slug], ["show", site.slug, "a\x1b[2Jda"])
    ]
    assert not {"\x1b", "\x07"} & set("".join(outputs))


def test_an_erased_person_does_not_come_back(site: Place) -> None:
    for minute, person in enumerate(["", "ada", "", "bob", "", "ada", ""]):
        site.overcentric(minute, "tablet", person)
    site.overcentric(-10_000, "tablet")
    site.openanalytics(7, "ada")
    before = site.values_by_event("visitor")
    assert site.run_person_command("erase", "ada") == {"id": "ada", "erased": True, "events": 7}
    erased = dict.fromkeys(["-10000", "0", "1", "2", "5", "6", "7"])
    assert site.values_by_event("person") == erased | {"3": "bob", "4": "bob"}
    after = site.values_by_event("visitor")
    assert not {before[name] for name in erased} & {after[name] for name in erased}
    for minute, person in ((8, "ada"), (9, ""), (10, "bob"), (11, "")):
        site.overcentric(minute, "tablet", person)
    assert site.values_by_event("person") == erased | {
        "3": "bob",
        "4": "bob",
        "8": "ada",
        "9": "ada",
        "10": "bob",
        "11": "bob",
    }
    assert site.values_by_event("visitor")["8"] == before["3"], "the device has its earlier visitor id again"
    assert site.is_consistent()


def test_the_device_of_an_erased_person_may_be_linked_to_another_person(site: Place) -> None:
    for minute, person in enumerate(["ada", ""]):
        site.overcentric(minute, "tablet", person)
    site.run_person_command("erase", "ada")
    for minute, person in enumerate(["", "bob"], 2):
        site.overcentric(minute, "tablet", person)
    assert list(site.values_by_event("person").values()) == [None, None, "bob", "bob"]


def test_erasing_a_person_gives_their_events_to_nobody_else(site: Place) -> None:
    for minute, person in ((0, "ada"), (1, "eve"), (3, "bob")):
        site.overcentric(minute, "tablet", person)
    site.run_person_command("erase", "eve")
    site.overcentric(2, "tablet")
    assert site.values_by_event("person")["2"] is None
    site.run_person_command("erase", "ada")
    assert site.values_by_event("person") == {"0": None, "1": None, "2": None, "3": "bob"}
    assert site.is_consistent()


def test_a_browser_remains_one_visitor_when_its_person_is_identified(site: Place) -> None:
    site.headers = browser_headers()
    for minute, person in enumerate(["", "ada", ""]):
        site.apex(minute, "anonymous", person)
    assert len(set(site.values_by_event("visitor").values())) == 1
    assert set(site.values_by_event("person").values()) == {"ada"}


def test_events_after_an_erasure_are_not_attributed_to_an_earlier_person(site: Place) -> None:
    for minute, person in enumerate(["ada", "", "bob", ""]):
        site.overcentric(minute, "tablet", person)
    site.run_person_command("erase", "bob")
    site.overcentric(4, "tablet")
    assert list(site.values_by_event("person").values()) == ["ada", "ada", None, None, None]


def test_an_erased_person_is_gone_from_the_bytes_of_the_store(tmp_path: Path, start: Start) -> None:
    site = Place(store := Store(tmp_path / "data"), server := start(store))
    secrets, ada = [b"ada-the-person", b"ada@x", b"Ada A", b"her-plan", b"her-key"], {"email": "ada@x", "name": "Ada A"}
    for minute, person in enumerate(["", "ada-the-person", "bob", ""]):
        site.overcentric(minute, "tablet", person, **ada)
    site.openanalytics(4, "ada-the-person", "identify", **dict.fromkeys(["her-key", "more"], "her-plan" * 500))
    site.overcentric(5, "phone", "bob", name="Bob", email="bob@example.com")
    site.run_person_command("erase", "bob")
    assert [secret for secret in secrets if secret not in file_bytes(store.path)] == []
    site.run_person_command("erase", "ada-the-person")
    assert store.run("backup", str(tmp_path / "backup")).exit_status == 0
    assert server.stop() == 0
    for content in (file_bytes(store.path), (tmp_path / "backup").read_bytes()):
        assert [secret for secret in [*secrets, b"bob"] if secret in content] == []


def new_event(site: Site, person: str, time_ms: int, device: str, **traits: Any) -> Event:
    identity = Identity(person, traits) if person else None
    return enrich(
        Hit("event", "e", time_ms, PageUrl("", "", ""), device_id=device, identity=identity), "apex", site, b"salt", str
    )


def add_new_site(conn: sqlite3.Connection) -> Site:
    id = f"site-{next(_numbers)}"
    return registry.add_site(conn, Site(0, id, id, "", "UTC", f"pk_{id}", "jwt", None, None, 0, id.encode()))


def erase(conn: sqlite3.Connection, site: Site, person: str) -> int:
    stored_person = persons.find(conn, site.id, person)
    assert stored_person is not None
    return persons.erase(conn, site, stored_person, iter(lambda: random.getrandbits(47), -1))


def test_erasing_a_person_keeps_the_revenue_of_their_events(conn: sqlite3.Connection) -> None:
    site, writer = add_new_site(conn), open_writer(conn, 0)
    sent_events = [new_event(site, person, NOW + minute, "d") for minute, person in enumerate(["ada", "bob", "bob"])]
    paid = sent_events[2].event_type._replace(currency="EUR")
    sent_events[2] = structs.replace(sent_events[2], event_type=paid, revenue_minor=1999)
    store_group(conn, writer, [request(site, *sent_events)], {}, NOW)
    before = [event.visit_id for event in events.read(conn, site, 0, MAX_TIME_MS, True)]
    assert erase(conn, site, "bob") == 2
    stored_events = list(events.read(conn, site, 0, MAX_TIME_MS, True))
    assert [event.revenue_minor for event in stored_events] == [None, None, 1999]
    assert stored_events[2].visit_id != before[2]
    assert integrity.problems(conn) == []


def test_a_person_can_be_erased_while_events_arrive(tmp_path: Path, start: Start) -> None:
    site = Place(store := Store(tmp_path / "data"), start(store))
    done, minutes, results = Flag(), count(), list[bool]()

    def send_events() -> None:
        while not done.is_set():
            site.overcentric(minute := next(minutes), "tablet", ("ada", "", "bob", "")[minute % 4])

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(send_events) for _ in range(3)]
        for _ in range(5):
            result = store.run("person", "erase", site.slug, "ada", "--json")
            results += [result.exit_status == 0 or "no person" in result.stderr, site.is_consistent()]
        done.set()
    assert [future.result() for future in futures] == [None] * 3
    site.overcentric(next(minutes), "tablet", "ada")
    site.run_person_command("erase", "ada")
    assert set(site.values_by_event("person").values()) == {"bob", None}
    assert [*results, site.is_consistent()] == [True] * 11


DRAWN_EVENTS = st.lists(st.tuples(st.sampled_from("de"), st.sampled_from(["", "", "ada", "bob", "eve"])), max_size=12)


def owner(drawn_events: list[tuple[str, str]], index: int) -> str | None:
    """Return the person of an event: the latest one that its device has identified by then, or else the next one."""
    before = [person for device, person in drawn_events[: index + 1] if person and device == drawn_events[index][0]]
    after = [person for device, person in drawn_events[index:] if person and device == drawn_events[index][0]]
    return before[-1] if before else after[0] if after else None


@given(drawn_events=DRAWN_EVENTS, data=st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_events_are_attributed_to_the_expected_person(
    conn: sqlite3.Connection, drawn_events: list[tuple[str, str]], data: st.DataObject
) -> None:
    for table in (
        "events",
        "event_revenue",
        "visits",
        "open_visits",
        "persons",
        "identity_links",
        "daily_totals",
        "rollups",
        "dirty_days",
    ):
        conn.execute(f"DELETE FROM {table}")
    site, writer = add_new_site(conn), open_writer(conn, 0)
    sent_events = [
        new_event(site, person, NOW + index * 17 * MINUTE_MS, device)
        for index, (device, person) in enumerate(drawn_events)
    ]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sent_events))), "transactions") | {0, len(sent_events)})
    restarts = data.draw(st.sets(st.sampled_from(cuts)), "restarts")
    for begin, end in pairwise(cuts):
        if begin in restarts:
            writer.reset()
        store_group(conn, writer, [request(site, *sent_events[begin:end])], {}, NOW)

    def owners() -> list[str | None]:
        return [event.person for event in events.read(conn, site, 0, MAX_TIME_MS, True)]

    expected = [owner(drawn_events, index) for index in range(len(drawn_events))]
    assert owners() == expected
    for person in SqliteReader(conn).persons(site.id):
        assert persons.activity(conn, site.id, person).events == expected.count(person.user_id)
    for erased_id in sorted({"ada", "bob"}.intersection(expected)):
        assert erase(conn, site, erased_id) == expected.count(erased_id)
        expected = [None if person_id == erased_id else person_id for person_id in expected]
        assert owners() == expected
        assert integrity.problems(conn) == []
    writer.reset()
    store_group(
        conn,
        writer,
        [request(site, *[new_event(site, "ada", NOW + 9 * HOUR_MS, device) for device in "de"])],
        {},
        NOW,
    )
    unlinked = set("de") - {device for device, person in drawn_events if person}
    expected = [
        "ada" if drawn_event[0] in unlinked else person_id
        for drawn_event, person_id in zip(drawn_events, expected, strict=True)
    ]
    assert owners() == [*expected, "ada", "ada"]


def test_a_device_of_two_persons_counts_once_after_one_is_erased(site: Place) -> None:
    site.apex(0, "phone", "ada")
    site.apex(1, "phone", "bob")
    site.run_person_command("erase", "ada", "--yes")
    site.apex(2, "phone", "bob")
    assert site.is_consistent()
    query = {
        "site_id": site.slug,
        "metrics": ["visitors", "visits", "events"],
        "date_range": ["2025-11-21", "2025-11-21"],
    }
    (row,) = site.server.send("/api/v1/stats/query", query, site.key).json["results"]
    assert row["metrics"] == [2, 2, 3]  # the erased person's event has a visitor of its own
