"""Which events meet which goals. Pure."""

import re
from collections.abc import Iterable
from urllib.parse import unquote

from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Event, Goal

_MOST_REMEMBERED = 4096


class Pattern:
    """A path pattern: `*` stands for anything within one segment, `**` also across segments (contract 1).

    Letters are the same whether they are escaped or not: `/größe` is `/gr%C3%B6%C3%9Fe`.

    Matching takes one step a character, whatever the pattern and the path are: patterns of stars cannot be made to
    take long by paths that nearly fit. The steps go through all ways to match at once: bit n of `ways` says that what
    came so far can be the first n characters of the pattern, stars left out.
    """

    def __init__(self, pattern: str) -> None:
        """Raises `Refused` (field `path`) for what is no path."""
        if not pattern.startswith("/"):
            raise Refused("invalid_request", f"{pattern} is not a path: begin it with a slash, like /blog/**.", "path")
        told = unquote(pattern)
        self._begin = told.partition("*")[0]
        self._next: dict[str, int] = {}
        self._within = self._across = self._length = 0
        for piece in re.findall(r"\*+|[^*]", told):
            place = 1 << self._length
            if not piece.startswith("*"):
                self._next[piece] = self._next.get(piece, 0) | place
                self._length += 1
                continue
            self._within |= place
            if len(piece) > 1:
                self._across |= place

    def matches(self, path: str) -> bool:
        """Whether a path is one of the pattern's."""
        told = unquote(path)
        if not told.startswith(self._begin):
            return False
        ways = 1 << len(self._begin)
        for character in told[len(self._begin) :]:
            stays = self._across if character == "/" else self._within
            ways = (ways & self._next.get(character, 0)) << 1 | ways & stays
            if not ways:
                return False
        return bool(ways >> self._length)


class Goals:
    """A site's goals, made ready: an event costs a look into a dict."""

    def __init__(self, goals: Iterable[Goal]) -> None:
        self._events: dict[str, list[Goal]] = {}
        self._paths: list[tuple[Pattern, Goal]] = []
        for goal in goals:
            if goal.event:
                self._events.setdefault(goal.event, []).append(goal)
            else:
                self._paths.append((Pattern(goal.path), goal))
        self._known: dict[str, list[Goal]] = {}

    def met(self, event: Event) -> list[Goal]:
        """The goals that an event meets: a pageview those with its path, any other event those with its name."""
        kind = event.kind
        return [] if kind.excluded else self.of(kind.type, kind.name, event.page.path)

    def of(self, type: str, name: str, path: str) -> list[Goal]:
        """The goals that an event of this type and name on this path meets."""
        if type != "pageview":
            return self._events.get(name, [])
        found = self._known.get(path)
        if found is None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            found = self._known[path] = [goal for pattern, goal in self._paths if pattern.matches(path)]
        return found
