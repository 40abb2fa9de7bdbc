"""Find all problems of a rejected request, not only the first, and suggest names for misspelt fields. Pure.

The parsers stop at the first problem. So `diagnose` removes or replaces the invalid value and parses the body again.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec

from ovx_lite.dialects.schema import Endpoint, RawRequest
from ovx_lite.dialects.validation import struct_fields, struct_of
from ovx_lite.domain.errors import ApiError, detached

_MAX_PROBLEMS = 20
_MAX_HINTS = 10
_MAX_BODY_BYTES = 64 * 1024  # a body is parsed once per problem, so a larger one is parsed for its first problem only
_MIN_SIMILARITY = 0.75
_REMOVED = object()
# Substitutes for an invalid value, tried in this order until one is valid.
_REPLACEMENTS: Sequence[object] = (
    *(_REMOVED, "https://example.com/", "pageview", "2025-01-15T10:30:00Z", "EUR", "203.0.113.42", 1, "1", {}, []),
)
_any_decoder = msgspec.json.Decoder(Any, float_hook=float)  # decodes 1e999 as infinity, where the default raises
_PATH_STEP = re.compile(r"[^.\[\]]+")


class Problem(NamedTuple):
    """A problem of a request, or with the code `hint` a suggestion. `field` is the field that causes it, or `""`."""

    code: str
    message: str
    field: str


def diagnose(endpoint: Endpoint, request: RawRequest) -> list[Problem]:
    """Return the problems of a body, and hints about misspelt fields. Of a body over 64 KiB, only the first problem."""
    if len(request.body) > _MAX_BODY_BYTES:
        problem = _first_problem(endpoint, request)
        return [problem] if problem else []
    problems, field_hints = list[Problem](), hints(endpoint, request.body)
    while len(problems) < _MAX_PROBLEMS and (problem := _first_problem(endpoint, request)):
        if any(earlier.field == problem.field for earlier in problems):
            break
        problems.append(problem)
        repaired = _repair(endpoint, request, problem)
        if repaired is None:
            break
        request = repaired
    return [*problems, *field_hints]


def decode_json(body: bytes) -> Any:
    """Decode a body as JSON; None if it is invalid."""
    try:
        return _any_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _first_problem(endpoint: Endpoint, request: RawRequest) -> Problem | None:
    try:
        error = endpoint.parse(request).problem
    except ApiError as exc:
        error = detached(exc)
    return None if error is None else Problem(error.code, error.message, error.field or "")


def _repair(endpoint: Endpoint, request: RawRequest, problem: Problem) -> RawRequest | None:
    """Return the request with the problem removed, or None if no substitute removes it."""
    if not problem.field:
        return None
    document = decode_json(request.body)
    for value in _REPLACEMENTS:
        changed = _replace_at(document, _PATH_STEP.findall(problem.field), value)
        if changed is None:
            continue
        repaired = request._replace(body=msgspec.json.encode(changed))
        remaining = _first_problem(endpoint, repaired)
        if remaining is None or remaining.field not in ("", problem.field):
            return repaired
    return None


def _replace_at(document: Any, path: Sequence[str], value: object) -> Any:
    """Return a copy of a document with another value at a path, or without it; None if the path does not exist."""
    step, rest = path[0], path[1:]
    if isinstance(document, list):
        index = int(step) if step.isdigit() else len(document)
        if index >= len(document):
            return None
        if rest:
            inner = _replace_at(document[index], rest, value)
            return None if inner is None else [*document[:index], inner, *document[index + 1 :]]
        return [*document[:index], *([] if value is _REMOVED else [value]), *document[index + 1 :]]
    if not isinstance(document, dict):
        return None
    if rest:
        inner = _replace_at(document.get(step), rest, value)
        return None if inner is None else document | {step: inner}
    without = {key: other for key, other in document.items() if key != step}
    return without if value is _REMOVED else without | {step: value}


def hints(endpoint: Endpoint, body: bytes) -> list[Problem]:
    """Return a hint for each unknown field whose name is similar to a missing one: `event_nme` for `event_name`."""
    document = decode_json(body)
    hints_by_field: dict[str, Problem] = {}
    field_names: set[str] = set()
    for request_type in endpoint.request_types:
        for path, key, suggestion in _near_misses(document, request_type, ""):
            hints_by_field[path + key] = Problem(
                "hint", f"`{path}{key}` is ignored: did you mean `{path}{suggestion}`?", path + key
            )
        if struct_of(request_type):
            field_names |= {field.encode_name for field in struct_fields(struct_of(request_type))}
    return [hint for name, hint in hints_by_field.items() if name not in field_names][:_MAX_HINTS]


def _near_misses(value: Any, expected_type: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield the path, the name and the suggested name of each unknown field."""
    struct = struct_of(expected_type)
    if struct is None:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _near_misses(item, struct, f"{path.removesuffix('.')}[{index}].")
    elif isinstance(value, dict):
        fields = {field.encode_name: field.type for field in struct_fields(struct)}
        missing = [name for name in fields if name not in value]
        for key in value:
            if key in fields:
                yield from _near_misses(value[key], fields[key], f"{path}{key}.")
            elif matches := get_close_matches(key.lower().replace("-", "_")[:100], missing, 1, _MIN_SIMILARITY):
                yield path, key[:100], matches[0]
