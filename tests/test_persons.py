"""Persons: who a caller's names make, whose events are whose, and what is left of a person who was erased."""

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

from ovx_lite.domain.models import Event, Hit, Identity, Page, Site
from ovx_lite.enrichment.enrich import enrich
from ovx_lite.services.group_commit import store as store_group
from ovx_lite.storage import integrity, registry
from ovx_lite.storage.read import events, persons
from ovx_lite.storage.write.unit_of_work import open_books
from tests.conftest import Start, Store
from tests.support.store import EVER, MINUTE, NOW, request
from tests.support.visitors import GOOGLEBOT, Place, browser, raw
from tests.support.visitors import conn as conn
from tests.support.visitors import place as place
from tests.support.visitors import proxied as proxied

DAY, HOUR = 24 * 60, 60 * MINUTE
_numbers = count()


def test_all_apis_name_one_person(place: Place) -> None:
    place.overcentric(0, "phone", "ada", email="ada@example.com", name="Ada")
    place.openanalytics(1, "ada", "identify", plan="pro", name="Ada L.")
    place.openanalytics(2, "ada")
    place.apex(3, person="ada")
    (other := Place(place.store, place.server)).openanalytics(0, "ada")
    assert set(place.told("person").values()) == {"ada"}
    (listed,), shown, theirs = place.person("list"), place.person("show", "ada"), other.person("show", "ada")
    assert listed["properties"] == {"email": "ada@example.com", "name": "Ada L.", "plan": "pro"}
    assert (listed["name"], listed["email"]) == ("Ada L.", "ada@example.com")
    assert (shown["events"], shown["visitors"], shown["first_event"]) == (4, 2, "2025-11-21T10:00:00Z")
    assert (theirs["properties"], theirs["events"]) == ({}, 1)


@pytest.mark.parametrize(("told", "then"), [(1, [2, {"a": None}]), (1, True), ({"x": 1}, {"y": 2})])
def test_what_was_told_later_wins(place: Place, told: object, then: object) -> None:
    place.openanalytics(0, "ada", "identify", trait=told, other=told)
    place.openanalytics(0, "ada", "identify", trait=then)
    assert json.dumps(place.person("show", "ada")["properties"]) == json.dumps({"trait": then, "other": told})


def test_nobodys_row_grows_without_end(place: Place) -> None:
    for first in range(0, 60, 15):
        place.overcentric(0, "phone", "ada", name="Ada", email="ada@example.com")
        place.openanalytics(1, "ada", "identify", **{f"trait {n}": "x" * 4000 for n in range(first, first + 15)})
    place.overcentric(2, "phone", "ada", name="Ada", email="ada@example.com")
    found = place.person("show", "ada")
    assert (found["name"], found["email"]) == ("Ada", "ada@example.com")
    assert ("trait 59" in found["properties"], len(json.dumps(found)) < 150_000) == (True, True)


def test_a_device_becomes_somebodys_with_all_that_it_did_before(place: Place) -> None:
    for minute, device in ((-2 * DAY, "phone"), (0, "phone"), (1, "laptop"), (2, "phone")):
        place.overcentric(minute, device)
    place.overcentric(3, "phone", "ada")
    place.overcentric(4, "phone", session="later")
    place.apex(5, "phone")
    assert place.told("person") == dict.fromkeys([f"{-2 * DAY}", "0", "1", "2", "3", "4", "5"], "ada") | {"1": None}
    assert place.whole()


def test_one_device_and_session_for_all_webhooks(place: Place) -> None:
    for minute in range(12):
        place.overcentric(minute, "webhook", f"customer {minute % 5}", "webhook")
    assert place.told("person") == {f"{minute}": f"customer {minute % 5}" for minute in range(12)}
    assert place.person("erase", "customer 1")["events"] == 3
    assert place.told("person") == {f"{m}": None if m % 5 == 1 else f"customer {m % 5}" for m in range(12)}
    assert [place.person("erase", f"customer {n}")["events"] for n in (0, 2, 3, 4)] == [3, 2, 2, 2]
    assert set(place.told("person").values()) == {None}
    assert place.whole()


def test_a_bot_is_no_person(place: Place) -> None:
    place.headers = {"User-Agent": GOOGLEBOT}
    place.apex(0, "phone", "ada")
    assert (place.told("person"), place.person("list")) == ({"0": None}, [])


def test_the_commands_as_people_use_them(place: Place) -> None:
    run, id = place.store.run, place.id
    assert run("person", "list", id).status == run("person", "show", id).status - 2 == 0
    for words in (["list", "no-site"], ["show", id, "ada"], ["erase", id, "ada", "--yes"]):
        ran = run("person", *words)
        assert (ran.status, ran.out, ran.err[:7]) == (1, "", "Error: "), words
    place.overcentric(0, "phone", "ada", email="ada@example.com")
    place.openanalytics(1, "ada", "identify", plan="pro")
    assert "ada@example.com" in run("person", "list", id).out
    assert {"ada@example.com", "pro"} <= set(run("person", "show", id, "ada").out.split())
    assert run("person", "erase", id, "ada", stdin=b"n\n").status == 1, "and nothing is erased yet"
    assert "2 events" in run("person", "erase", id, "ada", stdin=b"y\n").out
    assert place.told("person") == {"0": None, "identify": None}


def test_a_name_does_nothing_to_the_terminal(place: Place) -> None:
    place.overcentric(0, "phone", "a\x1b[2Jda", name="x\x1b]0;owned\x07\ny")
    ran = [place.store.run("person", *words).out for words in (["list", place.id], ["show", place.id, "a\x1b[2Jda"])]
    assert not {"\x1b", "\x07"} & set("".join(ran))


def test_whoever_is_erased_does_not_come_back(place: Place) -> None:
    for minute, person in enumerate(["", "ada", "", "bob", "", "ada", ""]):
        place.overcentric(minute, "tablet", person)
    place.overcentric(-10_000, "tablet")
    place.openanalytics(7, "ada")
    before = place.told("visitor")
    assert place.person("erase", "ada") == {"id": "ada", "erased": True, "events": 7}
    erased = dict.fromkeys(["-10000", "0", "1", "2", "5", "6", "7"])
    assert place.told("person") == erased | {"3": "bob", "4": "bob"}
    after = place.told("visitor")
    assert not {before[name] for name in erased} & {after[name] for name in erased}
    for minute, person in ((8, "ada"), (9, ""), (10, "bob"), (11, "")):
        place.overcentric(minute, "tablet", person)
    assert place.told("person") == erased | {"3": "bob", "4": "bob", "8": "ada", "9": "ada", "10": "bob", "11": "bob"}
    assert place.told("visitor")["8"] == before["3"], "the device is the same again"
    assert place.whole()


def test_after_somebody_is_erased_a_device_may_be_somebody_elses(place: Place) -> None:
    for minute, person in enumerate(["ada", ""]):
        place.overcentric(minute, "tablet", person)
    place.person("erase", "ada")
    for minute, person in enumerate(["", "bob"], 2):
        place.overcentric(minute, "tablet", person)
    assert list(place.told("person").values()) == [None, None, "bob", "bob"]


def test_a_browser_is_one_visitor_also_when_its_person_is_named(place: Place) -> None:
    place.headers = browser()
    for minute, person in enumerate(["", "ada", ""]):
        place.apex(minute, "anonymous", person)
    assert len(set(place.told("visitor").values())) == 1
    assert set(place.told("person").values()) == {"ada"}


def test_the_next_on_a_device_is_not_taken_for_the_one_before(place: Place) -> None:
    for minute, person in enumerate(["ada", "", "bob", ""]):
        place.overcentric(minute, "tablet", person)
    place.person("erase", "bob")
    place.overcentric(4, "tablet")
    assert list(place.told("person").values()) == ["ada", "ada", None, None, None]


def test_erased_is_erased_from_the_bytes(tmp_path: Path, start: Start) -> None:
    place = Place(store := Store(tmp_path / "data"), server := start(store))
    secrets, ada = [b"ada-the-person", b"ada@x", b"Ada A", b"her-plan", b"her-key"], {"email": "ada@x", "name": "Ada A"}
    for minute, person in enumerate(["", "ada-the-person", "bob", ""]):
        place.overcentric(minute, "tablet", person, **ada)
    place.openanalytics(4, "ada-the-person", "identify", **dict.fromkeys(["her-key", "more"], "her-plan" * 500))
    place.overcentric(5, "phone", "bob", name="Bob", email="bob@example.com")
    place.person("erase", "bob")
    assert [secret for secret in secrets if secret not in raw(store.path)] == []
    place.person("erase", "ada-the-person")
    assert store.run("backup", str(tmp_path / "backup")).status == 0
    assert server.stop() == 0
    for found in (raw(store.path), (tmp_path / "backup").read_bytes()):
        assert [secret for secret in [*secrets, b"bob"] if secret in found] == []


def named(site: Site, person: str, ts: int, device: str, **traits: Any) -> Event:
    whose = Identity(person, traits) if person else None
    return enrich(Hit("event", "e", ts, Page("", "", ""), device=device, person=whose), "apex", site, b"salt", str)


def named_site(conn: sqlite3.Connection) -> Site:
    id = f"site-{next(_numbers)}"
    return registry.add_site(conn, Site(0, id, id, "", "UTC", f"pk_{id}", "jwt", None, None, 0, id.encode()))


def erase(conn: sqlite3.Connection, site: Site, person: str) -> int:
    return persons.erase(conn, site, persons.find(conn, site.number, person), iter(lambda: random.getrandbits(47), -1))


def test_erased_while_they_keep_coming(tmp_path: Path, start: Start) -> None:
    place = Place(store := Store(tmp_path / "data"), start(store))
    done, sent, found = Flag(), count(), list[bool]()

    def keep_coming() -> None:
        while not done.is_set():
            place.overcentric(minute := next(sent), "tablet", ("ada", "", "bob", "")[minute % 4])

    with ThreadPoolExecutor(3) as pool:
        guests = [pool.submit(keep_coming) for _ in range(3)]
        for _ in range(5):
            ran = store.run("person", "erase", place.id, "ada", "--json")
            found += [ran.status == 0 or "no person" in ran.err, place.whole()]
        done.set()
    assert [guest.result() for guest in guests] == [None] * 3
    place.overcentric(next(sent), "tablet", "ada")
    place.person("erase", "ada")
    assert set(place.told("person").values()) == {"bob", None}
    assert [*found, place.whole()] == [True] * 11


TOLD = st.lists(st.tuples(st.sampled_from("de"), st.sampled_from(["", "", "ada", "bob", "eve"])), max_size=12)


def owner(told: list[tuple[str, str]], at: int) -> str | None:
    """Whose an event is: its own person's, or that of the device's last one before it, or of the first one after."""
    before = [who for device, who in told[: at + 1] if who and device == told[at][0]]
    after = [who for device, who in told[at:] if who and device == told[at][0]]
    return before[-1] if before else after[0] if after else None


@given(told=TOLD, data=st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_whose_events_are(conn: sqlite3.Connection, told: list[tuple[str, str]], data: st.DataObject) -> None:
    for table in (
        "events",
        "visits",
        "open_visits",
        "persons",
        "identity_links",
        "daily_totals",
        "rollups",
        "dirty_days",
    ):
        conn.execute(f"DELETE FROM {table}")
    site, log = named_site(conn), open_books(conn, 0)
    sent = [named(site, person, NOW + at * 17 * MINUTE, device) for at, (device, person) in enumerate(told)]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sent))), "transactions") | {0, len(sent)})
    restarts = data.draw(st.sets(st.sampled_from(cuts)), "restarts")
    for begin, end in pairwise(cuts):
        if begin in restarts:
            log.forget()
        store_group(conn, log, [request(site, *sent[begin:end])], {}, NOW)

    def owners() -> list[str | None]:
        return [found.person for found in events.read(conn, site, 0, EVER, True)]

    expected = [owner(told, at) for at in range(len(told))]
    assert owners() == expected
    for person in persons.of_site(conn, site.number):
        assert persons.traces(conn, site.number, person).events == expected.count(person.id)
    for gone in sorted({"ada", "bob"}.intersection(expected)):
        assert erase(conn, site, gone) == expected.count(gone)
        expected = [None if who == gone else who for who in expected]
        assert owners() == expected
        assert integrity.problems(conn) == []
    log.forget()
    store_group(conn, log, [request(site, *[named(site, "ada", NOW + 9 * HOUR, device) for device in "de"])], {}, NOW)
    untied = set("de") - {device for device, person in told if person}
    expected = ["ada" if one[0] in untied else who for one, who in zip(told, expected, strict=True)]
    assert owners() == [*expected, "ada", "ada"]
