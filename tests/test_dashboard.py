"""The dashboard of a site: its numbers, panels, details, CSV files, notes."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import pytest

from ovx_lite.web.ui.dashboard.tables import neutralised
from tests.conftest import CHROME
from tests.support.browserless import Person
from tests.support.pages import Node, Office, notice, read, rows, words, wrong
from tests.support.pages import office as office

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
HOSTILE = """"><script>hacked=1</script>'{{7*7}}"""
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
PATHS = ["/", "/", "/", "/=1+1", "/=1+1", "/-2", "/@sum", "/b,c", *(f"/{n}" for n in range(10))]
VIEWS, ALL = str(len(PATHS) + 2), str(len(PATHS) + 3)


def at(days: int, minutes: int = 0) -> str:
    return (NOON - timedelta(days, minutes=-minutes)).isoformat()[: None if minutes else 10]


def view(path: str, host: int, days: int = 3, agent: str = CHROME, **fields: object) -> dict[str, object]:
    who = {"ip_address": f"203.0.113.{host}", "user_agent": agent, "timestamp": at(days, host + 1)}
    return {"type": "pageview", "url": f"https://example.com{path}", **who, **fields}


def event(name: str, host: int, **props: object) -> dict[str, object]:
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
        *(event("bought", host, size="S", color=color) for host, color in ((1, "red"), (2, "blue"))),
        *(event("bought", 2, size="L", color="red") for _ in range(3)),
        event("comma", 3, **{"a,b": "x,y"}),
        *(event("wide", n, **{f"key-{n * 10 + i:02}": "1" for i in range(10)}) for n in range(3)),
        event(HOSTILE, 4, **{"<i>key": HOSTILE}),
    ]
    assert office.server.batch(key, *events).status == 201
    for revenue, currency in ((1234.5, "EUR"), (10, "EUR"), (7, "JPY")):
        sale = {"event_type": "conversion", "event_name": "sale", "user_id": "ada", "properties": {}}
        sent = sale | {"revenue": revenue, "currency": currency}
        assert office.server.send("/v1/projects/my-site/events", sent, key).status == 202
    return "/sites/my-site"


def look(office: Office, path: str, *asked: tuple[str, str], **more: str) -> Node:
    answer = office.person.get(f"{path}?{urlencode([*asked, *more.items()])}")
    assert answer.status == 200, answer.body
    return read(answer)


def panel(page: Node, key: str) -> dict[str, str]:
    listed = page.one("section", id=f"panel-{key}").all("ol", "bars")
    lines = [line for bars in listed for line in bars.all("li")]
    return {line.one(kind="cut").text: line.one("span", "much").attrs["title"] for line in lines}


def totals(page: Node) -> dict[str, str]:
    return {one.one("span", "of").text: one.one("strong").attrs["title"] for one in page.one("ul", "totals").all("li")}


def chips(page: Node) -> list[str]:
    return [chip.attrs["title"] for chip in page.all("a", "chip")]


def link(page: Node, words: str) -> str:
    return next(one.attrs["href"] for one in page.all("a") if one.text == words)


def table(office: Office, path: str) -> list[list[str]]:
    answer = office.person.get(path)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8"), answer.body
    return list(csv.reader(io.StringIO(answer.body.decode(), newline="")))


@pytest.mark.parametrize("place", ["", "/top/page", "/csv/pages", "/live"])
def test_nobody_looks_without_logging_in(office: Office, board: str, place: str) -> None:
    stranger = Person(office.server)
    assert stranger.get(board + place).headers["location"] == f"/login?next={quote(board + place)}"
    assert stranger.get(board + place, accept="*/*").error[:2] == (401, "unauthorized")
    assert stranger.post(f"{board}/annotations", {"day": at(1), "text": "no"}).status == 401


def test_the_numbers_of_thirty_days(office: Office, board: str) -> None:
    page = look(office, board)
    assert (totals(page)["Pageviews"], panel(page, "pages")["/"], panel(page, "goals")) == (VIEWS, "4", {"Home": "4"})
    assert (panel(page, "excluded"), panel(page, "people")) == ({"Bots and crawlers": "1"}, {"ada": "3"})
    assert "pageview" not in panel(page, "events")
    takings = [line.text for line in page.one("section", id="panel-revenue").one("ol").all("li")]
    assert takings == ["EUR 1,244.50 Total 2 × 622.25", "JPY 7 Total 1 × 7"]


SPANS = [("period=day", "0"), ("period=7d", VIEWS), ("period=all", ALL), (f"from={at(3)}", VIEWS)]
DATES = [(f"from={at(100)}&to={at(100)}", "1"), ("from=1970-01-01&to=2109-01-01", ALL)]
SOME = [
    ("is,source,google", "2"),
    ("is,page,/b%252Cc", "1"),
    ("matches,page,^/[1-9]$", "9"),
    ("is_not,os,Windows", "1"),
]


@pytest.mark.parametrize(("asked", "views"), [*SPANS, *DATES, *((f"f={test}", views) for test, views in SOME)])
def test_periods_and_filters_of_the_url(office: Office, board: str, asked: str, views: str) -> None:
    assert totals(read(office.person.get(f"{board}?{asked}")))["Pageviews"] == views


def test_a_comparison(office: Office, board: str) -> None:
    page = look(office, board, ("from", at(3)), ("to", at(3)), compare="previous")
    assert [one.text for one in page.all("span", "from")][:3] == ["from 0"] * 3
    assert totals(look(office, board, ("from", "1970-01-01"), ("to", "1970-01-02"), compare="year"))["Visits"] == "0"


def test_a_row_leads_to_its_filter_and_the_chip_away(office: Office, board: str) -> None:
    for name in ("/b,c", "/=1+1", "/"):
        found = read(office.person.get(link(look(office, board), name)))
        assert (chips(found), list(panel(found, "pages"))) == ([f"Page is {name}"], [name])
        assert found.one("a", "chip").attrs["href"] == board


def test_tabs_and_what_they_keep(office: Office, board: str) -> None:
    page = look(office, board, pages="entry_page", f="is,browser,Firefox")
    assert panel(page, "pages") == {"/": "1"}
    assert {"pages=entry_page" in one["href"] for one in [a.attrs for a in page.all("a")] if "compare=" in one["href"]}
    assert panel(look(office, board, sources="channel"), "sources").keys() == {"direct", "search"}


def test_all_pages_in_detail(office: Office, board: str) -> None:
    answer = office.person.get(link(look(office, board), "All 16 pages"))
    assert rows(answer)[:2] == [["/odd", "5", "5", "0", "10"], ["/", "4", "4", "5", "5"]]
    assert len(rows(answer)) == 16
    assert rows(office.person.get(f"{board}/top/page?page=2")) == []
    assert office.person.get(f"{board}/top/nothing").status == 404


def test_panels_as_csv(office: Office, board: str) -> None:
    entries = table(office, f"{board}/csv/pages?period=7d&pages=entry_page&f=is,browser,Firefox")
    assert entries == [["entry_page", "visitors", "visits"], ["/", "1", "1"]]
    assert table(office, f"{board}/csv/page?f=is,page,/b%252Cc")[1:] == [["/b,c", "1", "1", "1", "1"]]
    assert table(office, f"{board}/csv/revenue")[1:] == [["EUR", "2", "1244.50", "622.25"], ["JPY", "1", "7", "7"]]
    assert table(office, f"{board}/csv/goals?period=7d") == [
        ["goal", "visitors", "visits", "pageviews", "events", "conversion_rate"],
        ["Home", "4", "4", "5", "5", "16.0"],
    ]
    assert table(office, f"{board}/csv/excluded") == [["reason", "events"], ["bot", "1"]]
    assert str(sum(int(line[3]) for line in table(office, f"{board}/csv/totals?period=7d")[1:])) == VIEWS
    assert office.person.get(f"{board}/csv/nothing").status == 404


def test_a_csv_has_no_cell_that_begins_as_a_formula(office: Office) -> None:
    settings, key = office.site(id="formulas")
    names = ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "=cmd|' /C calc'!A0", " =1", "a\n=1"]
    assert {office.event(settings, key, name).status for name in names} == {201}
    cells = [line[0] for line in table(office, "/sites/formulas/csv/events")[1:]]
    assert (len(cells), [cell for cell in cells if cell[0] in "=+-@\t\r"]) == (9, [])


FORMULAS = [
    *("=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "\n=1", " =1", "\x0b=1", "\u200b=1"),
    *("＝1", "＋1", "－1", "＠a", "﹦1"),
]


def test_a_header_cell_of_a_csv_is_neutralised_too(office: Office) -> None:
    settings, key = office.site(id="headers")
    names = [f"{formula}{number}" for number, formula in enumerate(FORMULAS)]
    for begin in range(0, len(names), 8):
        props = {name: f"{formula}!" for name, formula in list(zip(names, FORMULAS, strict=True))[begin : begin + 8]}
        assert office.event(settings, key, "bought", props=props).status == 201
    for name, formula in zip(names, FORMULAS, strict=True):
        query = urlencode({"f": "is,name,bought", "prop": name})
        head, *rows = table(office, f"/sites/headers/csv/events?{query}")
        assert head[1:] == ["visitors", "events"]
        assert (head[0][0], [row[0][0] for row in rows]) == ("'", ["'"] * len(rows)), (name, head, rows)
        assert rows or not formula.isprintable(), name


@pytest.mark.parametrize("formula", FORMULAS)
def test_what_a_spreadsheet_could_take_for_a_formula_is_marked_as_text(formula: str) -> None:
    assert neutralised(formula) == f"'{formula}"


@pytest.mark.parametrize("cell", ["", " ", "a=1", "a-b", "1", "1-2", "/=", "é", "'=1", 7, -7, 0.5, -0.5])
def test_what_is_no_formula_stays_as_it_is(cell: object) -> None:
    assert neutralised(cell) == cell


@pytest.mark.parametrize("key", ["pages", "sources", "places", "devices", "goals", "events", "revenue"])
@pytest.mark.parametrize("asked", ["", "?f=is,name,bought&prop=size", "?period=7d&f=contains_not,page,zzz"])
def test_the_command_gives_what_the_panel_shows(office: Office, board: str, key: str, asked: str) -> None:
    page = read(office.person.get(board + asked))
    if shown := list(panel(page, key).items()):
        command = words(page.one("section", id=f"panel-{key}").one("code").raw)
        assert command[:2] == ["curl", f"{office.server.url}/api/v1/stats/query"]
        sent = json.loads(command[command.index("-d") + 1])
        first = office.server.send("/api/v1/stats/query", sent, office.store.key()).json["results"][0]
        of_events = key == "revenue" or "Properties" in page.one("h2", id=f"of-{key}").text
        number = first["metrics"][sent["metrics"].index("events" if of_events else "visitors")]
        assert ([word or "(unknown)" for word in first["dimensions"]], str(number)) == ([shown[0][0]], shown[0][1])


def test_the_properties_of_an_event(office: Office, board: str) -> None:
    bought = ("f", "is,name,bought")
    assert panel(look(office, board, bought, prop="size"), "events") == {"L": "3", "S": "2"}
    two = panel(look(office, board, bought, ("prop", "size"), ("prop", "color")), "events")
    assert two == {"L · red": "3", "S · blue": "1", "S · red": "1"}
    assert panel(look(office, board, bought, prop="none"), "events") == {}
    both = read(office.person.get(link(look(office, board, bought, ("prop", "size"), ("prop", "color")), "L · red")))
    assert chips(both) == ["Event is bought", "Property size is L", "Property color is red"]
    size = [["size", "visitors", "events"], ["L", "1", "3"], ["S", "2", "2"]]
    assert table(office, f"{board}/csv/events?f=is,name,bought&prop=size") == size
    assert table(office, f"{board}/csv/events?f=is,name,bought&prop=size&prop=color")[1] == ["L", "red", "1", "3"]


def test_a_property_with_a_comma_in_its_name(office: Office, board: str) -> None:
    found = read(office.person.get(link(look(office, board, f="is,name,comma"), "x,y")))
    assert chips(found) == ["Event is comma", "Property a,b is x,y"]


def test_any_of_thirty_properties(office: Office, board: str) -> None:
    for number in range(30):
        assert panel(look(office, board, f="is,name,wide", prop=f"key-{number:02}"), "events") == {"1": "1"}


def test_hostile_words_are_words(office: Office, board: str) -> None:
    page = look(office, board, f=f"is,name,{quote(HOSTILE)}", prop="<i>key")
    assert (page.one("h1").text, chips(page)) == (HOSTILE, [f"Event is {HOSTILE}"])
    assert panel(page, "events") == {HOSTILE: "1"}
    assert [script for script in page.all("script") if script.raw.strip()] == []


BAD = "period=3d compare=all metric=money pages=source from=2026-02-30 from=2026-03-02&to=2026-03-01 from=0001-01-01"
WRONG = (
    "f=google f=is,source f=like,source,a f=is,nothing,a f=is,props:,a f=matches,page,( f=contains,goal,a f=is,goal,x"
)


@pytest.mark.parametrize("asked", [*f"{BAD} {WRONG}".split(), "&".join(["f=is,page,/"] * 51)])
@pytest.mark.parametrize("place", ["", "/top/page"])
def test_what_is_wrong_in_a_url_is_told_in_a_sentence(office: Office, board: str, place: str, asked: str) -> None:
    answer = office.person.get(f"{board}{place}?{asked}")
    assert (answer.status, "." in read(answer).one("main").text) == (400, True)
    assert office.person.get(f"{board}{place}?{asked}", accept="application/json").error[:2] == (400, "invalid_request")


def test_notes(office: Office, board: str) -> None:
    page = office.done(f"{board}/annotations", {"day": at(2), "text": "<b>Newsletter"})
    (note,) = [one for one in read(page).one("ul", **{"aria-label": "Notes"}).all("li") if "<b>Newsletter" in one.text]
    assert any("<b>Newsletter" in mark.text for mark in read(page).one("figure").all("svg", "mark"))
    assert "Newsletter" not in look(office, board, period="day").text
    gone = [office.done(note.one("form").attrs["action"]) for _ in range(2)]
    assert [notice(one) for one in (page, *gone)][1:] == ["The note is removed.", "The note was removed before."]


def test_a_note_that_is_sent_again_is_one_note_and_another_is_another(office: Office, board: str) -> None:
    for text in ("Sale began", "Sale began", "Sale ended"):
        page = read(office.done(f"{board}/annotations", {"day": at(1), "text": text}))
    notes = [one for one in page.one("ul", **{"aria-label": "Notes"}).all("li") if "Sale" in one.text]
    assert len(notes) == 2
    for note in notes:
        office.done(note.one("form").attrs["action"])


@pytest.mark.parametrize(("told", "text", "field"), [("2026-02-30", "x", "day"), (at(1), "x" * 1000, "text")])
def test_a_wrong_note(office: Office, board: str, told: str, text: str, field: str) -> None:
    answer = office.person.post(f"{board}/annotations", {"day": told, "text": text})
    assert (answer.status, list(wrong(answer))) == (400, [f"note-{field}"])


def test_a_wrong_note_need_not_be_typed_again(office: Office, board: str) -> None:
    longest = int(look(office, board).one("input", id="note-text").attrs["maxlength"])
    page = read(office.person.post(f"{board}/annotations", {"day": "2026-02-30", "text": "x" * longest}))
    assert page.one("input", id="note-text").attrs.get("value") == "x" * longest


def test_a_site_without_events_is_friendly(office: Office) -> None:
    office.site(id="nobody")
    page = look(office, "/sites/nobody")
    assert "Nobody was here yet" in page.text
    assert link(page, "Send the first event") == "/sites/nobody/settings/start"
    assert [office.person.get(f"/sites/{path}").status for path in ("nobody/top/page", "nowhere")] == [200, 404]
