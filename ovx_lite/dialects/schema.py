"""The types of endpoints and requests, and the decoding of bodies, for all dialects (docs/api/README.md). Pure.

A body is decoded directly into a dialect's `msgspec` type, which validates every field. Only if that fails, the body is
decoded again without types, to find the invalid field and describe its problem.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from ovx_lite.dialects.validation import MAX_BATCH_EVENTS, MAX_STRING_BYTES, first_error, has_too_long_string, nul_error
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Hit, Reply

SINGLE_BODY_LIMIT_BYTES = 64 * 1024
BATCH_BODY_LIMIT_BYTES = 5 * 1024 * 1024
MAX_DEPTH = 16

Text = Annotated[str, Meta(max_length=MAX_STRING_BYTES)]
Required = Annotated[str, Meta(min_length=1, max_length=MAX_STRING_BYTES)]
Url = Annotated[str, Meta(min_length=1, max_length=MAX_STRING_BYTES, extra_json_schema={"format": "uri"})]
Link = Annotated[str, Meta(max_length=MAX_STRING_BYTES, extra_json_schema={"format": "uri"})]
"""A URL in an optional field. An empty one means the same as none."""

T = TypeVar("T")


class RawRequest(NamedTuple):
    """The parts of a request that a dialect needs. `site_ref` is the site in the path, or `""`.

    `address` and `user_agent` are the sender's if it is a browser. Those of a program are not the visitor's: then both
    are `""`.
    """

    body: bytes
    received_at_ms: int
    site_ref: str = ""
    address: str = ""
    user_agent: str = ""


class ParsedRequest(msgspec.Struct, frozen=True):
    """The hits of a request, and the site that it names.

    `cost` is the number of events for the rate limit. If a field is invalid, `problem` is set and `hits` is empty. The
    problem is not raised at once, because credentials and limits are checked before fields. `url_field` is the path of
    a hit's URL in the body, with `{}` for the hit's index.
    """

    site_ref: str
    cost: int
    hits: list[Hit] = []
    problem: ApiError | None = None
    url_field: str = "url"


class Endpoint(msgspec.Struct, frozen=True):
    """An endpoint of a product's API.

    - `path` may have one part in braces, which is the site. Otherwise, `site_field` is the field with the site.
    - `parse` raises `ApiError` if the body is not JSON. `request_types` are the possible types of the body.
    - `build_response` returns the response for the IDs of the stored events, with `status` and `response_type`.
    - A `public` endpoint needs no credentials. It also accepts the public key in place of the site's public ID.
    """

    api: str
    path: str
    summary: str
    body_limit_bytes: int
    parse: Callable[[RawRequest], ParsedRequest]
    request_types: tuple[Any, ...]
    build_response: Callable[[list[str]], Reply]
    status: int
    response_type: Any
    site_field: str | None = "site_id"
    public: bool = False


class InvalidDocument(msgspec.Struct, frozen=True):
    """A body that is JSON but not of the expected type: the untyped document, and its first problem."""

    document: Any
    problem: ApiError

    def text(self, *path: str) -> str:
        """Return the string at a path, for example `text("event", "name")`; `""` if there is none."""
        value = self.document
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value if isinstance(value, str) else ""

    def event_count(self) -> int:
        """Return the number of events for the rate limit: those of a batch, at most its maximum, or one."""
        value = self.document.get("events") if isinstance(self.document, dict) else self.document
        return min(max(len(value), 1), MAX_BATCH_EVENTS) if isinstance(value, list) else 1


def collect_hits(
    items: Sequence[T], to_hit: Callable[[T], Hit], path: str = "events"
) -> tuple[list[Hit], ApiError | None]:
    """Return the hits of a batch's items, or the problem of its first invalid item.

    Properties are checked last: an invalid field comes before invalid properties, also if its item comes later.
    """
    hits: list[Hit] = []
    props_problem = None
    for index, item in enumerate(items):
        try:
            hits.append(to_hit(item))
        except ApiError as exc:
            if exc.code != "invalid_props":
                return [], exc.within(f"{path}[{index}]")
            props_problem = props_problem or exc.within(f"{path}[{index}]")
    return ([], props_problem) if props_problem else (hits, None)


def decode_body(body: bytes, decoder: msgspec.json.Decoder[T]) -> T | InvalidDocument:
    """Decode a body. Raises `ApiError` (`invalid_request`) if it is not JSON, or nested deeper than 16 levels."""
    try:
        if not body.isascii():
            body.decode()  # msgspec does not check the strings of unknown fields
        if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _too_deep(body):
            raise _nested_too_deeply()
        payload = decoder.decode(body)
    except msgspec.ValidationError as exc:
        return _invalid_document(body, decoder.type, str(exc))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _not_json(body, exc) from None
    if b"\\" in body and rb"\u0000" in body and (problem := nul_error(payload)):
        return InvalidDocument(_decode(body), problem)
    if len(body) > MAX_STRING_BYTES and (not body.isascii() or b"\\u" in body) and has_too_long_string(payload):
        return _invalid_document(body, decoder.type, "a string is too long")
    return payload


def _invalid_document(body: bytes, expected_type: Any, message: str) -> InvalidDocument:
    document = _decode(body)
    problem = first_error(document, expected_type) or ApiError("invalid_request", f"The body is not valid: {message}.")
    return InvalidDocument(document, problem)


def _decode(body: bytes) -> Any:
    try:
        return _any_decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise _not_json(body, exc) from None


_any_decoder = msgspec.json.Decoder(float_hook=float)  # decodes 1e999 as infinity, where the default raises


def _not_json(body: bytes, reason: Exception) -> ApiError:
    if not body.strip():
        return ApiError("invalid_request", "The body is empty: send a JSON object.")
    if isinstance(reason, UnicodeDecodeError):
        return ApiError("invalid_request", f"The body is not valid UTF-8 (byte {reason.start}): send JSON in UTF-8.")
    if isinstance(reason, RecursionError):
        return _nested_too_deeply()
    detail = str(reason).removeprefix("JSON is malformed: ")
    if rb"\ud" in body.lower():
        detail += r", or an unpaired surrogate such as \ud800"
    return ApiError("invalid_request", f"The body is not valid JSON: {detail}.")


def _nested_too_deeply() -> ApiError:
    return ApiError("invalid_request", f"The body is nested too deeply: at most {MAX_DEPTH} levels are allowed.")


_BRACKETS = bytes.maketrans(b"[]", b"{}")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'{}[]"'))


def _too_deep(body: bytes) -> bool:
    """Return whether a valid JSON text is nested deeper than 16 levels, in a few linear passes over its bytes."""
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    structure = body.translate(_BRACKETS, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in structure:
        structure = b"".join(structure.split(b'"')[::2])
    for _ in range(MAX_DEPTH):
        structure = structure.replace(b"{}", b"")
    return bool(structure)
