"""A site's dashboard: numbers, panels, detail pages, CSV files and notes."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import pytest

from ovx_lite.web.ui.dashboard.formatting import format_value
from ovx_lite.web.ui.dashboard.tables import escape_formula
from tests.conftest import CHROME
from tests.support.browserless import WebClient
from tests.support.pages import AdminSession, Node, field_errors, flash_text, parse_page, split_command, table_rows
from tests.support.pages import admin as admin

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
HOSTILE = """"><script>hacked=1</script>'{{7*7}}"""
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
PATHS = ["/", "/", "/", "/=1+1", "/=1+1", "/-2", "/@sum", "/b,c", *(f"/{n}" for n in range(10))]
RECENT_VIEW_COUNT, ALL_VIEW_COUNT = str(len(PATHS) + 2), str(len(PATHS) + 3)


def time_ago(days: int, minutes: int = 0) -> str:
    return (NOON - timedelta(days, minutes=-minutes)).isoformat()[: None if minutes else 10]


def view(path: str, host: int, days: int = 3, agent: str = CHROME, **fields: object) -> dict[str, object]:
    client_fields = {"ip_address": f"203.0.113.{host}", "user_agent": agent, "timestamp": time_ago(days, host + 1)}
    return {"type": "pageview", "url": f"https://example.com{path}", **client_fields, **fields}


def event(name: str, host: int, **props: object) -> dict[str, object]:
    return view("/odd", host, days=5, type="custom", event_name=name, props=props)


@pytest.fixture(scope="module")
def dashboard_path(admin: AdminSession) -> str:
    """Return the path of my-site's dashboard; the site has visits on several days."""
    _, key = admin.add_site(id="my-site")
    admin.store.call("site", "change", "my-site", "--name", HOSTILE)
    admin.store.call("goal", "add", "my-site", "Home", "--path", "/")
    events = [
        *(view(path, number) for number, path in enumerate(PATHS)),
        view("/", 0, referrer="https://www.google.com/", timestamp=time_ago(3, -5)),
        view("/", 1, agent=FIREFOX),
        view("/bot", 77, agent=GOOGLEBOT),
        view("/long-ago", 1, days=100),
        *(event("bought", host, size="S", color=color) for host, color in ((1, "red"), (2, "blue"))),
        *(event("bought", 2, size="L", color="red") for _ in range(3)),
        event("comma", 3, **{"a,b": "x,y"}),
        *(event("wide", n, **{f"key-{n * 10 + i:02}": "1" for i in range(10)}) for n in range(3)),
        event(HOSTILE, 4, **{"<i>key": HOSTILE}),
    ]
    assert admin.server.batch(key, *events).status == 201
    for revenue, currency in ((1234.5, "EUR"), (10, "EUR"), (7, "JPY")):
        sale = {"event_type": "conversion", "event_name": "sale", "user_id": "ada", "properties": {}}
        conversion = sale | {"revenue": revenue, "currency": currency}
        assert admin.server.send("/v1/projects/my-site/events", conversion, key).status == 202
    return "/sites/my-site"


def get_page(admin: AdminSession, path: str, *params: tuple[str, str], **more_params: str) -> Node:
    response = admin.client.get(f"{path}?{urlencode([*params, *more_params.items()])}")
    assert response.status == 200, response.body
    return parse_page(response)


def panel(page: Node, key: str) -> dict[str, str]:
    lists = page.find_one("section", id=f"panel-{key}").find_all("ol", "bars")
    lines = [line for bars in lists for line in bars.find_all("li")]
    return {line.find_one(css_class="truncate").text: line.find_one("span", "value").attrs["title"] for line in lines}


def totals(page: Node) -> dict[str, str]:
    return {
        item.find_one("span", "metric-name").text: item.find_one("strong").attrs["title"]
        for item in page.find_one("ul", "totals").find_all("li")
    }


def chips(page: Node) -> list[str]:
    return [chip.attrs["title"] for chip in page.find_all("a", "chip")]


def link(page: Node, text: str) -> str:
    return next(anchor.attrs["href"] for anchor in page.find_all("a") if anchor.text == text)


def table(admin: AdminSession, path: str) -> list[list[str]]:
    response = admin.client.get(path)
    assert (response.status, response.headers["content-type"]) == (200, "text/csv; charset=utf-8"), response.body
    return list(csv.reader(io.StringIO(response.body.decode(), newline="")))


@pytest.mark.parametrize("suffix", ["", "/top/page", "/csv/pages", "/live"])
def test_the_dashboard_requires_a_login(admin: AdminSession, dashboard_path: str, suffix: str) -> None:
    anonymous = WebClient(admin.server)
    assert anonymous.get(dashboard_path + suffix).headers["location"] == f"/login?next={quote(dashboard_path + suffix)}"
    assert anonymous.get(dashboard_path + suffix, accept="*/*").error[:2] == (401, "unauthorized")
    assert anonymous.post(f"{dashboard_path}/annotations", {"day": time_ago(1), "text": "no"}).status == 401


def test_the_dashboard_shows_30_days_by_default(admin: AdminSession, dashboard_path: str) -> None:
    page = get_page(admin, dashboard_path)
    assert (totals(page)["Pageviews"], panel(page, "pages")["/"], panel(page, "goals")) == (
        RECENT_VIEW_COUNT,
        "4",
        {"Home": "4"},
    )
    assert (panel(page, "excluded"), panel(page, "people")) == ({"Bots and crawlers": "1"}, {"ada": "3"})
    assert "pageview" not in panel(page, "events")
    revenue = [line.text for line in page.find_one("section", id="panel-revenue").find_one("ol").find_all("li")]
    assert revenue == ["EUR 1,244.50 Total 2 × 622.25", "JPY 7 Total 1 × 7"]


SPANS = [
    ("period=day", "0"),
    ("period=7d", RECENT_VIEW_COUNT),
    ("period=all", ALL_VIEW_COUNT),
    (f"from={time_ago(3)}", RECENT_VIEW_COUNT),
]
DATES = [(f"from={time_ago(100)}&to={time_ago(100)}", "1"), ("from=1970-01-01&to=2109-01-01", ALL_VIEW_COUNT)]
FILTERS = [
    ("is,source,google", "2"),
    ("is,page,/b%252Cc", "1"),
    ("matches,page,^/[1-9]$", "9"),
    ("is_not,os,Windows", "1"),
]


@pytest.mark.parametrize(("query", "views"), [*SPANS, *DATES, *((f"f={test}", views) for test, views in FILTERS)])
def test_the_url_selects_periods_and_filters(admin: AdminSession, dashboard_path: str, query: str, views: str) -> None:
    assert totals(parse_page(admin.client.get(f"{dashboard_path}?{query}")))["Pageviews"] == views


def test_a_comparison_shows_changes(admin: AdminSession, dashboard_path: str) -> None:
    page = get_page(admin, dashboard_path, ("from", time_ago(3)), ("to", time_ago(3)), compare="previous")
    assert [element.text for element in page.find_all("span", "from")][:3] == ["from 0"] * 3
    assert (
        totals(get_page(admin, dashboard_path, ("from", "1970-01-01"), ("to", "1970-01-02"), compare="year"))["Visits"]
        == "0"
    )


def test_a_row_links_to_its_filter_and_the_chip_removes_it(admin: AdminSession, dashboard_path: str) -> None:
    for name in ("/b,c", "/=1+1", "/"):
        page = parse_page(admin.client.get(link(get_page(admin, dashboard_path), name)))
        assert (chips(page), list(panel(page, "pages"))) == ([f"Page is {name}"], [name])
        assert page.find_one("a", "chip").attrs["href"] == dashboard_path


def test_tabs_preserve_the_rest_of_the_url(admin: AdminSession, dashboard_path: str) -> None:
    page = get_page(admin, dashboard_path, pages="entry_page", f="is,browser,Firefox")
    assert panel(page, "pages") == {"/": "1"}
    assert {
        "pages=entry_page" in attrs["href"]
        for attrs in [anchor.attrs for anchor in page.find_all("a")]
        if "compare=" in attrs["href"]
    }
    assert panel(get_page(admin, dashboard_path, sources="channel"), "sources").keys() == {"Direct", "Search"}


def test_the_detail_page_lists_all_pages(admin: AdminSession, dashboard_path: str) -> None:
    response = admin.client.get(link(get_page(admin, dashboard_path), "All 16 pages"))
    assert table_rows(response)[:2] == [["/odd", "5", "5", "0", "10"], ["/", "4", "4", "5", "5"]]
    assert len(table_rows(response)) == 16
    assert table_rows(admin.client.get(f"{dashboard_path}/top/page?page=2")) == []
    assert admin.client.get(f"{dashboard_path}/top/nothing").status == 404


def test_panels_are_available_as_csv(admin: AdminSession, dashboard_path: str) -> None:
    entries = table(admin, f"{dashboard_path}/csv/pages?period=7d&pages=entry_page&f=is,browser,Firefox")
    assert entries == [["entry_page", "visitors", "visits"], ["/", "1", "1"]]
    assert table(admin, f"{dashboard_path}/csv/page?f=is,page,/b%252Cc")[1:] == [["/b,c", "1", "1", "1", "1"]]
    assert table(admin, f"{dashboard_path}/csv/revenue")[1:] == [
        ["EUR", "2", "1244.50", "622.25"],
        ["JPY", "1", "7", "7"],
    ]
    assert table(admin, f"{dashboard_path}/csv/goals?period=7d") == [
        ["goal", "visitors", "visits", "pageviews", "events", "conversion_rate"],
        ["Home", "4", "4", "5", "5", "16.0"],
    ]
    assert table(admin, f"{dashboard_path}/csv/excluded") == [["reason", "events"], ["bot", "1"]]
    assert (
        str(sum(int(line[3]) for line in table(admin, f"{dashboard_path}/csv/totals?period=7d")[1:]))
        == RECENT_VIEW_COUNT
    )
    assert admin.client.get(f"{dashboard_path}/csv/nothing").status == 404


def test_no_csv_cell_starts_like_a_formula(admin: AdminSession) -> None:
    settings, key = admin.add_site(id="formulas")
    names = ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "=cmd|' /C calc'!A0", " =1", "a\n=1"]
    assert {admin.event(settings, key, name).status for name in names} == {201}
    cells = [line[0] for line in table(admin, "/sites/formulas/csv/events")[1:]]
    assert (len(cells), [cell for cell in cells if cell[0] in "=+-@\t\r"]) == (9, [])


FORMULAS = [
    *("=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "\n=1", " =1", "\x0b=1", "\u200b=1"),
    *("＝1", "＋1", "－1", "＠a", "﹦1"),
]


def test_a_header_cell_of_a_csv_is_neutralised_too(admin: AdminSession) -> None:
    settings, key = admin.add_site(id="headers")
    names = [f"{formula}{number}" for number, formula in enumerate(FORMULAS)]
    for start_index in range(0, len(names), 8):
        props = {
            name: f"{formula}!"
            for name, formula in list(zip(names, FORMULAS, strict=True))[start_index : start_index + 8]
        }
        assert admin.event(settings, key, "bought", props=props).status == 201
    for name, formula in zip(names, FORMULAS, strict=True):
        query = urlencode({"f": "is,name,bought", "prop": name})
        head, *rows = table(admin, f"/sites/headers/csv/events?{query}")
        assert head[1:] == ["visitors", "events"]
        assert (head[0][0], [row[0][0] for row in rows]) == ("'", ["'"] * len(rows)), (name, head, rows)
        assert rows or not formula.isprintable(), name


@pytest.mark.parametrize("formula", FORMULAS)
def test_cells_that_look_like_formulas_are_marked_as_text(formula: str) -> None:
    assert escape_formula(formula) == f"'{formula}"


@pytest.mark.parametrize("cell", ["", " ", "a=1", "a-b", "1", "1-2", "/=", "é", "'=1", 7, -7, 0.5, -0.5])
def test_other_cells_are_unchanged(cell: object) -> None:
    assert escape_formula(cell) == cell


@pytest.mark.parametrize("key", ["pages", "sources", "places", "devices", "goals", "events", "revenue"])
@pytest.mark.parametrize("query", ["", "?f=is,name,bought&prop=size", "?period=7d&f=contains_not,page,zzz"])
def test_the_curl_command_returns_what_the_panel_shows(
    admin: AdminSession, dashboard_path: str, key: str, query: str
) -> None:
    page = parse_page(admin.client.get(dashboard_path + query))
    if entries := list(panel(page, key).items()):
        command = split_command(page.find_one("section", id=f"panel-{key}").find_one("code").raw_text)
        assert command[:2] == ["curl", f"{admin.server.url}/api/v1/stats/query"]
        body = json.loads(command[command.index("-d") + 1])
        first_row = admin.server.send("/api/v1/stats/query", body, admin.store.key()).json["results"][0]
        of_events = key == "revenue" or "Properties" in page.find_one("h2", id=f"heading-{key}").text
        number = first_row["metrics"][body["metrics"].index("events" if of_events else "visitors")]
        (dimension,), (value,) = body["dimensions"], first_row["dimensions"]
        assert (format_value(dimension, value), str(number)) == entries[0]


def test_the_events_panel_breaks_an_event_down_by_property(admin: AdminSession, dashboard_path: str) -> None:
    bought = ("f", "is,name,bought")
    assert panel(get_page(admin, dashboard_path, bought, prop="size"), "events") == {"L": "3", "S": "2"}
    two = panel(get_page(admin, dashboard_path, bought, ("prop", "size"), ("prop", "color")), "events")
    assert two == {"L · red": "3", "S · blue": "1", "S · red": "1"}
    assert panel(get_page(admin, dashboard_path, bought, prop="none"), "events") == {}
    both = parse_page(
        admin.client.get(link(get_page(admin, dashboard_path, bought, ("prop", "size"), ("prop", "color")), "L · red"))
    )
    assert chips(both) == ["Event is bought", "Property size is L", "Property color is red"]
    size = [["size", "visitors", "events"], ["L", "1", "3"], ["S", "2", "2"]]
    assert table(admin, f"{dashboard_path}/csv/events?f=is,name,bought&prop=size") == size
    assert table(admin, f"{dashboard_path}/csv/events?f=is,name,bought&prop=size&prop=color")[1] == [
        "L",
        "red",
        "1",
        "3",
    ]


def test_a_property_name_may_contain_a_comma(admin: AdminSession, dashboard_path: str) -> None:
    page = parse_page(admin.client.get(link(get_page(admin, dashboard_path, f="is,name,comma"), "x,y")))
    assert chips(page) == ["Event is comma", "Property a,b is x,y"]


def test_each_of_30_properties_can_be_selected(admin: AdminSession, dashboard_path: str) -> None:
    for number in range(30):
        assert panel(get_page(admin, dashboard_path, f="is,name,wide", prop=f"key-{number:02}"), "events") == {"1": "1"}


def test_hostile_text_is_shown_as_text(admin: AdminSession, dashboard_path: str) -> None:
    page = get_page(admin, dashboard_path, f=f"is,name,{quote(HOSTILE)}", prop="<i>key")
    assert (page.find_one("h1").text, chips(page)) == (HOSTILE, [f"Event is {HOSTILE}"])
    assert panel(page, "events") == {HOSTILE: "1"}
    assert [script for script in page.find_all("script") if script.raw_text.strip()] == []


INVALID_PARAMETERS = (
    "period=3d compare=all metric=money pages=source from=2026-02-30 from=2026-03-02&to=2026-03-01 from=0001-01-01"
)
INVALID_FILTERS = (
    "f=google f=is,source f=like,source,a f=is,nothing,a f=is,props:,a f=matches,page,( f=contains,goal,a f=is,goal,x"
)


@pytest.mark.parametrize("query", [*f"{INVALID_PARAMETERS} {INVALID_FILTERS}".split(), "&".join(["f=is,page,/"] * 51)])
@pytest.mark.parametrize("suffix", ["", "/top/page"])
def test_an_invalid_url_gets_an_explanation(admin: AdminSession, dashboard_path: str, suffix: str, query: str) -> None:
    response = admin.client.get(f"{dashboard_path}{suffix}?{query}")
    assert (response.status, "." in parse_page(response).find_one("main").text) == (400, True)
    assert admin.client.get(f"{dashboard_path}{suffix}?{query}", accept="application/json").error[:2] == (
        400,
        "invalid_request",
    )


def test_notes_are_added_shown_and_removed(admin: AdminSession, dashboard_path: str) -> None:
    page = admin.submit(f"{dashboard_path}/annotations", {"day": time_ago(2), "text": "<b>Newsletter"})
    (note,) = [
        item
        for item in parse_page(page).find_one("ul", **{"aria-label": "Notes"}).find_all("li")
        if "<b>Newsletter" in item.text
    ]
    assert any("<b>Newsletter" in mark.text for mark in parse_page(page).find_one("figure").find_all("svg", "mark"))
    assert "Newsletter" not in get_page(admin, dashboard_path, period="day").text
    removals = [admin.submit(note.find_one("form").attrs["action"]) for _ in range(2)]
    assert [flash_text(item) for item in (page, *removals)][1:] == [
        "The note was removed.",
        "The note had already been removed.",
    ]


def test_a_note_submitted_twice_is_stored_once(admin: AdminSession, dashboard_path: str) -> None:
    for text in ("Sale began", "Sale began", "Sale ended"):
        page = parse_page(admin.submit(f"{dashboard_path}/annotations", {"day": time_ago(1), "text": text}))
    notes = [item for item in page.find_one("ul", **{"aria-label": "Notes"}).find_all("li") if "Sale" in item.text]
    assert len(notes) == 2
    for note in notes:
        admin.submit(note.find_one("form").attrs["action"])


@pytest.mark.parametrize(("day", "text", "field"), [("2026-02-30", "x", "day"), (time_ago(1), "x" * 1000, "text")])
def test_an_invalid_note_is_refused(admin: AdminSession, dashboard_path: str, day: str, text: str, field: str) -> None:
    response = admin.client.post(f"{dashboard_path}/annotations", {"day": day, "text": text})
    assert (response.status, list(field_errors(response))) == (400, [f"note-{field}"])


def test_an_invalid_note_keeps_the_typed_text(admin: AdminSession, dashboard_path: str) -> None:
    max_length = int(get_page(admin, dashboard_path).find_one("input", id="note-text").attrs["maxlength"])
    page = parse_page(
        admin.client.post(f"{dashboard_path}/annotations", {"day": "2026-02-30", "text": "x" * max_length})
    )
    assert page.find_one("input", id="note-text").attrs.get("value") == "x" * max_length


def test_a_site_without_events_links_to_its_setup(admin: AdminSession) -> None:
    admin.add_site(id="unvisited")
    page = get_page(admin, "/sites/unvisited")
    assert "No visitors yet" in page.text
    assert link(page, "Send the first event") == "/sites/unvisited/settings/start"
    assert [admin.client.get(f"/sites/{path}").status for path in ("unvisited/top/page", "nowhere")] == [200, 404]
