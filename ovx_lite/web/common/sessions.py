"""The cookie of the pages: a session, signed with the key that the store has now. A new password makes a new key."""

from urllib.parse import urlsplit

from itsdangerous import TimestampSigner
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ovx_lite.storage import accounts
from ovx_lite.web.common.context import context


class Sessions:
    """Gives a page `request.session`, as Starlette's own middleware does, but knows the key only while it is used."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        ui = context(Request(scope))

        async def inner_app(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_signed(message: Message) -> None:
                if message["type"] == "http.response.start" and scope["method"] == "POST":
                    account = await ui.read(accounts.load)  # this request may have set another password
                    middleware.signer = TimestampSigner(account.cookie_key.hex())
                await send(message)

            await self._app(scope, receive, send_signed)

        account = await ui.read(accounts.load)
        middleware = SessionMiddleware(
            inner_app,
            secret_key=account.cookie_key.hex(),
            # Browsers do not tell cookies of two ports apart: two servers on one host would log each other out.
            session_cookie=account.cookie_name,
            max_age=accounts.SESSION_LIFETIME_MS // 1000,
            path=ui.root or "/",
            https_only=urlsplit(ui.base_url).scheme == "https",
        )
        try:
            await middleware(scope, receive, send)
        finally:
            middleware.app = self._app  # `page` knows the sessions, and they it: a reference cycle
