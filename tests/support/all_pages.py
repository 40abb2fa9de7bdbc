"""Every page of a server, and whether it is safe in a browser."""

import re
from collections.abc import Iterator
from urllib.parse import urljoin

from tests.conftest import Answer, Server, Store
from tests.support.browserless import PASSWORD, Person, set_password, tags

SETTINGS = "/sites/my-site/settings"
EVIL = "https://evil.example"


def fill(store: Store) -> str:
    """Have something of everything that pages show. Returns a key."""
    set_password(store)
    store.site("my-site", "--domain", "example.com")
    store.call("goal", "add", "my-site", "Bought", "--path", "/bought")
    return store.key()


def entered(server: Server, key: str, root: str = "") -> Person:
    """Somebody who is logged in where things have happened."""
    assert server.pageview(key, user_id="alice", url="https://example.com/bought").status == 201
    person = Person(server, root)
    assert person.post("/login", {"password": PASSWORD}).status == 303
    hook = {"url": "http://127.0.0.1:1/", "events": "goal.completed"}
    assert person.post(f"{SETTINGS}/webhooks", hook).status == 303
    webhook = next(at["id"] for _, at in tags(person.get(f"{SETTINGS}/webhooks")) if at.get("id", "").startswith("wh_"))
    assert person.post(f"{SETTINGS}/webhooks/{webhook}/test").status == 303
    return person


def all_pages(person: Person, root: str = "") -> Iterator[tuple[str, Answer]]:
    """All that links lead to, from the sites on; and some pages that no link leads to."""
    seen: dict[str, None] = dict.fromkeys(("/", "/sites/my-site", "/login", "/setup", "/nothing", "/logout"))
    todo = list(seen)
    while todo:
        answer = person.get(path := todo.pop())
        yield path, answer
        links = [at["href"] for _, at in tags(answer, "a")] + [answer.headers.get("location", "#")]
        for link in links:
            url = urljoin(root + path, link).partition("#")[0]
            if "?" in url and "?" in path:
                continue  # dashboards can be looked at in very many ways
            if (below := url.removeprefix(root)) not in seen:
                seen[below] = None
                todo.append(below)
    assert len([path for path in seen if path.startswith(SETTINGS)]) >= 9
    yield from refusals(person)


def refusals(person: Person) -> Iterator[tuple[str, Answer]]:
    """Pages that say no, and redirects for those who are not logged in."""
    stranger = Person(person.server, person.root)
    for path in ("/", "/login", "/account", "/new-site?x=y", f"{SETTINGS}/people"):
        yield f"{path} to a stranger", stranger.get(path)
    yield "wrong password", stranger.post("/login", {"password": "wrong"})
    yield "no session", stranger.post("/account")
    yield "foreign", person.post("/account", origin=EVIL)
    yield "wrong form", person.post("/new-site", {"domain": "no domain"})
    yield "too large", person.post("/new-site", b"x" * 70_000)
    yield "no form", person.post("/new-site", b"\xff")
    yield "no such site", person.get("/sites/nothing/settings/keys")


def is_sound(answer: Answer) -> None:
    """Has all that keeps others out, and nothing inline that could be theirs."""
    headers = answer.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] in ("same-origin", "strict-origin-when-cross-origin")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    policy = {name: rest for name, *rest in map(str.split, headers["content-security-policy"].split(";"))}
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == ["'self'"]
    assert "unsafe" not in headers["content-security-policy"]
    if not headers.get("content-type", "").startswith("text/html"):
        assert answer.status in (302, 303) or headers["content-type"].startswith("text/csv")
        return
    assert "no-store" in headers["cache-control"]
    found = tags(answer)
    assert [tag for tag, at in found if "style" in at or any(name.startswith("on") for name in at)] == []
    assert [at for _, at in found for name in ("href", "src", "action") if "script:" in at.get(name, "").lower()] == []
    assert [tag for tag, at in found if tag == "style" or (tag == "script" and "src" not in at)] == []
    assert all(not inside.strip() for inside in re.findall(r"<script[^>]*>(.*?)</script>", answer.body.decode(), re.S))
