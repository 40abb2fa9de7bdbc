"""The public link of a site: access, visible content, embedding and badges."""

import http.client
from contextlib import closing
from itertools import count

import pytest

from tests.conftest import CHROME, Response, Start, Store
from tests.support.browserless import PASSWORD, WebClient
from tests.support.pages import AdminSession, Node, field_errors, open_admin_session, parse_page, table_rows
from tests.support.pages import admin as admin
from tests.support.sharing import link

SECRET = "a shared secret"
_ids = count(1)


def add_shared_site(admin: AdminSession, password: str = "") -> tuple[str, str]:
    """Add a site with an event and a public link. Returns the paths of both."""
    id = f"shared-{next(_ids)}"
    _, key = admin.add_site(id=id)
    visitor_fields = {"user_agent": CHROME, "ip_address": "203.0.113.1"}
    assert admin.pageview(f"/sites/{id}/settings", key, "https://example.com/seen", **visitor_fields).status == 201
    identify_event = {"event_type": "identify", "event_name": "x", "user_id": "ada", "properties": {}}
    assert admin.server.send(f"/v1/projects/{id}/events", identify_event, key).status == 202
    return f"/sites/{id}", link(admin.submit(f"/sites/{id}/settings/sharing", {"password": password}))


def anonymous_client(admin: AdminSession) -> WebClient:
    """Return a client that is not logged in."""
    return WebClient(admin.server)


def headings(page: Node) -> list[str]:
    return [heading.text for heading in page.find_all("h2")]


def frame_ancestors(response: Response) -> str:
    return response.headers["content-security-policy"].rpartition("frame-ancestors ")[2]


def test_a_new_site_is_not_shared(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    page = parse_page(admin.client.get(f"{settings}/sharing"))
    assert "/share/" not in page.text
    assert [button.text for button in page.find_one("main").find_all("button")] == ["Create link"]
    assert anonymous_client(admin).get(f"{settings}/sharing").status == 303
    assert anonymous_client(admin).post(f"{settings}/sharing", {"password": ""}).status == 401


def test_anyone_with_the_link_can_view_the_dashboard(admin: AdminSession) -> None:
    _, path = add_shared_site(admin)
    client = anonymous_client(admin)
    page = parse_page(client.get(path))
    assert "/seen" in page.text
    assert parse_page(client.get(f"{path}?period=yesterday&f=is,page,/seen")).find_all("a", "chip")
    assert table_rows(client.get(f"{path}/top/page")) == [["/seen", "1", "1", "1", "1"]]
    assert b"/seen,1,1,1,1\r\n" in client.get(f"{path}/csv/pages").body


def test_a_shared_dashboard_exposes_nothing_else(admin: AdminSession) -> None:
    site, path = add_shared_site(admin)
    client = anonymous_client(admin)
    page, top = (parse_page(client.get(f"{path}{suffix}")) for suffix in ("", "/top/page"))
    assert {"People", "Not counted"} & set(headings(page)) == set()
    assert {"Pages", "Sources", "Goals", "Revenue"} <= set(headings(page))
    for node in (page, top):
        text = node.text
        assert not [
            hidden_text for hidden_text in ("curl", "ada", "Settings", "Add a note", "Log out") if hidden_text in text
        ]
        links = [anchor.attrs["href"] for anchor in node.find_one("main").find_all("a")]
        assert [href for href in links if not href.startswith(path)] == []
        assert node.find_all("form", method="post") == []
    for panel in ("people", "excluded"):
        assert client.get(f"{path}/csv/{panel}").status == 404
    assert client.get(site).status == 303
    assert client.get(f"{path}/settings/people").status == 404
    assert client.post(f"{path}/annotations", {"day": "2026-01-01", "text": "x"}).status in (404, 405)
    assert client.get(path).headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("suffix", ["", "/top/page", "/csv/pages", "/live", "/badge.svg", "/badge.json"])
@pytest.mark.parametrize("token", ["nothing", "%00", "' OR 1=1 --", "x" * 3000])
def test_an_unknown_link_is_404(admin: AdminSession, suffix: str, token: str) -> None:
    assert anonymous_client(admin).get(f"/share/{token.replace(' ', '%20')}{suffix}").status == 404


def test_a_new_link_replaces_the_old_one(admin: AdminSession) -> None:
    site, old_path = add_shared_site(admin)
    new_path = link(admin.submit(f"{site}/settings/sharing", {"keep": "1", "do": "new"}))
    assert (
        new_path == old_path,
        anonymous_client(admin).get(old_path).status,
        anonymous_client(admin).get(new_path).status,
    ) == (False, 404, 200)


def test_sharing_can_be_ended(admin: AdminSession) -> None:
    site, path = add_shared_site(admin)
    assert anonymous_client(admin).post(f"{site}/settings/sharing/end").status == 401
    page = admin.submit(f"{site}/settings/sharing/end")
    assert "/share/" not in parse_page(page).find_one("main").text
    suffixes = ("", "/top/page", "/csv/pages", "/live", "/badge.svg", "/badge.json")
    assert {anonymous_client(admin).get(path + suffix).status for suffix in suffixes} == {404}


def test_a_protected_link_requires_its_password(admin: AdminSession) -> None:
    _, path = add_shared_site(admin, SECRET)
    client = anonymous_client(admin)
    response = client.get(path)
    assert response.status == 200
    assert "/seen" not in parse_page(response).text
    for suffix in ("/top/page", "/csv/pages", "/live"):
        assert client.get(path + suffix).status == 401
    refused = client.post(path, {"password": SECRET.upper()})
    assert (refused.status, field_errors(refused)) == (401, {"password": "Wrong password."})
    assert "/seen" not in parse_page(client.get(path)).text
    accepted = client.post(path, {"password": SECRET})
    assert (accepted.status, "/seen" in parse_page(client.follow(accepted)).text) == (303, True)
    assert [client.get(path + suffix).status for suffix in ("/top/page", "/csv/pages")] == [200, 200]
    assert "/seen" not in parse_page(anonymous_client(admin).get(path)).text


def test_a_changed_password_has_to_be_entered_again(admin: AdminSession) -> None:
    site, path = add_shared_site(admin, SECRET)
    client = anonymous_client(admin)
    client.post(path, {"password": SECRET})
    admin.submit(f"{site}/settings/sharing", {"password": "another secret"})
    assert "/seen" not in parse_page(client.get(path)).text
    assert client.get(f"{path}/csv/pages").status == 401
    assert client.post(path, {"password": SECRET}).status == 401
    assert client.post(path, {"password": "another secret"}).status == 303
    admin.submit(f"{site}/settings/sharing", {"password": ""})
    assert "/seen" in parse_page(anonymous_client(admin).get(path)).text


def test_the_password_of_a_link_opens_only_that_link(admin: AdminSession) -> None:
    (site, path), (_, other_path) = add_shared_site(admin, SECRET), add_shared_site(admin, SECRET)
    client = anonymous_client(admin)
    client.post(path, {"password": SECRET})
    assert "/seen" not in parse_page(client.get(other_path)).text
    assert (client.get(site).status, client.get("/").status) == (303, 303)


def test_a_password_that_is_too_short_is_rejected(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    refused = admin.client.post(f"{settings}/sharing", {"password": "short"})
    assert (refused.status, list(field_errors(refused))) == (400, ["password"])
    assert "/share/" not in parse_page(admin.client.get(f"{settings}/sharing")).text


def test_expensive_filters_do_not_block_the_server(admin: AdminSession) -> None:
    _, path = add_shared_site(admin)
    patterns = [",".join(f"%5CpL{{20}}{n}x{m}" for n in range(25)) for m in range(12)]
    cpu_before_s = admin.server.cpu_time_s
    assert anonymous_client(admin).get(f"{path}?f=matches,page," + "&f=matches,page,".join(patterns)).status in (
        200,
        400,
    )
    assert admin.server.cpu_time_s - cpu_before_s < 5


def test_after_the_password_the_requested_view_opens(admin: AdminSession) -> None:
    _, path = add_shared_site(admin, SECRET)
    client = anonymous_client(admin)
    action = parse_page(client.get(f"{path}?period=7d")).find_one("form", method="post").attrs["action"]
    assert client.post(action, {"password": SECRET}).headers["location"] == f"{path}?period=7d"


def test_a_link_password_does_not_reset_the_login_limit(admin: AdminSession) -> None:
    _, path = add_shared_site(admin, SECRET)
    client = anonymous_client(admin)
    statuses = []
    for number in range(12):
        statuses.append(client.post("/login", {"password": f"wrong password {number}"}).status)
        if number % 5 == 4:
            client.post(path, {"password": SECRET})
    client.post("/login", {"password": PASSWORD})  # resets the limit for the other tests
    assert statuses[-1] == 429


def test_only_dashboards_without_a_password_can_be_embedded(admin: AdminSession) -> None:
    site, path = add_shared_site(admin)
    client = anonymous_client(admin)
    embedded = client.get(f"{path}?embed=1")
    assert (frame_ancestors(embedded), "x-frame-options" in embedded.headers) == ("*", False)
    assert embedded.headers["cross-origin-resource-policy"] == "cross-origin"
    _, locked_path = add_shared_site(admin, SECRET)
    admitted_client = anonymous_client(admin)
    admitted_client.post(locked_path, {"password": SECRET})
    responses = [
        *(client.get(path + suffix) for suffix in ("", "?embed=0", "?embed=1&period=no", "/csv/pages?embed=1")),
        *(viewer.get(f"{locked_path}?embed=1") for viewer in (client, admitted_client)),
        *(admin.client.get(f"{page_path}?embed=1") for page_path in (site, f"{site}/settings/sharing", "/")),
        client.get("/login?embed=1"),
    ]
    for response in responses:
        assert (frame_ancestors(response), response.headers["x-frame-options"]) == ("'none'", "DENY")


def test_links_in_an_embedded_dashboard_lead_to_embeddable_pages(admin: AdminSession) -> None:
    site, path = add_shared_site(admin)
    key = admin.store.key(site.split("/")[2])
    for number in range(10):
        admin.pageview(f"{site}/settings", key, f"https://example.com/{number}", ip_address="::1", user_agent=CHROME)
    client = anonymous_client(admin)
    for anchor in parse_page(client.get(f"{path}?embed=1")).find_one("main").find_all("a"):
        if "/csv/" not in anchor.attrs["href"] and anchor.attrs.get("target") not in ("_top", "_blank"):
            assert frame_ancestors(client.get(anchor.attrs["href"].partition("#")[0])) == "*", anchor.attrs["href"]


def test_a_badge_displays_the_visitor_count(admin: AdminSession) -> None:
    _, path = add_shared_site(admin)
    client = anonymous_client(admin)
    json_badge, svg_badge = (
        client.get(f"{path}/badge.{extension}", origin="https://blog.example") for extension in ("json", "svg")
    )
    assert json_badge.json == {"schemaVersion": 1, "label": "visitors", "message": "2", "visitors": 2, "period": "30d"}
    assert svg_badge.headers["content-type"].startswith("image/svg+xml")
    assert b'aria-label="visitors: 2"' in svg_badge.body
    for badge in (json_badge, svg_badge):
        assert badge.headers["access-control-allow-origin"] == "*"
        assert badge.headers["cross-origin-resource-policy"] == "cross-origin"
        assert "set-cookie" not in badge.headers
    assert client.get(f"{path}/badge.json?period=yesterday").json["visitors"] == 0
    assert client.get(f"{path}/badge.json?period=all").json["visitors"] == 2
    assert client.get(f"{path}/badge.json?f=is,page,/nowhere").json["visitors"] == 0
    january = client.get(f"{path}/badge.json?from=2020-01-01&to=2020-01-31").json
    assert (january["visitors"], january["period"]) == (0, "2020-01-01/2020-01-31")
    invalid_response = client.get(f"{path}/badge.json?period=ever", accept="application/json")
    assert invalid_response.error == (400, "invalid_request", "period")


def test_a_badge_without_visitors_displays_zero(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    path = link(admin.submit(f"{settings}/sharing", {}))
    for period in ("30d", "all", "month", "day"):
        assert anonymous_client(admin).get(f"{path}/badge.json?period={period}").json["visitors"] == 0
    assert "No visitors yet" in parse_page(anonymous_client(admin).get(path)).text


def test_a_protected_dashboard_has_no_badge(admin: AdminSession) -> None:
    _, path = add_shared_site(admin, SECRET)
    admitted_client = anonymous_client(admin)
    admitted_client.post(path, {"password": SECRET})
    assert [admitted_client.get(f"{path}/badge.{extension}").status for extension in ("json", "svg")] == [404, 404]


def test_the_live_stream_ends_when_sharing_ends(store: Store, start: Start) -> None:
    admin = open_admin_session(store, start, constants={"ovx_lite.web.common.live_visitors.HEARTBEAT_S": 1})
    site, path = add_shared_site(admin)
    with closing(http.client.HTTPConnection("127.0.0.1", admin.server.port, timeout=30)) as connection:
        connection.request("GET", f"{path}/live")
        stream = connection.getresponse()
        assert stream.readline() == b'data: {"active": 2}\n'
        admin.submit(f"{site}/settings/sharing/end")
        assert stream.read() == b"\n"
