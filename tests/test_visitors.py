"""Visitors and visits: who callers say it was, and on which stay; and that their words are nowhere to be read."""

import signal
import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.models import Hit, Page
from ovx_lite.enrichment.enrich import enrich
from ovx_lite.services.group_commit import store as store_group
from ovx_lite.storage import integrity
from ovx_lite.storage.read import events
from ovx_lite.storage.write.unit_of_work import open_books
from tests.conftest import CHROME, Server, Start, Store
from tests.support.store import EVER, MINUTE, NOW, new_site, request
from tests.support.visitors import GOOGLEBOT, Place, _numbers, browser, raw
from tests.support.visitors import conn as conn
from tests.support.visitors import place as place
from tests.support.visitors import proxied as proxied

DAY = 24 * 60
TO_MIDNIGHT = 13 * 60  # in Paris, from NOW


def test_whom_the_caller_names_is_the_same_everywhere_and_always(place: Place, proxied: tuple[Store, Server]) -> None:
    agents = [CHROME, CHROME.replace("Windows NT 10.0", "X11; Linux"), "curl/8.5.0", ""]
    other = Place(*proxied)
    for number, agent in enumerate(agents):
        place.headers = other.headers = browser(f"203.0.113.{number}", agent)
        place.apex(number * DAY, "v_abc123")
        place.overcentric(number * DAY + 1, "v_abc123")
        other.apex(number, "v_abc123")
    (visitor,) = set(place.told("visitor").values())
    (stranger,) = set(other.told("visitor").values())
    assert None is not visitor != stranger is not None
    place.apex(5, "v_abc124")
    assert len(set(place.told("visitor").values())) == 2
    assert place.whole()


def test_a_person_without_a_device_is_a_visitor(place: Place) -> None:
    place.openanalytics(0, "ada")
    place.apex(2 * DAY, person="ada")
    place.apex(1, "ada")  # a device that is called as she is
    place.openanalytics(2, "bob")
    visitors = place.told("visitor")
    assert visitors["0"] == visitors[f"{2 * DAY}"]
    assert len(set(visitors.values())) == 3
    assert None not in visitors.values()


def test_the_anonymous_are_their_address_and_browser_for_a_day(place: Place) -> None:
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"
    seen = [browser(), browser("203.0.113.8"), browser(agent=firefox), browser(), browser()]
    for minute, place.headers in zip((0, 1, 2, 3, DAY), seen, strict=True):
        place.apex(minute, "anonymous")
    visitors = place.told("visitor")
    assert visitors["0"] == visitors["3"]
    assert len(set(visitors.values()) - {None}) == 4


@pytest.mark.parametrize("agent", ["", "curl/8.5.0", "python-requests/2.31.0", "okhttp/4.12.0", "node", "mozilla/5.0"])
def test_libraries_are_no_visitors(place: Place, agent: str) -> None:
    place.headers = browser("8.8.8.8", agent)
    place.apex(0, "anonymous")
    place.apex(1)
    for one in place.store.events(place.id):
        assert [one[column] for column in ("visitor", "visit", "country", "browser", "excluded")] == [None] * 5


@pytest.mark.parametrize("agent", [GOOGLEBOT, "Googlebot/2.1 (+http://www.google.com/bot.html)", "Baiduspider+(x)"])
def test_a_bot_is_nobody_whatever_it_is_called(place: Place, agent: str) -> None:
    place.headers = browser(agent=agent)
    place.apex(0, "v_abc123", session="s")
    (one,) = place.store.events(place.id)
    assert (one["excluded"], one["visitor"], one["visit"]) == ("bot", None, None)


def test_no_name_can_be_read_anywhere(tmp_path: Path, start: Start) -> None:
    store = Store(tmp_path / "data")
    store.site()
    place = Place(store, server := start(store, "--trusted-proxies", "127.0.0.0/8"))
    place.headers = browser("203.0.113.77", CHROME + " Distinct/7")
    place.apex(0, "apex-device", session="apex-stay")
    place.apex(1, "anonymous", session="other-stay")
    place.apex(2, person="ada", session="ada's-stay")
    place.overcentric(3, "overcentric-device", "ada", "overcentric-stay")
    found = raw(store.path)
    assert server.stop() == 0
    for bytes_ in (found, raw(store.path), server.log.read_bytes()):
        assert [word for word in (b"-device", b"-stay", b"203.0.113.77", b"Distinct") if word in bytes_] == []


VISITS = [
    ([(0, "s"), (180, "s")], "aa"),
    ([(0, "s"), (1, "t")], "ab"),
    ([(0, "s"), (1, "t"), (2, "s"), (100, "t")], "abab"),
    ([(0, ""), (30, ""), (60, "")], "aaa"),
    ([(0, ""), (31, "")], "ab"),
    ([(0, "s"), (1, ""), (2, "s")], "aba"),
    ([(100, "s"), (300, "s"), (0, "s"), (200, "s")], "aaaa"),
    ([(100, ""), (75, ""), (0, "")], "aab"),
    ([(TO_MIDNIGHT - 1, "s"), (TO_MIDNIGHT, "s"), (TO_MIDNIGHT + 60, "s")], "abb"),
    ([(TO_MIDNIGHT - 1, ""), (TO_MIDNIGHT, "")], "ab"),
    ([(TO_MIDNIGHT, "s"), (TO_MIDNIGHT - 1, "s"), (TO_MIDNIGHT - DAY, "s"), (TO_MIDNIGHT - DAY - 1, "s")], "abbc"),
]


@pytest.mark.parametrize(("told", "visits"), VISITS)
def test_sessions_and_silence_make_visits(place: Place, told: list[tuple[int, str]], visits: str) -> None:
    """Of a device, of a person without one, and of an anonymous browser; `visits`: one letter each, by time."""
    for device, person in (("d", ""), ("", "ada"), ("anonymous", "")):
        place.headers = {} if person else browser()  # a browser would be somebody without the name, too
        for minute, session in told:
            place.apex(minute, device, person, session)
    found = dict[str, list[str]]()
    for one in place.store.events(place.id):
        found.setdefault(one["visitor"], []).append(one["visit"])
    assert sum(len(set(stays)) for stays in found.values()) == 3 * len(set(visits))
    named = [stays for stays in found.values() if len(stays) == len(told)]
    in_time = [letter for _, letter in sorted(zip([minute for minute, _ in told], visits, strict=True))]
    for stays in named:
        assert len(set(zip(stays, in_time, strict=True))) == len(set(visits))
    assert len(named) >= 2
    assert place.whole()


def test_a_session_is_one_visit_across_apis_and_only_its_devices(place: Place) -> None:
    place.apex(0, "d", session="s")
    place.overcentric(180, "d", session="s")
    place.overcentric(1, "e", session="s")
    assert (visits := place.told("visit"))["0"] == visits["180"] != visits["1"]


def test_a_session_goes_on_after_a_crash(tmp_path: Path, start: Start) -> None:
    store = Store(tmp_path / "data")
    store.site()
    place = Place(store, start(store))
    place.apex(0, "d", session="s")
    place.server.stop(signal.SIGKILL)
    place.server = start(store)
    place.apex(180, "d", session="s")
    place.apex(-180, "d", session="s")
    assert len(set(place.told("visit").values())) == 1
    assert place.whole()


TOLD = st.lists(st.tuples(st.integers(0, 60), st.sampled_from("de"), st.sampled_from(["", "s", "t"])), max_size=20)


@given(told=TOLD, cuts=st.sets(st.integers(0, 20)))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_in_whatever_order_and_company(
    conn: sqlite3.Connection, told: list[tuple[int, str, str]], cuts: set[int]
) -> None:
    for table in ("events", "visits", "open_visits", "days", "rollups", "stale"):  # so that the check looks at one site
        conn.execute(f"DELETE FROM {table}")
    site, log = new_site(conn, f"site-{next(_numbers)}", "Europe/Paris"), open_books(conn, 0)
    at = [NOW + minute * 53 * MINUTE for minute, _, _ in told]
    hits = [
        Hit("event", "e", ts, Page("", "", ""), device=d, session=s) for ts, (_, d, s) in zip(at, told, strict=True)
    ]
    sent = [enrich(hit, "apex", site, b"salt", str) for hit in hits]
    for begin, end in pairwise(sorted({0, *cuts, 20})):
        store_group(conn, log, [request(site, *sent[begin:end])], {}, NOW)
    days = dict[int | None, set[int]]()
    for found in events.read(conn, site, 0, EVER, True):
        days.setdefault(found.visit, set()).add(local_day(found.ts, "Europe/Paris"))
    assert all(len(of) == 1 for of in days.values())
    stays = {(local_day(hit.ts, "Europe/Paris"), hit.device, hit.session) for hit in hits if hit.session}
    query = "SELECT count(*), count(DISTINCT visitor_id) FROM visits WHERE site_id = ?"
    silent = {(hit.device, hit.ts) for hit in hits if not hit.session}  # 53 minutes apart, each is a visit
    devices = {hit.device for hit in hits}
    assert conn.execute(query, (site.number,)).fetchone() == (len(stays) + len(silent), len(devices))
    assert integrity.problems(conn) == []
