"""Protection against SSRF: webhooks may only call HTTPS at public addresses, and `OVX_WEBHOOK_ALLOW_NET`. Pure.

See docs/webhooks.md, Allowed destinations.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from ovx_lite.domain.errors import ApiError

_UNQUOTED = "".join(map(chr, range(0x21, 0x7F)))  # in a path and a query; other characters are percent-encoded

Network = IPv4Network | IPv6Network

MAX_URL_BYTES = 2048
"""The maximum length of a webhook's URL."""

# Our own list, because `ipaddress.is_global` differs between versions of Python. From IANA's registries of
# special-purpose addresses. The first match describes the address in errors.
_NOT_PUBLIC: tuple[tuple[str, Network], ...] = tuple(
    (description, ip_network(network))
    for description, networks in (
        ("an unspecified address", "0.0.0.0/8 ::/128"),
        ("a loopback address", "127.0.0.0/8 ::1/128"),
        ("a private address", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7"),
        ("an internal address of a provider (CGNAT)", "100.64.0.0/10"),
        ("a link-local address", "169.254.0.0/16 fe80::/10"),
        ("a multicast address", "224.0.0.0/4 ff00::/8"),
        ("an address for documentation", "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20"),
        ("an address for benchmarks", "198.18.0.0/15 2001:2::/48"),
        ("an IPv4 address in IPv6", "::/96 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 2001::/32 2002::/16"),
        ("a reserved address", "192.0.0.0/24 192.88.99.0/24 240.0.0.0/4 2001::/23 3ffe::/16"),
    )
    for network in networks.split()
)
_PUBLIC_IPV6 = IPv6Network("2000::/3")

# Metadata services, which give cloud credentials to any program on the machine: AWS and most others, AWS's containers,
# Azure, Alibaba, Oracle, Google, Scaleway. An allowed network that contains one of them does not allow it.
_METADATA_ADDRESSES = frozenset(
    map(
        ip_address,
        (
            *("169.254.169.254", "169.254.169.253", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23"),
            *("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd20:ce::254", "169.254.42.42", "fd00:42::42"),
        ),
    )
)
_METADATA_NAMES = frozenset(
    (
        *("metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"),
        *("metadata.azure.internal", "metadata.azure.com", "metadata.tencentyun.com", "metadata.packet.net"),
        *("metadata.platformequinix.com", "metadata.nicira.internal", "rancher-metadata"),
    )
)


HTTPS_REQUIRED = (
    "A webhook's URL must be https: plain http is only allowed to the networks in OVX_WEBHOOK_ALLOW_NET"
    " (--webhook-allow-net)"
)


class Target(NamedTuple):
    """The destination of a URL. `host` is lower-case ASCII without a trailing dot; `path` includes the query."""

    scheme: str
    host: str
    port: int
    path: str


def parse_networks(text: str) -> list[Network]:
    """Parse comma-separated networks in CIDR notation. Raises ValueError if one is invalid."""
    return [ip_network(network.strip()) for network in text.split(",") if network.strip()]


def parse_target(url: str) -> Target:
    """Return the destination of a webhook's URL. Raises `ApiError` (field `url`) if the URL is invalid."""
    if len(url.encode(errors="replace")) > MAX_URL_BYTES:
        raise _url_error(f"The URL is too long: at most {MAX_URL_BYTES} bytes are allowed.")
    if any(character <= " " or character == "\x7f" for character in url):
        raise _url_error("The URL contains spaces or control characters: remove them, and write %20 for a space.")
    try:
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise _url_error(
                "The URL contains a user name or password: put a secret into the path, or verify signatures instead."
            )
        scheme, port = parts.scheme, parts.port
        if not _NETLOC.fullmatch(parts.netloc):
            raise ValueError(url)
        host = _ascii_host(parts.hostname or "")
    except ValueError:
        raise _url_error("This is not a URL: enter one like https://example.com/hook.") from None
    if scheme not in ("https", "http") or not host:
        raise _url_error("A webhook cannot have this URL: enter one like https://example.com/hook.")
    if port == 0:
        raise _url_error("The URL has port 0: remove the port, or enter the one that the receiver listens on.")
    path = quote(parts.path or "/", _UNQUOTED) + (f"?{quote(parts.query, _UNQUOTED)}" if parts.query else "")
    return Target(scheme, host, port or (443 if scheme == "https" else 80), path)


_NETLOC = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^\[\]:]*)(:[0-9]*)?")


def _ascii_host(host: str) -> str:
    """Return a host as it is sent to the DNS: in ASCII and lower case.

    Raises ValueError if it is not a host, and `ApiError` for an unusual notation of an IPv4 address.
    """
    if ":" in host:
        return str(IPv6Address(host))
    if not host.isascii():
        import idna  # loaded on first use: its tables are large, and few hosts need them

        host = idna.encode(host, uts46=True).decode()
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    # If the last label is a number, the resolver takes the host for an address: octal, hexadecimal and short forms too.
    if labels[-1].isdecimal() or labels[-1].startswith("0x"):
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise _url_error(f"{name} is an unusual notation of an IPv4 address: write it like 203.0.113.42.") from None
    if not all(label and len(label) < 64 and set(label) <= _HOST_CHARACTERS for label in labels) or len(name) > 253:
        raise ValueError(host)
    return name


_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


def check_scheme(target: Target, allowed_networks: Sequence[Network]) -> None:
    """Raise `ApiError` if a target is forbidden whatever its addresses are, so that no DNS query is needed."""
    if target.host in _METADATA_NAMES:
        raise _url_error(
            f"{target.host} is the metadata service of a cloud, which webhooks may not call: enter the address of your "
            "receiver."
        )
    if target.scheme == "http" and not allowed_networks:
        raise _url_error(f"{HTTPS_REQUIRED}.")


def check_address(target: Target, addresses: Iterable[str], allowed_networks: Sequence[Network]) -> str:
    """Return the address of a target's host to connect to. Raises `ApiError` if any of its addresses is forbidden.

    A host with allowed and forbidden addresses is rejected, because its owner could choose which one is used.
    """
    ip_addresses = [ip_address(address.partition("%")[0]) for address in addresses]
    if not ip_addresses:
        raise _url_error(f"{target.host} has no address: check the host name.")
    for address in ip_addresses:
        is_metadata = any(candidate in _METADATA_ADDRESSES for candidate in (address, *_embedded_ipv4(address)))
        is_allowed = any(
            address in network and (network.num_addresses == 1 or not is_metadata) for network in allowed_networks
        )
        subject = f"{target.host} is {address}," if str(address) != target.host else f"{address} is"
        if not is_allowed and is_metadata:
            raise _url_error(
                f"{subject} a metadata address of a cloud, which webhooks may not call unless OVX_WEBHOOK_ALLOW_NET "
                f"(--webhook-allow-net) names this very address: {address}/{address.max_prefixlen}."
            )
        if not is_allowed and (reason := _non_public_reason(address)):
            raise _url_error(
                f"{subject} {reason}, which webhooks may not call unless OVX_WEBHOOK_ALLOW_NET (--webhook-allow-net) "
                "includes it."
            )
        if target.scheme == "http" and not is_allowed:
            raise _url_error(f"{HTTPS_REQUIRED}, which do not include {address}.")
    return str(ip_addresses[0])


def _embedded_ipv4(address: IPv4Address | IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses in an IPv6 address: mapped, translated (NAT64) or tunnelled (6to4, Teredo)."""
    if address.version == 4:
        return ()
    low_bits = IPv4Address(int(address) & 0xFFFFFFFF)
    return tuple(filter(None, (low_bits, address.sixtofour, *(address.teredo or ()))))


def _non_public_reason(address: IPv4Address | IPv6Address) -> str:
    for description, network in _NOT_PUBLIC:
        if address in network:
            return description
    return "" if address.version == 4 or address in _PUBLIC_IPV6 else "a reserved address"


def _url_error(message: str) -> ApiError:
    return ApiError("invalid_request", message, "url")
