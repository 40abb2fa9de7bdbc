"""A site's public link: who may look, what they see, in pages of others, and as a badge."""

import http.client
import time
from contextlib import closing
from itertools import count

import pytest

from tests.conftest import CHROME, Answer
from tests.support.browserless import PASSWORD, Person
from tests.support.pages import Node, Office, read, rows, wrong
from tests.support.pages import office as office
from tests.support.sharing import link

SECRET = "a shared secret"
_ids = count(1)


def shared(office: Office, password: str = "") -> tuple[str, str]:
    """Add a site with an event and a public link. Returns the site's path and the link's."""
    id = f"shared-{next(_ids)}"
    _, key = office.site(id=id)
    sent = {"user_agent": CHROME, "ip_address": "203.0.113.1"}
    assert office.pageview(f"/sites/{id}/settings", key, "https://example.com/seen", **sent).status == 201
    named = {"event_type": "identify", "event_name": "x", "user_id": "ada", "properties": {}}
    assert office.server.send(f"/v1/projects/{id}/events", named, key).status == 202
    return f"/sites/{id}", link(office.done(f"/sites/{id}/settings/sharing", {"password": password}))


def visitor(office: Office) -> Person:
    """Somebody who has not logged in."""
    return Person(office.server)


def headings(page: Node) -> list[str]:
    return [one.text for one in page.all("h2")]


def csp(answer: Answer) -> str:
    return answer.headers["content-security-policy"].rpartition("frame-ancestors ")[2]


def test_nobody_may_look_at_first(office: Office) -> None:
    settings, _ = office.site()
    page = read(office.person.get(f"{settings}/sharing"))
    assert "/share/" not in page.text
    assert [button.text for button in page.one("main").all("button")] == ["Make the link"]
    assert visitor(office).get(f"{settings}/sharing").status == 303
    assert visitor(office).post(f"{settings}/sharing", {"password": ""}).status == 401


def test_whoever_has_the_link_may_look(office: Office) -> None:
    _, path = shared(office)
    person = visitor(office)
    page = read(person.get(path))
    assert "/seen" in page.text
    assert read(person.get(f"{path}?period=yesterday&f=is,page,/seen")).all("a", "chip")
    assert rows(person.get(f"{path}/top/page")) == [["/seen", "1", "1", "1", "1"]]
    assert b"/seen,1,1,1,1\r\n" in person.get(f"{path}/csv/pages").body


def test_those_who_look_see_nothing_else(office: Office) -> None:
    site, path = shared(office)
    person = visitor(office)
    page, top = (read(person.get(f"{path}{place}")) for place in ("", "/top/page"))
    assert {"People", "Not counted"} & set(headings(page)) == set()
    assert {"Pages", "Sources", "Goals", "Revenue"} <= set(headings(page))
    for one in (page, top):
        text = one.text
        assert not [word for word in ("curl", "ada", "Settings", "Add a note", "Log out") if word in text]
        links = [a.attrs["href"] for a in one.one("main").all("a")]
        assert [href for href in links if not href.startswith(path)] == []
        assert one.all("form", method="post") == []
    for panel in ("people", "excluded"):
        assert person.get(f"{path}/csv/{panel}").status == 404
    assert person.get(site).status == 303
    assert person.get(f"{path}/settings/people").status == 404
    assert person.post(f"{path}/annotations", {"day": "2026-01-01", "text": "x"}).status in (404, 405)
    assert person.get(path).headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("place", ["", "/top/page", "/csv/pages", "/live", "/badge.svg", "/badge.json"])
@pytest.mark.parametrize("token", ["nothing", "%00", "' OR 1=1 --", "x" * 3000])
def test_an_unknown_link(office: Office, place: str, token: str) -> None:
    assert visitor(office).get(f"/share/{token.replace(' ', '%20')}{place}").status == 404


def test_another_link_ends_the_old_one(office: Office) -> None:
    site, old = shared(office)
    new = link(office.done(f"{site}/settings/sharing", {"keep": "1", "do": "new"}))
    assert (new == old, visitor(office).get(old).status, visitor(office).get(new).status) == (False, 404, 200)


def test_the_end_of_sharing(office: Office) -> None:
    site, path = shared(office)
    assert visitor(office).post(f"{site}/settings/sharing/end").status == 401
    page = office.done(f"{site}/settings/sharing/end")
    assert "/share/" not in read(page).one("main").text
    places = ("", "/top/page", "/csv/pages", "/live", "/badge.svg", "/badge.json")
    assert {visitor(office).get(path + place).status for place in places} == {404}


def test_a_password_is_asked_for(office: Office) -> None:
    _, path = shared(office, SECRET)
    person = visitor(office)
    asked = person.get(path)
    assert asked.status == 200
    assert "/seen" not in read(asked).text
    for place in ("/top/page", "/csv/pages", "/live"):
        assert person.get(path + place).status == 401
    refused = person.post(path, {"password": SECRET.upper()})
    assert (refused.status, wrong(refused)) == (401, {"password": "This is not the password."})
    assert "/seen" not in read(person.get(path)).text
    let_in = person.post(path, {"password": SECRET})
    assert (let_in.status, "/seen" in read(person.follow(let_in)).text) == (303, True)
    assert [person.get(path + place).status for place in ("/top/page", "/csv/pages")] == [200, 200]
    assert "/seen" not in read(visitor(office).get(path)).text


def test_another_password_has_to_be_known(office: Office) -> None:
    site, path = shared(office, SECRET)
    person = visitor(office)
    person.post(path, {"password": SECRET})
    office.done(f"{site}/settings/sharing", {"password": "another secret"})
    assert "/seen" not in read(person.get(path)).text
    assert person.get(f"{path}/csv/pages").status == 401
    assert person.post(path, {"password": SECRET}).status == 401
    assert person.post(path, {"password": "another secret"}).status == 303
    office.done(f"{site}/settings/sharing", {"password": ""})
    assert "/seen" in read(visitor(office).get(path)).text


def test_a_password_of_a_link_opens_that_link_alone(office: Office) -> None:
    (site, path), (_, other) = shared(office, SECRET), shared(office, SECRET)
    person = visitor(office)
    person.post(path, {"password": SECRET})
    assert "/seen" not in read(person.get(other)).text
    assert (person.get(site).status, person.get("/").status) == (303, 303)


def test_a_password_that_is_too_short(office: Office) -> None:
    settings, _ = office.site()
    refused = office.person.post(f"{settings}/sharing", {"password": "short"})
    assert (refused.status, list(wrong(refused))) == (400, ["password"])
    assert "/share/" not in read(office.person.get(f"{settings}/sharing")).text


def test_no_look_holds_up_the_server(office: Office) -> None:
    _, path = shared(office)
    began, tests = time.monotonic(), [",".join(f"%5CpL{{20}}{n}x{m}" for n in range(25)) for m in range(12)]
    assert visitor(office).get(f"{path}?f=matches,page," + "&f=matches,page,".join(tests)).status in (200, 400)
    assert time.monotonic() - began < 5


def test_after_the_password_one_sees_what_one_asked_for(office: Office) -> None:
    _, path = shared(office, SECRET)
    person = visitor(office)
    action = read(person.get(f"{path}?period=7d")).one("form", method="post").attrs["action"]
    assert person.post(action, {"password": SECRET}).headers["location"] == f"{path}?period=7d"


def test_who_knows_a_links_password_may_not_try_more_log_ins(office: Office) -> None:
    _, path = shared(office, SECRET)
    person = visitor(office)
    tried = []
    for number in range(12):
        tried.append(person.post("/login", {"password": f"wrong password {number}"}).status)
        if number % 5 == 4:
            person.post(path, {"password": SECRET})
    person.post("/login", {"password": PASSWORD})  # so that others are not held up
    assert tried[-1] == 429


def test_it_stands_in_pages_of_others_without_a_password_only(office: Office) -> None:
    site, path = shared(office)
    person = visitor(office)
    embedded = person.get(f"{path}?embed=1")
    assert (csp(embedded), "x-frame-options" in embedded.headers) == ("*", False)
    assert embedded.headers["cross-origin-resource-policy"] == "cross-origin"
    _, locked = shared(office, SECRET)
    known = visitor(office)
    known.post(locked, {"password": SECRET})
    alone = [
        *(person.get(path + place) for place in ("", "?embed=0", "?embed=1&period=no", "/csv/pages?embed=1")),
        *(one.get(f"{locked}?embed=1") for one in (person, known)),
        *(office.person.get(f"{place}?embed=1") for place in (site, f"{site}/settings/sharing", "/")),
        person.get("/login?embed=1"),
    ]
    for one in alone:
        assert (csp(one), one.headers["x-frame-options"]) == ("'none'", "DENY")


def test_links_in_pages_of_others_lead_to_what_may_stand_there(office: Office) -> None:
    site, path = shared(office)
    key = office.store.key(site.split("/")[2])
    for number in range(10):
        office.pageview(f"{site}/settings", key, f"https://example.com/{number}", ip_address="::1", user_agent=CHROME)
    person = visitor(office)
    for anchor in read(person.get(f"{path}?embed=1")).one("main").all("a"):
        if "/csv/" not in anchor.attrs["href"] and anchor.attrs.get("target") not in ("_top", "_blank"):
            assert csp(person.get(anchor.attrs["href"].partition("#")[0])) == "*", anchor.attrs["href"]


def test_a_badge(office: Office) -> None:
    _, path = shared(office)
    person = visitor(office)
    told, picture = (person.get(f"{path}/badge.{kind}", origin="https://blog.example") for kind in ("json", "svg"))
    assert told.json == {"schemaVersion": 1, "label": "visitors", "message": "2", "visitors": 2, "period": "30d"}
    assert picture.headers["content-type"].startswith("image/svg+xml")
    assert b'aria-label="visitors: 2"' in picture.body
    for one in (told, picture):
        assert one.headers["access-control-allow-origin"] == "*"
        assert one.headers["cross-origin-resource-policy"] == "cross-origin"
        assert "set-cookie" not in one.headers
    assert person.get(f"{path}/badge.json?period=yesterday").json["visitors"] == 0
    assert person.get(f"{path}/badge.json?period=all").json["visitors"] == 2
    assert person.get(f"{path}/badge.json?f=is,page,/nowhere").json["visitors"] == 0
    day = person.get(f"{path}/badge.json?from=2020-01-01&to=2020-01-31").json
    assert (day["visitors"], day["period"]) == (0, "2020-01-01/2020-01-31")
    wrong = person.get(f"{path}/badge.json?period=ever", accept="application/json")
    assert wrong.error == (400, "invalid_request", "period")


def test_a_badge_of_nobody(office: Office) -> None:
    settings, _ = office.site()
    path = link(office.done(f"{settings}/sharing", {}))
    for period in ("30d", "all", "month", "day"):
        assert visitor(office).get(f"{path}/badge.json?period={period}").json["visitors"] == 0
    assert "Nobody was here yet" in read(visitor(office).get(path)).text


def test_no_badge_of_what_has_a_password(office: Office) -> None:
    _, path = shared(office, SECRET)
    known = visitor(office)
    known.post(path, {"password": SECRET})
    assert [known.get(f"{path}/badge.{kind}").status for kind in ("json", "svg")] == [404, 404]


def test_who_is_there_now(office: Office) -> None:
    site, path = shared(office)
    with closing(http.client.HTTPConnection("127.0.0.1", office.server.port, timeout=30)) as connection:
        connection.request("GET", f"{path}/live")
        stream = connection.getresponse()
        assert stream.readline() == b'data: {"active": 2}\n'
        office.done(f"{site}/settings/sharing/end")
        assert stream.read() == b"\n"
