"""Links and redirects behind a proxy that serves ovx-lite under a path."""

import pytest

from tests.conftest import Start, Store
from tests.support.all_pages import SETTINGS, all_pages, assert_protected, fill_store, log_in_with_data
from tests.support.browserless import WebClient, find_tags, start_behind

BASE, ROOT = "https://example.com/stats", "/stats"


@pytest.fixture(scope="module", params=["left on", "stripped"])
def proxied_client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, start: Start) -> WebClient:
    """A client behind a proxy that forwards the path of the base URL, or strips it."""
    store = Store(tmp_path_factory.mktemp("behind") / "data")
    key = fill_store(store)
    server = start_behind(start, store, BASE, "--webhook-allow-net", "127.0.0.0/8")
    return log_in_with_data(server, key, ROOT if request.param == "left on" else "")


def test_behind_a_proxy_all_links_start_with_its_path(proxied_client: WebClient) -> None:
    for path, response in all_pages(proxied_client, ROOT):
        targets = [
            attrs[name] for _, attrs in find_tags(response) for name in ("href", "src", "action") if name in attrs
        ]
        targets += [response.headers["location"]] if "location" in response.headers else []
        assert [url for url in targets if not url.startswith((f"{ROOT}/", "#", "?"))] == [], path
        assert f":{proxied_client.server.port}".encode() not in response.body, path
        for _, attrs in find_tags(response, "script"):
            assert proxied_client.get(attrs["src"].removeprefix(ROOT)).status == 200
        assert_protected(response)


@pytest.mark.parametrize("path", ["/login/", f"{SETTINGS}/general/", "/static/"])
def test_behind_a_proxy_extra_slashes_do_not_redirect_elsewhere(proxied_client: WebClient, path: str) -> None:
    response = proxied_client.get(path)
    assert response.status == 404 or response.headers["location"].startswith(f"{ROOT}/"), response.headers


def test_the_path_of_the_base_url_needs_no_trailing_slash(proxied_client: WebClient) -> None:
    response = proxied_client.get("" if proxied_client.root else "/")
    assert response.status == 200 or response.headers["location"].startswith(f"{ROOT}/")


def test_snippets_contain_the_base_url(proxied_client: WebClient) -> None:
    page = proxied_client.get(f"{SETTINGS}/start").body.decode()
    assert f"src=&#34;{BASE}/js/ovx.js&#34;" in page
    assert page.count(f"{BASE}/api/v1/events/pageview") == 4
    assert proxied_client.get("/js/ovx.js").status == 200
