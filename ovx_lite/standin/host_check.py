"""The stand-in answers nothing to a host that is not its own: a web page could read it by DNS rebinding."""

from starlette.types import Scope, Send

from ovx_lite.errors import Refused
from ovx_lite.hosts import Hosts
from ovx_lite.web import request_ids
from ovx_lite.web.answers import error_body, send_json


async def is_refused(hosts: Hosts, scope: Scope, send: Send) -> bool:
    """Refuse a request to a host that is not allowed. Returns whether it was refused."""
    try:
        hosts.check(scope["headers"])
    except Refused as refused:
        headers = [(request_ids.HEADER, request_ids.begin(scope["headers"])), (b"connection", b"close")]
        await send_json(send, refused.status, error_body(refused), headers)
        return True
    return False
