"""All pages of a server, and checks of the headers and markup that protect them."""

import re
from collections.abc import Iterator
from urllib.parse import urljoin

from tests.conftest import Response, Server, Store
from tests.support.browserless import PASSWORD, WebClient, find_tags, set_password

SETTINGS = "/sites/my-site/settings"
EVIL = "https://evil.example"


def fill_store(store: Store) -> str:
    """Fill a store so that every page has content. Returns an API key."""
    set_password(store)
    store.site("my-site", "--domain", "example.com")
    store.call("goal", "add", "my-site", "Bought", "--path", "/bought")
    return store.key()


def log_in_with_data(server: Server, key: str, root: str = "") -> WebClient:
    """Return a client that is logged in to a server with an event and a delivery."""
    assert server.pageview(key, user_id="alice", url="https://example.com/bought").status == 201
    client = WebClient(server, root)
    assert client.post("/login", {"password": PASSWORD}).status == 303
    hook = {"url": "http://127.0.0.1:1/", "events": "goal.completed"}
    assert client.post(f"{SETTINGS}/webhooks", hook).status == 303
    webhook = next(
        attrs["id"]
        for _, attrs in find_tags(client.get(f"{SETTINGS}/webhooks"))
        if attrs.get("id", "").startswith("wh_")
    )
    assert client.post(f"{SETTINGS}/webhooks/{webhook}/test").status == 303
    return client


def all_pages(client: WebClient, root: str = "") -> Iterator[tuple[str, Response]]:
    """Follow all links from the list of sites, and add some pages that no link leads to."""
    seen: dict[str, None] = dict.fromkeys(("/", "/sites/my-site", "/login", "/setup", "/nothing", "/logout"))
    todo = list(seen)
    while todo:
        response = client.get(path := todo.pop())
        yield path, response
        links = [attrs["href"] for _, attrs in find_tags(response, "a")] + [response.headers.get("location", "#")]
        for link in links:
            url = urljoin(root + path, link).partition("#")[0]
            if "?" in url and "?" in path:
                continue  # dashboards have too many views
            if (below := url.removeprefix(root)) not in seen:
                seen[below] = None
                todo.append(below)
    assert len([path for path in seen if path.startswith(SETTINGS)]) >= 9
    yield from refusals(client)


def refusals(client: WebClient) -> Iterator[tuple[str, Response]]:
    """Yield error pages, and redirects for clients that are not logged in."""
    anonymous = WebClient(client.server, client.root)
    for path in ("/", "/login", "/account", "/new-site?x=y", f"{SETTINGS}/people"):
        yield f"{path} without a session", anonymous.get(path)
    yield "wrong password", anonymous.post("/login", {"password": "wrong"})
    yield "no session", anonymous.post("/account")
    yield "foreign", client.post("/account", origin=EVIL)
    yield "wrong form", client.post("/new-site", {"domain": "no domain"})
    yield "too large", client.post("/new-site", b"x" * 70_000)
    yield "no form", client.post("/new-site", b"\xff")
    yield "no such site", client.get("/sites/nothing/settings/keys")


def assert_protected(response: Response) -> None:
    """Check the security headers, and that the page has no inline scripts or styles."""
    headers = response.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] in ("same-origin", "strict-origin-when-cross-origin")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    policy = {name: rest for name, *rest in map(str.split, headers["content-security-policy"].split(";"))}
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == ["'self'"]
    assert "unsafe" not in headers["content-security-policy"]
    if not headers.get("content-type", "").startswith("text/html"):
        assert response.status in (302, 303) or headers["content-type"].startswith("text/csv")
        return
    assert "no-store" in headers["cache-control"]
    elements = find_tags(response)
    assert [tag for tag, attrs in elements if "style" in attrs or any(name.startswith("on") for name in attrs)] == []
    assert [
        attrs for _, attrs in elements for name in ("href", "src", "action") if "script:" in attrs.get(name, "").lower()
    ] == []
    assert [tag for tag, attrs in elements if tag == "style" or (tag == "script" and "src" not in attrs)] == []
    assert all(
        not script.strip() for script in re.findall(r"<script[^>]*>(.*?)</script>", response.body.decode(), re.S)
    )
