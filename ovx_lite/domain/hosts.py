"""Which hosts a request may be to: a defence against DNS rebinding. Pure.

A page of an attacker's host whose name suddenly leads to us is, to the browser, of one origin with us. The header
`Host` still has the attacker's name. No name is needed to reach an IP address, so addresses are no risk.
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
    """Hosts that are allowed: loopback ones and `names`, and those of a kind.

    `addresses` allows every IP address, `proxy_names` every name without a dot. Such a name is a proxy's own for us
    (nginx sends its upstream's unless it is told otherwise), and nobody can own it in the DNS.
    """

    names: frozenset[str]
    allow_addresses: bool
    allow_proxy_names: bool

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise `ApiError` if a request is to a host that is not allowed. One without `Host` is not a browser's."""
        for name, value in headers:
            if name == b"host" and not self.allows(value.decode("latin-1")):
                printable = "".join(
                    character if character.isprintable() else "?" for character in value.decode("latin-1")
                )
                host = _normalize(printable)[:_MAX_QUOTED_LENGTH]
                raise ApiError(
                    "forbidden",
                    f"This server does not answer to the host name {host}. If the name is yours, start it with "
                    f"--allow-host {host} (or OVX_ALLOW_HOST), or with the --base-url that it has. A proxy in front "
                    "must pass on the host that it was asked for (nginx: proxy_set_header Host $host;).",
                )

    def allows(self, host: str) -> bool:
        """Whether this value of a header `Host` is allowed."""
        name = _normalize(host)
        if not host or name in self.names or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return self.allow_proxy_names and bool(_BARE_NAME.fullmatch(name))
        return self.allow_addresses or address.is_loopback


def serve_hosts(settings: Mapping[str, str]) -> AllowedHosts:
    """The hosts that the pages of a server are for."""
    return AllowedHosts(configured_names(settings), allow_addresses=True, allow_proxy_names=bool(settings["base_url"]))


def configured_names(settings: Mapping[str, str]) -> frozenset[str]:
    """Return the host names in the settings `host`, `base_url` and `allow_host`."""
    base = urlsplit(settings["base_url"]).hostname or ""
    names = (settings["host"], base, *settings["allow_host"].split(","))
    return frozenset(_normalize(name.strip()) for name in names) - {""}


def _normalize(host: str) -> str:
    """A host without its port, brackets and a dot at the end, in lower case."""
    match = _HOST.fullmatch(host)
    return match[1].strip("[]").lower().removesuffix(".") if match else host
