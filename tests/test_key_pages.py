"""Settings → API keys: adding, showing once, limiting, rotating and revoking keys."""

import base64
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from tests.conftest import Response
from tests.support.browserless import WebClient
from tests.support.pages import AdminSession, Fields, field_errors, flash_text, form_fields, page_secrets, parse_page
from tests.support.pages import admin as admin


def keys(admin: AdminSession, settings: str, page: int = 1) -> list[tuple[str, str]]:
    """Return the id and description of each key on a page of keys."""
    document = parse_page(admin.client.get(f"{settings}/keys?page={page}"))
    return [(row.attrs["id"], row.text) for row in document.find_all("li", "row")]


def blank_form(admin: AdminSession, settings: str) -> Fields:
    """Return the blank form to add a key."""
    return form_fields(admin.client.get(f"{settings}/keys"), f"{settings}/keys")


def add_key(admin: AdminSession, settings: str, **typed: str) -> tuple[str, str]:
    """Add a key and return its id and the key."""
    form = blank_form(admin, settings) | typed
    (secret,) = page_secrets(admin.submit(f"{settings}/keys", form))
    return form["new"][0], secret


def test_a_new_key_is_shown_once_and_works_immediately(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    id, secret = add_key(admin, settings, label="For <b>the</b> shop", tier="pro", hourly_limit="")
    assert admin.pageview(settings, secret).status == 201
    page = admin.client.get(f"{settings}/keys")
    assert (page_secrets(page), flash_text(page), secret in page.body.decode()) == ([], "", False)
    description = dict(keys(admin, settings))[id]
    assert "For <b>the</b> shop pro, 10,000 events per hour" in description


def test_a_key_without_a_label_is_shown_by_its_id(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    id, _ = add_key(admin, settings, label="  ")
    assert dict(keys(admin, settings))[id].startswith(id)


def test_a_keys_own_limit_replaces_the_tiers_limit(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    id, secret = add_key(admin, settings, tier="free", hourly_limit="2")
    assert "free, 2 events per hour" in dict(keys(admin, settings))[id]
    assert [admin.pageview(settings, secret).status for _ in range(3)] == [201, 201, 429]


def test_a_secret_is_in_no_url_cookie_log_or_file(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    response = admin.client.post(f"{settings}/keys", blank_form(admin, settings) | {"label": "x"})
    (secret,) = page_secrets(page := admin.client.follow(response))
    assert admin.pageview(settings, secret).status == 201
    headers = [*response.headers.values(), *page.headers.values(), *admin.client.cookies.values()]
    payloads = [cookie.partition(".")[0] for cookie in admin.client.cookies.values()]
    headers += [base64.urlsafe_b64decode(payload + "===").decode("latin-1") for payload in payloads]
    assert not [value for value in headers if secret in value]
    files = [file for file in admin.store.path.rglob("*") if file.is_file()]
    assert len(files) > 0
    for file in (*files, admin.server.log_path):
        assert secret.encode() not in file.read_bytes(), file


def test_a_secret_is_not_shown_to_another_browser(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    response = admin.client.post(f"{settings}/keys", blank_form(admin, settings))
    other = WebClient(admin.server)
    other.log_in()
    assert page_secrets(other.get(f"{settings}/keys")) == []
    assert len(page_secrets(admin.client.follow(response))) == 1


def test_a_form_submitted_twice_adds_one_key(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    form = blank_form(admin, settings)
    for _ in range(2):
        assert admin.client.post(f"{settings}/keys", form).status == 303
    (secret,) = page_secrets(admin.client.get(f"{settings}/keys"))
    assert admin.pageview(settings, secret).status == 201
    assert len(keys(admin, settings)) == 2, "the site's first key and this one"


def test_a_form_submitted_twice_simultaneously_adds_one_key(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    for added_keys in range(1, 6):
        form = blank_form(admin, settings)

        def send(_: int, form: Fields = form) -> Response:
            return admin.client.post(f"{settings}/keys", form)

        with ThreadPoolExecutor(4) as pool:
            assert {response.status for response in pool.map(send, range(4))} == {303}
        (secret,) = page_secrets(admin.client.get(f"{settings}/keys"))
        assert admin.pageview(settings, secret).status == 201
        assert len(keys(admin, settings)) == 1 + added_keys


def test_a_revoked_key_is_refused(admin: AdminSession) -> None:
    settings, first = admin.add_site()
    id, secret = add_key(admin, settings, label="Old shop")
    assert admin.pageview(settings, secret).status == 201
    assert "Old shop was revoked" in flash_text(admin.submit(f"{settings}/keys/{id}/revoke"))
    assert admin.pageview(settings, secret).status == 401
    assert admin.pageview(settings, first).status == 201
    assert "revoked" in dict(keys(admin, settings))[id]
    assert f"{settings}/keys/{id}/revoke" not in admin.client.get(f"{settings}/keys").body.decode()
    assert admin.client.post(f"{settings}/keys/{id}/revoke").status == 303, "revoking again must change nothing"
    assert admin.client.post(f"{settings}/keys/{id}/rotate").status == 400, "a revoked key cannot be rotated"
    assert admin.pageview(settings, secret).status == 401


def test_rotating_a_key_creates_another_with_the_same_limit(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    id, old = add_key(admin, settings, label="Shop", tier="free", hourly_limit="7")
    page = admin.submit(f"{settings}/keys/{id}/rotate")
    (new,) = page_secrets(page)
    assert [admin.pageview(settings, key).status for key in (old, new)] == [401, 201]
    assert "Shop free, 7 events per hour" in dict(keys(admin, settings))[id]
    assert page_secrets(admin.client.get(f"{settings}/keys")) == []


def test_the_last_use_of_a_key_is_shown(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    id, secret = add_key(admin, settings)
    assert "never used" in dict(keys(admin, settings))[id]
    admin.pageview(settings, secret)
    assert "last used" in dict(keys(admin, settings))[id]
    assert [text for _, text in keys(admin, settings) if "never used" in text], "the other key is unused"


def test_a_new_jwt_secret_invalidates_earlier_jwts(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    claims = {"site_id": settings.split("/")[2], "exp": int(time.time()) + 3600}
    tokens = []
    for _ in range(2):
        (secret,) = page_secrets(admin.submit(f"{settings}/keys/jwt-secret"))
        tokens.append(jwt.encode(claims, secret, "HS256"))
        assert admin.pageview(settings, tokens[-1]).status == 201
    assert tokens[0] != tokens[1]
    assert admin.pageview(settings, tokens[0]).status == 401
    assert page_secrets(admin.client.get(f"{settings}/keys")) == []


@pytest.mark.parametrize("action", ["revoke", "rotate"])
def test_the_key_of_another_site_is_not_found(admin: AdminSession, action: str) -> None:
    settings, _ = admin.add_site()
    other, theirs = admin.add_site()
    ((id, before),) = keys(admin, other)
    for key_id in (id, "key_000000000000", "nonsense", "%20", "jwt-secret"):
        response = admin.client.post(f"{settings}/keys/{key_id}/{action}")
        assert (response.status, "no such key" in parse_page(response).text) == (404, True), key_id
    assert keys(admin, other) == [(id, before)]
    assert admin.pageview(other, theirs).status == 201


def test_many_keys_are_paginated(admin: AdminSession) -> None:
    settings, _ = admin.add_site()
    for number in range(119):
        admin.store.call("key", "add", settings.split("/")[2], "--label", f"Key {number}")
    pages = [keys(admin, settings, number) for number in (1, 2, 3)]
    assert [len(page) for page in pages] == [50, 50, 20]
    assert len({id for page in pages for id, _ in page}) == 120
    links = [
        {
            node.text: node.attrs["href"]
            for node in parse_page(admin.client.get(f"{settings}/keys?page={n}")).find_all("a", "quiet")
        }
        for n in (1, 2, 3)
    ]
    assert links == [{"Older": "?page=2"}, {"Newer": "?page=1", "Older": "?page=3"}, {"Newer": "?page=2"}]
    last = pages[2][0][0]
    admin.submit(f"{settings}/keys/{last}/revoke")
    assert "revoked" in dict(keys(admin, settings, 3))[last]


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "9" * 30, "", "%00", "99"])
def test_an_unknown_page_number_is_not_an_error(admin: AdminSession, number: str) -> None:
    settings, _ = admin.add_site()
    assert admin.client.get(f"{settings}/keys?page={number}").status == 200


INVALID_VALUES = [
    *(("tier", typed) for typed in ("", "gold", "Enterprise", "free ' --")),
    *(("hourly_limit", typed) for typed in ("0", "-5", "1.5", "1" + "0" * 30, "many", "²")),
    *(("label", typed) for typed in ("x" * 101, "a\x07b", "a\nb", "a\N{RIGHT-TO-LEFT OVERRIDE}b")),
]


@pytest.mark.parametrize(("field", "typed"), INVALID_VALUES)
def test_an_invalid_value_is_reported_beside_its_field_and_no_key_is_added(
    admin: AdminSession, field: str, typed: str
) -> None:
    settings, _ = admin.add_site()
    form = blank_form(admin, settings) | {"label": ["Shop"], "tier": ["free"], "hourly_limit": ["5"]} | {field: [typed]}
    response = admin.client.post(f"{settings}/keys", form)
    assert (response.status, list(field_errors(response))) == (400, [field])
    returned_form = form_fields(response, f"{settings}/keys")
    for name in {"label", "tier", "hourly_limit"} - ({"tier"} if field == "tier" else set()):
        assert returned_form[name] == form[name], name
    assert len(keys(admin, settings)) == 1
