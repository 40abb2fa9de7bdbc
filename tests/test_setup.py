"""The first start: the link that is printed, and the form that it opens."""

import re
import sqlite3
import time
from contextlib import closing

import pytest

from tests.browserless import PASSWORD, WebClient, find_tags, redirect_path
from tests.conftest import Response, Server, Start, Store

OTHER = "something else altogether"
FORM = {"password": PASSWORD, "domain": "example.com", "id": "my-site", "timezone": "Europe/Berlin"}
START = "/sites/my-site/settings/start"
LINK = re.compile(r"Set it up, once: (\S+)")


def link(server: Server) -> str:
    """The path of the link that a server has printed."""
    deadline = time.monotonic() + 20
    while (found := LINK.search(server.log_path.read_text())) is None:
        assert time.monotonic() < deadline, "no link was printed"
        time.sleep(0.01)
    assert found[1].startswith(server.url)
    return found[1].removeprefix(server.url)


def invited(server: Server) -> WebClient:
    """Somebody who has opened the link."""
    person = WebClient(server)
    answer = person.get(link(server))
    assert (answer.status, answer.headers["location"]) == (303, "/setup"), answer.body
    return person


def told_in_the_end(server: Server) -> str:
    """All that a server has said, once it has ended."""
    assert server.stop() == 0
    return server.log_path.read_text()


def key_of(answer: Response) -> str:
    found = re.search(r"ovx_[\w-]{40}", answer.body.decode())
    assert found is not None
    return found[0]


def refused(answer: Response) -> None:
    assert answer.status == 403
    assert (find_tags(answer, "form"), len(find_tags(answer, "h1"))) == ([], 1)
    assert "link" in answer.body.decode()


def hash_in(store: Store) -> str:
    with closing(sqlite3.connect(store.path / "ovx-lite.sqlite3")) as conn:
        return str(conn.execute("SELECT password FROM admin").fetchone()[0])


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, start: Start) -> tuple[Store, Server]:
    """A server that is not set up, for tests that leave it so."""
    store = Store(tmp_path_factory.mktemp("fresh") / "data")
    return store, start(store)


def test_a_new_link_is_printed_at_each_start_until_there_is_a_password(store: Store, start: Start) -> None:
    first = start(store)
    old = link(first)
    first.stop()
    second = start(store)
    assert link(second) != old
    refused(WebClient(second).get(old))
    assert invited(second).post("/setup", FORM).status == 303
    second.stop()
    assert "Set it up" not in told_in_the_end(start(store))


def test_the_link_leads_to_a_form_whose_address_has_no_token(fresh: tuple[Store, Server]) -> None:
    person = WebClient(fresh[1])
    answer = person.follow(person.get(link(fresh[1])))
    assert answer.status == 200
    names = {attributes.get("name") for tag, attributes in find_tags(answer) if tag in ("input", "select")}
    assert {"password", "domain", "id", "timezone"} <= names
    assert link(fresh[1]).partition("token=")[2] not in answer.body.decode()


def test_before_the_set_up_the_pages_say_how_to_begin(fresh: tuple[Store, Server]) -> None:
    for path in ("/", "/login"):
        answer = WebClient(fresh[1]).get(path)
        assert (answer.status, find_tags(answer, "form")) == (200, [])
        assert "link" in answer.body.decode()
    assert redirect_path(WebClient(fresh[1]).get("/account")) == "/login"


def test_the_form_makes_a_site_with_a_key_that_works_and_is_shown_once(store: Store, start: Start) -> None:
    server = start(store)
    person = invited(server)
    done = person.post("/setup", FORM)
    assert (done.status, done.headers["location"]) == (303, START)
    shown = person.follow(done)
    key = key_of(shown)
    assert server.pageview(key).status == 201
    assert len(store.events()) == 1
    assert b"ovx_" not in person.get(START).body
    site = store.call("site", "list")[0]
    assert (site["id"], site["domain"], site["timezone"]) == ("my-site", "example.com", "Europe/Berlin")
    WebClient(server).log_in()


def test_a_site_may_be_named_by_its_domain_alone(store: Store, start: Start) -> None:
    person = invited(start(store))
    done = person.post("/setup", {"password": PASSWORD, "domain": "https://example.com/", "id": "", "timezone": ""})
    assert redirect_path(done) == "/sites/example.com/settings/start"
    assert store.call("site", "list")[0]["timezone"] == "UTC"


def test_a_link_that_was_used_opens_nothing(store: Store, start: Start) -> None:
    server = start(store)
    early, person = invited(server), invited(server)
    assert person.post("/setup", FORM).status == 303
    for answer in (WebClient(server).get(link(server)), early.get("/setup"), early.post("/setup", {"password": OTHER})):
        refused(answer)
    refused(person.get(link(server)))
    assert WebClient(server).post("/login", {"password": OTHER}).status == 401
    assert person.get("/account").status == 200


def test_no_other_link_or_cookie_opens_the_form(fresh: tuple[Store, Server], store: Store, start: Start) -> None:
    (kept, server), other = fresh, invited(start(store))
    stranger = WebClient(server)
    stranger.cookies = dict(zip(invited(server).cookies, other.cookies.values(), strict=True))
    for answer in (
        WebClient(server).get("/setup"),
        WebClient(server).get("/setup?token="),
        WebClient(server).get(link(server)[:-1]),
        WebClient(server).get("/setup?token=%F0%9F%90%88"),
        WebClient(server).post("/setup", FORM),
        WebClient(server).post(link(server), FORM),
        stranger.get("/setup"),
        stranger.post("/setup", FORM),
    ):
        refused(answer)
    assert (kept.call("site", "list"), hash_in(kept)) == ([], "")


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("password", "too short"),
        ("password", ""),
        ("domain", "no domain"),
        ("domain", "https://example!/page"),
        ("id", "no id!"),
        ("timezone", "Mars/Phobos"),
        ("timezone", "../../etc/passwd"),
    ],
)
def test_what_is_wrong_is_told_beside_its_field(fresh: tuple[Store, Server], field: str, typed: str) -> None:
    store, server = fresh
    answer = invited(server).post("/setup", FORM | {field: typed})
    assert answer.status == 400
    shown = {at["id"]: at for _, at in find_tags(answer) if "id" in at}
    assert shown[field]["aria-invalid"] == "true"
    assert f"{field}-error" in shown[field]["aria-describedby"].split()
    assert f"{field}-error" in shown
    assert [id for id in shown if id.endswith("-error")] == [f"{field}-error"]
    for name in ("domain", "id"):
        assert shown[name]["value"] == (typed if name == field else FORM[name])
    assert f"selected>{typed if field == 'timezone' else FORM['timezone']}</option>" in answer.body.decode()
    assert "value" not in shown["password"]
    assert PASSWORD not in answer.body.decode()
    assert (store.call("site", "list"), hash_in(store)) == ([], "")


def test_all_that_is_wrong_is_told_at_once(fresh: tuple[Store, Server]) -> None:
    wrong = {"password": "short", "domain": "no domain", "id": "no id!", "timezone": "Mars/Phobos"}
    answer = invited(fresh[1]).post("/setup", wrong)
    invalid = {at["id"] for _, at in find_tags(answer) if at.get("aria-invalid") == "true"}
    assert (answer.status, invalid) == (400, set(wrong))


def test_where_there_are_sites_the_password_is_all_that_is_asked_for(store: Store, start: Start) -> None:
    site = store.site("old-site")
    server = start(store)
    person = invited(server)
    names = [at.get("name") for _, at in find_tags(person.get("/setup"), "input")]
    assert ("password" in names, "domain" in names, "id" in names) == (True, False, False)
    done = person.post("/setup", FORM)
    assert (done.status, done.headers["location"]) == (303, "/")
    assert b"old-site" in person.follow(done).body
    assert [left["id"] for left in store.call("site", "list")] == [site["id"]]


def test_guesses_of_the_token_are_slowed_down(store: Store, start: Start) -> None:
    server = start(store)
    owner = invited(server)
    answers = [WebClient(server).get(f"/setup?token=guess-{number}") for number in range(100)]
    assert {answer.status for answer in answers} == {403, 429}
    slowed = [answer for answer in answers if answer.status == 429]
    assert len(slowed) > 80
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in slowed)
    assert owner.post("/setup", FORM).status == 303  # who was let in before them is not kept waiting


def test_neither_password_nor_token_is_in_the_store_or_the_log(store: Store, start: Start) -> None:
    server = start(store)
    token = link(server).partition("token=")[2]
    assert invited(server).post("/setup", FORM).status == 303
    assert WebClient(server).post("/login", {"password": PASSWORD + "?"}).status == 401
    WebClient(server).log_in()
    kept = {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}  # while the WAL is there
    assert any(b"scrypt " in content for content in kept.values())
    log = told_in_the_end(server)
    assert (PASSWORD in log, log.count(token)) == (False, 1)
    kept |= {
        path.with_name(path.name + " later"): path.read_bytes() for path in store.path.rglob("*") if path.is_file()
    }
    assert [path for path, content in kept.items() if PASSWORD.encode() in content or token.encode() in content] == []
