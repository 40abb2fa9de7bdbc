"""Paths: routes match whole paths, and a path with a control character is 404."""

from collections.abc import Callable, Iterator

import pytest

from ovx_lite.domain import config, validators
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Campaign
from ovx_lite.emulator.clock import parse_duration
from ovx_lite.enrichment.traffic_source import classify_source
from tests.conftest import Response, Start, Store
from tests.support.browserless import start_behind
from tests.support.emulator import run_emulator

SendFunction = Callable[[str, str], Response]
"""Sends a method and a path."""

CONTROL = ["%00", "%01", "%09", "%0a", "%0A", "%0d", "%0d%0a", "%1b", "%1f", "%7f", "%c2%80", "%C2%85", "%c2%9f"]
PATHS = [
    ("GET", "/metrics"),
    ("GET", "/healthz"),
    ("GET", "/openapi.json"),
    ("GET", "/js/ovx.js"),
    ("GET", "/static/ui.css"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/"),
    ("GET", "/sites/my-site"),
    ("POST", "/sites/my-site/settings/general"),
    ("GET", "/share/token"),
    ("POST", "/api/v2/query"),
    ("GET", "/api/v1/stats/realtime"),
    ("POST", "/api/v1/events/pageview"),
    ("OPTIONS", "/api/events"),
    ("POST", "/v1/projects/my-site/events"),
    ("PUT", "/metrics"),
]


@pytest.fixture(scope="module", params=["serve", "below a path", "below a path, stripped", "dev"])
def call(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, start: Start
) -> Iterator[SendFunction]:
    if request.param == "dev":
        with run_emulator(tmp_path_factory.mktemp("dev")) as dev:
            yield lambda method, path: dev.call(method, path, b"{}", {"Authorization": "Bearer YOUR_API_KEY"})
        return
    store = Store(tmp_path_factory.mktemp("paths") / "data")
    store.site("my-site")
    key = store.key()
    server = start(store) if request.param == "serve" else start_behind(start, store, "https://example.com/stats")
    root = "/stats" if request.param == "below a path" else ""
    yield lambda method, path: server.send(root + path, b"{}", key, method=method)


@pytest.mark.parametrize("control", CONTROL)
def test_a_path_with_a_control_character_is_404(call: SendFunction, control: str) -> None:
    for method, path in PATHS:
        middle = path.rindex("/") + 1
        for odd in (path + control, path[:middle] + control + path[middle:], f"/{control}{path}", f"{path}/{control}"):
            response = call(method, odd)
            assert response.error == (404, "not_found", None), (method, odd)
            assert b"ovx_" not in response.body


def test_a_project_with_a_control_character_is_404(call: SendFunction) -> None:
    for path in ("/v1/projects/my%0asite/events", "/v1/projects/my-site%0a/events", "/v1/projects/%00/events/batch"):
        assert call("POST", path).error == (404, "not_found", None)


def test_other_special_characters_are_allowed(call: SendFunction) -> None:
    assert call("GET", "/healthz").status == 200
    assert call("GET", "/%68ealthz").status == 200
    assert call("POST", "/v1/projects/my-site/events").status == 400
    for letter in ("%20", "%c2%a0", "%e2%80%8d", "%f0%9f%98%80", "%ff"):  # some of these are not printable
        assert call("POST", f"/v1/projects/{letter}/events").error[1] != "not_found"


def test_a_browser_gets_an_error_page(running_page: Response) -> None:
    assert running_page.status == 404
    assert running_page.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in running_page.headers["content-security-policy"]


@pytest.fixture
def running_page(store: Store, start: Start) -> Response:
    return start(store).send("/metrics%0a", headers={"Accept": "text/html"}, method="GET")


# A line feed at the end is part of a value: a pattern that ends with `$` would ignore it.


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\0", "\x85", "\u2028"])
def test_a_line_break_at_the_end_of_a_value_is_rejected(end: str) -> None:
    for rule in (validators.site_slug, validators.timezone, lambda text: validators.host(text, "domain")):
        with pytest.raises(ApiError):
            rule(f"UTC{end}")
    assert not config.is_web_address(f"https://example.com{end}")
    assert not config.is_web_address(f"https://example.com/stats{end}")
    with pytest.raises(ApiError):
        parse_duration(f"90s{end}", "advance")


@pytest.mark.parametrize("medium", ["sm\n", "mailing\n"])
def test_white_space_around_a_medium_is_ignored(medium: str) -> None:
    assert classify_source("", Campaign("x", medium), "", "").channel in ("social", "email")


@pytest.mark.parametrize("args", [("site", "add", "my-site\n"), ("key", "list", "my-site\n"), ("key", "revoke", "k\n")])
def test_a_command_rejects_an_id_with_a_line_break(store: Store, args: tuple[str, ...]) -> None:
    store.site("my-site")
    assert store.run(*args).exit_status != 0


def test_a_key_must_match_exactly(store: Store, start: Start) -> None:
    store.site("my-site")
    server, key = start(store), store.key()
    for odd in (f"{key}%0a", f"{key}\\n", f"{key}\x85x", key[:-1]):
        assert server.pageview(odd).status == 401
    assert server.pageview(key, site_id="my-site\n").status == 404
