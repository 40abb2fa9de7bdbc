"""The endpoints that ask for no key: who may call them, from where, how often, and what is kept of the caller."""

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

from tests.conftest import CHROME, Answer, Server, Start, Store
from tests.support.limits import assert_limited, remaining, until
from tests.support.public import APEX, OVERCENTRIC, apex, fresh, overcentric, pair

KEYED = ["/api/v1/events/pageview", "/api/v1/events/batch", "/v1/projects/x/events", "/v1/projects/x/events/batch"]
OWN = ["example.com", "EXAMPLE.com:8443", "a.b.example.com", "example.com.", "xn--bcher-kva.example"]
FOREIGN = ["evil-example.com", "example.com.evil.example", "evil.example:443", "example.co", "com", "127.0.0.1"]
STANDING = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]


DOORS = pytest.mark.parametrize(("path", "body"), [(APEX, apex), (APEX, pair), (OVERCENTRIC, overcentric)])
Body = Callable[..., dict[str, Any]]


@dataclass
class Public:
    """A server behind a proxy, with the sites my-site, `five` (requests an hour) and `guarded` (example.com's)."""

    store: Store
    server: Server

    def send(self, path: str, body: object, address: str, method: str = "POST", **headers: str) -> Answer:
        """Send a request as from an address; an underscore in a header's name is a dash."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.send(path, body, None, {"X-Forwarded-For": address} | named, method)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory, start: Start) -> Public:
    store = Store(tmp_path_factory.mktemp("public") / "data")
    store.site("my-site", "--domain", "example.com")
    store.site("five", "--hourly-limit", "5")
    store.site("guarded", "--allowed-hosts", "example.com, bücher.example")
    return Public(store, start(store, "--trusted-proxies", "127.0.0.1"))


def assert_open(answer: Answer) -> None:
    """The answer may be read by pages of any origin."""
    assert answer.headers["access-control-allow-origin"] == "*"
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    assert {*STANDING, "retry-after", "idempotency-replayed"} <= set(exposed)


@pytest.mark.parametrize("path", [APEX, OVERCENTRIC])
def test_a_browser_that_asks_first_is_told_to_come_in(public: Public, path: str) -> None:
    headers = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type"}
    answer = public.send(path, None, fresh(), "OPTIONS", Origin="https://shop.example", **headers)
    assert (answer.status // 100, answer.body, answer.headers["access-control-max-age"]) == (2, b"", "86400")
    assert_open(answer)
    allowed = [answer.headers["access-control-allow-" + what].lower() for what in ("methods", "headers")]
    assert ("post" in allowed[0], "content-type" in allowed[1]) == (True, True)


def last(public: Public, path: str, *bodies: object, **headers: str) -> Answer:
    """The last answer to bodies that are sent from one new address."""
    address = fresh()
    return [public.send(path, body, address, **headers) for body in bodies][-1]


asked = partial(last, Origin="https://shop.example")  # as a page of another origin asks

ANSWERS: list[tuple[int, bool, Callable[[Public, str, Any], Answer]]] = [
    (200, True, lambda public, path, five: asked(public, path, five, Content_Type="text/plain")),
    (200, True, lambda public, path, five: asked(public, path, five, five, Idempotency_Key=fresh())),
    (400, False, lambda public, path, five: asked(public, path, b"no JSON")),
    (400, True, lambda public, path, five: asked(public, path, five, Idempotency_Key="a b")),
    (404, False, lambda public, path, five: asked(public, path, json.loads(json.dumps(five).replace("five", "none")))),
    (405, False, lambda public, path, five: public.send(path, None, fresh(), "GET", Origin="null")),
    (409, True, lambda public, path, five: asked(public, path, five, five | {"x": 1}, Idempotency_Key=fresh())),
    (413, False, lambda public, path, five: asked(public, path, b" " * (5 << 20) + b"{}")),
    (429, True, lambda public, path, five: asked(public, path, *[five] * 6)),
]


@pytest.mark.parametrize(("status", "known", "send"), ANSWERS)
@DOORS
def test_every_answer_may_be_read_by_any_page(
    public: Public, path: str, body: Body, status: int, known: bool, send: Callable[[Public, str, Any], Answer]
) -> None:
    answer = send(public, path, body("five"))
    assert answer.status == status
    assert_open(answer)
    if known:  # the site, and so the limit
        assert (answer.headers["ratelimit-limit"], {*STANDING} <= answer.headers.keys()) == ("5", True)


@pytest.mark.parametrize("path", KEYED)
def test_where_a_key_is_needed_no_page_is_asked_in(public: Public, path: str) -> None:
    answers = [public.send(path, {}, fresh(), method, Origin="https://example.com") for method in ("OPTIONS", "POST")]
    assert [answer.status for answer in answers] == [405, 401]
    assert not [name for answer in answers for name in answer.headers if name.startswith("access-control-")]


@DOORS
def test_an_address_may_send_so_many_requests_and_a_batch_is_one(public: Public, path: str, body: Body) -> None:
    address = fresh()
    answers = [public.send(path, body("five"), address) for _ in range(6)]
    told = [(answer.status, remaining(answer)) for answer in answers]
    assert told == [(200, 4), (200, 3), (200, 2), (200, 1), (200, 0), (429, 0)]
    assert_limited(answers[-1])
    assert_limited(public.send(path, body("five") | {"event": {"project_id": "five"}}, address))  # before fields
    assert public.send(path, body("five"), fresh()).status == 200
    assert remaining(public.send(path, body("my-site"), address)) == 999  # of 1,000 that are usual


@pytest.mark.parametrize("sent", [{"type": 5}, {"url": "no"}, {"data": []}, {"visitorId": None}, {"events": [{}]}])
def test_a_bad_request_counts(public: Public, sent: dict[str, object]) -> None:
    answer = last(public, APEX, apex("five", **sent))
    assert (answer.status, remaining(answer)) == (400, 4)


def test_a_replay_does_not_count_and_has_no_limit(public: Public) -> None:
    address = fresh()
    answers = [public.send(APEX, apex("five"), address, Idempotency_Key=address) for _ in range(3)]
    assert [(one.status, one.body, remaining(one)) for one in answers] == [(200, b'{"received":1}', 4)] * 3
    assert [public.send(APEX, apex("five"), address).status for _ in range(5)] == [200] * 4 + [429]
    again = public.send(APEX, apex("five"), address, Idempotency_Key=address)
    assert (again.status, again.headers["idempotency-replayed"], remaining(again)) == (200, "true", 0)


SAME = ["203.0.113.3 ::ffff:203.0.113.3", "203.0.113.5 203.0.113.5:4711", "203.0.113.6 203.0.113.6,127.0.0.1"]
SAME += ["2001:db8:1:2::1 2001:DB8:1:2:ffff:0:0:1", "2001:db8:1:6::1 [2001:db8:1:6::2]:4711"]
SAME += ["203.0.113.4 198.51.1.1,203.0.113.4"]  # what a caller claims stands before what the proxy says
OTHERS = ["203.0.113.1 203.0.113.2", "2001:db8:1:4::1 2001:db8:1:5::1", "203.0.113.7 ::203.0.113.7"]


@pytest.mark.parametrize("two", [*SAME, *OTHERS])
def test_whose_requests_are_counted_together(public: Public, two: str) -> None:
    left = [remaining(public.send(APEX, apex("five"), address)) for address in two.split()]
    assert left == ([4, 3] if two in SAME else [4, 4])


@pytest.mark.parametrize("garbage", ["", ",", " ", "x", "unknown", "1.2.3", "::1::", "é", "[", "[::1", "9" * 9000, "%"])
def test_nonsense_from_a_proxy_is_no_crash(public: Public, garbage: str) -> None:
    answer = public.send(APEX, apex(), garbage, User_Agent=CHROME)
    assert (answer.status, answer.headers["ratelimit-limit"]) == (200, "1000")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nobody_else_is_believed_and_a_restart_forgets_no_count(store: Store, start: Start, how: int) -> None:
    store.site("my-site", "--hourly-limit", "4")
    server = start(store)
    assert [remaining(server.send(APEX, apex(), None, {"X-Forwarded-For": fresh()})) for _ in range(2)] == [3, 2]
    assert server.send(APEX, apex(url=""), None).status == 400
    time.sleep(2)  # a refused request's count is saved within a second
    server.stop(how)
    server = start(store)
    assert remaining(server.send(OVERCENTRIC, overcentric())) == 0
    assert_limited(server.send(APEX, apex()))


def test_no_address_is_kept(store: Store, start: Start) -> None:
    store.site("my-site", "--hourly-limit", "2")
    server = start(store, "--trusted-proxies", "127.0.0.1")
    addresses = ["203.0.113.77", "2001:db8:77:78:79:7a:7b:7c"]
    for address in addresses:
        for body in (apex(), pair(), apex(), b"no JSON", apex(url=5), apex("no-site")):
            server.send(APEX, body, None, {"X-Forwarded-For": address, "User-Agent": CHROME})
    time.sleep(1.5)
    kept = b"".join(file.read_bytes() for file in [*store.path.iterdir(), server.log])  # the log of the store, too
    assert b"my-site" in kept
    for address in addresses:
        for form in (address.encode(), packed := ip_address(address).packed, packed[:8]):
            digests = [hashlib.new(name, form).digest() for name in ("md5", "sha1", "sha256", "blake2b")]
            digests += [hashlib.blake2b(form, digest_size=size).digest() for size in (6, 8, 16, 32)]
            assert not [kind for kind in (form, *digests) if kind in kept or kind.hex().encode() in kept]


@DOORS
@pytest.mark.parametrize("host", [*OWN, *FOREIGN])
def test_only_pages_of_a_sites_own_hosts_may_send(public: Public, path: str, body: Body, host: str) -> None:
    stored, url, origin = len(public.store.events("guarded")), f"https://{host}/example.com", f"https://{host}"
    field = {"apex": "url", "pair": "events[1].url"}.get(body.__name__, "event.url")
    answers = [last(public, path, body("guarded", url=url)), last(public, path, body("guarded"), Origin=origin)]
    if host in OWN:
        assert [answer.status for answer in answers] == [200, 200]
    else:
        assert [answer.error for answer in answers] == [(400, "invalid_request", name) for name in (field, None)]
        assert len(public.store.events("guarded")) == stored
    assert last(public, path, body(url=url), Origin=origin).status == 200  # off by default


def test_what_else_is_a_sites_own(public: Public) -> None:
    own = apex("guarded", url="/pricing", referrer="https://evil.example/")
    assert last(public, APEX, own).status == 200
    assert {last(public, APEX, own, Origin=origin).status for origin in ("null", "file://", "x", "[")} == {400}
    assert (
        last(public, APEX, own | {"url": "https://evil.example\\\\@example.com/"}).status == 400
    )  # as browsers read it
    assert last(public, APEX, own | {"url": "https://example.com@evil.example/"}).status == 400
    sent, foreign = {"site_id": "guarded", "url": "https://evil.example/"}, {"Origin": "https://evil.example"}
    assert public.server.send(KEYED[0], sent, public.store.key("guarded"), foreign).status == 201  # who has a key, may
    assert last(public, OVERCENTRIC, overcentric("guarded", hostname="evil.example")).error[2] == "event.hostname"


def test_a_site_that_is_not_there_is_told_before_wrong_props(public: Public) -> None:
    answers = [last(public, APEX, apex("x", data=[])), last(public, OVERCENTRIC, overcentric("x", properties=[]))]
    assert [answer.error[:2] for answer in answers] == [(404, "invalid_site_id")] * 2


def test_sites_come_change_and_go_while_the_server_runs(public: Public) -> None:
    for name in ("new", public.store.site("new")["public_key"]):
        assert public.send(APEX, apex(name), fresh()).status == 200  # at once
    send = partial(public.send, APEX, apex("new", url="https://evil.example/"), fresh())
    options = ["--allowed-hosts", "EXAMPLE.com, b.example", "--hourly-limit", "700"]
    changed = public.store.run("site", "change", "new", "--json", *options).json
    assert (changed["allowed_hosts"], changed["hourly_limit"]) == (["example.com", "b.example"], 700)
    assert until(send, lambda answer: answer.status == 400).headers["ratelimit-limit"] == "700"
    assert public.store.run("site", "change", "new", "--allowed-hosts", "", "--json").json["allowed_hosts"] == []
    until(send, lambda answer: answer.status == 200)
    assert public.store.run("site", "change", "new", "--hourly-limit", "none", "--json").json["hourly_limit"] is None
    until(send, lambda answer: answer.headers["ratelimit-limit"] == "1000")
    assert public.store.run("site", "remove", "new", "--yes").status == 0
    assert until(send, lambda answer: answer.status != 200).error[:2] == (404, "invalid_site_id")


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_a_proxy_is_known_by_its_ipv4_address_also_on_a_socket_of_both(tmp_path: Path, start: Start) -> None:
    store = Store(tmp_path / "data")
    store.site("my-site")
    server = start(store, "--host", "::", "--trusted-proxies", "127.0.0.0/8")
    told = [remaining(server.send(APEX, apex("my-site"), None, {"X-Forwarded-For": fresh()})) for _ in range(2)]
    assert told == [999, 999]


def test_wrong_changes(public: Public) -> None:
    before = public.store.run("site", "list", "--json").out
    wrong = [("allowed-hosts", "*.example.com"), ("allowed-hosts", "https://example.com"), ("hourly-limit", "0")]
    for option, value in [*wrong, ("domain", "a/b"), ("retention-days", "x"), ("timezone", "UTC")]:
        ran = public.store.run("site", "change", "guarded", f"--{option}", value, "--json")
        assert (ran.status, ran.out, option in ran.err) == (2, "", True)
    assert public.store.run("site", "change", "guarded").status == 2  # nothing is said
    assert public.store.run("site", "list", "--json").out == before
