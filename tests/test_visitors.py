"""Visitors and visits: identification by the caller's ids, and that those ids are not stored in plain text."""

import signal
import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovx_lite.domain.calendar import MINUTE_MS, local_day
from ovx_lite.domain.models import Hit, PageUrl
from ovx_lite.enrichment.enrich import enrich
from ovx_lite.storage import integrity
from ovx_lite.storage.read import events
from tests.conftest import CHROME, Server, Start, Store
from tests.support.store import MAX_TIME_MS, NOW, new_site, open_writer, request, store_group
from tests.support.visitors import GOOGLEBOT, Place, _numbers, browser_headers, file_bytes
from tests.support.visitors import conn as conn
from tests.support.visitors import proxied as proxied
from tests.support.visitors import site as site

DAY_MINUTES = 24 * 60
MINUTES_TO_MIDNIGHT = 13 * 60  # in Paris, from NOW


def test_a_named_device_is_one_visitor_across_apis_addresses_and_days(
    site: Place, proxied: tuple[Store, Server]
) -> None:
    agents = [CHROME, CHROME.replace("Windows NT 10.0", "X11; Linux"), "curl/8.5.0", ""]
    other_site = Place(*proxied)
    for number, agent in enumerate(agents):
        site.headers = other_site.headers = browser_headers(f"203.0.113.{number}", agent)
        site.apex(number * DAY_MINUTES, "v_abc123")
        site.overcentric(number * DAY_MINUTES + 1, "v_abc123")
        other_site.apex(number, "v_abc123")
    (visitor,) = set(site.values_by_event("visitor").values())
    (other_visitor,) = set(other_site.values_by_event("visitor").values())
    assert None is not visitor != other_visitor is not None
    site.apex(5, "v_abc124")
    assert len(set(site.values_by_event("visitor").values())) == 2
    assert site.is_consistent()


def test_a_person_without_a_device_is_a_visitor(site: Place) -> None:
    site.openanalytics(0, "ada")
    site.apex(2 * DAY_MINUTES, person="ada")
    site.apex(1, "ada")  # a device with the same id as the person
    site.openanalytics(2, "bob")
    visitors = site.values_by_event("visitor")
    assert visitors["0"] == visitors[f"{2 * DAY_MINUTES}"]
    assert len(set(visitors.values())) == 3
    assert None not in visitors.values()


def test_an_anonymous_visitor_is_an_address_and_a_browser_for_a_day(site: Place) -> None:
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"
    headers_list = [
        browser_headers(),
        browser_headers("203.0.113.8"),
        browser_headers(agent=firefox),
        browser_headers(),
        browser_headers(),
    ]
    for minute, site.headers in zip((0, 1, 2, 3, DAY_MINUTES), headers_list, strict=True):
        site.apex(minute, "anonymous")
    visitors = site.values_by_event("visitor")
    assert visitors["0"] == visitors["3"]
    assert len(set(visitors.values()) - {None}) == 4


@pytest.mark.parametrize("agent", ["", "curl/8.5.0", "python-requests/2.31.0", "okhttp/4.12.0", "node", "mozilla/5.0"])
def test_http_libraries_are_not_visitors(site: Place, agent: str) -> None:
    site.headers = browser_headers("8.8.8.8", agent)
    site.apex(0, "anonymous")
    site.apex(1)
    for event in site.store.events(site.slug):
        assert [event[column] for column in ("visitor", "visit", "country", "browser", "excluded")] == [None] * 5


@pytest.mark.parametrize("agent", [GOOGLEBOT, "Googlebot/2.1 (+http://www.google.com/bot.html)", "Baiduspider+(x)"])
def test_a_bot_is_excluded_even_with_a_visitor_id(site: Place, agent: str) -> None:
    site.headers = browser_headers(agent=agent)
    site.apex(0, "v_abc123", session="s")
    (event,) = site.store.events(site.slug)
    assert (event["excluded"], event["visitor"], event["visit"]) == ("bot", None, None)


def test_no_visitor_identifier_is_stored_in_plain_text(tmp_path: Path, start: Start) -> None:
    store = Store(tmp_path / "data")
    store.site()
    site = Place(store, server := start(store, "--trusted-proxies", "127.0.0.0/8"))
    site.headers = browser_headers("203.0.113.77", CHROME + " Distinct/7")
    site.apex(0, "apex-device", session="apex-sessionid")
    site.apex(1, "anonymous", session="other-sessionid")
    site.apex(2, person="ada", session="ada's-sessionid")
    site.overcentric(3, "overcentric-device", "ada", "overcentric-sessionid")
    stored_bytes = file_bytes(store.path)
    assert server.stop() == 0
    for content in (stored_bytes, file_bytes(store.path), server.log_path.read_bytes()):
        assert [name for name in (b"-device", b"-sessionid", b"203.0.113.77", b"Distinct") if name in content] == []


VISITS = [
    ([(0, "s"), (180, "s")], "aa"),
    ([(0, "s"), (1, "t")], "ab"),
    ([(0, "s"), (1, "t"), (2, "s"), (100, "t")], "abab"),
    ([(0, ""), (30, ""), (60, "")], "aaa"),
    ([(0, ""), (31, "")], "ab"),
    ([(0, "s"), (1, ""), (2, "s")], "aba"),
    ([(100, "s"), (300, "s"), (0, "s"), (200, "s")], "aaaa"),
    ([(100, ""), (75, ""), (0, "")], "aab"),
    ([(MINUTES_TO_MIDNIGHT - 1, "s"), (MINUTES_TO_MIDNIGHT, "s"), (MINUTES_TO_MIDNIGHT + 60, "s")], "abb"),
    ([(MINUTES_TO_MIDNIGHT - 1, ""), (MINUTES_TO_MIDNIGHT, "")], "ab"),
    (
        [
            (MINUTES_TO_MIDNIGHT, "s"),
            (MINUTES_TO_MIDNIGHT - 1, "s"),
            (MINUTES_TO_MIDNIGHT - DAY_MINUTES, "s"),
            (MINUTES_TO_MIDNIGHT - DAY_MINUTES - 1, "s"),
        ],
        "abbc",
    ),
]


@pytest.mark.parametrize(("hits", "visits"), VISITS)
def test_sessions_and_pauses_delimit_visits(site: Place, hits: list[tuple[int, str]], visits: str) -> None:
    """For a device, a person without one, and an anonymous browser; `visits` has a letter per hit."""
    for device, person in (("d", ""), ("", "ada"), ("anonymous", "")):
        site.headers = (
            {} if person else browser_headers()
        )  # browser headers would identify a visitor without the person
        for minute, session in hits:
            site.apex(minute, device, person, session)
    visits_by_visitor = dict[str, list[str]]()
    for event in site.store.events(site.slug):
        visits_by_visitor.setdefault(event["visitor"], []).append(event["visit"])
    assert sum(len(set(visit_ids)) for visit_ids in visits_by_visitor.values()) == 3 * len(set(visits))
    complete_lists = [visit_ids for visit_ids in visits_by_visitor.values() if len(visit_ids) == len(hits)]
    expected_letters = [letter for _, letter in sorted(zip([minute for minute, _ in hits], visits, strict=True))]
    for visit_ids in complete_lists:
        assert len(set(zip(visit_ids, expected_letters, strict=True))) == len(set(visits))
    assert len(complete_lists) >= 2
    assert site.is_consistent()


def test_a_session_is_one_visit_across_apis_but_not_across_devices(site: Place) -> None:
    site.apex(0, "d", session="s")
    site.overcentric(180, "d", session="s")
    site.overcentric(1, "e", session="s")
    assert (visits := site.values_by_event("visit"))["0"] == visits["180"] != visits["1"]


def test_a_session_continues_after_a_crash(tmp_path: Path, start: Start) -> None:
    store = Store(tmp_path / "data")
    store.site()
    site = Place(store, start(store))
    site.apex(0, "d", session="s")
    site.server.stop(signal.SIGKILL)
    site.server = start(store)
    site.apex(180, "d", session="s")
    site.apex(-180, "d", session="s")
    assert len(set(site.values_by_event("visit").values())) == 1
    assert site.is_consistent()


DRAWN_HITS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from("de"), st.sampled_from(["", "s", "t"])), max_size=20
)


@given(drawn_hits=DRAWN_HITS, cuts=st.sets(st.integers(0, 20)))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_visits_do_not_depend_on_the_order_or_grouping_of_events(
    conn: sqlite3.Connection, drawn_hits: list[tuple[int, str, str]], cuts: set[int]
) -> None:
    for table in (
        "events",
        "visits",
        "open_visits",
        "daily_totals",
        "rollups",
        "dirty_days",
    ):  # so that the check covers one site
        conn.execute(f"DELETE FROM {table}")
    site, writer = new_site(conn, f"site-{next(_numbers)}", "Europe/Paris"), open_writer(conn, 0)
    times_ms = [NOW + minute * 53 * MINUTE_MS for minute, _, _ in drawn_hits]
    hits = [
        Hit("event", "e", timestamp_ms, PageUrl("", "", ""), device_id=device, session_id=session)
        for timestamp_ms, (_, device, session) in zip(times_ms, drawn_hits, strict=True)
    ]
    enriched = [enrich(hit, "apex", site, b"salt", str) for hit in hits]
    for start, end in pairwise(sorted({0, *cuts, 20})):
        store_group(conn, writer, [request(site, *enriched[start:end])], {}, NOW)
    days = dict[int | None, set[int]]()
    for stored in events.read(conn, site, 0, MAX_TIME_MS, True):
        days.setdefault(stored.visit_id, set()).add(local_day(stored.timestamp_ms, "Europe/Paris"))
    assert all(len(visit_days) == 1 for visit_days in days.values())
    session_visits = {
        (local_day(hit.timestamp_ms, "Europe/Paris"), hit.device_id, hit.session_id) for hit in hits if hit.session_id
    }
    query = "SELECT count(*), count(DISTINCT visitor_id) FROM visits WHERE site_id = ?"
    visits_without_session = {
        (hit.device_id, hit.timestamp_ms) for hit in hits if not hit.session_id
    }  # hits are 53 minutes apart, so each one is a visit
    devices = {hit.device_id for hit in hits}
    assert conn.execute(query, (site.id,)).fetchone() == (
        len(session_visits) + len(visits_without_session),
        len(devices),
    )
    assert integrity.problems(conn) == []
