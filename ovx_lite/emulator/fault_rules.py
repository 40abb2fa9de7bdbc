"""Fault rules: which requests fail, how, and how often. Pure."""

from collections.abc import Sequence
from contextvars import ContextVar
from random import Random
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ovx_lite.dialects.validation import first_error
from ovx_lite.domain.calendar import DAY_S
from ovx_lite.domain.errors import ApiError

MAX_RULES = 100

_DelayMs = Annotated[int, Meta(ge=0, le=600_000)]


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests a rule is for: those with this method and with paths that begin like this. By default, all."""

    method: str | None = None
    path: str | None = None


class FaultRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How requests fail. The fields are those of the JSON, see docs/testing.md.

    `phase` `after` means that the event is stored, and only the response is lost. `times` is how many requests fail,
    `None` for all; `rate` is the probability of each.
    """

    match: Match = Match()
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    retry_after: Annotated[int, Meta(ge=0, le=DAY_S)] | None = None
    delay_ms: _DelayMs = 0
    kind: Literal["reset", "empty"] | None = None
    times: Annotated[int, Meta(ge=1)] | None = None
    rate: Annotated[float, Meta(ge=0, le=1)] = 1
    phase: Literal["before", "after"] = "before"

    def matches(self, method: str, path: str) -> bool:
        """Return whether the rule is for this request."""
        return (self.match.method or method).upper() == method and path.startswith(self.match.path or "")


current_fault: ContextVar[FaultRule | None] = ContextVar("current_fault", default=None)
"""The rule that makes the current request fail."""


class FaultRules:
    """The rules that apply, and how often each of them still does."""

    def __init__(self, seed: int, rules: Sequence[FaultRule]) -> None:
        """`seed` makes rules with a `rate` reproducible."""
        self._seed = seed
        self.replace(rules)

    def replace(self, rules: Sequence[FaultRule]) -> None:
        """Replace all rules, and start the random numbers anew."""
        self._random = Random(self._seed)  # noqa: S311 - reproducible on purpose
        self._rules = list(rules)

    def remaining(self) -> list[FaultRule]:
        """Return the rules that still apply; their `times` is what is left."""
        return list(self._rules)

    def take(self, method: str, path: str) -> FaultRule | None:
        """Return the rule that makes this request fail, and count it. The first that matches wins."""
        for index, rule in enumerate(self._rules):
            if not rule.matches(method, path) or (rule.rate < 1 and self._random.random() >= rule.rate):
                continue
            if rule.times == 1:
                del self._rules[index]
            elif rule.times is not None:
                self._rules[index] = msgspec.structs.replace(rule, times=rule.times - 1)
            return rule
        return None


def parse_rules(document: object) -> list[FaultRule]:
    """Parse `{"rules": […]}`, a list of rules, or a single rule. Raises `ApiError` with the invalid field."""
    rules = document.get("rules") if isinstance(document, dict) and "rules" in document else document
    rules = rules if isinstance(rules, list) else [rules]
    if len(rules) > MAX_RULES:
        raise ApiError("invalid_request", f"There are {len(rules)} rules: send at most {MAX_RULES}.", "rules")
    return [parse_rule(rule, f"rules[{index}]") for index, rule in enumerate(rules)]


def parse_rule(document: object, field: str = "") -> FaultRule:
    """Parse a rule that is JSON. Raises `ApiError` with the invalid field."""
    try:
        rule = msgspec.convert(document, FaultRule)
    except msgspec.ValidationError as exc:
        error = first_error(document, FaultRule, field)
        raise error or ApiError("invalid_request", f"{field or 'The rule'}: {exc}.", field or None) from None
    if rule.status is not None and rule.kind is not None:
        message = "A rule has either a `status` or a `kind`: remove one of them."
        raise ApiError("invalid_request", message, field or None)
    if rule.status is None and rule.kind is None and not rule.delay_ms:
        message = 'A rule needs a `status` such as 503, a `kind` ("reset" or "empty"), or `delay_ms`.'
        raise ApiError("invalid_request", message, field or None)
    return rule


_SYNTAX = "Write a fault as 429; retry-after=2, or reset, or 503; phase=after."


def parse_rule_text(text: str) -> FaultRule:
    """Parse `429; retry-after=2`, as in `X-Ovx-Fault` and `--fault`. Raises `ApiError`."""
    first, *parts = (part.strip() for part in text.split(";"))
    rule: dict[str, object] = {}
    if first.isdecimal():
        rule["status"] = int(first[:9])
    elif first in ("reset", "empty"):
        rule["kind"] = first
    else:
        parts = [first, *parts]
    for part in filter(None, parts):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ApiError("invalid_request", f"{_SYNTAX} It cannot contain {part[:100]}.")
        rule[name.lower().replace("-", "_")] = _parse_number(value)
    try:
        return parse_rule(rule)
    except ApiError as exc:
        raise ApiError("invalid_request", f"{_SYNTAX} {exc.message}") from None


def _parse_number(text: str) -> object:
    """Return the number that the text is, such as `2` or `0.1`, or else the text."""
    try:
        return int(text[:9]) if text.isdecimal() else float(text)
    except ValueError:
        return text
