"""The interface between endpoints and whatever decides who is calling. Pure."""

from typing import Protocol

from ovx_lite.auth.api_keys import Principal


class Authenticator(Protocol):
    """Decides who sends a request.

    `authorization` is the request's `Authorization` header. `site_ref` is the slug or the public key of the site that
    the request names, `""` if it names none.
    """

    def authenticate(self, authorization: str, site_ref: str, now_ms: int) -> Principal:
        """Return the caller, using only what is in memory. Raises `ApiError` (`unauthorized`)."""
        ...

    async def refresh(self, site_ref: str) -> None:
        """Load keys and sites that may be newer than what is in memory, the named site among them."""
        ...
