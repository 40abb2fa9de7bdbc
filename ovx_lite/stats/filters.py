"""Filters of queries, checked, and what they make of words ("Stats API v2", filters). Pure."""

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeAlias

from ovx_lite.domain.errors import ApiError

EVENT_DIMENSIONS = ("event:page", "event:hostname", "event:name", "event:goal", "event:currency")
VISIT_DIMENSIONS = (
    *("visit:entry_page", "visit:exit_page", "visit:source", "visit:channel", "visit:referrer"),
    *("visit:utm_source", "visit:utm_medium", "visit:utm_campaign", "visit:utm_content", "visit:utm_term"),
    *("visit:device", "visit:browser", "visit:os", "visit:country"),
)
PROPS_PREFIX = "event:props:"
TIME_DIMENSIONS = ("time:minute", "time:hour", "time:day", "time:week", "time:month")
OPERATORS = ("is", "is_not", "contains", "contains_not", "matches", "matches_not")

MAX_CONDITIONS, MAX_VALUES, MAX_VALUE_LENGTH, MAX_DEPTH = 50, 500, 2000, 10
MAX_EXPRESSIONS, MAX_EXPRESSION_LENGTH = 10, 300  # of a query; to make one ready takes longer than to use it


class Condition(NamedTuple):
    """Whether what stands in a dimension is, contains or matches one of the values; or, `negated`, none of them.

    `folded` says that upper and lower case are the same.
    """

    dimension: str
    operator: str
    values: tuple[str, ...]
    negated: bool = False
    ignore_case: bool = False


class AllOf(NamedTuple):
    """All of these are so."""

    inner: tuple["Filter", ...]


class AnyOf(NamedTuple):
    """At least one of these is so."""

    inner: tuple["Filter", ...]


class Not(NamedTuple):
    """This is not so."""

    inner: "Filter"


Filter: TypeAlias = Condition | AllOf | AnyOf | Not


def conditions(filters: tuple[Filter, ...]) -> Iterator[Condition]:
    """All tests in filters, however deep."""
    for node in filters:
        if isinstance(node, Condition):
            yield node
        else:
            yield from conditions((node.inner,) if isinstance(node, Not) else node.inner)


def check_limits(filters: tuple[Filter, ...], field: str) -> None:
    """See that there are not too many filters. Raises `ApiError` with the field."""
    all_conditions = list(conditions(filters))
    if len(all_conditions) > MAX_CONDITIONS:
        raise invalid(f"There are too many filters: at most {MAX_CONDITIONS} are taken.", field)
    if sum(len(condition.values) for condition in all_conditions if condition.operator == "matches") > MAX_EXPRESSIONS:
        raise invalid(f"There are too many regular expressions: at most {MAX_EXPRESSIONS} are taken.", field)


def parse_filter(entry: Any, field: str, depth: int = 1) -> Filter:
    """A filter as JSON → itself. Raises `ApiError` with the field."""
    if not isinstance(entry, list) or not entry or not isinstance(entry[0], str):
        raise invalid('A filter is a list like ["is", "visit:source", ["google"]].', field)
    if depth > MAX_DEPTH:
        raise invalid(f"Filters are nested too deep: at most {MAX_DEPTH} levels are taken.", field)
    operator = entry[0]
    if operator == "not":
        if len(entry) != 2:
            raise invalid('not takes one filter: ["not", ["is", …]].', field)
        return Not(parse_filter(entry[1], f"{field}[1]", depth + 1))
    if operator in ("and", "or"):
        if len(entry) != 2 or not isinstance(entry[1], list) or not entry[1] or len(entry[1]) > MAX_CONDITIONS:
            raise invalid(f'{operator} takes a list of filters: ["{operator}", [["is", …], ["is", …]]].', field)
        inner = tuple(
            parse_filter(inner_entry, f"{field}[1][{index}]", depth + 1) for index, inner_entry in enumerate(entry[1])
        )
        return AllOf(inner) if operator == "and" else AnyOf(inner)
    return _parse_condition(entry, field)


def _parse_condition(entry: list[Any], field: str) -> Condition:
    one_of(entry[0], (*OPERATORS, "and", "or", "not"), f"{field}[0]", "operator")
    if len(entry) not in (3, 4):
        raise invalid(f'{entry[0]} takes a dimension and values: ["{entry[0]}", "visit:source", ["google"]].', field)
    dimension = parse_dimension(entry[1], f"{field}[1]", allow_time=False)
    values = entry[2] if isinstance(entry[2], list) else [entry[2]]
    if not values or len(values) > MAX_VALUES:
        raise invalid(f"Give one value, or up to {MAX_VALUES}.", f"{field}[2]")
    for index, value in enumerate(values):
        if isinstance(value, bool):
            values[index] = "true" if value else "false"
        elif isinstance(value, int | float):
            values[index] = str(value)
        elif not isinstance(value, str) or len(value) > MAX_VALUE_LENGTH:
            message = f"A value is a string of at most {MAX_VALUE_LENGTH} characters, or a number."
            raise invalid(message, f"{field}[2][{index}]")
    modifiers = entry[3] if len(entry) == 4 else {}
    if not isinstance(modifiers, dict) or any(
        name != "case_sensitive" or not isinstance(value, bool) for name, value in modifiers.items()
    ):
        raise invalid('The only thing that may follow the values is {"case_sensitive": false}.', f"{field}[3]")
    operator = entry[0].removesuffix("_not")
    if dimension == "event:goal" and operator != "is":
        raise invalid("Goals are asked for by their names: use is or is_not.", f"{field}[0]")
    ignore_case = modifiers.get("case_sensitive") is False
    if operator == "matches":
        if len(values) > MAX_EXPRESSIONS:
            message = f"At most {MAX_EXPRESSIONS} regular expressions are taken: join some with |."
            raise invalid(message, f"{field}[2]")
        for index, value in enumerate(values):
            try:
                _compile_expression(value, ignore_case)
            except ValueError as exc:
                message = f"This is no regular expression ({exc}): RE2's are taken."
                raise invalid(message, f"{field}[2][{index}]") from None
    return Condition(dimension, operator, tuple(values), operator != entry[0], ignore_case)


def one_of(value: Any, choices: tuple[str, ...], field: str, noun: str) -> str:
    """A word that is one of those that are known. Raises `ApiError`."""
    if not isinstance(value, str) or value not in choices:
        quoted = value[:60] if isinstance(value, str) else "This"
        raise invalid(f"{quoted} is no {noun}: there are {', '.join(choices)}.", field)
    return value


def parse_dimension(value: Any, field: str, allow_time: bool = True) -> str:
    """The name of a dimension; `time` alone is `time:day`. Raises `ApiError`."""
    if value == "time":
        return "time:day"
    if isinstance(value, str) and value.startswith(PROPS_PREFIX) and len(PROPS_PREFIX) < len(value) <= MAX_VALUE_LENGTH:
        return value
    choices = (*EVENT_DIMENSIONS, *VISIT_DIMENSIONS, *(TIME_DIMENSIONS if allow_time else ()))
    if not isinstance(value, str) or value not in choices:
        quoted = value[:60] if isinstance(value, str) else "This"
        raise invalid(f"{quoted} is no dimension here: there are {', '.join(choices)} and {PROPS_PREFIX}NAME.", field)
    return value


def invalid(message: str, field: str | None) -> ApiError:
    """The refusal of what was asked wrong."""
    return ApiError("invalid_request", message, field)


def value_matcher(condition: Condition) -> Callable[[str], bool]:
    """What says whether a word is, contains or matches one of a test's values, whether it is negated or not.

    Raises `ApiError` for what is no regular expression.
    """
    fold = str.casefold if condition.ignore_case else str
    values = [fold(value) for value in condition.values]
    if condition.operator == "matches":
        try:
            expressions = [
                _compile_expression(value, condition.ignore_case) for value in condition.values[:MAX_EXPRESSIONS]
            ]
        except ValueError as exc:
            message = f"{condition.values[0][:60]} is no regular expression ({exc}): RE2's are taken."
            raise invalid(message, "filters") from None
        return lambda text: any(expression.search(text) is not None for expression in expressions)
    if condition.operator == "contains":
        return lambda text: any(value in fold(text) for value in values)
    accepted = set(values)
    return lambda text: fold(text) in accepted


@cache
def _load_re2() -> Any:
    import re2  # it takes time in proportion to the text, whatever the expression is; not at the start, as few ask

    return re2


@lru_cache(maxsize=64)
def _compile_expression(pattern: str, ignore_case: bool) -> Any:
    """A regular expression, made ready. Raises ValueError."""
    if len(pattern) > MAX_EXPRESSION_LENGTH:
        raise ValueError(f"longer than {MAX_EXPRESSION_LENGTH} characters")
    re2 = _load_re2()
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    options.max_mem = 1 << 17  # of more, the making takes long
    try:
        return re2.compile(pattern, options)
    except re2.error as exc:
        reason = exc.args[0]
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from None
