"""What is wrong with a JSON document that is not what was asked for: one sentence, about one field. Pure."""

import math
import re
import types
import typing
from functools import cache
from typing import Annotated, Any, Literal

import msgspec

from ovx_lite.domain.errors import Refused

LONGEST = 4096
"""Bytes that a string in a field may have (contract 2)."""

BATCH_EVENTS = 1000
"""Events that a batch may have."""


def fault(value: Any, kind: Any, path: str = "") -> Refused | None:
    """The first thing in which `value`, at `path`, is not what `kind` asks for."""
    kind, inner = _core(kind)
    if inner is None and kind is not msgspec.Raw:
        return _leaf_fault(value, kind, path)
    if inner is kind and not isinstance(value, dict):
        return Refused(
            "invalid_request", f"{path or 'The body'} must be a JSON object, not {_word(value)}.", path or None
        )
    if inner is kind:
        return _field_fault(value, kind, f"{path}." if path else "")
    if inner is not None and isinstance(value, list):
        for index, item in enumerate(value[: BATCH_EVENTS + 1]):
            if found := fault(item, inner, f"{path}[{index}]"):
                return found
    return None if inner is None else _leaf_fault(value, kind, path)


def _field_fault(document: dict[str, Any], kind: Any, path: str) -> Refused | None:
    for field in struct_fields(kind):
        name, value = path + field.encode_name, document.get(field.encode_name)
        if value is None and field.required:
            return Refused("invalid_request", f"Missing required field: {name}", name)
        if value is not None and (found := fault(value, field.type, name)):
            return found
    return None


def _leaf_fault(value: Any, kind: Any, name: str) -> Refused | None:
    if isinstance(value, float) and not math.isfinite(value):
        return Refused("invalid_request", f"{name} is beyond all numbers.", name)
    if has_too_long(value):
        return Refused("invalid_request", f"{name} is too long: at most {LONGEST // 1024} KiB are taken.", name)
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as invalid:
        return Refused("invalid_request", f"{name or 'The body'} {_sentence(str(invalid), value, kind)}", name or None)
    return None


def _core(kind: Any) -> tuple[Any, Any]:
    """A type without the null that it may be, and the struct in it: itself, or what it is a list of; or None."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        others = [argument for argument in arguments if argument is not types.NoneType]
        return _core(others[0]) if len(others) == 1 else (kind, None)
    bare = arguments[0] if typing.get_origin(kind) is Annotated else kind
    if bare is msgspec.Raw:
        return bare, None
    inner = typing.get_args(bare)[0] if typing.get_origin(bare) is list else bare
    return kind, inner if isinstance(inner, type) and issubclass(inner, msgspec.Struct) else None


_WORDS = {
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
}
_BOUND = re.compile(r"(>=|<=) ([\d.]+)(?: - at |\Z)")
_RELATIONS = {">=": "at least", "<=": "at most"}
_EXPECTED = re.compile(r"Expected `([a-z |]+)`(?: of length ([<>]=) (\d+))?")


def _sentence(invalid: str, value: Any, kind: Any) -> str:
    """What msgspec found wrong with a value, as the end of a sentence that begins with the field's name."""
    if typing.get_origin(kind) is Literal:
        return f"must be one of {', '.join(typing.get_args(kind))}."
    if "decimal string" in invalid:
        return "must be a number, or a string like 49.99."
    expected = _EXPECTED.match(invalid)
    if expected is None:
        return f"is not valid: {invalid.split(' - at ')[0]}."
    kinds, relation, length = expected.groups()
    unit = "events" if kinds == "array" else "characters"
    if relation == "<=":
        return f"is too long: at most {length} {unit} are taken."
    if relation == ">=":
        return "must not be empty."
    if bounds := _BOUND.search(invalid):
        return f"must be {_RELATIONS[bounds[1]]} {bounds[2]}."
    wanted = dict.fromkeys(_WORDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null")
    return f"must be {' or '.join(wanted)}, not {_word(value)}."


def _word(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def nul(sent: object, path: str = "") -> Refused | None:
    """The first field, at `path`, with the character NUL in it, at which SQLite's JSON would cut the text."""
    if isinstance(sent, msgspec.Struct):
        inner = [(field.encode_name, getattr(sent, field.name)) for field in struct_fields(type(sent))]
        found = (nul(value, f"{path}.{name}" if path else name) for name, value in inner)
        return next(filter(None, found), None)
    if isinstance(sent, list):
        return next(filter(None, (nul(item, f"{path}[{number}]") for number, item in enumerate(sent))), None)
    if not _has_nul(msgspec.json.decode(sent) if isinstance(sent, msgspec.Raw) and bytes(sent) else sent):
        return None
    message = f"{path or 'The body'} has the character NUL (\\u0000): leave it out."
    return Refused("invalid_request", message, path or None)


def _has_nul(sent: object) -> bool:
    if isinstance(sent, dict):
        return any(map(_has_nul, sent)) or any(map(_has_nul, sent.values()))
    return any(map(_has_nul, sent)) if isinstance(sent, list) else isinstance(sent, str) and "\0" in sent


def has_too_long(sent: object) -> bool:
    """Whether a string in it is over 4 KiB as bytes. (The decoder has counted characters, and in fields alone.)"""
    if isinstance(sent, str):
        return len(sent) > LONGEST // 4 and len(sent.encode()) > LONGEST
    if isinstance(sent, msgspec.Struct):
        return any(map(has_too_long, msgspec.structs.astuple(sent)))
    if isinstance(sent, dict):
        return any(map(has_too_long, sent)) or any(map(has_too_long, sent.values()))
    return isinstance(sent, list) and any(map(has_too_long, sent))


@cache
def struct_fields(struct: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return a struct's fields. Looking them up takes long, and leaves reference cycles behind."""
    return msgspec.structs.fields(struct)


def struct_of(kind: Any) -> Any:
    """The struct that a type is, or is a list of, or null; None if there is none in it."""
    return _core(kind)[1]
