"""Requests that go to no endpoint, like those to a mistyped path: they have a verdict, too."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ovx_lite.dialects.schema import Endpoint, ParsedRequest, RawRequest
from ovx_lite.domain.models import Reply
from ovx_lite.emulator.emulator import Standin
from ovx_lite.services.observer import RequestOutcome, request_target
from ovx_lite.web.common.error_handlers import unknown_path


def _read(call: RawRequest) -> ParsedRequest:
    return ParsedRequest("", 0, [])


def _reply(event_ids: list[str]) -> Reply:
    return Reply(404, b"")


_NOWHERE = Endpoint("", "", "No endpoint", 0, _read, (), _reply, 404, None)


async def perform(standin: Standin, pages: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
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
        error = unknown_path(path)
        standin.record(
            RequestOutcome(
                standin.clock.now_ms(), _NOWHERE, scope["method"], request_target(scope), scope["headers"], error=error
            )
        )
