"""The first start: the printed link and its setup form."""

import re

import pytest

from tests.conftest import Response, Server, Start, Store
from tests.support.browserless import PASSWORD, WebClient, find_tags, redirect_path
from tests.support.setup import (
    FORM,
    OTHER_PASSWORD,
    assert_refused,
    invited_client,
    password_hash,
    setup_path,
    stop_and_read_log,
)

START_PATH = "/sites/my-site/settings/start"


def key_of(response: Response) -> str:
    match = re.search(r"ovx_[\w-]{40}", response.body.decode())
    assert match is not None
    return match[0]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, start: Start) -> tuple[Store, Server]:
    """Start a server that is not set up, for tests that do not set it up."""
    store = Store(tmp_path_factory.mktemp("fresh") / "data")
    return store, start(store)


def test_a_new_link_is_printed_at_each_start_until_there_is_a_password(store: Store, start: Start) -> None:
    first = start(store)
    old_path = setup_path(first)
    first.stop()
    second = start(store)
    assert setup_path(second) != old_path
    assert_refused(WebClient(second).get(old_path))
    assert invited_client(second).post("/setup", FORM).status == 303
    second.stop()
    assert "Set it up" not in stop_and_read_log(start(store))


def test_the_link_redirects_to_a_form_without_the_token_in_its_url(fresh: tuple[Store, Server]) -> None:
    client = WebClient(fresh[1])
    response = client.follow(client.get(setup_path(fresh[1])))
    assert response.status == 200
    names = {attributes.get("name") for tag, attributes in find_tags(response) if tag in ("input", "select")}
    assert {"password", "domain", "id", "timezone"} <= names
    assert setup_path(fresh[1]).partition("token=")[2] not in response.body.decode()


def test_before_setup_the_pages_explain_how_to_start(fresh: tuple[Store, Server]) -> None:
    for path in ("/", "/login"):
        response = WebClient(fresh[1]).get(path)
        assert (response.status, find_tags(response, "form")) == (200, [])
        assert "link" in response.body.decode()
    assert redirect_path(WebClient(fresh[1]).get("/account")) == "/login"


def test_the_form_creates_a_site_and_displays_its_key_once(store: Store, start: Start) -> None:
    server = start(store)
    client = invited_client(server)
    response = client.post("/setup", FORM)
    assert (response.status, response.headers["location"]) == (303, START_PATH)
    page = client.follow(response)
    key = key_of(page)
    assert server.pageview(key).status == 201
    assert len(store.events()) == 1
    assert b"ovx_" not in client.get(START_PATH).body
    site = store.call("site", "list")[0]
    assert (site["id"], site["domain"], site["timezone"]) == ("my-site", "example.com", "Europe/Berlin")
    WebClient(server).log_in()


def test_the_id_of_a_site_defaults_to_its_domain(store: Store, start: Start) -> None:
    client = invited_client(start(store))
    response = client.post("/setup", {"password": PASSWORD, "domain": "https://example.com/", "id": "", "timezone": ""})
    assert redirect_path(response) == "/sites/example.com/settings/start"
    assert store.call("site", "list")[0]["timezone"] == "UTC"


def test_a_used_link_no_longer_works(store: Store, start: Start) -> None:
    server = start(store)
    early, client = invited_client(server), invited_client(server)
    assert client.post("/setup", FORM).status == 303
    for response in (
        WebClient(server).get(setup_path(server)),
        early.get("/setup"),
        early.post("/setup", {"password": OTHER_PASSWORD}),
    ):
        assert_refused(response)
    assert_refused(client.get(setup_path(server)))
    assert WebClient(server).post("/login", {"password": OTHER_PASSWORD}).status == 401
    assert client.get("/account").status == 200


def test_no_other_link_or_cookie_opens_the_form(fresh: tuple[Store, Server], store: Store, start: Start) -> None:
    (fresh_store, server), other_client = fresh, invited_client(start(store))
    forging_client = WebClient(server)
    forging_client.cookies = dict(zip(invited_client(server).cookies, other_client.cookies.values(), strict=True))
    for response in (
        WebClient(server).get("/setup"),
        WebClient(server).get("/setup?token="),
        WebClient(server).get(setup_path(server)[:-1]),
        WebClient(server).get("/setup?token=%F0%9F%90%88"),
        WebClient(server).post("/setup", FORM),
        WebClient(server).post(setup_path(server), FORM),
        forging_client.get("/setup"),
        forging_client.post("/setup", FORM),
    ):
        assert_refused(response)
    assert (fresh_store.call("site", "list"), password_hash(fresh_store)) == ([], "")


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
def test_an_error_appears_beside_its_field(fresh: tuple[Store, Server], field: str, typed: str) -> None:
    store, server = fresh
    response = invited_client(server).post("/setup", FORM | {field: typed})
    assert response.status == 400
    attributes_by_id = {attributes["id"]: attributes for _, attributes in find_tags(response) if "id" in attributes}
    assert attributes_by_id[field]["aria-invalid"] == "true"
    assert f"{field}-error" in attributes_by_id[field]["aria-describedby"].split()
    assert f"{field}-error" in attributes_by_id
    assert [id for id in attributes_by_id if id.endswith("-error")] == [f"{field}-error"]
    for name in ("domain", "id"):
        assert attributes_by_id[name]["value"] == (typed if name == field else FORM[name])
    assert f"selected>{typed if field == 'timezone' else FORM['timezone']}</option>" in response.body.decode()
    assert "value" not in attributes_by_id["password"]
    assert PASSWORD not in response.body.decode()
    assert (store.call("site", "list"), password_hash(store)) == ([], "")


def test_all_errors_appear_at_once(fresh: tuple[Store, Server]) -> None:
    form = {"password": "short", "domain": "no domain", "id": "no id!", "timezone": "Mars/Phobos"}
    response = invited_client(fresh[1]).post("/setup", form)
    invalid_fields = {
        attributes["id"] for _, attributes in find_tags(response) if attributes.get("aria-invalid") == "true"
    }
    assert (response.status, invalid_fields) == (400, set(form))


def test_with_existing_sites_the_form_has_only_a_password(store: Store, start: Start) -> None:
    site = store.site("old-site")
    server = start(store)
    client = invited_client(server)
    names = [attributes.get("name") for _, attributes in find_tags(client.get("/setup"), "input")]
    assert ("password" in names, "domain" in names, "id" in names) == (True, False, False)
    response = client.post("/setup", FORM)
    assert (response.status, response.headers["location"]) == (303, "/")
    assert b"old-site" in client.follow(response).body
    assert [listed_site["id"] for listed_site in store.call("site", "list")] == [site["id"]]


def test_token_guesses_are_throttled(store: Store, start: Start) -> None:
    server = start(store)
    owner = invited_client(server)
    responses = [WebClient(server).get(f"/setup?token=guess-{number}") for number in range(100)]
    assert {response.status for response in responses} == {403, 429}
    throttled = [response for response in responses if response.status == 429]
    assert len(throttled) > 80
    assert all(int(response.headers["retry-after"]) >= 1 for response in throttled)
    assert owner.post("/setup", FORM).status == 303  # a client with a valid session is not throttled


def test_neither_password_nor_token_is_in_the_store_or_the_log(store: Store, start: Start) -> None:
    server = start(store)
    token = setup_path(server).partition("token=")[2]
    assert invited_client(server).post("/setup", FORM).status == 303
    assert WebClient(server).post("/login", {"password": PASSWORD + "?"}).status == 401
    WebClient(server).log_in()
    contents = {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}  # including the WAL
    assert any(b"scrypt " in content for content in contents.values())
    log = stop_and_read_log(server)
    assert (PASSWORD in log, log.count(token)) == (False, 1)
    contents |= {
        path.with_name(path.name + " later"): path.read_bytes() for path in store.path.rglob("*") if path.is_file()
    }
    assert [
        path for path, content in contents.items() if PASSWORD.encode() in content or token.encode() in content
    ] == []
