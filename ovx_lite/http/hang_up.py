"""Noticing that a caller has hung up while their answer is being prepared."""

import asyncio

from starlette.types import Receive, Scope

HALF_CLOSED = "ovx_lite.half_closed"
"""The key of a request's scope that is set once the caller has closed their end of the connection."""

_HALF_CLOSED_GRACE_S = 1.0


async def wait_for_hang_up(scope: Scope, receive: Receive) -> None:
    """Return once the caller has closed the connection; or their end of it, and a second has passed since.

    Nobody can tell whether a caller who has closed their end is gone, or still reads at the other end. So they get an
    answer that is there soon, and a long one is not prepared.
    """
    while HALF_CLOSED not in scope and (await receive())["type"] != "http.disconnect":
        await asyncio.sleep(0)
    if HALF_CLOSED in scope:
        await asyncio.sleep(_HALF_CLOSED_GRACE_S)
