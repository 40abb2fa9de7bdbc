"""Which values of the `Host` header are accepted: a defence against DNS rebinding. Pure.

An attacker can point their own host name at this server. Their page and this server then have the same origin for the
browser, but `Host` still has the attacker's name. IP addresses are not affected: reaching one involves no name.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from ovx_lite.domain.errors import ApiError

_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::[0-9]*)?")
_BARE_NAME = re.compile(r"[a-z0-9_-]+")
_MAX_QUOTED_LENGTH = 100


class AllowedHosts(NamedTuple):
    """The hosts that are accepted. Loopback hosts and those in `names` always are.

    `allow_addresses` accepts every IP address. `allow_proxy_names` accepts every name without a dot. A proxy uses such
    names for this server (nginx sends the upstream's name by default), and nobody can register one in the DNS.
    """

    names: frozenset[str]
    allow_addresses: bool
    allow_proxy_names: bool

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise `ApiError` (`forbidden`) if `Host` is not allowed. A request without it passes: no browser omits it."""
        for name, value in headers:
            if name == b"host" and not self.allows(value.decode("latin-1")):
                printable = "".join(
                    character if character.isprintable() else "?" for character in value.decode("latin-1")
                )
                host = _normalize(printable)[:_MAX_QUOTED_LENGTH]
                raise ApiError(
                    "forbidden",
                    f"This server does not answer to the host name {host}. If the name is yours, start the server with "
                    f"--allow-host {host} (or OVX_ALLOW_HOST), or with a --base-url that has this host. A proxy must "
                    "pass on the host of the original request (nginx: proxy_set_header Host $host;).",
                )

    def allows(self, host: str) -> bool:
        """Return whether a value of the `Host` header is allowed."""
        name = _normalize(host)
        if not host or name in self.names or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return self.allow_proxy_names and bool(_BARE_NAME.fullmatch(name))
        return self.allow_addresses or address.is_loopback


def serve_hosts(settings: Mapping[str, str]) -> AllowedHosts:
    """Return the hosts under which `ovx-lite serve` shows its web pages."""
    return AllowedHosts(configured_names(settings), allow_addresses=True, allow_proxy_names=bool(settings["base_url"]))


def configured_names(settings: Mapping[str, str]) -> frozenset[str]:
    """Return the host names in the settings `host`, `base_url` and `allow_host`."""
    base_host = urlsplit(settings["base_url"]).hostname or ""
    names = (settings["host"], base_host, *settings["allow_host"].split(","))
    return frozenset(_normalize(name.strip()) for name in names) - {""}


def _normalize(host: str) -> str:
    """Return a host in lower case, without port, brackets and trailing dot."""
    match = _HOST.fullmatch(host)
    return match[1].strip("[]").lower().removesuffix(".") if match else host
