"""Which events reach which goals. Pure."""

import re
from collections.abc import Iterable
from urllib.parse import unquote

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Event, Goal

_MAX_CACHED_PATHS = 4096


class PathPattern:
    """A path pattern: `*` matches anything within one segment, `**` also across segments (docs/dashboard.md, Goals).

    Percent-encoding makes no difference: `/größe` equals `/gr%C3%B6%C3%9Fe`.

    Matching takes one step per character of the path, whatever the pattern, so no path can make it slow. It is a
    nondeterministic automaton as a bit set: bit n of `states` is set if the characters read so far can match the first
    n characters of the pattern, not counting wildcards.
    """

    def __init__(self, pattern: str) -> None:
        """Compile a pattern. Raises `ApiError` (field `path`) if it does not start with a slash."""
        if not pattern.startswith("/"):
            raise ApiError(
                "invalid_request", f"{pattern} is not a path: start it with a slash, for example /blog/**.", "path"
            )
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
        """Return whether the pattern matches a path."""
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
    """A site's goals, indexed: matching an event takes one dict lookup, except for a path that is not cached yet."""

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
        """Return the goals that an event reaches: pageviews by their path, other events by their name."""
        event_type = event.event_type
        return [] if event_type.excluded else self.match(event_type.type, event_type.name, event.page.path)

    def match(self, type: str, name: str, path: str) -> list[Goal]:
        """Return the goals that an event of this type, with this name, on this path reaches."""
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
