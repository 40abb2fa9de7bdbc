"""Noticing that a client has hung up while its response is being prepared."""

import asyncio

from starlette.types import Receive, Scope

HALF_CLOSED = "ovx_lite.half_closed"
"""Key of the ASGI scope that is set once the client has closed its sending side of the connection."""

_HALF_CLOSED_GRACE_S = 1.0


async def wait_for_hang_up(scope: Scope, receive: Receive) -> None:
    """Return once the client has closed the connection, or one second after it has closed its sending side.

    A client that has closed its sending side may be gone, or may still be reading. So it gets a response that is ready
    within a second, and the work on a longer one is cancelled.
    """
    while HALF_CLOSED not in scope and (await receive())["type"] != "http.disconnect":
        await asyncio.sleep(0)
    if HALF_CLOSED in scope:
        await asyncio.sleep(_HALF_CLOSED_GRACE_S)
