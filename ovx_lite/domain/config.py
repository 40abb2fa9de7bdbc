"""All settings of the server, each with its name, default and description, and how their values are read.

An option of the command line wins over the environment (`OVX_…`), which wins over `ovx-lite.toml` in the data
directory.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from platformdirs import user_data_path

from ovx_lite.domain.errors import ApiError

FILE_NAME = "ovx-lite.toml"
# The server's own paths begin with these. A base URL with such a path would be ambiguous.
_RESERVED_SEGMENTS = (
    "api",
    "v1",
    "js",
    "static",
    "sites",
    "share",
    "setup",
    "login",
    "logout",
    "account",
    "live",
    "_dev",
)


class Setting(NamedTuple):
    """A setting: `name` in the file, `OVX_NAME` in the environment, `--name` on the command line.

    The description is shown by `serve --help`. The table of settings in `docs/reference.md` has it with links.
    """

    name: str
    default: str
    description: str

    @property
    def environment_variable(self) -> str:
        """The name of its environment variable."""
        return "OVX_" + self.name.upper()

    @property
    def flag(self) -> str:
        """The name of its option."""
        return "--" + self.name.replace("_", "-")


SETTINGS = (
    Setting("host", "127.0.0.1", "the address to listen on; 0.0.0.0 for all"),
    Setting("port", "8321", "the port to listen on; 0 picks a free one"),
    Setting("base_url", "", "the public URL of the server, if it is behind a proxy"),
    Setting("allow_host", "", "extra host names, with commas between them, under which the web pages answer"),
    Setting("trusted_proxies", "", "networks of proxies whose X-Forwarded-For is trusted: CIDR, loopback or private"),
    Setting(
        "webhook_allow_net", "", "extra networks that webhooks may call, also over http: CIDR, loopback or private"
    ),
    Setting("backup_dir", "", "a directory for a daily copy of the store; the last 7 are kept"),
    Setting(
        "disk_reserve",
        "64",
        "MiB to keep free on the disk of the store. With less, the server rejects events; 0 turns this off",
    ),
    Setting("log_format", "plain", "the format of the log on stderr: plain, or json with one object per line"),
    Setting(
        "rollup_values",
        "20000",
        "how many values of a dimension (for example, pages) are counted one by one for a site and day. "
        "Further values are counted together as (other)",
    ),
    Setting("country_db", "", "a country database (.mmdb) to use in place of the built-in data"),
)

_LOOPBACK = "127.0.0.0/8,::1/128"
NETWORK_ALIASES = {
    "loopback": _LOOPBACK,
    "private": f"{_LOOPBACK},10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7",
}
"""Names for networks: `loopback` is this machine, `private` is also the networks of RFC 1918 and RFC 4193."""


def default_data_dir() -> Path:
    """Return the system's directory for user data."""
    return user_data_path("ovx-lite", appauthor=False)


def read(
    data_dir: Path,
    flags: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    defaults: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the values of all settings by name.

    `flags` has the options of the command line; `None` stands for an option that is not given. `defaults` replace the
    settings' own defaults. Raises `ApiError` if the file cannot be read or has an unknown setting, or if a value is
    invalid.
    """
    file_values = _read_file(data_dir / FILE_NAME)
    values = {}
    for setting in SETTINGS:
        default = defaults.get(setting.name, setting.default)
        candidates = (
            flags.get(setting.name),
            environment.get(setting.environment_variable),
            file_values.get(setting.name),
            default,
        )
        values[setting.name] = str(next(value for value in candidates if value is not None))
    for name in ("trusted_proxies", "webhook_allow_net"):
        values[name] = _expand_networks(name, values[name])
    _validate(values)
    return values


def _read_file(path: Path) -> dict[str, Any]:
    try:
        file_values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise ApiError("invalid_request", f"Cannot read {path}: {exc}.") from None
    names = [setting.name for setting in SETTINGS]
    for name in file_values:
        if name not in names:
            message = f"{path} has the unknown setting {name}. The settings are {', '.join(names)}."
            raise ApiError("invalid_request", message, name)
    return file_values


def _expand_networks(setting_name: str, value: str) -> str:
    """Return networks, with commas between them, with the names of `NETWORK_ALIASES` replaced. Raises `ApiError`."""
    networks = ",".join(NETWORK_ALIASES.get(network.strip(), network) for network in value.split(","))
    for network in filter(None, networks.split(",")):
        try:
            ip_network(network.strip())
        except ValueError:
            raise _invalid(
                setting_name,
                f"{setting_name} has {network.strip()}: it must be a network like 10.0.0.0/8, "
                f"or {' or '.join(NETWORK_ALIASES)}.",
            ) from None
    return networks


def _invalid(setting_name: str, message: str) -> ApiError:
    return ApiError("invalid_request", message, setting_name)


def _validate(values: Mapping[str, str]) -> None:
    """Raise `ApiError` for the first value that is invalid. Networks are checked before."""
    port, reserve_mib, rollup_values = values["port"], values["disk_reserve"], values["rollup_values"]
    if not port.isdecimal() or int(port) > 65535:
        raise _invalid("port", f"port is {port}: it must be a number from 0 to 65535.")
    if not re.fullmatch("[0-9]{1,10}", reserve_mib):
        raise _invalid(
            "disk_reserve",
            f"disk_reserve is {reserve_mib}: it must be a whole number of MiB, for example 64, or 0 to turn it off.",
        )
    if not re.fullmatch("[1-9][0-9]{0,6}", rollup_values, re.ASCII):
        raise _invalid(
            "rollup_values",
            f"rollup_values is {rollup_values}: it must be a number from 1 to 9999999, for example 20000.",
        )
    if values["log_format"] not in ("plain", "json"):
        raise _invalid("log_format", f"log_format is {values['log_format']}: it must be plain or json.")
    base_url = values["base_url"]
    if base_url and not is_web_address(base_url):
        raise _invalid("base_url", f"base_url is {base_url}: it must be a URL, for example https://stats.example.com.")
    for host in filter(None, values["allow_host"].split(",")):
        if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", host.strip(), re.IGNORECASE):
            raise _invalid(
                "allow_host",
                f"allow_host has {host.strip()}: it must be a name like nas.local, without a scheme or a port.",
            )
    first_segment = urlsplit(base_url).path.strip("/").partition("/")[0]
    if first_segment in _RESERVED_SEGMENTS:
        raise _invalid(
            "base_url",
            f"base_url has the path /{first_segment}, which the server itself uses: choose another, like /stats.",
        )


def is_web_address(text: str) -> bool:
    """Return whether a text is the URL of a server, with or without a path, and nothing else."""
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    # The path of a proxy and the origin of a browser are compared with it as text, so it must be written as they are.
    is_plain = re.fullmatch(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]+)?(/[a-z0-9._~/-]*)?", text, re.IGNORECASE)
    return bool(is_plain and url.hostname)
