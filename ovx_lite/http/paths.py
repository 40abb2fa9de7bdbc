"""Paths that no route may match."""

from unicodedata import category

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send


def has_control_character(path: str) -> bool:
    """Return whether a percent-decoded path contains a control character."""
    # Most paths are printable, and `isprintable` is fast.
    return not path.isprintable() and any(category(character) == "Cc" for character in path)


class ControlCharacterRoute(BaseRoute):
    """Answers 404 to every path with a control character. It must be the first route.

    Starlette's patterns end with `$`, which also matches before a final line feed: `/metrics%0A` would be `/metrics`
    here, but not for a proxy that blocks `/metrics`.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return `Match.FULL` for a path with a control character."""
        return Match.FULL if has_control_character(scope["path"]) else Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raise `HTTPException` (404)."""
        raise HTTPException(404)
