"""Records requests that match no endpoint, for example because of a mistyped path."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ovx_lite.dialects.schema import Endpoint, ParsedRequest, RawRequest
from ovx_lite.domain.models import Reply
from ovx_lite.emulator.emulator import Emulator
from ovx_lite.services.observer import RequestOutcome, request_target
from ovx_lite.web.common.error_handlers import unknown_path


def _parse(request: RawRequest) -> ParsedRequest:
    return ParsedRequest("", 0, [])


def _build_response(event_ids: list[str]) -> Reply:
    return Reply(404, b"")


_NO_ENDPOINT = Endpoint(
    api="",
    path="",
    summary="No endpoint",
    body_limit_bytes=0,
    parse=_parse,
    request_types=(),
    build_response=_build_response,
    status=404,
    response_type=None,
)


async def respond(emulator: Emulator, pages: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that is for no ingestion endpoint. If nothing is at its path, record it.

    Requests with GET and HEAD are not recorded: browsers ask for icons and the like by themselves.
    """
    status = 0

    async def send_and_watch(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    await pages(scope, receive, send_and_watch)
    method, path = scope["method"], scope["path"]
    if status == 404 and method not in ("GET", "HEAD") and not path.startswith("/_dev/"):
        now_ms, error = emulator.clock.now_ms(), unknown_path(path)
        emulator.observer.record(
            RequestOutcome(now_ms, _NO_ENDPOINT, method, request_target(scope), scope["headers"], error=error),
        )
