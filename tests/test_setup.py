"""The first start: the link that is printed, and the form that it opens."""

import re

import pytest

from tests.conftest import Answer, Server, Start, Store
from tests.support.browserless import PASSWORD, Person, path_of, tags
from tests.support.setup import FORM, OTHER, hash_in, invited, link, refused, told_in_the_end

START = "/sites/my-site/settings/start"


def key_of(answer: Answer) -> str:
    found = re.search(r"ovx_[\w-]{40}", answer.body.decode())
    assert found is not None
    return found[0]


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
    refused(Person(second).get(old))
    assert invited(second).post("/setup", FORM).status == 303
    second.stop()
    assert "Set it up" not in told_in_the_end(start(store))


def test_the_link_leads_to_a_form_whose_address_has_no_token(fresh: tuple[Store, Server]) -> None:
    person = Person(fresh[1])
    answer = person.follow(person.get(link(fresh[1])))
    assert answer.status == 200
    names = {attributes.get("name") for tag, attributes in tags(answer) if tag in ("input", "select")}
    assert {"password", "domain", "id", "timezone"} <= names
    assert link(fresh[1]).partition("token=")[2] not in answer.body.decode()


def test_before_the_set_up_the_pages_say_how_to_begin(fresh: tuple[Store, Server]) -> None:
    for path in ("/", "/login"):
        answer = Person(fresh[1]).get(path)
        assert (answer.status, tags(answer, "form")) == (200, [])
        assert "link" in answer.body.decode()
    assert path_of(Person(fresh[1]).get("/account")) == "/login"


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
    Person(server).log_in()


def test_a_site_may_be_named_by_its_domain_alone(store: Store, start: Start) -> None:
    person = invited(start(store))
    done = person.post("/setup", {"password": PASSWORD, "domain": "https://example.com/", "id": "", "timezone": ""})
    assert path_of(done) == "/sites/example.com/settings/start"
    assert store.call("site", "list")[0]["timezone"] == "UTC"


def test_a_link_that_was_used_opens_nothing(store: Store, start: Start) -> None:
    server = start(store)
    early, person = invited(server), invited(server)
    assert person.post("/setup", FORM).status == 303
    for answer in (Person(server).get(link(server)), early.get("/setup"), early.post("/setup", {"password": OTHER})):
        refused(answer)
    refused(person.get(link(server)))
    assert Person(server).post("/login", {"password": OTHER}).status == 401
    assert person.get("/account").status == 200


def test_no_other_link_or_cookie_opens_the_form(fresh: tuple[Store, Server], store: Store, start: Start) -> None:
    (kept, server), other = fresh, invited(start(store))
    stranger = Person(server)
    stranger.cookies = dict(zip(invited(server).cookies, other.cookies.values(), strict=True))
    for answer in (
        Person(server).get("/setup"),
        Person(server).get("/setup?token="),
        Person(server).get(link(server)[:-1]),
        Person(server).get("/setup?token=%F0%9F%90%88"),
        Person(server).post("/setup", FORM),
        Person(server).post(link(server), FORM),
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
    shown = {at["id"]: at for _, at in tags(answer) if "id" in at}
    assert shown[field]["aria-invalid"] == "true"
    assert f"{field}-wrong" in shown[field]["aria-describedby"].split()
    assert f"{field}-wrong" in shown
    assert [id for id in shown if id.endswith("-wrong")] == [f"{field}-wrong"]
    for name in ("domain", "id"):
        assert shown[name]["value"] == (typed if name == field else FORM[name])
    assert f"selected>{typed if field == 'timezone' else FORM['timezone']}</option>" in answer.body.decode()
    assert "value" not in shown["password"]
    assert PASSWORD not in answer.body.decode()
    assert (store.call("site", "list"), hash_in(store)) == ([], "")


def test_all_that_is_wrong_is_told_at_once(fresh: tuple[Store, Server]) -> None:
    wrong = {"password": "short", "domain": "no domain", "id": "no id!", "timezone": "Mars/Phobos"}
    answer = invited(fresh[1]).post("/setup", wrong)
    invalid = {at["id"] for _, at in tags(answer) if at.get("aria-invalid") == "true"}
    assert (answer.status, invalid) == (400, set(wrong))


def test_where_there_are_sites_the_password_is_all_that_is_asked_for(store: Store, start: Start) -> None:
    site = store.site("old-site")
    server = start(store)
    person = invited(server)
    names = [at.get("name") for _, at in tags(person.get("/setup"), "input")]
    assert ("password" in names, "domain" in names, "id" in names) == (True, False, False)
    done = person.post("/setup", FORM)
    assert (done.status, done.headers["location"]) == (303, "/")
    assert b"old-site" in person.follow(done).body
    assert [left["id"] for left in store.call("site", "list")] == [site["id"]]


def test_guesses_of_the_token_are_slowed_down(store: Store, start: Start) -> None:
    server = start(store)
    owner = invited(server)
    answers = [Person(server).get(f"/setup?token=guess-{number}") for number in range(100)]
    assert {answer.status for answer in answers} == {403, 429}
    slowed = [answer for answer in answers if answer.status == 429]
    assert len(slowed) > 80
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in slowed)
    assert owner.post("/setup", FORM).status == 303  # who was let in before them is not kept waiting


def test_neither_password_nor_token_is_in_the_store_or_the_log(store: Store, start: Start) -> None:
    server = start(store)
    token = link(server).partition("token=")[2]
    assert invited(server).post("/setup", FORM).status == 303
    assert Person(server).post("/login", {"password": PASSWORD + "?"}).status == 401
    Person(server).log_in()
    kept = {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}  # while the WAL is there
    assert any(b"scrypt " in content for content in kept.values())
    log = told_in_the_end(server)
    assert (PASSWORD in log, log.count(token)) == (False, 1)
    kept |= {
        path.with_name(path.name + " later"): path.read_bytes() for path in store.path.rglob("*") if path.is_file()
    }
    assert [path for path, content in kept.items() if PASSWORD.encode() in content or token.encode() in content] == []
