"""All that is wrong with a request, not the first thing alone, and what it may have meant. Pure.

The readers stop at the first fault. So what is at fault is taken out, or made good, and the rest is read again.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec

from ovx_lite.dialects.schema import Call, Endpoint
from ovx_lite.dialects.validation import struct_fields, struct_of
from ovx_lite.domain.errors import Refused, detached

_MOST = 20
_MOST_HINTS = 10
_LARGEST = 64 * 1024  # bytes of a body of which all is looked for, as it is read again for each fault
_ALIKE = 0.75
_NOTHING = object()
# What is put in the place of what is wrong, until something fits.
_GOOD: Sequence[object] = (
    *(_NOTHING, "https://example.com/", "pageview", "2025-01-15T10:30:00Z", "EUR", "203.0.113.42", 1, "1", {}, []),
)
_anything = msgspec.json.Decoder(Any, float_hook=float)  # reads 1e999 as infinity, where the default gives up
_STEP = re.compile(r"[^.\[\]]+")


class Problem(NamedTuple):
    """What is wrong, with the field that is to blame (`""` for none), or `hint`, what may be."""

    code: str
    message: str
    field: str


def diagnose(endpoint: Endpoint, call: Call) -> list[Problem]:
    """All that is wrong with a body, and hints at fields nearly right; of a large one the first fault alone."""
    if len(call.body) > _LARGEST:
        problem = _problem(endpoint, call)
        return [problem] if problem else []
    found, hinted = list[Problem](), hints(endpoint, call.body)
    while len(found) < _MOST and (problem := _problem(endpoint, call)):
        if any(known.field == problem.field for known in found):
            break
        found.append(problem)
        better = _made_good(endpoint, call, problem)
        if better is None:
            break
        call = better
    return [*found, *hinted]


def decoded(body: bytes) -> Any:
    """A body as JSON; None if it is none."""
    try:
        return _anything.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _problem(endpoint: Endpoint, call: Call) -> Problem | None:
    try:
        refused = endpoint.read(call).problem
    except Refused as malformed:
        refused = detached(malformed)
    return None if refused is None else Problem(refused.code, refused.message, refused.field or "")


def _made_good(endpoint: Endpoint, call: Call, problem: Problem) -> Call | None:
    """The same call without the problem; None if that cannot be had."""
    if not problem.field:
        return None
    document = decoded(call.body)
    for value in _GOOD:
        changed = _with(document, _STEP.findall(problem.field), value)
        if changed is None:
            continue
        better = call._replace(body=msgspec.json.encode(changed))
        left = _problem(endpoint, better)
        if left is None or left.field not in ("", problem.field):
            return better
    return None


def _with(document: Any, path: Sequence[str], value: object) -> Any:
    """A copy of a document with another value at a path, or none; None if there is no such place."""
    step, rest = path[0], path[1:]
    if isinstance(document, list):
        at = int(step) if step.isdigit() else len(document)
        if at >= len(document):
            return None
        if rest:
            inner = _with(document[at], rest, value)
            return None if inner is None else [*document[:at], inner, *document[at + 1 :]]
        return [*document[:at], *([] if value is _NOTHING else [value]), *document[at + 1 :]]
    if not isinstance(document, dict):
        return None
    if rest:
        inner = _with(document.get(step), rest, value)
        return None if inner is None else document | {step: inner}
    without = {key: kept for key, kept in document.items() if key != step}
    return without if value is _NOTHING else without | {step: value}


def hints(endpoint: Endpoint, body: bytes) -> list[Problem]:
    """Fields that nobody reads, and are nearly called as others are: `event_nme`: did you mean `event_name`?"""
    document = decoded(body)
    found: dict[str, Problem] = {}
    known: set[str] = set()
    for kind in endpoint.takes:
        for path, told, meant in _near(document, kind, ""):
            found[path + told] = Problem(
                "hint", f"`{path}{told}` is not read: did you mean `{path}{meant}`?", path + told
            )
        if struct_of(kind):
            known |= {field.encode_name for field in struct_fields(struct_of(kind))}
    return [hint for name, hint in found.items() if name not in known][:_MOST_HINTS]


def _near(value: Any, kind: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """Where a field stands that is none, what it is called, and what is called nearly so."""
    struct = struct_of(kind)
    if struct is None:
        return
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _near(item, struct, f"{path.removesuffix('.')}[{number}].")
    elif isinstance(value, dict):
        fields = {field.encode_name: field.type for field in struct_fields(struct)}
        missing = [name for name in fields if name not in value]
        for told in value:
            if told in fields:
                yield from _near(value[told], fields[told], f"{path}{told}.")
            elif close := get_close_matches(told.lower().replace("-", "_")[:100], missing, 1, _ALIKE):
                yield path, told[:100], close[0]
