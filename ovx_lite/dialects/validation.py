"""Find the first problem of a JSON document that is not of the expected type, and describe it in a sentence. Pure."""

import math
import re
import types
import typing
from functools import cache
from typing import Annotated, Any, Literal

import msgspec

from ovx_lite.domain.errors import ApiError

MAX_STRING_BYTES = 4096
"""The maximum length of a string in a field, in bytes (docs/api/README.md, Requests)."""

MAX_BATCH_EVENTS = 1000
"""The maximum number of events in a batch."""


def first_error(value: Any, expected_type: Any, path: str = "") -> ApiError | None:
    """Return the first problem of a value that should be of a type, or None. `path` is its path in the body."""
    expected_type, struct = _unwrap_type(expected_type)
    if struct is None and expected_type is not msgspec.Raw:
        return _leaf_error(value, expected_type, path)
    if struct is expected_type and not isinstance(value, dict):
        return ApiError(
            "invalid_request", f"{path or 'The body'} must be a JSON object, not {_type_name(value)}.", path or None
        )
    if struct is expected_type:
        return _field_error(value, expected_type, f"{path}." if path else "")
    if struct is not None and isinstance(value, list):
        for index, item in enumerate(value[: MAX_BATCH_EVENTS + 1]):
            if error := first_error(item, struct, f"{path}[{index}]"):
                return error
    return None if struct is None else _leaf_error(value, expected_type, path)


def _field_error(document: dict[str, Any], expected_type: Any, path: str) -> ApiError | None:
    for field in struct_fields(expected_type):
        name, value = path + field.encode_name, document.get(field.encode_name)
        if value is None and field.required:
            return ApiError("invalid_request", f"Missing required field: {name}", name)
        if value is not None and (error := first_error(value, field.type, name)):
            return error
    return None


def _leaf_error(value: Any, expected_type: Any, name: str) -> ApiError | None:
    if isinstance(value, float) and not math.isfinite(value):
        return ApiError("invalid_request", f"{name} is out of range: send a smaller number.", name)
    if has_too_long_string(value):
        return ApiError(
            "invalid_request", f"{name} is too long: at most {MAX_STRING_BYTES // 1024} KiB are allowed.", name
        )
    try:
        msgspec.convert(value, expected_type)
    except msgspec.ValidationError as exc:
        return ApiError(
            "invalid_request", f"{name or 'The body'} {_describe_error(str(exc), value, expected_type)}", name or None
        )
    return None


def _unwrap_type(annotation: Any) -> tuple[Any, Any]:
    """Return a type without `None`, and the struct that it is or is a list of; None without a struct."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        others = [argument for argument in arguments if argument is not types.NoneType]
        return _unwrap_type(others[0]) if len(others) == 1 else (annotation, None)
    bare_type = arguments[0] if typing.get_origin(annotation) is Annotated else annotation
    if bare_type is msgspec.Raw:
        return bare_type, None
    struct = typing.get_args(bare_type)[0] if typing.get_origin(bare_type) is list else bare_type
    return annotation, struct if isinstance(struct, type) and issubclass(struct, msgspec.Struct) else None


_TYPE_NAMES = {
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


def _describe_error(message: str, value: Any, expected_type: Any) -> str:
    """Turn msgspec's message about a value into the end of a sentence that starts with the field's name."""
    if typing.get_origin(expected_type) is Literal:
        return f"must be one of {', '.join(typing.get_args(expected_type))}."
    if "decimal string" in message:
        return "must be a number, or a string like 49.99."
    match = _EXPECTED.match(message)
    if match is None:
        return f"is not valid: {message.split(' - at ')[0]}."
    type_names, relation, length = match.groups()
    unit = "events" if type_names == "array" else "characters"
    if relation == "<=":
        return f"is too long: at most {length} {unit} are allowed."
    if relation == ">=":
        return "must not be empty."
    if bounds_match := _BOUND.search(message):
        return f"must be {_RELATIONS[bounds_match[1]]} {bounds_match[2]}."
    expected_names = dict.fromkeys(
        _TYPE_NAMES.get(type_name, type_name) for type_name in type_names.split(" | ") if type_name != "null"
    )
    return f"must be {' or '.join(expected_names)}, not {_type_name(value)}."


def _type_name(value: Any) -> str:
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


def nul_error(payload: object, path: str = "") -> ApiError | None:
    """Return the error for the first field with the character NUL, or None. SQLite's JSON cuts text at a NUL."""
    if isinstance(payload, msgspec.Struct):
        fields = [(field.encode_name, getattr(payload, field.name)) for field in struct_fields(type(payload))]
        errors = (nul_error(value, f"{path}.{name}" if path else name) for name, value in fields)
        return next(filter(None, errors), None)
    if isinstance(payload, list):
        return next(filter(None, (nul_error(item, f"{path}[{index}]") for index, item in enumerate(payload))), None)
    if not _has_nul(msgspec.json.decode(payload) if isinstance(payload, msgspec.Raw) and bytes(payload) else payload):
        return None
    message = f"{path or 'The body'} contains the character NUL (\\u0000): remove it."
    return ApiError("invalid_request", message, path or None)


def _has_nul(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_nul, value)) or any(map(_has_nul, value.values()))
    return any(map(_has_nul, value)) if isinstance(value, list) else isinstance(value, str) and "\0" in value


def has_too_long_string(value: object) -> bool:
    """Return whether any string is over 4 KiB in UTF-8. The decoder checks fields only, and counts characters."""
    if isinstance(value, str):
        return len(value) > MAX_STRING_BYTES // 4 and len(value.encode()) > MAX_STRING_BYTES
    if isinstance(value, msgspec.Struct):
        return any(map(has_too_long_string, msgspec.structs.astuple(value)))
    if isinstance(value, dict):
        return any(map(has_too_long_string, value)) or any(map(has_too_long_string, value.values()))
    return isinstance(value, list) and any(map(has_too_long_string, value))


@cache
def struct_fields(struct: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return a struct's fields. Cached, because msgspec is slow here and leaves reference cycles behind."""
    return msgspec.structs.fields(struct)


def struct_of(annotation: Any) -> Any:
    """Return the struct that a type is, or is a list of, ignoring `None`; None without a struct."""
    return _unwrap_type(annotation)[1]
