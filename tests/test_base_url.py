"""Behind a proxy, below a path of its host: where all links lead."""

import pytest

from tests.conftest import Start, Store
from tests.support.all_pages import SETTINGS, all_pages, entered, fill, is_sound
from tests.support.browserless import Person, start_at, tags

BASE, ROOT = "https://example.com/stats", "/stats"


@pytest.fixture(scope="module", params=["left on", "stripped"])
def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, start: Start) -> Person:
    """Somebody behind a proxy that leaves the path of the base URL on, or strips it."""
    store = Store(tmp_path_factory.mktemp("behind") / "data")
    key = fill(store)
    server = start_at(start, store, BASE, "--webhook-allow-net", "127.0.0.0/8")
    return entered(server, key, ROOT if request.param == "left on" else "")


def test_behind_a_proxy_all_links_begin_with_its_path(behind: Person) -> None:
    for path, answer in all_pages(behind, ROOT):
        leads_to = [at[name] for _, at in tags(answer) for name in ("href", "src", "action") if name in at]
        leads_to += [answer.headers["location"]] if "location" in answer.headers else []
        assert [url for url in leads_to if not url.startswith((f"{ROOT}/", "#", "?"))] == [], path
        assert f":{behind.server.port}".encode() not in answer.body, path
        for _, at in tags(answer, "script"):
            assert behind.get(at["src"].removeprefix(ROOT)).status == 200
        is_sound(answer)


@pytest.mark.parametrize("path", ["/login/", f"{SETTINGS}/general/", "/static/"])
def test_behind_a_proxy_a_slash_too_many_leads_nowhere_else(behind: Person, path: str) -> None:
    answer = behind.get(path)
    assert answer.status == 404 or answer.headers["location"].startswith(f"{ROOT}/"), answer.headers


def test_the_path_of_the_base_url_needs_no_slash(behind: Person) -> None:
    answer = behind.get("" if behind.root else "/")
    assert answer.status == 200 or answer.headers["location"].startswith(f"{ROOT}/")


def test_snippets_have_the_base_url(behind: Person) -> None:
    page = behind.get(f"{SETTINGS}/start").body.decode()
    assert f"src=&#34;{BASE}/js/ovx.js&#34;" in page
    assert page.count(f"{BASE}/api/v1/events/pageview") == 4
    assert behind.get("/js/ovx.js").status == 200
