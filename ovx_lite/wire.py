"""From bytes to checked JSON, the same for every dialect (contract 2). Pure.

A body is decoded straight into a dialect's `msgspec` type, which checks every field on the way. Only when that
fails is it looked at a second time, to say in a sentence what is wrong with which field.
"""

import math
import re
import typing
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from ovx_lite.errors import Refused
from ovx_lite.model import Hit, Reply

SINGLE_LIMIT = 64 * 1024
BATCH_LIMIT = 5 * 1024 * 1024
BATCH_EVENTS = 1000
DEEPEST = 16
LONGEST = 4096

Text = Annotated[str, Meta(max_length=LONGEST)]
Required = Annotated[str, Meta(min_length=1, max_length=LONGEST)]

T = TypeVar("T")


class Ask(msgspec.Struct, frozen=True):
    """What a call asks for: these hits, for this site.

    `cost` is what it counts against a rate limit, in events. `problem` is set where a field is wrong; then
    `hits` is empty. It is not raised at once, because credentials and limits are checked before fields.
    """

    site: str
    cost: int
    hits: list[Hit] = []
    problem: Refused | None = None


class Endpoint(msgspec.Struct, frozen=True):
    """One door of a product's API: where it is, how its bodies are read, how it says that all is stored.

    `read(body, now)` returns an `Ask` or raises `Refused` if the body is not JSON; `reply(event_ids)` is the answer.
    """

    api: str
    path: str
    body_limit: int
    read: Callable[[bytes, int], Ask]
    reply: Callable[[list[str]], Reply]


class Faulty(msgspec.Struct, frozen=True):
    """A body that is JSON but not what was asked for: all of it, untyped, and what is wrong with it."""

    document: Any
    problem: Refused


def parse(body: bytes, decoder: msgspec.json.Decoder[T]) -> T | Faulty:
    """Decode a body; raise `Refused` (`invalid_request`) if it is no JSON or nested deeper than 16."""
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look into the strings of fields that it skips
        if _too_deep(body):
            raise Refused("invalid_request", f"The body is nested too deep: at most {DEEPEST} levels are taken.")
        sent = decoder.decode(body)
    except msgspec.ValidationError as invalid:
        return _faulty(body, decoder.type, str(invalid))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed:
        raise _not_json(body, malformed) from None
    wide = len(body) > LONGEST and (not body.isascii() or b"\\u" in body)
    return _faulty(body, decoder.type, "a string is too long") if wide and _has_too_long(sent) else sent


def _faulty(body: bytes, kind: Any, invalid: str) -> Faulty:
    document = _decode(body)
    problem = _fault(document, kind) or Refused("invalid_request", f"The body is not valid: {invalid}.")
    return Faulty(document, problem)


def _has_too_long(sent: object) -> bool:
    """Whether a string is over 4 KiB as bytes. (The decoder has counted characters.)"""
    if isinstance(sent, str):
        return len(sent) > LONGEST // 4 and len(sent.encode()) > LONGEST
    if isinstance(sent, msgspec.Struct):
        return any(map(_has_too_long, msgspec.structs.astuple(sent)))
    return isinstance(sent, list) and any(map(_has_too_long, sent))


def _decode(body: bytes) -> Any:
    try:
        return _anything.decode(body)
    except (msgspec.DecodeError, RecursionError) as malformed:
        raise _not_json(body, malformed) from None


_anything = msgspec.json.Decoder(float_hook=float)  # reads 1e999 as infinity, where the default gives up


def _not_json(body: bytes, reason: Exception) -> Refused:
    if not body.strip():
        return Refused("invalid_request", "The body is empty: send a JSON object.")
    if isinstance(reason, UnicodeDecodeError):
        return Refused("invalid_request", f"The body is not valid UTF-8 (byte {reason.start}): send JSON in UTF-8.")
    if isinstance(reason, RecursionError):
        return Refused("invalid_request", f"The body is nested too deep: at most {DEEPEST} levels are taken.")
    detail = str(reason).removeprefix("JSON is malformed: ")
    if rb"\ud" in body.lower():
        detail += r", or an unpaired surrogate such as \ud800"
    return Refused("invalid_request", f"The body is not valid JSON: {detail}.")


_BRACKETS = bytes.maketrans(b"[]", b"{}")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'{}[]"'))


def _too_deep(body: bytes) -> bool:
    """Whether a (valid) JSON text nests deeper than 16, in a few linear passes over its bytes."""
    if body.count(b"{") + body.count(b"[") <= DEEPEST:
        return False
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    structure = body.translate(_BRACKETS, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in structure:
        structure = b"".join(structure.split(b'"')[::2])
    for _ in range(DEEPEST):
        structure = structure.replace(b"{}", b"")
    return bool(structure)


def _fault(document: Any, kind: Any, path: str = "") -> Refused | None:
    """The first thing in which `document` is not what `kind`, a struct, asks for."""
    if not isinstance(document, dict):
        return Refused(
            "invalid_request", f"{path or 'The body'} must be a JSON object, not {_word(document)}.", path or None
        )
    for field in msgspec.structs.fields(kind):
        name = f"{path}.{field.encode_name}" if path else field.encode_name
        value = document.get(field.encode_name)
        if field.type is msgspec.Raw:
            continue
        if value is None:
            if field.required:
                return Refused("invalid_request", f"Missing required field: {name}", name)
            continue
        listed = _listed_struct(field.type)
        if listed and isinstance(value, list):
            for index, item in enumerate(value[: BATCH_EVENTS + 1]):
                if fault := _fault(item, listed, f"{name}[{index}]"):
                    return fault
        if value in (math.inf, -math.inf):
            return Refused("invalid_request", f"{name} is beyond all numbers.", name)
        if _has_too_long(value):
            return Refused("invalid_request", f"{name} is too long: at most {LONGEST // 1024} KiB are taken.", name)
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError as invalid:
            return Refused("invalid_request", f"{name} {_sentence(str(invalid), value)}", name)
    return None


def _listed_struct(kind: Any) -> Any:
    """The struct that a list is of, for `list[Struct]`, annotated or not."""
    if typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is list:
        (item,) = typing.get_args(kind)
        return item if isinstance(item, type) and issubclass(item, msgspec.Struct) else None
    return None


_WORDS = {
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
}
_EXPECTED = re.compile(r"Expected `([a-z |]+)`(?: of length ([<>]=) (\d+))?")


def _sentence(invalid: str, value: Any) -> str:
    """What msgspec found wrong with a value, as the end of a sentence that begins with the field's name."""
    expected = _EXPECTED.match(invalid)
    if expected is None:
        return f"is not valid: {invalid.split(' - at ')[0]}."
    kinds, relation, length = expected.groups()
    unit = "events" if kinds == "array" else "characters"
    if relation == "<=":
        return f"is too long: at most {length} {unit} are taken."
    if relation == ">=":
        return "must not be empty."
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
