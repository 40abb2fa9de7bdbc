"""Failures on purpose: which request fails, how, and how often. Pure, but for the chance that is given."""

from contextvars import ContextVar
from random import Random
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ovx_lite.dialects.validation import first_error
from ovx_lite.domain.errors import ApiError

MOST_RULES = 100

_Milliseconds = Annotated[int, Meta(ge=0, le=600_000)]


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests: of this method, at a path that begins so; all if nothing is said."""

    method: str | None = None
    path: str | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong. `after` stores the event and loses the answer; `times` says how often, `rate` how likely."""

    match: Match = Match()
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    retry_after: Annotated[int, Meta(ge=0, le=86_400)] | None = None
    delay_ms: _Milliseconds = 0
    kind: Literal["reset", "empty"] | None = None
    times: Annotated[int, Meta(ge=1)] | None = None
    rate: Annotated[float, Meta(ge=0, le=1)] = 1
    phase: Literal["before", "after"] = "before"

    def fits(self, method: str, path: str) -> bool:
        """Whether a request is one of its."""
        told = self.match
        return (told.method or method).upper() == method and path.startswith(told.path or "")


PRESENT: ContextVar[Rule | None] = ContextVar("PRESENT", default=None)
"""What is being done to the request that is answered."""


class Faults:
    """The rules that there are, and what is left of each."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.put([])

    def put(self, rules: list[Rule]) -> None:
        """Have these rules, and the chance from its beginning."""
        self._chance = Random(self._seed)  # noqa: S311 - to be repeated, not to be kept secret
        self._rules = [(rule, [rule.times]) for rule in rules]

    def shown(self) -> list[Rule]:
        """The rules, with so many `times` as are left."""
        return [msgspec.structs.replace(rule, times=left) for rule, (left,) in self._rules if left != 0]

    def next(self, method: str, path: str) -> Rule | None:
        """What is to go wrong with this request: the first rule that fits and has its turn. It counts as one time."""
        for rule, left in self._rules:
            if left[0] == 0 or not rule.fits(method, path):
                continue
            if rule.rate < 1 and self._chance.random() >= rule.rate:
                continue
            if left[0] is not None:
                left[0] -= 1
            return rule
        return None


def rules_of(document: object) -> list[Rule]:
    """Rules as they are told, `{"rules": […]}`, a list or one alone. Raises `ApiError` with the field to blame."""
    told = document.get("rules") if isinstance(document, dict) and "rules" in document else document
    told = told if isinstance(told, list) else [told]
    if len(told) > MOST_RULES:
        raise ApiError("invalid_request", f"These are {len(told)} rules: at most {MOST_RULES} are taken.", "rules")
    return [rule_of(one, f"rules[{number}]") for number, one in enumerate(told)]


def rule_of(told: object, field: str = "") -> Rule:
    """A rule as it is told. Raises `ApiError` with the field to blame."""
    try:
        rule = msgspec.convert(told, Rule)
    except msgspec.ValidationError as invalid:
        found = first_error(told, Rule, field)
        raise found or ApiError("invalid_request", f"{field or 'The rule'}: {invalid}.", field or None) from None
    if rule.status is not None and rule.kind is not None:
        raise ApiError("invalid_request", f"A rule has a status or a kind: leave out the {rule.status}.", field or None)
    if rule.status is None and rule.kind is None and not rule.delay_ms:
        message = 'A rule says what goes wrong: a status like 503, a kind ("reset", "empty") or delay_ms.'
        raise ApiError("invalid_request", message, field or None)
    return rule


def _number(told: str) -> object:
    """A number, if it is one: `2`, `0.1`."""
    try:
        return int(told[:9]) if told.isdecimal() else float(told)
    except ValueError:
        return told


_LIKE = "A fault is like 429; retry-after=2, or reset, or 503; phase=after."


def rule_of_words(told: str) -> Rule:
    """`429; retry-after=2`, as in `X-Ovx-Fault` → a rule. Raises `ApiError`."""
    first, *rest = (part.strip() for part in told.split(";"))
    rule: dict[str, object] = {}
    if first.isdecimal():
        rule["status"] = int(first[:9])
    elif first in ("reset", "empty"):
        rule["kind"] = first
    else:
        rest = [first, *rest]
    for part in filter(None, rest):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise ApiError("invalid_request", f"{_LIKE} {part[:100]} is none of these.")
        rule[name.lower().replace("-", "_")] = _number(value)
    try:
        return rule_of(rule)
    except ApiError as refused:
        raise ApiError("invalid_request", f"{_LIKE} {refused.message}") from None
