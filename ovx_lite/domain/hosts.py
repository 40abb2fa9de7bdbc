"""Which hosts a request may be to: a defence against DNS rebinding. Pure.

A page of an attacker's host whose name suddenly leads to us is, to the browser, of one origin with us. The header
`Host` still has the attacker's name. No name is needed to reach an IP address, so addresses are no risk.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from ovx_lite.domain.errors import Refused

_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::[0-9]*)?")
_BARE_NAME = re.compile(r"[a-z0-9_-]+")
_LONGEST_SHOWN = 100


class Hosts(NamedTuple):
    """Hosts that are allowed: loopback ones and `names`, and those of a kind.

    `addresses` allows every IP address, `proxy_names` every name without a dot. Such a name is a proxy's own for us
    (nginx sends its upstream's unless it is told otherwise), and nobody can own it in the DNS.
    """

    names: frozenset[str]
    addresses: bool
    proxy_names: bool

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise `Refused` if a request is to a host that is not allowed. One without `Host` is not a browser's."""
        for name, value in headers:
            if name == b"host" and not self.has(value.decode("latin-1")):
                shown = "".join(letter if letter.isprintable() else "?" for letter in value.decode("latin-1"))
                host = _name(shown)[:_LONGEST_SHOWN]
                raise Refused(
                    "forbidden",
                    f"This server does not answer to the host name {host}. If the name is yours, start it with "
                    f"--allow-host {host} (or OVX_ALLOW_HOST), or with the --base-url that it has. A proxy in front "
                    "must pass on the host that it was asked for (nginx: proxy_set_header Host $host;).",
                )

    def has(self, host: str) -> bool:
        """Whether this value of a header `Host` is allowed."""
        name = _name(host)
        if not host or name in self.names or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return self.proxy_names and bool(_BARE_NAME.fullmatch(name))
        return self.addresses or address.is_loopback


def serve_hosts(settings: Mapping[str, str]) -> Hosts:
    """The hosts that the pages of a server are for."""
    return Hosts(configured_names(settings), addresses=True, proxy_names=bool(settings["base_url"]))


def configured_names(settings: Mapping[str, str]) -> frozenset[str]:
    """Return the host names in the settings `host`, `base_url` and `allow_host`."""
    base = urlsplit(settings["base_url"]).hostname or ""
    names = (settings["host"], base, *settings["allow_host"].split(","))
    return frozenset(_name(name.strip()) for name in names) - {""}


def _name(host: str) -> str:
    """A host without its port, brackets and a dot at the end, in lower case."""
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").lower().removesuffix(".") if found else host
