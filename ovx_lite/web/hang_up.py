"""Noticing that a caller has hung up while their answer is being prepared."""

import asyncio

from starlette.types import Receive, Scope

HALF_CLOSED = "ovx_lite.half_closed"
"""The key of a request's scope that is set once the caller has closed their end of the connection.

Whether they have hung up, or still wait at the other end, nobody can tell. So a short answer is sent all the same; a
long one is not prepared, as with nginx and with Go.
"""


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Return once the caller has closed the connection, or their end of it."""
    while HALF_CLOSED not in scope and (await receive())["type"] != "http.disconnect":
        await asyncio.sleep(0)
