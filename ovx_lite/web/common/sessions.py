"""Session cookies, signed with a key from the store. A new password creates a new key, so it ends all sessions."""

from urllib.parse import urlsplit

from itsdangerous import TimestampSigner
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ovx_lite.domain.calendar import SECOND_MS
from ovx_lite.storage import accounts
from ovx_lite.web.common.context import context


class Sessions:
    """Provides `request.session`, with Starlette's `SessionMiddleware`.

    It loads the signing key for each request, so that a new password takes effect at once.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        ui = context(Request(scope))

        async def inner_app(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_signed(message: Message) -> None:
                if message["type"] == "http.response.start" and scope["method"] == "POST":
                    account = await ui.read(accounts.load)  # this request may have set a new password
                    middleware.signer = TimestampSigner(account.cookie_key.hex())
                await send(message)

            await self._app(scope, receive, send_signed)

        account = await ui.read(accounts.load)
        middleware = SessionMiddleware(
            inner_app,
            secret_key=account.cookie_key.hex(),
            # Cookies do not depend on the port: with one name, two servers on one host would log each other out.
            session_cookie=account.cookie_name,
            max_age=accounts.SESSION_LIFETIME_MS // SECOND_MS,
            path=ui.root or "/",
            https_only=urlsplit(ui.base_url).scheme == "https",
        )
        try:
            await middleware(scope, receive, send)
        finally:
            middleware.app = self._app  # breaks the reference cycle of `inner_app` and `middleware`
