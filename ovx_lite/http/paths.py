"""Paths that no route may match."""

from unicodedata import category

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send


def has_control_character(path: str) -> bool:
    """Return whether a path, without its percent-encoding, has a control character."""
    # Most paths can be printed, and to ask for that is fast.
    return not path.isprintable() and any(category(character) == "Cc" for character in path)


class ControlCharacterRoute(BaseRoute):
    """Answers 404 to every path with a control character in it, before any other route is looked at.

    Starlette's patterns end with `$`, which also matches before a line feed at the end: `/metrics%0A` would be
    `/metrics` here, but not for a proxy that keeps others from it.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a path has one."""
        return Match.FULL if has_control_character(scope["path"]) else Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it."""
        raise HTTPException(404)
