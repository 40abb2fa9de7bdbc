"""How each line of an access log is parsed or skipped."""

import calendar
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovx_lite.enrichment.access_log import LoggedPageview, parse

FIREFOX = "Mozilla/5.0 (Windows NT 6.1; WOW64; rv:27.0) Gecko/20100101 Firefox/27.0"
NOON_MS = 1_431_864_000_000  # 2015-05-17 12:00:00 UTC.


def line(
    front: str = "203.0.113.9 - -",
    time: str = "17/May/2015:12:00:00 +0000",
    request: str = "GET /a?b=c HTTP/1.1",
    answer: str = "200 123",
    referrer: str = "https://example.org/",
    agent: str = FIREFOX,
    rest: str = "",
) -> str:
    return f'{front} [{time}] "{request}" {answer} "{referrer}" "{agent}"{rest}'


def caddy(ts: object = NOON_MS / 1000, status: object = 200, msg: str = "handled request", **request: Any) -> str:
    headers = {"User-Agent": [FIREFOX], "Referer": ["https://example.org/"], "Cookie": ["REDACTED"]}
    request_fields = {"remote_ip": "192.0.2.1", "remote_port": "41342", "client_ip": "203.0.113.9", "proto": "HTTP/2.0"}
    request_fields |= {"method": "GET", "host": "localhost", "uri": "/a?b=c", "headers": headers} | request
    log_entry = {
        "level": "info",
        "ts": ts,
        "logger": "http.log.access",
        "msg": msg,
        "request": request_fields,
        "bytes_read": 0,
    }
    return json.dumps(
        log_entry | {"duration": 0.0009, "size": 10900, "status": status, "resp_headers": {"Server": ["x"]}}
    )


def parse_view(text: str) -> LoggedPageview:
    request = parse(text)
    assert isinstance(request, LoggedPageview), request
    return request


@pytest.mark.parametrize("text", [line(), caddy()])
def test_a_page_view_is_parsed_completely(text: str) -> None:
    request = parse_view(text)
    assert request[:5] == (NOON_MS, "203.0.113.9", "/a?b=c", "https://example.org/", FIREFOX)
    assert 0 <= request.digest < 2**31


@pytest.mark.parametrize(
    ("front", "address"),
    [
        ("203.0.113.9 - frank", "203.0.113.9"),
        ("203.0.113.9 - frank [the] first", "203.0.113.9"),
        ("2001:db8::1 - -", "2001:db8::1"),
        ("::ffff:203.0.113.9 - -", "::ffff:203.0.113.9"),
        ("example.org:443 203.0.113.9 - -", "203.0.113.9"),
        ("example.org:443 2001:db8::1 - -", "2001:db8::1"),
        ("192.0.2.1:80 203.0.113.9 - -", "203.0.113.9"),
        ("example.org 203.0.113.9 - -", "203.0.113.9"),
        ("203.0.113.9, 192.0.2.1 - -", "203.0.113.9"),
        ("client.example.net - -", ""),
        ("example.org:443 client.example.net - -", ""),
        ("- - -", ""),
        ("unix: - -", ""),
        ("203.0.113.999 - -", ""),
        ("203.0.113.9\0 - -", ""),
    ],
)
def test_the_address_is_an_ip_address_or_empty(front: str, address: str) -> None:
    assert parse_view(line(front)).address == address


@pytest.mark.parametrize(
    ("request_", "address"),
    [
        ({"client_ip": "2001:db8::1"}, "2001:db8::1"),
        ({"client_ip": ""}, "192.0.2.1"),
        ({"client_ip": "", "remote_ip": "@"}, ""),
    ],
)
def test_caddys_client_ip_takes_precedence_over_remote_ip(request_: dict[str, str], address: str) -> None:
    assert parse_view(caddy(**request_)).address == address


@pytest.mark.parametrize(
    ("time", "timestamp_ms"),
    [
        ("17/May/2015:12:00:00 +0000", NOON_MS),
        ("17/May/2015:14:00:00 +0200", NOON_MS),
        ("17/May/2015:06:30:07 -0530", NOON_MS + 7000),
        ("18/May/2015:00:00:59 +1200", NOON_MS + 59_000),
        ("29/Feb/2016:00:00:00 +0000", 1_456_704_000_000),
        ("31/Dec/1999:23:59:59 +0000", 946_684_799_000),
        ("01/Jan/1970:00:00:00 +0000", 0),
    ],
)
def test_log_times_are_parsed(time: str, timestamp_ms: int) -> None:
    assert parse_view(line(time=time)).timestamp_ms == timestamp_ms


@pytest.mark.parametrize(("month", "name"), [*enumerate(calendar.month_abbr)][1:])
def test_every_month_name_is_parsed(month: int, name: str) -> None:
    assert (
        parse_view(line(time=f"09/{name}/2021:10:05:03 +0000")).timestamp_ms
        == parse_view(caddy(ts=f"2021-{month:02}-09T10:05:03Z")).timestamp_ms
    )


@pytest.mark.parametrize(
    ("ts", "expected"),
    [
        (1646861401.5241024, 1_646_861_401_524),
        (1646861401, 1_646_861_401_000),
        ("2022-03-09T21:30:01.524Z", 1_646_861_401_524),
        ("2022-03-09T23:30:01.524102411+02:00", 1_646_861_401_524),
        ("2022-03-09T23:30:01.524+0200", 1_646_861_401_524),
    ],
)
def test_caddys_timestamps_are_parsed(ts: object, expected: int) -> None:
    assert parse_view(caddy(ts)).timestamp_ms == expected


@pytest.mark.parametrize(
    ("raw_target", "target"),
    [
        ("/", "/"),
        ("/caf%C3%A9?q=%20", "/caf%C3%A9?q=%20"),
        (r"/caf\xc3\xa9", "/café"),
        (r"/\xC3\xA9\x22\x5C", '/é"\\'),
        (r"/\"quoted\"\\\t", '/"quoted"\\\t'),
        (r"/\xff", "/\ufffd"),
        (r"/\q\x4", r"/\q\x4"),
        ("/with a space", "/with a space"),
        ("http://example.org/x?y=z", "/x?y=z"),
        ("HTTPS://example.org", "/"),
        ("http://example.org?y=z", "/?y=z"),
        ("/go?to=http://example.org/x", "/go?to=http://example.org/x"),
    ],
)
def test_request_targets_are_normalised(raw_target: str, target: str) -> None:
    assert parse_view(line(request=f"GET {raw_target} HTTP/1.1")).target == target


def test_the_referrer_and_user_agent_are_unescaped() -> None:
    request = parse_view(line(referrer=r"https://example.org/\xc3\xa9", agent=FIREFOX + r" \"x\" \x22"))
    assert request.referrer == "https://example.org/é"
    assert request.user_agent == FIREFOX + ' "x" "'


def test_a_missing_referrer_is_empty() -> None:
    assert parse_view(line(referrer="-")).referrer == parse_view(line(referrer="")).referrer == ""
    assert parse_view(caddy(headers={"User-Agent": [FIREFOX]})).referrer == ""


@pytest.mark.parametrize("rest", ["", ' "192.0.2.1, 198.51.100.4"', " 0 1234", ' "-" rt=0.004', " ", "\r"])
def test_fields_after_the_user_agent_are_ignored(rest: str) -> None:
    assert parse(line(rest=rest)) == parse(line())


@pytest.mark.parametrize("target", ["/a.html", "/b.PHP", "/c.aspx?x=y.png", "/v1.2", "/x.js/", "/json", "/d.md#e.css"])
@pytest.mark.parametrize("answer", ["200 1", "206 9", "204 -", "304 -"])
def test_page_requests_are_page_views(target: str, answer: str) -> None:
    assert parse_view(line(request=f"GET {target} HTTP/2.0", answer=answer)).target == target


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        *[
            ("broken", text)
            for text in [
                "",
                "-",
                "{",
                "{}",
                "nonsense",
                '203.0.113.9 - - [17/May/2015:12:00:00 +0000] "GET / HTTP/1.1" 200 123',
                '203.0.113.9 - - [17/May/2015:12:00:00 +0000] "GET / HTTP/1.1" 200 123 "-"',
                '203.0.113.9 - - [17/May/2015:12:00:00 +0000] "GET / HTTP/1.1" 200 123 "-" "Mozilla/5.0',
                line(rest="x"),
                line(time="31/Feb/2015:12:00:00 +0000"),
                line(time="17/Foo/2015:12:00:00 +0000"),
                line(time="17/May/2015:24:00:01 +0000"),
                line(time="17/May/2015:12:00:61 +0000"),
                line(time="17/May/2015:12:00:00 +2500"),
                line(time="17/May/0000:12:00:00 +0000"),
                line(time="17/May/1915:12:00:00 +0000"),
                line(time="17/May/2015:12:00:00"),
                line(time="١٧/May/2015:12:00:00 +0000"),
                line(answer="20 1"),
                line(answer="200 x"),
                line(request="-", answer="408 -"),
                line(request="", answer="400 0"),
                line(request=r"\x16\x03\x01\x02\x00\x01\x00", answer="400 150"),
                line(request="GET /", answer="400 150"),
                line(request="GET  HTTP/1.1"),
                line(request="GET a HTTP/1.1"),
                line(request="GET * HTTP/1.1"),
                line(request="OPTIONS * HTTP/1.0"),
                line(request="GET /a HTTP/x HTTP/1.1"),
                line(agent='a"b'),
                caddy(ts="yesterday"),
                caddy(ts="2022-03-09T21:30:01"),
                caddy(ts=-1),
                caddy(ts=1e300),
                caddy(ts=None),
                caddy(status="200"),
                caddy(msg="upstream roundtrip"),
                caddy(uri="*"),
                caddy(uri=""),
                caddy(headers=None),
                caddy()[:-1],
                '{"level":"info","ts":1646861401.52,"logger":"tls","msg":"storage cleaned"}',
                '{"a":' + "[" * 100_000,
            ]
        ],
        ("methods", line(request="POST / HTTP/1.1")),
        ("methods", line(request="HEAD /a.png HTTP/1.1", answer="404 -", agent="-")),
        ("methods", line(request="CONNECT example.org:443 HTTP/1.1", answer="405 0")),
        ("methods", line(request="get / HTTP/1.1")),
        ("methods", line(request="M-SEARCH / HTTP/1.1")),
        ("methods", caddy(method="POST")),
        *[("errors", line(answer=f"{status} 1", agent="-")) for status in (404, 500, 499, 101, "000")],
        ("errors", caddy(status=0)),
        *[("redirects", line(request="GET /a.png HTTP/1.1", answer=f"{status} 1")) for status in (301, 302, 308)],
        ("redirects", caddy(status=301)),
        *[
            ("assets", line(request=f"GET {target} HTTP/1.1", agent="-"))
            for target in [
                "/a.css",
                "/a.min.JS?v=1.2",
                "/b/photo.JPEG",
                "/paper.pdf",
                "/feed.xml#top",
                "/robots.txt",
                "/favicon",
                "/favicon-32?x",
                "/.well-known/security",
                "http://example.org/a.png",
            ]
        ],
        ("assets", caddy(uri="/logo.svg")),
        *[("bots", line(agent=agent)) for agent in ("", "-", "curl/8.5.0", "Googlebot/2.1 " + "x" * 600)],
        ("bots", line(agent="Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")),
        ("bots", caddy(headers={})),
        ("bots", caddy(headers={"User-Agent": []})),
    ],
)
def test_a_line_that_is_not_a_page_view_gives_the_reason(reason: str, text: str) -> None:
    assert parse(text) == reason


def test_the_digest_differs_between_lines() -> None:
    others = [
        line(time="17/May/2015:12:00:01 +0000"),
        line(request="GET /b HTTP/1.1"),
        line(answer="206 123"),
        line(answer="200 124"),
        line(referrer="-"),
        line(agent=FIREFOX + "1"),
        caddy(),
        caddy(ts=1.5),
        caddy(uri="/b"),
    ]
    assert len({parse_view(text).digest for text in [line(), *others]}) == 1 + len(others)


ADDRESSES = st.ip_addresses().map(str)
NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1) | st.just("-")


@given(ADDRESSES, NAMES, NAMES, st.sampled_from(["", "example.org:80 "]))
def test_the_digest_does_not_depend_on_the_client(address: str, ident: str, user: str, host: str) -> None:
    request = parse_view(line(f"{host}{address} {ident} {user}", rest=f' "{address}"'))
    assert request == parse_view(line())._replace(address=address)


@given(ADDRESSES, ADDRESSES)
def test_caddys_digest_does_not_depend_on_the_client(client: str, remote: str) -> None:
    assert parse_view(caddy(client_ip=client, remote_ip=remote)) == parse_view(caddy())._replace(address=client)


REASONS = {"broken", "methods", "errors", "redirects", "assets", "bots"}
ANYTHING = st.text(st.characters() | st.characters(categories=["Cs"]))
FRAGMENTS = ANYTHING | st.sampled_from(
    ['"', "\\", "\\x", "[", "]", " ", "-", "{", "}", ":", "/", ".", "HTTP/", "\n", "9"]
)


@given(ANYTHING)
def test_any_text_is_parsed_or_counted_as_broken(text: str) -> None:
    assert parse(text) == "broken"
    assert parse("{" + text) == "broken"


@settings(max_examples=300)
@given(st.sampled_from([line(), caddy(), line("example.org:80 ::1 - -")]), st.data())
def test_a_damaged_line_is_parsed_or_gives_a_reason(good: str, data: st.DataObject) -> None:
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(good))] * 2)))
    result = parse(good[:start] + data.draw(FRAGMENTS) + good[end:])
    assert isinstance(result, LoggedPageview) or result in REASONS


def test_importing_the_module_loads_no_crawler_list() -> None:
    code = "import sys, ovx_lite.enrichment.access_log; sys.exit('is_crawler' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
