"""All that is wrong with a request, not the first thing alone, and what it may have meant. Pure.

The readers stop at the first fault. So what is at fault is taken out, or made good, and the rest is read again.
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
_MAX_BODY_BYTES = 64 * 1024  # bytes of a body of which all is looked for, as it is read again for each fault
_MIN_SIMILARITY = 0.75
_REMOVED = object()
# What is put in the place of what is wrong, until something fits.
_REPLACEMENTS: Sequence[object] = (
    *(_REMOVED, "https://example.com/", "pageview", "2025-01-15T10:30:00Z", "EUR", "203.0.113.42", 1, "1", {}, []),
)
_any_decoder = msgspec.json.Decoder(Any, float_hook=float)  # reads 1e999 as infinity, where the default gives up
_PATH_STEP = re.compile(r"[^.\[\]]+")


class Problem(NamedTuple):
    """What is wrong, with the field that is to blame (`""` for none), or `hint`, what may be."""

    code: str
    message: str
    field: str


def diagnose(endpoint: Endpoint, request: RawRequest) -> list[Problem]:
    """All that is wrong with a body, and hints at fields nearly right; of a large one the first fault alone."""
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
    """A body as JSON; None if it is none."""
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
    """The same call without the problem; None if that cannot be had."""
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
    """A copy of a document with another value at a path, or none; None if there is no such place."""
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
    """Fields that nobody reads, and are nearly called as others are: `event_nme`: did you mean `event_name`?"""
    document = decode_json(body)
    hints_by_field: dict[str, Problem] = {}
    field_names: set[str] = set()
    for request_type in endpoint.request_types:
        for path, key, suggestion in _near_misses(document, request_type, ""):
            hints_by_field[path + key] = Problem(
                "hint", f"`{path}{key}` is not read: did you mean `{path}{suggestion}`?", path + key
            )
        if struct_of(request_type):
            field_names |= {field.encode_name for field in struct_fields(struct_of(request_type))}
    return [hint for name, hint in hints_by_field.items() if name not in field_names][:_MAX_HINTS]


def _near_misses(value: Any, expected_type: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """Where a field stands that is none, what it is called, and what is called nearly so."""
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
