"""A server with content on every page, including hostile text, and checks of a page in a browser."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

from tests.conftest import CHROME, Server, Start, Store
from tests.support.browserless import PASSWORD, WebClient, set_password
from tests.support.receiver import Receiver, http_response

HOSTILE = """"><script>hacked=1</script><img src=x onerror="hacked=1">'{{7*7}}"""
"""Becomes a script, a tag, an attribute or a template expression wherever it is not escaped."""

SETTINGS_PATH = "/sites/my-site/settings"
PAGES = [
    *("/", "/new-site", "/account", "/sites/nowhere/settings/keys"),
    *(
        f"{SETTINGS_PATH}/{name}"
        for name in ("start", "general", "keys", "goals", "webhooks", "deliveries", "people", "missing")
    ),
    *(
        f"{SETTINGS_PATH}/goals?try=/pricing/x",
        f"{SETTINGS_PATH}/webhooks?tested=TEST",
        f"{SETTINGS_PATH}/deliveries/FAILED",
    ),
    *(f"{SETTINGS_PATH}/deliveries?status=throttled", f"{SETTINGS_PATH}/people/PERSON"),
    *(
        f"/sites/empty/settings/{name}"
        for name in ("start", "keys", "goals", "webhooks", "deliveries", "people", "missing")
    ),
]
"""Every page that requires a login, except dashboards; `FurnishedServer.url` replaces the capitalized placeholders."""


LOOKS = ["color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size"]
"""The axe rules whose results depend on colours and sizes."""


@dataclass
class FurnishedServer:
    """The server, and the ids of its data by their placeholders in `PAGES`."""

    store: Store
    server: Server
    key: str
    ids_by_placeholder: Mapping[str, str]

    def url(self, path: str) -> str:
        """Return the URL of a path, with its placeholders replaced."""
        for placeholder, id in self.ids_by_placeholder.items():
            path = path.replace(placeholder, id)
        return self.server.url + path


def type_password(page: Page, server: Server) -> Page:
    """Log in with the login form in a browser."""
    page.goto(f"{server.url}/login")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{server.url}/")
    return page


def log_in(page: Page, server: Server) -> Page:
    """Log in like `type_password`, but faster: set the session cookie."""
    client = WebClient(server)
    client.log_in()
    page.context.add_cookies(
        [{"name": name, "value": value, "url": server.url} for name, value in client.cookies.items()]
    )
    return page


@contextmanager
def furnish(store: Store, start: Start) -> Iterator[FurnishedServer]:
    """Set up two sites, one of them with all kinds of data, and start a server."""
    with ExitStack() as stack:
        good, bad = (stack.enter_context(Receiver(http_response(code, HOSTILE.encode()))) for code in (200, 500))
        call = store.call
        call("site", "add", "my-site", "--domain", "example.com", "--name", HOSTILE, "--monthly-limit", "10")
        call("site", "add", "empty", "--timezone", "Europe/Paris")
        (store.path / "ovx-lite.toml").write_text('webhook_allow_net = "127.0.0.0/8"')
        key = store.key("my-site", "--label", HOSTILE)
        call("key", "revoke", call("key", "add", "my-site", "--label", "old")["id"])
        call("goal", "add", "my-site", HOSTILE, "--path", "/pricing/**")
        call("goal", "add", "my-site", "Sign-up", "--event", HOSTILE)
        options = ("--on", "goal.completed", "--on", "realtime.spike", "--spike-above", "100")
        urls = [f"http://127.0.0.1:{receiver.port}/{quote(HOSTILE)}" for receiver in (good, bad)]
        # Playwright has a running event loop in this thread, and these commands need their own.
        webhook_ids = [store.run("webhook", "add", "my-site", url, *options, "--json").json["id"] for url in urls]
        set_password(store, PASSWORD)
        server = start(store)
        test_delivery_id = store.run("webhook", "test", webhook_ids[0], "--json").json["id"]
        visitor = {"user_agent": CHROME, "ip_address": "203.0.113.9"}
        page_url = f"https://example.com/pricing/{quote(HOSTILE)}"
        assert server.pageview(key, url=page_url, referrer="https://x.example/", **visitor).status == 201
        assert server.custom(key, event_name=HOSTILE, url=page_url, **visitor).status == 201
        assert server.custom(key, event_name=HOSTILE, url=HOSTILE, **visitor).status == 400
        traits = {"name": HOSTILE, "email": HOSTILE, HOSTILE: HOSTILE}
        identify_event = {"event_type": "identify", "event_name": "x", "user_id": HOSTILE, "properties": traits}
        assert server.send("/v1/projects/my-site/events", identify_event, key).status == 202
        while len(bad.requests) < 2:
            assert not bad.closed.wait(0.01)
        (failed_delivery_id, *_) = [
            delivery["id"] for delivery in call("delivery", "list", "my-site") if delivery["webhook"] == webhook_ids[1]
        ]
        call("person", "list", "my-site")  # the server projects its events later, a command does so at once
        with store.connect() as conn:
            (person_id,) = conn.execute("SELECT id FROM persons").fetchone()
        yield FurnishedServer(
            store,
            server,
            key,
            {"TEST": test_delivery_id, "FAILED": failed_delivery_id, "PERSON": str(person_id), "HOOK": webhook_ids[0]},
        )


@pytest.fixture(scope="module")
def furnished_server(tmp_path_factory: pytest.TempPathFactory, start: Start) -> Iterator[FurnishedServer]:
    """Run a furnished server for the tests of a file."""
    with furnish(Store(tmp_path_factory.mktemp("furnished") / "data"), start) as furnished_server:
        yield furnished_server


def collect_browser_problems(page: Page) -> list[str]:
    """Collect errors of a page into a list that grows: failed or blocked scripts and resources, and dialogs."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    return problems


def accessibility_violations(page: Page, only_looks: bool = False) -> list[str]:
    """Return what axe finds and whether the page is too wide; optionally only what size and colours can affect."""
    standards = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    rules = {"resultTypes": ["violations"], "runOnly": LOOKS if only_looks else standards}
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE_SCRIPT)
    results = page.evaluate("rules => axe.run(rules)", rules)["violations"]
    violations = [f"{rule['id']}: {node['html'][:120]}" for rule in results for node in rule["nodes"]]
    if (width := page.evaluate("document.documentElement.scrollWidth")) > page.viewport_size["width"]:  # type: ignore[index]
        violations.append(f"the page is {width} px wide")
    return violations
