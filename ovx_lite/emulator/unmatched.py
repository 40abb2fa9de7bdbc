"""Requests that go to no endpoint, like those to a mistyped path: they have a verdict, too."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ovx_lite.dialects.schema import Ask, Call, Endpoint
from ovx_lite.domain.models import Reply
from ovx_lite.emulator.emulator import Emulator
from ovx_lite.services.observer import Verdict, target
from ovx_lite.web.common.error_handlers import nothing_at


def _read(call: Call) -> Ask:
    return Ask("", 0, [])


def _reply(event_ids: list[str]) -> Reply:
    return Reply(404, b"")


_NOWHERE = Endpoint("", "", "No endpoint", 0, _read, (), _reply, 404, None)


async def perform(emulator: Emulator, pages: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what is for no endpoint; take note of it if it is for no page either, and was to change something."""
    status = 0

    async def watched(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    await pages(scope, receive, watched)
    path: str = scope["path"]
    if status == 404 and scope["method"] not in ("GET", "HEAD") and not path.startswith("/_dev/"):
        error = nothing_at(path)
        emulator.observer.take(
            Verdict(emulator.clock.now(), _NOWHERE, scope["method"], target(scope), scope["headers"], error=error)
        )
