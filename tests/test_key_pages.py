"""Settings → API Keys: added, shown once, limited, replaced, revoked."""

import base64
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from tests.conftest import Answer
from tests.support.browserless import Person
from tests.support.pages import Fields, Office, fields, notice, read, secrets, wrong
from tests.support.pages import office as office


def keys(office: Office, settings: str, page: int = 1) -> list[tuple[str, str]]:
    """Each key of a page of keys: its id and what is said of it."""
    shown = read(office.person.get(f"{settings}/keys?page={page}"))
    return [(row.attrs["id"], row.text) for row in shown.all("li", "row")]


def blank(office: Office, settings: str) -> Fields:
    """The form to add a key, as it is shown."""
    return fields(office.person.get(f"{settings}/keys"), f"{settings}/keys")


def add(office: Office, settings: str, **typed: str) -> tuple[str, str]:
    """Add a key. Returns its id and the key."""
    form = blank(office, settings) | typed
    (secret,) = secrets(office.done(f"{settings}/keys", form))
    return form["new"][0], secret


def test_a_key_is_added_shown_once_and_works_at_once(office: Office) -> None:
    settings, _ = office.site()
    id, secret = add(office, settings, label="For <b>the</b> shop", tier="pro", hourly_limit="")
    assert office.pageview(settings, secret).status == 201
    page = office.person.get(f"{settings}/keys")
    assert (secrets(page), notice(page), secret in page.body.decode()) == ([], "", False)
    told = dict(keys(office, settings))[id]
    assert "For <b>the</b> shop pro, 10,000 events an hour" in told


def test_a_key_without_a_label_goes_by_its_id(office: Office) -> None:
    settings, _ = office.site()
    id, _ = add(office, settings, label="  ")
    assert dict(keys(office, settings))[id].startswith(id)


def test_a_keys_own_limit_is_in_place_of_the_tiers(office: Office) -> None:
    settings, _ = office.site()
    id, secret = add(office, settings, tier="free", hourly_limit="2")
    assert "free, 2 events an hour" in dict(keys(office, settings))[id]
    assert [office.pageview(settings, secret).status for _ in range(3)] == [201, 201, 429]


def test_a_secret_is_in_no_url_cookie_log_or_file(office: Office) -> None:
    settings, _ = office.site()
    answer = office.person.post(f"{settings}/keys", blank(office, settings) | {"label": "x"})
    (secret,) = secrets(page := office.person.follow(answer))
    assert office.pageview(settings, secret).status == 201
    headers = [*answer.headers.values(), *page.headers.values(), *office.person.cookies.values()]
    payloads = [cookie.partition(".")[0] for cookie in office.person.cookies.values()]
    headers += [base64.urlsafe_b64decode(payload + "===").decode("latin-1") for payload in payloads]
    assert not [value for value in headers if secret in value]
    files = [file for file in office.store.path.rglob("*") if file.is_file()]
    assert len(files) > 0
    for file in (*files, office.server.log):
        assert secret.encode() not in file.read_bytes(), file


def test_a_secret_is_not_shown_to_another_browser(office: Office) -> None:
    settings, _ = office.site()
    answer = office.person.post(f"{settings}/keys", blank(office, settings))
    other = Person(office.server)
    other.log_in()
    assert secrets(other.get(f"{settings}/keys")) == []
    assert len(secrets(office.person.follow(answer))) == 1


def test_a_form_that_is_sent_twice_makes_one_key(office: Office) -> None:
    settings, _ = office.site()
    form = blank(office, settings)
    for _ in range(2):
        assert office.person.post(f"{settings}/keys", form).status == 303
    (secret,) = secrets(office.person.get(f"{settings}/keys"))
    assert office.pageview(settings, secret).status == 201
    assert len(keys(office, settings)) == 2, "the first key of the site, and this one"


def test_a_form_that_is_sent_twice_at_the_same_moment_makes_one_key(office: Office) -> None:
    settings, _ = office.site()
    for made in range(1, 6):
        form = blank(office, settings)

        def send(_: int, form: Fields = form) -> Answer:
            return office.person.post(f"{settings}/keys", form)

        with ThreadPoolExecutor(4) as pool:
            assert {answer.status for answer in pool.map(send, range(4))} == {303}
        (secret,) = secrets(office.person.get(f"{settings}/keys"))
        assert office.pageview(settings, secret).status == 201
        assert len(keys(office, settings)) == 1 + made


def test_a_revoked_key_is_refused_from_then_on(office: Office) -> None:
    settings, first = office.site()
    id, secret = add(office, settings, label="Old shop")
    assert office.pageview(settings, secret).status == 201
    assert "Old shop is revoked" in notice(office.done(f"{settings}/keys/{id}/revoke"))
    assert office.pageview(settings, secret).status == 401
    assert office.pageview(settings, first).status == 201
    assert "revoked" in dict(keys(office, settings))[id]
    assert f"{settings}/keys/{id}/revoke" not in office.person.get(f"{settings}/keys").body.decode()
    assert office.person.post(f"{settings}/keys/{id}/revoke").status == 303, "once more changes nothing"
    assert office.person.post(f"{settings}/keys/{id}/rotate").status == 400, "it has ended for good"
    assert office.pageview(settings, secret).status == 401


def test_a_rotated_key_is_another_with_the_same_limit(office: Office) -> None:
    settings, _ = office.site()
    id, old = add(office, settings, label="Shop", tier="free", hourly_limit="7")
    page = office.done(f"{settings}/keys/{id}/rotate")
    (new,) = secrets(page)
    assert [office.pageview(settings, key).status for key in (old, new)] == [401, 201]
    assert "Shop free, 7 events an hour" in dict(keys(office, settings))[id]
    assert secrets(office.person.get(f"{settings}/keys")) == []


def test_when_a_key_was_used_last_is_told(office: Office) -> None:
    settings, _ = office.site()
    id, secret = add(office, settings)
    assert "never used" in dict(keys(office, settings))[id]
    office.pageview(settings, secret)
    assert "last used" in dict(keys(office, settings))[id]
    assert [text for _, text in keys(office, settings) if "never used" in text], "the other was not"


def test_a_new_jwt_secret_ends_the_old_ones_jwts(office: Office) -> None:
    settings, _ = office.site()
    claims = {"site_id": settings.split("/")[2], "exp": int(time.time()) + 3600}
    made = []
    for _ in range(2):
        (secret,) = secrets(office.done(f"{settings}/keys/jwt-secret"))
        made.append(jwt.encode(claims, secret, "HS256"))
        assert office.pageview(settings, made[-1]).status == 201
    assert made[0] != made[1]
    assert office.pageview(settings, made[0]).status == 401
    assert secrets(office.person.get(f"{settings}/keys")) == []


@pytest.mark.parametrize("deed", ["revoke", "rotate"])
def test_another_sites_key_is_not_here(office: Office, deed: str) -> None:
    settings, _ = office.site()
    other, theirs = office.site()
    ((id, before),) = keys(office, other)
    for wanted in (id, "key_000000000000", "nonsense", "%20", "jwt-secret"):
        answer = office.person.post(f"{settings}/keys/{wanted}/{deed}")
        assert (answer.status, "no such key" in read(answer).text) == (404, True), wanted
    assert keys(office, other) == [(id, before)]
    assert office.pageview(other, theirs).status == 201


def test_many_keys_are_on_several_pages(office: Office) -> None:
    settings, _ = office.site()
    for number in range(119):
        office.store.call("key", "add", settings.split("/")[2], "--label", f"Key {number}")
    pages = [keys(office, settings, number) for number in (1, 2, 3)]
    assert [len(page) for page in pages] == [50, 50, 20]
    assert len({id for page in pages for id, _ in page}) == 120
    links = [
        {
            node.text: node.attrs["href"]
            for node in read(office.person.get(f"{settings}/keys?page={n}")).all("a", "quiet")
        }
        for n in (1, 2, 3)
    ]
    assert links == [{"Older": "?page=2"}, {"Newer": "?page=1", "Older": "?page=3"}, {"Newer": "?page=2"}]
    last = pages[2][0][0]
    office.done(f"{settings}/keys/{last}/revoke")
    assert "revoked" in dict(keys(office, settings, 3))[last]


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "9" * 30, "", "%00", "99"])
def test_a_page_of_keys_that_is_none_is_no_fault(office: Office, number: str) -> None:
    settings, _ = office.site()
    assert office.person.get(f"{settings}/keys?page={number}").status == 200


WRONG = [
    *(("tier", typed) for typed in ("", "gold", "Enterprise", "free ' --")),
    *(("hourly_limit", typed) for typed in ("0", "-5", "1.5", "1" + "0" * 30, "many", "²")),
    *(("label", typed) for typed in ("x" * 101, "a\x07b", "a\nb", "a\N{RIGHT-TO-LEFT OVERRIDE}b")),
]


@pytest.mark.parametrize(("field", "typed"), WRONG)
def test_a_wrong_value_is_told_beside_its_field_and_no_key_is_made(office: Office, field: str, typed: str) -> None:
    settings, _ = office.site()
    form = blank(office, settings) | {"label": ["Shop"], "tier": ["free"], "hourly_limit": ["5"]} | {field: [typed]}
    answer = office.person.post(f"{settings}/keys", form)
    assert (answer.status, list(wrong(answer))) == (400, [field])
    kept = fields(answer, f"{settings}/keys")
    for name in {"label", "tier", "hourly_limit"} - ({"tier"} if field == "tier" else set()):
        assert kept[name] == form[name], name
    assert len(keys(office, settings)) == 1
