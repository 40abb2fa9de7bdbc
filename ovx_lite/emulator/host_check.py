"""The stand-in answers nothing to a host that is not its own: a web page could read it by DNS rebinding."""

from starlette.types import Scope, Send

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.hosts import AllowedHosts
from ovx_lite.http import request_id
from ovx_lite.http.responses import error_body, send_json


async def is_refused(hosts: AllowedHosts, scope: Scope, send: Send) -> bool:
    """Refuse a request to a host that is not allowed. Returns whether it was refused."""
    try:
        hosts.check(scope["headers"])
    except ApiError as refused:
        headers = [(request_id.HEADER, request_id.assign(scope["headers"])), (b"connection", b"close")]
        await send_json(send, refused.status, error_body(refused), headers)
        return True
    return False
