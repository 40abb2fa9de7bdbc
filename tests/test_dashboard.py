"""The dashboard of a site: its numbers, panels, details, CSV files, notes, and who is there now."""

import csv
import http.client
import io
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import pytest

from tests.browserless import Person
from tests.conftest import CHROME, Answer
from tests.pages import Node, Office, notice, read, rows, words, wrong
from tests.pages import office as office

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
HOSTILE = """"><script>hacked=1</script>'{{7*7}}"""
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
PATHS = ["/", "/", "/", "/=1+1", "/=1+1", "/-2", "/@sum", "/b,c", *(f"/{n}" for n in range(10))]


def at(days: int, minutes: int = 0) -> str:
    """A time so many days ago."""
    return (NOON - timedelta(days, minutes=-minutes)).isoformat()


def day(days: int) -> str:
    return at(days)[:10]


def view(path: str, host: int, days: int = 3, agent: str = CHROME, **fields: object) -> dict[str, object]:
    """A pageview by a visitor."""
    who = {"ip_address": f"203.0.113.{host}", "user_agent": agent, "timestamp": at(days, host)}
    return {"type": "pageview", "url": f"https://example.com{path}", **who, **fields}


def odd(name: str, host: int, **props: object) -> dict[str, object]:
    return view("/odd", host, days=5, type="custom", event_name=name, props=props)


@pytest.fixture(scope="module")
def board(office: Office) -> str:
    """Where the dashboard of my-site is, which was visited on several days."""
    _, key = office.site(id="my-site")
    office.store.call("site", "change", "my-site", "--name", HOSTILE)
    office.store.call("goal", "add", "my-site", "Home", "--path", "/")
    events = [
        *(view(path, number) for number, path in enumerate(PATHS)),
        view("/", 0, referrer="https://www.google.com/", timestamp=at(3, -5)),
        view("/", 1, agent=FIREFOX),
        view("/bot", 77, agent=GOOGLEBOT),
        view("/long-ago", 1, days=100),
        *(odd("bought", host, size=size, color=color) for host, size, color in [(1, "S", "red"), (2, "S", "blue")]),
        *(odd("bought", 2, size="L", color="red") for _ in range(3)),
        odd("comma", 3, **{"a,b": "x,y"}),
        *(odd("wide", n, **{f"key-{n * 10 + i:02}": "1" for i in range(10)}) for n in range(3)),
        odd(HOSTILE, 4, **{"<i>key": HOSTILE}),
    ]
    assert office.server.batch(key, *events).status == 201
    for revenue, currency in ((1234.5, "EUR"), (10, "EUR"), (7, "JPY")):
        sale = {"event_type": "conversion", "event_name": "sale", "user_id": "ada", "properties": {}}
        sent = sale | {"revenue": revenue, "currency": currency, "timestamp": int(datetime.now(UTC).timestamp() * 1000)}
        assert office.server.send("/v1/projects/my-site/events", sent, key).status == 202
    return "/sites/my-site"


def look(office: Office, path: str, *asked: tuple[str, str], **more: str) -> Node:
    answer = office.person.get(f"{path}?{urlencode([*asked, *more.items()])}")
    assert answer.status == 200, answer.body
    return read(answer)


def panel(page: Node, key: str) -> dict[str, str]:
    """The rows of a panel: the label and the exact number of each."""
    listed = page.one("section", id=f"panel-{key}").all("ol", "bars")
    lines = [line for bars in listed for line in bars.all("li")]
    return {line.one(kind="cut").text: line.one("span", "much").attrs["title"] for line in lines}


def totals(page: Node) -> dict[str, str]:
    """The totals, exactly."""
    return {one.one("span", "of").text: one.one("strong").attrs["title"] for one in page.one("ul", "totals").all("li")}


def chips(page: Node) -> list[str]:
    return [chip.attrs["title"] for chip in page.all("a", "chip")]


def link(page: Node, words: str) -> str:
    """Where the link of that name leads."""
    return next(one.attrs["href"] for one in page.all("a") if one.text == words)


def table(answer: Answer) -> list[list[str]]:
    """A CSV file."""
    assert (answer.status, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8"), answer.body
    return list(csv.reader(io.StringIO(answer.body.decode(), newline="")))


PLACES = ["", "/top/page", "/csv/pages", "/live"]


@pytest.mark.parametrize("place", PLACES)
def test_nobody_looks_without_logging_in(office: Office, board: str, place: str) -> None:
    answer = Person(office.server).get(board + place)
    assert answer.status == 303
    assert answer.headers["location"] == f"/login?next={quote(board + place)}"
    assert Person(office.server).get(board + place, accept="*/*").error[:2] == (401, "unauthorized")
    note = {"day": day(1), "text": "no"}
    assert Person(office.server).post(f"{board}/annotations", note).status == 401


def test_the_numbers_of_thirty_days(office: Office, board: str) -> None:
    page = look(office, board)
    assert panel(page, "pages")["/"] == "4"
    assert totals(page)["Pageviews"] == str(len(PATHS) + 2)
    assert panel(page, "goals") == {"Home": "4"}
    assert panel(page, "excluded") == {"Bots and crawlers": "1"}
    assert panel(page, "people") == {"ada": "3"}
    assert "pageview" not in panel(page, "events")


@pytest.mark.parametrize(
    ("asked", "views"),
    [
        ({"period": "day"}, "0"),
        ({"period": "yesterday"}, "0"),
        ({"period": "7d"}, str(len(PATHS) + 2)),
        ({"period": "all"}, str(len(PATHS) + 3)),
        ({"from": day(100), "to": day(100)}, "1"),
        ({"from": day(3)}, str(len(PATHS) + 2)),
        ({"from": "1970-01-01", "to": "2109-01-01"}, str(len(PATHS) + 3)),
        ({"f": "is,source,google"}, "2"),
        ({"f": "is,page,/b%2Cc"}, "1"),
        ({"f": "matches,page,^/[0-9]$"}, "10"),
        ({"f": "is_not,browser,Chrome"}, "1"),
    ],
)
def test_periods_and_filters_of_the_url(office: Office, board: str, asked: dict[str, str], views: str) -> None:
    assert totals(look(office, board, **asked))["Pageviews"] == views


def test_a_comparison(office: Office, board: str) -> None:
    page = look(office, board, ("from", day(3)), ("to", day(3)), compare="previous")
    assert {one.text for one in page.all("span", "from")} >= {"from 0"}
    assert [one.text for one in page.all("span", "before")] == ["Previous period"]
    assert look(office, board, ("from", "1970-01-01"), compare="year", to="1970-01-02").all("section", id="panel-pages")


def test_a_row_leads_to_its_filter_and_the_chip_away(office: Office, board: str) -> None:
    page = look(office, board)
    for name in ("/b,c", "/=1+1", "/"):
        found = read(office.person.get(link(page, name)))
        assert (chips(found), list(panel(found, "pages"))) == ([f"Page is {name}"], [name])
    assert found.one("a", "chip").attrs["href"] == board


def test_tabs_and_what_they_keep(office: Office, board: str) -> None:
    page = look(office, board, pages="entry_page", f="is,browser,Firefox")
    assert panel(page, "pages") == {"/": "1"}
    assert "pages=entry_page" in str([one.attrs["href"] for one in page.all("a")])
    assert panel(look(office, board, sources="channel"), "sources")["Organic Search"] == "1"
    assert panel(look(office, board, devices="os"), "devices").keys() >= {"Linux", "Windows"}


def test_all_pages_in_detail(office: Office, board: str) -> None:
    page = look(office, board)
    answer = office.person.get(link(page, "All 16 pages"))
    assert rows(answer)[:2] == [["/odd", "5", "5", "0", "10"], ["/", "4", "4", "5", "5"]]
    assert len(rows(answer)) == 16
    assert rows(office.person.get(f"{board}/top/page?page=2")) == []
    assert [row[0] for row in rows(office.person.get(f"{board}/top/browser"))][:1] == ["Chrome"]
    assert office.person.get(f"{board}/top/nothing").status == 404


def test_panels_as_csv(office: Office, board: str) -> None:
    def lines(asked: str) -> list[list[str]]:
        return table(office.person.get(f"{board}/csv/{asked}"))

    answer = office.person.get(f"{board}/csv/pages?period=7d&pages=entry_page&f=is,browser,Firefox")
    assert answer.headers["content-disposition"] == 'attachment; filename="my-site-pages.csv"'
    assert table(answer) == [["entry_page", "visitors", "visits"], ["/", "1", "1"]]
    assert lines("page?f=is,page,/b%252Cc")[1:] == [["/b,c", "1", "1", "1", "1"]]
    assert lines("revenue")[1:] == [["EUR", "2", "1244.50"], ["JPY", "1", "7"]]
    assert lines("excluded") == [["reason", "events"], ["bot", "1"]]
    assert sum(int(line[3]) for line in lines("totals?period=7d")[1:]) == len(PATHS) + 2
    assert office.person.get(f"{board}/csv/nothing").status == 404


def test_a_csv_has_no_cell_that_begins_as_a_formula(office: Office) -> None:
    _, key = office.site(id="formulas")
    for number, name in enumerate(["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "=cmd|' /C calc'!A0", " =1", "a\n=1"]):
        assert office.event("/sites/formulas/settings", key, name, ip_address=f"203.0.113.{number}").status == 201
    cells = [line[0] for line in table(office.person.get("/sites/formulas/csv/events"))[1:]]
    assert len(cells) == 9
    assert not [cell for cell in cells if cell[0] in "=+-@\t\r"]


CURLS = ["pages", "sources", "places", "devices", "goals", "events", "revenue"]


@pytest.mark.parametrize("key", CURLS)
@pytest.mark.parametrize("asked", ["", "?f=is,name,bought&prop=size", "?period=7d&f=contains_not,page,zzz"])
def test_the_command_gives_what_the_panel_shows(office: Office, board: str, key: str, asked: str) -> None:
    page = read(office.person.get(board + asked))
    commands = page.one("section", id=f"panel-{key}").all("code")
    if not panel(page, key):
        return
    command = words(commands[0].raw)
    assert command[:2] == ["curl", f"{office.server.url}/api/v1/stats/query"]
    sent = json.loads(command[command.index("-d") + 1])
    answer = office.server.send("/api/v1/stats/query", sent, office.store.key())
    assert answer.status == 200, answer.body
    first = answer.json["results"][0]
    label, number = next(iter(panel(page, key).items()))
    unknown = {"": "(unknown)"}
    assert [unknown.get(word, word) for word in first["dimensions"]] == [label]
    asked_for = "events" if key == "revenue" or "Properties" in page.one("h2", id=f"of-{key}").text else "visitors"
    assert str(first["metrics"][sent["metrics"].index(asked_for)]) == number


def test_the_properties_of_an_event(office: Office, board: str) -> None:
    one = look(office, board, ("f", "is,name,bought"), ("prop", "size"))
    assert panel(one, "events") == {"L": "3", "S": "2"}
    two = look(office, board, ("f", "is,name,bought"), ("prop", "size"), ("prop", "color"))
    assert panel(two, "events") == {"L · red": "3", "S · blue": "1", "S · red": "1"}
    assert panel(look(office, board, ("f", "is,name,bought"), prop="none"), "events") == {}


def test_a_property_with_a_comma_in_its_name(office: Office, board: str) -> None:
    page = look(office, board, f="is,name,comma")
    found = read(office.person.get(link(page, "x,y")))
    assert chips(found) == ["Event is comma", "Property a,b is x,y"]
    assert totals(found)["Visitors"] == "1"


def test_any_of_thirty_properties(office: Office, board: str) -> None:
    for number in range(30):
        page = look(office, board, ("f", "is,name,wide"), prop=f"key-{number:02}")
        assert panel(page, "events") == {"1": "1"}


def test_revenue_is_told_by_currency(office: Office, board: str) -> None:
    section = look(office, board).one("section", id="panel-revenue")
    told = [[part.text for part in line.all("span") if part.classes] for line in section.one("ol").all("li")]
    assert [[line[0], line[2].split()[0], line[-1]] for line in told] == [
        ["EUR", "1,244.50", "2 × 622.25"],
        ["JPY", "7", "1 × 7"],
    ]


def test_hostile_words_are_words(office: Office, board: str) -> None:
    page = look(office, board, ("f", f"is,name,{quote(HOSTILE)}"), prop="<i>key")
    assert page.one("h1").text == HOSTILE
    assert chips(page) == [f"Event is {HOSTILE}"]
    assert panel(page, "events") == {HOSTILE: "1"}
    assert [script for script in page.all("script") if script.raw.strip()] == []


BAD = """
period=3d compare=all metric=money pages=source from=2026-02-30 from=2026-03-02&to=2026-03-01 from=0001-01-01 f=google
f=is,source f=like,source,a f=is,nothing,a f=is,props:,a f=matches,page,( f=contains,goal,a f=is,goal,none
""".split()


@pytest.mark.parametrize("asked", [*BAD, "&".join(["f=is,page,/"] * 51)])
@pytest.mark.parametrize("place", ["", "/top/page"])
def test_what_is_wrong_in_a_url_is_told_in_a_sentence(office: Office, board: str, place: str, asked: str) -> None:
    answer = office.person.get(f"{board}{place}?{asked}")
    assert answer.status == 400
    assert read(answer).one("main").text.rstrip().count(".") >= 1
    assert office.person.get(f"{board}{place}?{asked}", accept="application/json").error[:2] == (400, "invalid_request")


def test_notes(office: Office, board: str) -> None:
    page = office.done(f"{board}/annotations", {"day": day(2), "text": "<b>Newsletter"})
    assert notice(page) == "The note is there."
    (note,) = [one for one in read(page).one("ul", **{"aria-label": "Notes"}).all("li") if "Newsletter" in one.text]
    assert "<b>Newsletter" in note.text
    assert any("<b>Newsletter" in mark.text for mark in read(page).one("figure").all("svg", "mark"))
    assert not [one for one in look(office, board, period="day").all("li") if "Newsletter" in one.text]
    gone = office.done(note.one("form").attrs["action"])
    assert "Newsletter" not in read(gone).text
    assert notice(office.done(note.one("form").attrs["action"])) == "The note was removed before."


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"day": "2026-02-30", "text": "x"}, "note-day"),
        ({"day": "", "text": "x"}, "note-day"),
        ({"day": "1969-12-31", "text": "x"}, "note-day"),
        ({"day": day(1), "text": " "}, "note-text"),
        ({"day": day(1), "text": "x" * 1000}, "note-text"),
    ],
)
def test_a_wrong_note(office: Office, board: str, form: dict[str, str], field: str) -> None:
    answer = office.person.post(f"{board}/annotations", form)
    assert (answer.status, list(wrong(answer))) == (400, [field])


def test_a_wrong_note_need_not_be_typed_again(office: Office, board: str) -> None:
    page = read(office.person.post(f"{board}/annotations", {"day": "2026-02-30", "text": "typed before"}))
    assert page.one("input", id="note-text").attrs.get("value") == "typed before"


def test_a_note_may_be_as_long_as_its_field(office: Office, board: str) -> None:
    longest = int(look(office, board).one("input", id="note-text").attrs["maxlength"])
    answer = office.person.post(f"{board}/annotations", {"day": day(200), "text": "x" * longest})
    assert answer.status == 303, wrong(answer)


def test_who_is_there_now(office: Office) -> None:
    _, key = office.site(id="now")
    cookie = "; ".join(f"{name}={value}" for name, value in office.person.cookies.items())
    with closing(http.client.HTTPConnection("127.0.0.1", office.server.port, timeout=20)) as connection:
        connection.request("GET", "/sites/now/live", headers={"Cookie": cookie})
        stream = connection.getresponse()
        assert stream.getheader("content-type", "").startswith("text/event-stream")
        assert (stream.readline(), stream.readline()) == (b'data: {"active": 0}\n', b"\n")
        assert office.pageview("/sites/now/settings", key, user_agent=CHROME, ip_address="203.0.113.1").status == 201
        assert stream.readline() == b'data: {"active": 1}\n'
    assert look(office, "/sites/now").one("p", "active").text == "1 active now"


def test_a_site_without_events_is_friendly(office: Office) -> None:
    office.site(id="nobody")
    page = look(office, "/sites/nobody")
    assert "Nobody was here yet" in page.text
    assert link(page, "Send the first event") == "/sites/nobody/settings/start"
    assert rows(office.person.get("/sites/nobody/top/page")) == []
    assert len(table(office.person.get("/sites/nobody/csv/pages"))) == 1
    assert office.person.get("/sites/nowhere").status == 404
