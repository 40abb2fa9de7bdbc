"""Targets of webhooks: valid URLs, allowed addresses, and networks that an administrator allows."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovx_lite.domain.config import NETWORK_ALIASES
from ovx_lite.domain.errors import ApiError
from ovx_lite.webhooks.ssrf import MAX_URL_BYTES, Target, check_address, check_scheme, parse_networks, parse_target

ALLOW_SETTING = "OVX_WEBHOOK_ALLOW_NET"
HTTPS = Target("https", "example.com", 443, "/")
HTTP = Target("http", "example.com", 80, "/")


def refusal_message(url: str, addresses: list[str] | None = None, allowed: str = "") -> str:
    """Return the error for a URL or the addresses of its host; `""` if they are allowed."""
    try:
        destination = parse_target(url)
        check_address(destination, [destination.host] if addresses is None else addresses, parse_networks(allowed))
    except ApiError as exc:
        error = exc
    else:
        return ""
    assert (error.code, error.field) == ("invalid_request", "url")
    return error.message


VALID_URLS = [
    ("https://example.com", Target("https", "example.com", 443, "/")),
    ("HTTPS://EXAMPLE.COM:8443/Hook/?A=b", Target("https", "example.com", 8443, "/Hook/?A=b")),
    ("https://example.com.:443/a", Target("https", "example.com", 443, "/a")),
    ("https://example.com?x=1", Target("https", "example.com", 443, "/?x=1")),
    ("https://example.com/a#b", Target("https", "example.com", 443, "/a")),
    ("https://example.com:65535/", Target("https", "example.com", 65535, "/")),
    ("http://example.com/", Target("http", "example.com", 80, "/")),
    ("http://example.com:443/", Target("http", "example.com", 443, "/")),
    ("https://a_b.example-1.com/", Target("https", "a_b.example-1.com", 443, "/")),
    ("https://bücher.example/ä?ö", Target("https", "xn--bcher-kva.example", 443, "/%C3%A4?%C3%B6")),
    ("https://xn--bcher-kva.example/%C3%A4", Target("https", "xn--bcher-kva.example", 443, "/%C3%A4")),
    ("https://8.8.8.8/", Target("https", "8.8.8.8", 443, "/")),
    ("https://[2001:4860:4860:0::8888]:8443/", Target("https", "2001:4860:4860::8888", 8443, "/")),
    ("https://１２７。0.0.1/", Target("https", "127.0.0.1", 443, "/")),
    ("https://localhost/", Target("https", "localhost", 443, "/")),
    ("https://example.com/@b:c//d", Target("https", "example.com", 443, "/@b:c//d")),
    ("https://hooks.slack.com/services/T0/B0/x%20y", Target("https", "hooks.slack.com", 443, "/services/T0/B0/x%20y")),
]


@pytest.mark.parametrize(("url", "expected"), VALID_URLS, ids=[url for url, _ in VALID_URLS])
def test_a_url_is_parsed_into_its_target(url: str, expected: Target) -> None:
    assert parse_target(url) == expected


INVALID_URLS = [
    *(
        "",
        "example.com",
        "//example.com/",
        "/hook",
        "https:",
        "https://",
        "https:///hook",
        "https:example.com",
        "https:/a",
    ),
    *("ftp://example.com/", "javascript:alert(1)", "file:///etc/passwd", "data:text/plain,a", "ws://example.com/"),
    *("gopher://example.com/", "httpss://example.com", "http+unix://%2Frun%2Fsock/", "https://?x", "https://#x"),
    *("https://me@example.com/", "https://me:pw@example.com/", "https://:pw@example.com", "https://@example.com/"),
    *("https://example.com@127.0.0.1/", "https://example.com:443@127.0.0.1/", "https://a\\@example.com/"),
    *("https://example.com:0/", "https://example.com:65536/", "https://example.com:x/", "https://example.com:-1/"),
    *("https://example.com:+443/", "https://example.com:4 43/", "https://example.com:٤٤٣/", "https://::1/"),
    *("https://127.1/", "https://2130706433/", "https://0177.0.0.1/", "https://0x7f000001/", "https://0x7f.0.0.1/"),
    *("https://0X7F.1/", "https://127.0.0.0x1/", "https://127.0.1/", "https://017700000001/", "https://1.2.3.4.5/"),
    *("https://256.1.1.1/", "https://8.8.8.08/", "https://example.1/", "https://１２７.1/", "https://127.0.0.1.../"),
    *("https://example.com../", "https://.example.com/", "https://a..b/", "https://./", "https://bücher..example/"),
    *("https://[::1/", "https://::1]/", "https://[127.0.0.1]x/", "https://[example.com]/", "https://[fe80::1%25eth0]/"),
    *("https://fe80::1%eth0/", "https://[1::2::3]/", "https://ex%61mple.com/", "https://a;b/", "https://a,b/"),
    *("https://a b.com/", "https://example.com/a b", " https://example.com/", "https://example.com/ "),
    *("https://example.com/\n", "https://exam\tple.com/", "https://example.com/\r\nHost: a", "https://example.com/\0"),
    *("https://example.com/\x1b[2J", "https://example.com/\x7f", "https://exa\rmple.com/", "https://a\0.com/"),
    *("https://example.com\\a/", "https://<a>/", "https://a|b/", "https://*.example.com/", "https://exa!mple.com"),
    *(
        f"https://{'a' * 64}.com/",
        f"https://{'a.' * 127}com/",
        f"https://ä{'a' * 60}.com/",
        "https://-.-../",
    ),
    *(
        "https://example.com/" + "a" * 10_000,
        "https://" + "a" * 10_000,
        "ä" * 5000,
        "https://[::1]x/",
        "https://[v1.x]/",
    ),
]


@pytest.mark.parametrize("url", INVALID_URLS, ids=lambda url: ascii(url)[:40])
def test_an_invalid_webhook_url_is_rejected(url: str) -> None:
    message = refusal_message(url, ["8.8.8.8"], "0.0.0.0/0,::/0")
    assert message.endswith(".")
    assert message.isprintable()
    assert len(message.encode()) < 2 * MAX_URL_BYTES


def test_a_url_has_a_maximum_length() -> None:
    longest = "https://example.com/".ljust(MAX_URL_BYTES, "a")
    assert len(parse_target(longest).path) == MAX_URL_BYTES - len("https://example.com")
    assert str(MAX_URL_BYTES) in refusal_message(longest + "a", ["8.8.8.8"])


@pytest.mark.parametrize("url", ["https://me:hunter2@example.com/", "https://me:hunter2@example.com:99999/"])
def test_an_error_does_not_repeat_the_password_of_a_url(url: str) -> None:
    assert "hunter2" not in refusal_message(url, ["8.8.8.8"])


@given(url=st.text(st.characters(codec="utf-8"), max_size=30), prefix=st.sampled_from(["https://", "https://a/", ""]))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_text_is_parsed_or_rejected(url: str, prefix: str) -> None:
    try:
        parsed = parse_target(prefix + url)
    except ApiError:
        return
    assert parsed.host.isascii()
    assert 0 < parsed.port < 65536
    assert parsed.path.startswith("/")
    assert parsed.path.isascii()
    assert parse_target(f"https://{f'[{parsed.host}]' if ':' in parsed.host else parsed.host}/").host == parsed.host


BLOCKED_NETWORKS = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24
192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
::/128 ::1/128 ::/96 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/32 2001:2::/48 2001:10::/28 2001:20::/28
2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8
"""
PUBLIC_ADDRESSES = """
1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0
172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.1.255 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255
192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 8.8.8.8
2001:200:: 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 2001:db9:: 2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2003::
3fff:1000:: 3ffd:ffff:: 2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450:4001::1
"""
BLOCKED_ADDRESSES = """
127.0.0.1 10.1.2.3 169.254.169.254 100.100.100.200 255.255.255.255 ::1 :: fc00:: fd00:ec2::254 fe80::1 ff02::1
::ffff:8.8.8.8 ::ffff:127.0.0.1 ::8.8.8.8 ::127.0.0.1 64:ff9b::8.8.8.8 64:ff9b::a00:1 2002:808:808:: 2002:7f00:1::
2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1 3fff::1 1:: 4000::1 fe80::1%eth0 ::ffff:0:8.8.8.8 e000::1
"""


def first_and_last(network: str) -> list[str]:
    ip_range = ip_network(network)
    return [str(ip_range[0]), str(ip_range[-1])]


@pytest.mark.parametrize(
    "address",
    [*BLOCKED_ADDRESSES.split(), *(edge for network in BLOCKED_NETWORKS.split() for edge in first_and_last(network))],
)
def test_no_webhook_goes_to_an_address_that_is_not_public(address: str) -> None:
    message = refusal_message("https://example.com/", [address])
    assert f"example.com is {ip_address(address.partition('%')[0])}, a" in message
    assert ALLOW_SETTING in message


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES.split())
def test_webhooks_may_go_to_public_addresses_next_to_blocked_networks(address: str) -> None:
    assert check_address(HTTPS, [address], []) == address
    assert ALLOW_SETTING in refusal_message("http://example.com", [address])


@given(number=st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_an_ipv4_address_is_allowed_if_no_blocked_network_contains_it(number: int) -> None:
    address = ip_address(number)
    blocked = any(address in ip_network(network) for network in BLOCKED_NETWORKS.split())
    assert bool(refusal_message("https://example.com/", [str(address)])) == blocked
    for prefix in ("::ffff:", "::", "64:ff9b::"):
        assert refusal_message("https://example.com/", [prefix + str(address)])


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:8443/", "https://[::1]/", "http://10.0.0.1", "https://[::ffff:8.8.8.8]"]
)
def test_a_url_with_an_ip_address_is_checked_and_named_once(url: str) -> None:
    message = refusal_message(url)
    assert message.count(parse_target(url).host) == 1
    assert ALLOW_SETTING in message


@pytest.mark.parametrize("public", ["8.8.8.8", "2606:4700:4700::1111"])
@pytest.mark.parametrize("blocked", ["10.0.0.1", "::1", "::ffff:8.8.8.8", "203.0.113.1"])
def test_one_blocked_address_blocks_its_host_name(public: str, blocked: str) -> None:
    for addresses in ([public, blocked], [blocked, public], [public, public, blocked]):
        assert f" {ip_address(blocked)}, a" in refusal_message("https://example.com/", addresses)
    allowed_networks = parse_networks(f"{blocked}/{ip_address(blocked).max_prefixlen}")
    assert check_address(HTTPS, [public, blocked], allowed_networks) == public


def test_a_host_name_without_an_address_is_refused() -> None:
    assert "example.com has no address" in refusal_message("https://example.com/", [])


def test_the_first_address_is_used() -> None:
    assert check_address(HTTPS, ["8.8.4.4", "2606:4700:4700::1111", "8.8.8.8"], []) == "8.8.4.4"


ALLOWED_CASES = [
    ("10.1.0.0/16", "10.1.0.0 10.1.255.255", "10.0.255.255 10.2.0.0 127.0.0.1 ::ffff:10.1.0.1 ::a01:1"),
    ("127.0.0.1/32, fd00::/8", "127.0.0.1 fd12::1", "127.0.0.2 fc00::1 ::1 10.0.0.1 ::ffff:127.0.0.1"),
    ("::ffff:10.0.0.0/104", "::ffff:10.0.0.1", "10.0.0.1 ::ffff:11.0.0.1"),
    ("0.0.0.0/0", "127.0.0.1 8.8.8.8 255.255.255.255", "::1 ::ffff:8.8.8.8"),
    ("8.8.8.8", "8.8.8.8", "127.0.0.1 10.0.0.1"),
    (",", "", "127.0.0.1 ::1"),
]


@pytest.mark.parametrize(
    ("allowed", "reachable", "blocked"), ALLOWED_CASES, ids=[allowed for allowed, *_ in ALLOWED_CASES]
)
def test_only_allowed_networks_are_reachable_and_also_over_http(allowed: str, reachable: str, blocked: str) -> None:
    for address in reachable.split():
        assert (
            check_address(HTTPS, [address], parse_networks(allowed))
            == check_address(HTTP, [address], parse_networks(allowed))
            == str(ip_address(address))
        )
    for address in blocked.split():
        for scheme in ("https", "http"):
            assert ALLOW_SETTING in refusal_message(f"{scheme}://example.com/", [address], allowed)
    assert ALLOW_SETTING in refusal_message("http://example.com/", ["8.8.4.4"], "10.0.0.0/8")


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0.0/8;::1", "*"])
def test_an_invalid_network_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"[Nn]etwork|address|has host bits"):
        parse_networks(text)


METADATA_ADDRESSES = """
168.63.129.16 169.254.169.254 169.254.170.2 100.100.100.200 192.0.0.192 fd00:ec2::254 fd20:ce::254
::ffff:169.254.169.254 ::ffff:100.100.100.200 64:ff9b::a8.3f.81.10 2002:a9fe:a9fe::1
"""


def in_hex(address: str) -> str:
    return address.replace("a8.3f.81.10", "a83f:8110")


@pytest.mark.parametrize("allowed", ["", NETWORK_ALIASES["private"], "0.0.0.0/0,::/0", "169.254.0.0/16,fd00:ec2::/32"])
@pytest.mark.parametrize("address", [in_hex(address) for address in METADATA_ADDRESSES.split()])
def test_no_webhook_goes_to_cloud_metadata_unless_its_exact_address_is_allowed(address: str, allowed: str) -> None:
    for scheme in "https", "http":
        message = refusal_message(f"{scheme}://example.com/", [address], allowed)
        assert f"example.com is {ip_address(address)}, a" in message
        assert ALLOW_SETTING in message
    assert "metadata" in refusal_message("https://example.com/", ["8.8.8.8", address], allowed)
    exact_network = f"{ip_address(address)}/{ip_address(address).max_prefixlen}"
    assert exact_network in refusal_message("https://example.com/", [address], allowed)
    assert not refusal_message("https://example.com/", [address], f"{allowed},{exact_network}")


@pytest.mark.parametrize("allowed", ["", "0.0.0.0/0,::/0"])
@pytest.mark.parametrize(
    "name",
    [
        *("metadata.google.internal", "METADATA.Google.Internal.", "metadata.goog", "metadata", "instance-data"),
        *("instance-data.ec2.internal", "metadata.azure.internal", "ｍetadata.goog"),
    ],
)
def test_no_webhook_goes_to_a_host_name_of_cloud_metadata(name: str, allowed: str) -> None:
    for scheme in "https", "http":
        with pytest.raises(ApiError, match="metadata service"):
            check_scheme(parse_target(f"{scheme}://{name}/latest/"), parse_networks(allowed))
    check_scheme(parse_target(f"https://{name.rstrip('.')}.example/"), parse_networks(allowed))
