"""The cookie of the pages: a session, signed with the key that the store has now. A new password makes a new key."""

from urllib.parse import urlsplit

from itsdangerous import TimestampSigner
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ovx_lite.storage import accounts
from ovx_lite.web.common.context import desk


class Sessions:
    """Gives a page `request.session`, as Starlette's own middleware does, but knows the key only while it is used."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        place = desk(Request(scope))

        async def page(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_signed(message: Message) -> None:
                if message["type"] == "http.response.start" and scope["method"] == "POST":
                    known = await place.read(accounts.load)  # this request may have set another password
                    sessions.signer = TimestampSigner(known.cookie_key.hex())
                await send(message)

            await self._app(scope, receive, send_signed)

        known = await place.read(accounts.load)
        sessions = SessionMiddleware(
            page,
            secret_key=known.cookie_key.hex(),
            # Browsers do not tell cookies of two ports apart: two servers on one host would log each other out.
            session_cookie=known.cookie_name,
            max_age=accounts.SESSION // 1000,
            path=place.root or "/",
            https_only=urlsplit(place.base_url).scheme == "https",
        )
        try:
            await sessions(scope, receive, send)
        finally:
            sessions.app = self._app  # `page` knows the sessions, and they it: a reference cycle
