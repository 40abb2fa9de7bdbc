"""Rejects requests to host names that are not the emulator's own: a web page could read it by DNS rebinding."""

from collections.abc import Mapping
from ipaddress import ip_address

from starlette.types import Scope, Send

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.hosts import AllowedHosts, configured_names
from ovx_lite.http import request_id
from ovx_lite.http.responses import error_body, send_json


def emulator_hosts(settings: Mapping[str, str]) -> AllowedHosts:
    """Return the hosts that the emulator answers to. Only loopback addresses, unless it listens on another one."""
    try:
        addresses = not ip_address(settings["host"]).is_loopback
    except ValueError:
        addresses = False
    return AllowedHosts(configured_names(settings), allow_addresses=addresses, allow_proxy_names=False)


async def reject_unknown_host(hosts: AllowedHosts, scope: Scope, send: Send) -> bool:
    """Answer a request to a host that is not allowed with an error. Returns whether it did."""
    try:
        hosts.check(scope["headers"])
    except ApiError as exc:
        headers = [(request_id.HEADER, request_id.assign(scope["headers"])), (b"connection", b"close")]
        await send_json(send, exc.status, error_body(exc), headers)
        return True
    return False
