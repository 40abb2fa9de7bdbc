"""Filters of queries: parsing, limits, and matching of values (docs/stats-api.md, `filters`). Pure."""

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
MAX_EXPRESSIONS, MAX_EXPRESSION_LENGTH = 10, 300  # per query: compiling an expression costs more than its use


class Condition(NamedTuple):
    """True if the value of a dimension is, contains or matches one of `values`; if `negated`, none of them."""

    dimension: str
    operator: str
    values: tuple[str, ...]
    negated: bool = False
    ignore_case: bool = False


class AllOf(NamedTuple):
    """True if all inner filters are true."""

    inner: tuple["Filter", ...]


class AnyOf(NamedTuple):
    """True if at least one inner filter is true."""

    inner: tuple["Filter", ...]


class Not(NamedTuple):
    """True if the inner filter is false."""

    inner: "Filter"


Filter: TypeAlias = Condition | AllOf | AnyOf | Not


def conditions(filters: tuple[Filter, ...]) -> Iterator[Condition]:
    """Yield all conditions in filters, at any depth."""
    for node in filters:
        if isinstance(node, Condition):
            yield node
        else:
            yield from conditions((node.inner,) if isinstance(node, Not) else node.inner)


def check_limits(filters: tuple[Filter, ...], field: str) -> None:
    """Raise `ApiError`, with `field`, if there are too many filters or regular expressions."""
    all_conditions = list(conditions(filters))
    if len(all_conditions) > MAX_CONDITIONS:
        raise invalid(f"There are too many filters: at most {MAX_CONDITIONS} are allowed.", field)
    if sum(len(condition.values) for condition in all_conditions if condition.operator == "matches") > MAX_EXPRESSIONS:
        raise invalid(f"There are too many regular expressions: at most {MAX_EXPRESSIONS} are allowed.", field)


def parse_filter(entry: Any, field: str, depth: int = 1) -> Filter:
    """Parse a filter from its JSON value. Raises `ApiError` with the field."""
    if not isinstance(entry, list) or not entry or not isinstance(entry[0], str):
        raise invalid('A filter must be a list like ["is", "visit:source", ["google"]].', field)
    if depth > MAX_DEPTH:
        raise invalid(f"The filters are nested too deeply: at most {MAX_DEPTH} levels are allowed.", field)
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
        raise invalid(f"Send 1 to {MAX_VALUES} values.", f"{field}[2]")
    for index, value in enumerate(values):
        if isinstance(value, bool):
            values[index] = "true" if value else "false"
        elif isinstance(value, int | float):
            values[index] = str(value)
        elif not isinstance(value, str) or len(value) > MAX_VALUE_LENGTH:
            message = f"A value must be a string of at most {MAX_VALUE_LENGTH} characters, or a number."
            raise invalid(message, f"{field}[2][{index}]")
    modifiers = entry[3] if len(entry) == 4 else {}
    if not isinstance(modifiers, dict) or any(
        name != "case_sensitive" or not isinstance(value, bool) for name, value in modifiers.items()
    ):
        raise invalid('Only {"case_sensitive": false} may follow the values.', f"{field}[3]")
    operator = entry[0].removesuffix("_not")
    if dimension == "event:goal" and operator != "is":
        raise invalid("Goals can only be compared with is and is_not: send the name of a goal.", f"{field}[0]")
    ignore_case = modifiers.get("case_sensitive") is False
    if operator == "matches":
        if len(values) > MAX_EXPRESSIONS:
            message = f"At most {MAX_EXPRESSIONS} regular expressions are allowed: join some with |."
            raise invalid(message, f"{field}[2]")
        for index, value in enumerate(values):
            try:
                _compile_expression(value, ignore_case)
            except ValueError as exc:
                message = f"This is not a regular expression ({exc}): use the syntax of RE2."
                raise invalid(message, f"{field}[2][{index}]") from None
    return Condition(dimension, operator, tuple(values), operator != entry[0], ignore_case)


def one_of(value: Any, choices: tuple[str, ...], field: str, noun: str) -> str:
    """Return a value that must be one of `choices`. Raises `ApiError` if it is not; `noun` says what it should be."""
    if not isinstance(value, str) or value not in choices:
        quoted = value[:60] if isinstance(value, str) else "This"
        raise invalid(f"{quoted} is not a valid {noun}: use one of {', '.join(choices)}.", field)
    return value


def parse_dimension(value: Any, field: str, allow_time: bool = True) -> str:
    """Return the name of a dimension; `time` becomes `time:day`. Raises `ApiError` if it is unknown."""
    if value == "time":
        return "time:day"
    if isinstance(value, str) and value.startswith(PROPS_PREFIX) and len(PROPS_PREFIX) < len(value) <= MAX_VALUE_LENGTH:
        return value
    choices = (*EVENT_DIMENSIONS, *VISIT_DIMENSIONS, *(TIME_DIMENSIONS if allow_time else ()))
    if not isinstance(value, str) or value not in choices:
        quoted = value[:60] if isinstance(value, str) else "This"
        raise invalid(
            f"{quoted} is not a dimension here: use one of {', '.join(choices)} and {PROPS_PREFIX}NAME.", field
        )
    return value


def invalid(message: str, field: str | None) -> ApiError:
    """Return the error (`invalid_request`) for an invalid part of a query."""
    return ApiError("invalid_request", message, field)


def value_matcher(condition: Condition) -> Callable[[str], bool]:
    """Return a function that tells whether a text is, contains or matches one of the values. It ignores `negated`.

    Raises `ApiError` if a value should be a regular expression but is not.
    """
    fold = str.casefold if condition.ignore_case else str
    values = [fold(value) for value in condition.values]
    if condition.operator == "matches":
        try:
            expressions = [
                _compile_expression(value, condition.ignore_case) for value in condition.values[:MAX_EXPRESSIONS]
            ]
        except ValueError as exc:
            message = f"{condition.values[0][:60]} is not a regular expression ({exc}): use the syntax of RE2."
            raise invalid(message, "filters") from None
        return lambda text: any(expression.search(text) is not None for expression in expressions)
    if condition.operator == "contains":
        return lambda text: any(value in fold(text) for value in values)
    accepted = set(values)
    return lambda text: fold(text) in accepted


@cache
def _load_re2() -> Any:
    # RE2 takes time in proportion to the text, whatever the expression. Loaded on first use: few queries need it.
    import re2

    return re2


@lru_cache(maxsize=64)
def _compile_expression(pattern: str, ignore_case: bool) -> Any:
    """Compile a regular expression. Raises ValueError if it is invalid or too long."""
    if len(pattern) > MAX_EXPRESSION_LENGTH:
        raise ValueError(f"longer than {MAX_EXPRESSION_LENGTH} characters")
    re2 = _load_re2()
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    options.max_mem = 1 << 17  # bytes; with more, compiling is slow
    try:
        return re2.compile(pattern, options)
    except re2.error as exc:
        reason = exc.args[0]
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from None
