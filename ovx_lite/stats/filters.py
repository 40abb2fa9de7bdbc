"""Filters of queries, checked, and what they make of words ("Stats API v2", filters). Pure."""

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeAlias

from ovx_lite.domain.errors import Refused

OF_EVENTS = ("event:page", "event:hostname", "event:name", "event:goal", "event:currency")
OF_VISITS = (
    *("visit:entry_page", "visit:exit_page", "visit:source", "visit:channel", "visit:referrer"),
    *("visit:utm_source", "visit:utm_medium", "visit:utm_campaign", "visit:utm_content", "visit:utm_term"),
    *("visit:device", "visit:browser", "visit:os", "visit:country"),
)
PROPS = "event:props:"
TIMES = ("time:minute", "time:hour", "time:day", "time:week", "time:month")
OPERATORS = ("is", "is_not", "contains", "contains_not", "matches", "matches_not")

MOST_TESTS, MOST_VALUES, LONGEST_VALUE, DEEPEST = 50, 500, 2000, 10
MOST_EXPRESSIONS, LONGEST_EXPRESSION = 10, 300  # of a query; to make one ready takes longer than to use it


class Test(NamedTuple):
    """Whether what stands in a dimension is, contains or matches one of the values; or, `negated`, none of them.

    `folded` says that upper and lower case are the same.
    """

    dimension: str
    operator: str
    values: tuple[str, ...]
    negated: bool = False
    folded: bool = False


class All(NamedTuple):
    """All of these are so."""

    inner: tuple["Filter", ...]


class Some(NamedTuple):
    """At least one of these is so."""

    inner: tuple["Filter", ...]


class Not(NamedTuple):
    """This is not so."""

    inner: "Filter"


Filter: TypeAlias = Test | All | Some | Not


def tests(filters: tuple[Filter, ...]) -> Iterator[Test]:
    """All tests in filters, however deep."""
    for one in filters:
        if isinstance(one, Test):
            yield one
        else:
            yield from tests((one.inner,) if isinstance(one, Not) else one.inner)


def check_number(filters: tuple[Filter, ...], field: str) -> None:
    """See that there are not too many filters. Raises `Refused` with the field."""
    asked = list(tests(filters))
    if len(asked) > MOST_TESTS:
        raise wrong(f"There are too many filters: at most {MOST_TESTS} are taken.", field)
    if sum(len(test.values) for test in asked if test.operator == "matches") > MOST_EXPRESSIONS:
        raise wrong(f"There are too many regular expressions: at most {MOST_EXPRESSIONS} are taken.", field)


def filter_of(told: Any, field: str, depth: int = 1) -> Filter:
    """A filter as JSON → itself. Raises `Refused` with the field."""
    if not isinstance(told, list) or not told or not isinstance(told[0], str):
        raise wrong('A filter is a list like ["is", "visit:source", ["google"]].', field)
    if depth > DEEPEST:
        raise wrong(f"Filters are nested too deep: at most {DEEPEST} levels are taken.", field)
    operator = told[0]
    if operator == "not":
        if len(told) != 2:
            raise wrong('not takes one filter: ["not", ["is", …]].', field)
        return Not(filter_of(told[1], f"{field}[1]", depth + 1))
    if operator in ("and", "or"):
        if len(told) != 2 or not isinstance(told[1], list) or not told[1] or len(told[1]) > MOST_TESTS:
            raise wrong(f'{operator} takes a list of filters: ["{operator}", [["is", …], ["is", …]]].', field)
        inner = tuple(filter_of(one, f"{field}[1][{n}]", depth + 1) for n, one in enumerate(told[1]))
        return All(inner) if operator == "and" else Some(inner)
    return _test(told, field)


def _test(told: list[Any], field: str) -> Test:
    one_of(told[0], (*OPERATORS, "and", "or", "not"), f"{field}[0]", "operator")
    if len(told) not in (3, 4):
        raise wrong(f'{told[0]} takes a dimension and values: ["{told[0]}", "visit:source", ["google"]].', field)
    dimension = dimension_of(told[1], f"{field}[1]", of_time=False)
    values = told[2] if isinstance(told[2], list) else [told[2]]
    if not values or len(values) > MOST_VALUES:
        raise wrong(f"Give one value, or up to {MOST_VALUES}.", f"{field}[2]")
    for number, value in enumerate(values):
        if isinstance(value, bool):
            values[number] = "true" if value else "false"
        elif isinstance(value, int | float):
            values[number] = str(value)
        elif not isinstance(value, str) or len(value) > LONGEST_VALUE:
            message = f"A value is a string of at most {LONGEST_VALUE} characters, or a number."
            raise wrong(message, f"{field}[2][{number}]")
    modifiers = told[3] if len(told) == 4 else {}
    if not isinstance(modifiers, dict) or any(
        name != "case_sensitive" or not isinstance(value, bool) for name, value in modifiers.items()
    ):
        raise wrong('The only thing that may follow the values is {"case_sensitive": false}.', f"{field}[3]")
    operator = told[0].removesuffix("_not")
    if dimension == "event:goal" and operator != "is":
        raise wrong("Goals are asked for by their names: use is or is_not.", f"{field}[0]")
    folded = modifiers.get("case_sensitive") is False
    if operator == "matches":
        if len(values) > MOST_EXPRESSIONS:
            message = f"At most {MOST_EXPRESSIONS} regular expressions are taken: join some with |."
            raise wrong(message, f"{field}[2]")
        for number, value in enumerate(values):
            try:
                _expression(value, folded)
            except ValueError as reason:
                message = f"This is no regular expression ({reason}): RE2's are taken."
                raise wrong(message, f"{field}[2][{number}]") from None
    return Test(dimension, operator, tuple(values), operator != told[0], folded)


def one_of(told: Any, known: tuple[str, ...], field: str, what: str) -> str:
    """A word that is one of those that are known. Raises `Refused`."""
    if not isinstance(told, str) or told not in known:
        said = told[:60] if isinstance(told, str) else "This"
        raise wrong(f"{said} is no {what}: there are {', '.join(known)}.", field)
    return told


def dimension_of(told: Any, field: str, of_time: bool = True) -> str:
    """The name of a dimension; `time` alone is `time:day`. Raises `Refused`."""
    if told == "time":
        return "time:day"
    if isinstance(told, str) and told.startswith(PROPS) and len(PROPS) < len(told) <= LONGEST_VALUE:
        return told
    known = (*OF_EVENTS, *OF_VISITS, *(TIMES if of_time else ()))
    if not isinstance(told, str) or told not in known:
        said = told[:60] if isinstance(told, str) else "This"
        raise wrong(f"{said} is no dimension here: there are {', '.join(known)} and {PROPS}NAME.", field)
    return told


def wrong(message: str, field: str | None) -> Refused:
    """The refusal of what was asked wrong."""
    return Refused("invalid_request", message, field)


def passes(test: Test) -> Callable[[str], bool]:
    """What says whether a word is, contains or matches one of a test's values, whether it is negated or not.

    Raises `Refused` for what is no regular expression.
    """
    fold = str.casefold if test.folded else str
    values = [fold(value) for value in test.values]
    if test.operator == "matches":
        try:
            expressions = [_expression(value, test.folded) for value in test.values[:MOST_EXPRESSIONS]]
        except ValueError as reason:
            message = f"{test.values[0][:60]} is no regular expression ({reason}): RE2's are taken."
            raise wrong(message, "filters") from None
        return lambda word: any(expression.search(word) is not None for expression in expressions)
    if test.operator == "contains":
        return lambda word: any(value in fold(word) for value in values)
    wanted = set(values)
    return lambda word: fold(word) in wanted


@cache
def _engine() -> Any:
    import re2  # it takes time in proportion to the text, whatever the expression is; not at the start, as few ask

    return re2


@lru_cache(maxsize=64)
def _expression(pattern: str, folded: bool) -> Any:
    """A regular expression, made ready. Raises ValueError."""
    if len(pattern) > LONGEST_EXPRESSION:
        raise ValueError(f"longer than {LONGEST_EXPRESSION} characters")
    re2 = _engine()
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not folded
    options.max_mem = 1 << 17  # of more, the making takes long
    try:
        return re2.compile(pattern, options)
    except re2.error as wrong:
        reason = wrong.args[0]
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from None
