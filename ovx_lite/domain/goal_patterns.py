"""Which events meet which goals. Pure."""

import re
from collections.abc import Iterable
from urllib.parse import unquote

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Event, Goal

_MAX_CACHED_PATHS = 4096


class PathPattern:
    """A path pattern: `*` stands for anything within one segment, `**` also across segments (contract 1).

    Letters are the same whether they are escaped or not: `/größe` is `/gr%C3%B6%C3%9Fe`.

    Matching takes one step a character, whatever the pattern and the path are: patterns of stars cannot be made to
    take long by paths that nearly fit. The steps go through all ways to match at once: bit n of `ways` says that what
    came so far can be the first n characters of the pattern, stars left out.
    """

    def __init__(self, pattern: str) -> None:
        """Raises `ApiError` (field `path`) for what is no path."""
        if not pattern.startswith("/"):
            raise ApiError("invalid_request", f"{pattern} is not a path: begin it with a slash, like /blog/**.", "path")
        text = unquote(pattern)
        self._prefix = text.partition("*")[0]
        self._positions: dict[str, int] = {}
        self._star_mask = self._double_star_mask = self._length = 0
        for token in re.findall(r"\*+|[^*]", text):
            bit = 1 << self._length
            if not token.startswith("*"):
                self._positions[token] = self._positions.get(token, 0) | bit
                self._length += 1
                continue
            self._star_mask |= bit
            if len(token) > 1:
                self._double_star_mask |= bit

    def matches(self, path: str) -> bool:
        """Whether a path is one of the pattern's."""
        text = unquote(path)
        if not text.startswith(self._prefix):
            return False
        states = 1 << len(self._prefix)
        for character in text[len(self._prefix) :]:
            wildcard_mask = self._double_star_mask if character == "/" else self._star_mask
            states = (states & self._positions.get(character, 0)) << 1 | states & wildcard_mask
            if not states:
                return False
        return bool(states >> self._length)


class GoalMatcher:
    """A site's goals, made ready: an event costs a look into a dict."""

    def __init__(self, goals: Iterable[Goal]) -> None:
        self._goals_by_event_name: dict[str, list[Goal]] = {}
        self._path_patterns: list[tuple[PathPattern, Goal]] = []
        for goal in goals:
            if goal.event_name:
                self._goals_by_event_name.setdefault(goal.event_name, []).append(goal)
            else:
                self._path_patterns.append((PathPattern(goal.path_pattern), goal))
        self._goals_by_path: dict[str, list[Goal]] = {}

    def match_event(self, event: Event) -> list[Goal]:
        """The goals that an event meets: a pageview those with its path, any other event those with its name."""
        event_type = event.event_type
        return [] if event_type.excluded else self.match(event_type.type, event_type.name, event.page.path)

    def match(self, type: str, name: str, path: str) -> list[Goal]:
        """The goals that an event of this type and name on this path meets."""
        if type != "pageview":
            return self._goals_by_event_name.get(name, [])
        matched = self._goals_by_path.get(path)
        if matched is None:
            if len(self._goals_by_path) >= _MAX_CACHED_PATHS:
                self._goals_by_path.clear()
            matched = self._goals_by_path[path] = [
                goal for pattern, goal in self._path_patterns if pattern.matches(path)
            ]
        return matched
