"""The endpoints without a key: who may call them, from where, how often, and what is stored about the caller."""

import hashlib
import json
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHROME, Response, Server, Start, Store
from tests.support.limits import assert_limited, remaining, send_until
from tests.support.public import APEX, OVERCENTRIC, apex, new_address, overcentric, pair

KEYED_PATHS = [
    "/api/v1/events/pageview",
    "/api/v1/events/batch",
    "/v1/projects/x/events",
    "/v1/projects/x/events/batch",
]
OWN_HOSTS = ["example.com", "EXAMPLE.com:8443", "a.b.example.com", "example.com.", "xn--bcher-kva.example"]
FOREIGN_HOSTS = ["evil-example.com", "example.com.evil.example", "evil.example:443", "example.co", "com", "127.0.0.1"]
RATE_LIMIT_HEADERS = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]


PUBLIC_ENDPOINTS = pytest.mark.parametrize(("path", "body"), [(APEX, apex), (APEX, pair), (OVERCENTRIC, overcentric)])
Body = Callable[..., dict[str, Any]]


@dataclass
class PublicServer:
    """A server behind a proxy, with the sites my-site, `five` (requests an hour) and `guarded` (allowed hosts)."""

    store: Store
    server: Server

    def send(self, path: str, body: object, address: str, method: str = "POST", **headers: str) -> Response:
        """Send a request as from an address; underscores in header names become dashes."""
        all_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.send(path, body, None, {"X-Forwarded-For": address} | all_headers, method)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory, start: Start) -> PublicServer:
    store = Store(tmp_path_factory.mktemp("public") / "data")
    store.site("my-site", "--domain", "example.com")
    store.site("five", "--hourly-limit", "5")
    store.site("guarded", "--allowed-hosts", "example.com, bücher.example")
    return PublicServer(store, start(store, "--trusted-proxies", "127.0.0.1"))


def assert_open(response: Response) -> None:
    """Check that pages of any origin may read the response."""
    assert response.headers["access-control-allow-origin"] == "*"
    exposed = response.headers["access-control-expose-headers"].lower().split(", ")
    assert {*RATE_LIMIT_HEADERS, "retry-after", "idempotency-replayed"} <= set(exposed)


@pytest.mark.parametrize("path", [APEX, OVERCENTRIC])
def test_a_preflight_request_is_allowed(public: PublicServer, path: str) -> None:
    headers = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type"}
    response = public.send(path, None, new_address(), "OPTIONS", Origin="https://shop.example", **headers)
    assert (response.status // 100, response.body, response.headers["access-control-max-age"]) == (2, b"", "86400")
    assert_open(response)
    allowed = [response.headers["access-control-allow-" + what].lower() for what in ("methods", "headers")]
    assert ("post" in allowed[0], "content-type" in allowed[1]) == (True, True)


def send_from_new_address(public: PublicServer, path: str, *bodies: object, **headers: str) -> Response:
    """Send bodies from one new address, and return the last response."""
    address = new_address()
    return [public.send(path, body, address, **headers) for body in bodies][-1]


send_cross_origin = partial(send_from_new_address, Origin="https://shop.example")  # as a page of another origin

RESPONSE_CASES: list[tuple[int, bool, Callable[[PublicServer, str, Any], Response]]] = [
    (200, True, lambda public, path, five: send_cross_origin(public, path, five, Content_Type="text/plain")),
    (200, True, lambda public, path, five: send_cross_origin(public, path, five, five, Idempotency_Key=new_address())),
    (400, False, lambda public, path, five: send_cross_origin(public, path, b"no JSON")),
    (400, True, lambda public, path, five: send_cross_origin(public, path, five, Idempotency_Key="a b")),
    (
        404,
        False,
        lambda public, path, five: send_cross_origin(
            public, path, json.loads(json.dumps(five).replace("five", "none"))
        ),
    ),
    (405, False, lambda public, path, five: public.send(path, None, new_address(), "GET", Origin="null")),
    (
        409,
        True,
        lambda public, path, five: send_cross_origin(
            public, path, five, five | {"x": 1}, Idempotency_Key=new_address()
        ),
    ),
    (413, False, lambda public, path, five: send_cross_origin(public, path, b" " * (5 << 20) + b"{}")),
    (429, True, lambda public, path, five: send_cross_origin(public, path, *[five] * 6)),
]


@pytest.mark.parametrize(("status", "has_site", "send"), RESPONSE_CASES)
@PUBLIC_ENDPOINTS
def test_every_response_may_be_read_by_any_page(
    public: PublicServer,
    path: str,
    body: Body,
    status: int,
    has_site: bool,
    send: Callable[[PublicServer, str, Any], Response],
) -> None:
    response = send(public, path, body("five"))
    assert response.status == status
    assert_open(response)
    if has_site:  # and therefore a limit
        assert (response.headers["ratelimit-limit"], {*RATE_LIMIT_HEADERS} <= response.headers.keys()) == ("5", True)


@pytest.mark.parametrize("path", KEYED_PATHS)
def test_endpoints_that_need_a_key_send_no_cors_headers(public: PublicServer, path: str) -> None:
    responses = [
        public.send(path, {}, new_address(), method, Origin="https://example.com") for method in ("OPTIONS", "POST")
    ]
    assert [response.status for response in responses] == [405, 401]
    assert not [name for response in responses for name in response.headers if name.startswith("access-control-")]


@PUBLIC_ENDPOINTS
def test_requests_are_limited_by_address_and_a_batch_counts_once(public: PublicServer, path: str, body: Body) -> None:
    address = new_address()
    responses = [public.send(path, body("five"), address) for _ in range(6)]
    results = [(response.status, remaining(response)) for response in responses]
    assert results == [(200, 4), (200, 3), (200, 2), (200, 1), (200, 0), (429, 0)]
    assert_limited(responses[-1])
    assert_limited(
        public.send(path, body("five") | {"event": {"project_id": "five"}}, address)
    )  # the limit is checked before the fields
    assert public.send(path, body("five"), new_address()).status == 200
    assert remaining(public.send(path, body("my-site"), address)) == 999  # of the default 1,000


@pytest.mark.parametrize("sent", [{"type": 5}, {"url": "no"}, {"data": []}, {"visitorId": None}, {"events": [{}]}])
def test_an_invalid_request_counts_against_the_limit(public: PublicServer, sent: dict[str, object]) -> None:
    response = send_from_new_address(public, APEX, apex("five", **sent))
    assert (response.status, remaining(response)) == (400, 4)


def test_a_replay_does_not_count_and_is_never_limited(public: PublicServer) -> None:
    address = new_address()
    responses = [public.send(APEX, apex("five"), address, Idempotency_Key=address) for _ in range(3)]
    assert [(one.status, one.body, remaining(one)) for one in responses] == [(200, b'{"received":1}', 4)] * 3
    assert [public.send(APEX, apex("five"), address).status for _ in range(5)] == [200] * 4 + [429]
    again = public.send(APEX, apex("five"), address, Idempotency_Key=address)
    assert (again.status, again.headers["idempotency-replayed"], remaining(again)) == (200, "true", 0)


SAME_CALLER = ["203.0.113.3 ::ffff:203.0.113.3", "203.0.113.5 203.0.113.5:4711", "203.0.113.6 203.0.113.6,127.0.0.1"]
SAME_CALLER += ["2001:db8:1:2::1 2001:DB8:1:2:ffff:0:0:1", "2001:db8:1:6::1 [2001:db8:1:6::2]:4711"]
SAME_CALLER += ["203.0.113.4 198.51.1.1,203.0.113.4"]  # the proxy appends to what the caller claims
OTHER_CALLERS = ["203.0.113.1 203.0.113.2", "2001:db8:1:4::1 2001:db8:1:5::1", "203.0.113.7 ::203.0.113.7"]


@pytest.mark.parametrize("two", [*SAME_CALLER, *OTHER_CALLERS])
def test_which_addresses_share_a_limit(public: PublicServer, two: str) -> None:
    left = [remaining(public.send(APEX, apex("five"), address)) for address in two.split()]
    assert left == ([4, 3] if two in SAME_CALLER else [4, 4])


@pytest.mark.parametrize("garbage", ["", ",", " ", "x", "unknown", "1.2.3", "::1::", "é", "[", "[::1", "9" * 9000, "%"])
def test_an_invalid_forwarded_address_is_no_error(public: PublicServer, garbage: str) -> None:
    response = public.send(APEX, apex(), garbage, User_Agent=CHROME)
    assert (response.status, response.headers["ratelimit-limit"]) == (200, "1000")


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_an_untrusted_proxy_is_ignored_and_a_restart_keeps_the_counts(
    store: Store, start: Start, signal_number: int
) -> None:
    store.site("my-site", "--hourly-limit", "4")
    server = start(store)
    assert [remaining(server.send(APEX, apex(), None, {"X-Forwarded-For": new_address()})) for _ in range(2)] == [3, 2]
    assert server.send(APEX, apex(url=""), None).status == 400
    time.sleep(2)  # the count of a rejected request is saved within a second
    server.stop(signal_number)
    server = start(store)
    assert remaining(server.send(OVERCENTRIC, overcentric())) == 0
    assert_limited(server.send(APEX, apex()))


def test_no_address_is_stored(store: Store, start: Start) -> None:
    store.site("my-site", "--hourly-limit", "2")
    server = start(store, "--trusted-proxies", "127.0.0.1")
    addresses = ["203.0.113.77", "2001:db8:77:78:79:7a:7b:7c"]
    for address in addresses:
        for body in (apex(), pair(), apex(), b"no JSON", apex(url=5), apex("no-site")):
            server.send(APEX, body, None, {"X-Forwarded-For": address, "User-Agent": CHROME})
    time.sleep(1.5)
    stored_bytes = b"".join(
        file.read_bytes() for file in [*store.path.iterdir(), server.log_path]
    )  # including the log of the store
    assert b"my-site" in stored_bytes
    for address in addresses:
        for form in (address.encode(), packed := ip_address(address).packed, packed[:8]):
            digests = [hashlib.new(name, form).digest() for name in ("md5", "sha1", "sha256", "blake2b")]
            digests += [hashlib.blake2b(form, digest_size=size).digest() for size in (6, 8, 16, 32)]
            assert not [
                kind for kind in (form, *digests) if kind in stored_bytes or kind.hex().encode() in stored_bytes
            ]


@PUBLIC_ENDPOINTS
@pytest.mark.parametrize("host", [*OWN_HOSTS, *FOREIGN_HOSTS])
def test_only_pages_of_allowed_hosts_may_send(public: PublicServer, path: str, body: Body, host: str) -> None:
    stored, url, origin = len(public.store.events("guarded")), f"https://{host}/example.com", f"https://{host}"
    field = {"apex": "url", "pair": "events[1].url"}.get(body.__name__, "event.url")
    responses = [
        send_from_new_address(public, path, body("guarded", url=url)),
        send_from_new_address(public, path, body("guarded"), Origin=origin),
    ]
    if host in OWN_HOSTS:
        assert [response.status for response in responses] == [200, 200]
    else:
        assert [response.error for response in responses] == [(400, "invalid_request", name) for name in (field, None)]
        assert len(public.store.events("guarded")) == stored
    assert (
        send_from_new_address(public, path, body(url=url), Origin=origin).status == 200
    )  # all hosts are allowed by default


def test_which_origins_and_urls_pass_the_allowed_hosts(public: PublicServer) -> None:
    own = apex("guarded", url="/pricing", referrer="https://evil.example/")
    assert send_from_new_address(public, APEX, own).status == 200
    assert {
        send_from_new_address(public, APEX, own, Origin=origin).status for origin in ("null", "file://", "x", "[")
    } == {400}
    assert (
        send_from_new_address(public, APEX, own | {"url": "https://evil.example\\\\@example.com/"}).status == 400
    )  # as browsers parse it
    assert send_from_new_address(public, APEX, own | {"url": "https://example.com@evil.example/"}).status == 400
    sent, foreign = {"site_id": "guarded", "url": "https://evil.example/"}, {"Origin": "https://evil.example"}
    assert (
        public.server.send(KEYED_PATHS[0], sent, public.store.key("guarded"), foreign).status == 201
    )  # a caller with a key may send any host
    assert (
        send_from_new_address(public, OVERCENTRIC, overcentric("guarded", hostname="evil.example")).error[2]
        == "event.hostname"
    )


def test_an_unknown_site_is_reported_before_invalid_props(public: PublicServer) -> None:
    responses = [
        send_from_new_address(public, APEX, apex("x", data=[])),
        send_from_new_address(public, OVERCENTRIC, overcentric("x", properties=[])),
    ]
    assert [response.error[:2] for response in responses] == [(404, "invalid_site_id")] * 2


def test_site_changes_apply_while_the_server_runs(public: PublicServer) -> None:
    for name in ("new", public.store.site("new")["public_key"]):
        assert public.send(APEX, apex(name), new_address()).status == 200  # applies at once
    send = partial(public.send, APEX, apex("new", url="https://evil.example/"), new_address())
    options = ["--allowed-hosts", "EXAMPLE.com, b.example", "--hourly-limit", "700"]
    changed = public.store.run("site", "change", "new", "--json", *options).json
    assert (changed["allowed_hosts"], changed["hourly_limit"]) == (["example.com", "b.example"], 700)
    assert send_until(send, lambda response: response.status == 400).headers["ratelimit-limit"] == "700"
    assert public.store.run("site", "change", "new", "--allowed-hosts", "", "--json").json["allowed_hosts"] == []
    send_until(send, lambda response: response.status == 200)
    assert public.store.run("site", "change", "new", "--hourly-limit", "none", "--json").json["hourly_limit"] is None
    send_until(send, lambda response: response.headers["ratelimit-limit"] == "1000")
    assert public.store.run("site", "remove", "new", "--yes").exit_status == 0
    assert send_until(send, lambda response: response.status != 200).error[:2] == (404, "invalid_site_id")


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
def test_a_dual_stack_socket_recognizes_a_proxy_by_its_ipv4_address(tmp_path: Path, start: Start) -> None:
    store = Store(tmp_path / "data")
    store.site("my-site")
    server = start(store, "--host", "::", "--trusted-proxies", "127.0.0.0/8")
    remaining_counts = [
        remaining(server.send(APEX, apex("my-site"), None, {"X-Forwarded-For": new_address()})) for _ in range(2)
    ]
    assert remaining_counts == [999, 999]


def test_an_invalid_site_change_is_rejected(public: PublicServer) -> None:
    before = public.store.run("site", "list", "--json").stdout
    invalid_options = [
        ("allowed-hosts", "*.example.com"),
        ("allowed-hosts", "https://example.com"),
        ("hourly-limit", "0"),
    ]
    for option, value in [*invalid_options, ("domain", "a/b"), ("retention-days", "x"), ("timezone", "UTC")]:
        result = public.store.run("site", "change", "guarded", f"--{option}", value, "--json")
        assert (result.exit_status, result.stdout, option in result.stderr) == (2, "", True)
    assert public.store.run("site", "change", "guarded").exit_status == 2  # there is nothing to change
    assert public.store.run("site", "list", "--json").stdout == before
