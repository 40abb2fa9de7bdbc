"""Every knob, once: its name, its default, and a sentence for the README and the help.

A flag wins over the environment (`OVX_…`), which wins over `ovx-lite.toml` in the data dir.
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
# What paths of the server's begin with: behind a proxy that takes its own path away they would be taken for that.
_RESERVED_PATHS = ("api", "v1", "js", "static", "sites", "share", "setup", "login", "logout", "account", "live", "_dev")


class Setting(NamedTuple):
    """A knob of the server: `name` in the file, `OVX_NAME` in the environment, `--name` on the command line."""

    name: str
    default: str
    description: str

    @property
    def environment_variable(self) -> str:
        """Its name in the environment."""
        return "OVX_" + self.name.upper()

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")


SETTINGS = (
    Setting("host", "127.0.0.1", "the address to listen on; 0.0.0.0 for all"),
    Setting("port", "8321", "the port to listen on; 0 takes a free one"),
    Setting("base_url", "", "the URL that the world knows the server by, if it is behind a proxy"),
    Setting(
        "allow_host",
        "",
        "names, with commas between them, by which its pages may be called, besides that of the base URL",
    ),
    Setting("trusted_proxies", "", "whose X-Forwarded-For is believed: networks (CIDR), loopback, private"),
    Setting(
        "webhook_allow_net", "", "what webhooks may reach besides, also by http: networks (CIDR), loopback, private"
    ),
    Setting("backup_dir", "", "a folder for a copy of the store each day; the last 7 are kept"),
    Setting("disk_reserve", "64", "MiB to keep free on the store's disk: with less, events are refused; 0 for none"),
    Setting("log_format", "plain", "how the log on stderr is written: plain, or json, an object a line"),
    Setting(
        "rollup_values", "20000", "how many values of a dimension a site's day counts one by one; the rest is (other)"
    ),
    Setting("country_db", "", "a country database (.mmdb) to use in place of the built-in data"),
)

_LOOPBACK = "127.0.0.0/8,::1/128"
NETWORK_ALIASES = {
    "loopback": _LOOPBACK,
    "private": f"{_LOOPBACK},10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7",
}
"""Names that stand for networks: this machine; this machine and those of RFC 1918 and RFC 4193."""


def default_data_dir() -> Path:
    """The platform's own folder for user data."""
    return user_data_path("ovx-lite", appauthor=False)


def read(
    data_dir: Path,
    flags: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    defaults: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """All settings' values. `flags` holds what the command line gave, None where it gave nothing.

    `defaults` are a command's own, in place of the settings' defaults.
    Raises `ApiError` where the file cannot be read, names what is no setting, or a value makes no sense.
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
        raise ApiError("invalid_request", f"{path} cannot be read: {exc}.") from None
    names = [setting.name for setting in SETTINGS]
    for name in file_values:
        if name not in names:
            raise ApiError(
                "invalid_request", f"{path} sets {name}, which is no setting: there are {', '.join(names)}.", name
            )
    return file_values


def _expand_networks(name: str, text: str) -> str:
    """Networks, with commas between them, where some may go by their names."""
    expanded = ",".join(NETWORK_ALIASES.get(network.strip(), network) for network in text.split(","))
    for network in filter(None, expanded.split(",")):
        try:
            ip_network(network.strip())
        except ValueError:
            message = f"{name} has {network}: give networks like 10.0.0.0/8, or {' or '.join(NETWORK_ALIASES)}."
            raise ApiError("invalid_request", message, name) from None
    return expanded


def _validate(values: Mapping[str, str]) -> None:
    if not values["port"].isdecimal() or int(values["port"]) > 65535:
        raise ApiError("invalid_request", f"port is {values['port']}: give a number from 0 to 65535.", "port")
    if not re.fullmatch("[0-9]{1,10}", values["disk_reserve"]):
        message = f"disk_reserve is {values['disk_reserve']}: give a whole number of MiB, like 64; 0 for none."
        raise ApiError("invalid_request", message, "disk_reserve")
    if not re.fullmatch("[1-9][0-9]{0,6}", values["rollup_values"], re.ASCII):
        message = f"rollup_values is {values['rollup_values']}: give a number from 1 to 9999999, like 20000."
        raise ApiError("invalid_request", message, "rollup_values")
    if values["log_format"] not in ("plain", "json"):
        raise ApiError("invalid_request", f"log_format is {values['log_format']}: it is plain or json.", "log_format")
    if values["base_url"] and not is_web_address(values["base_url"]):
        raise ApiError(
            "invalid_request", f"base_url is {values['base_url']}: give one like https://stats.example.com.", "base_url"
        )
    for name in filter(None, values["allow_host"].split(",")):
        if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", name.strip(), re.IGNORECASE):
            message = f"allow_host has {name.strip()}: give names like nas.local, without a scheme or a port."
            raise ApiError("invalid_request", message, "allow_host")
    first_segment = urlsplit(values["base_url"]).path.strip("/").partition("/")[0]
    if first_segment in _RESERVED_PATHS:
        message = (
            f"base_url has the path /{first_segment}, as the server's own paths have: choose another, like /stats."
        )
        raise ApiError("invalid_request", message, "base_url")


def is_web_address(text: str) -> bool:
    """Whether this is the URL of a server, with or without a path, and nothing beside it."""
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    # A proxy's path and a browser's origin are compared with it as it is, so it is to be as they write it.
    match = re.fullmatch(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]+)?(/[a-z0-9._~/-]*)?", text, re.IGNORECASE)
    return bool(match and url.hostname)
