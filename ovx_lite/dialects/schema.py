"""From bytes to checked JSON, the same for every dialect (contract 2). Pure.

A body is decoded straight into a dialect's `msgspec` type, which checks every field on the way. Only when that
fails is it looked at a second time, to say in a sentence what is wrong with which field.
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
"""A URL that may be left out, or empty, which says the same."""

T = TypeVar("T")


class RawRequest(NamedTuple):
    """What a dialect sees of a request: its body, when it came (Unix ms), and the site that the path names, if it does.

    `address` and `user_agent` are the browser's that sent it; `""` where a program did, for whomever.
    """

    body: bytes
    received_at_ms: int
    site_ref: str = ""
    address: str = ""
    user_agent: str = ""


class ParsedRequest(msgspec.Struct, frozen=True):
    """What a call asks for: these hits, for this site.

    `cost` is what it counts against a rate limit in events. `problem` is set where a field is wrong; then
    `hits` is empty. It is not raised at once, because credentials and limits are checked before fields. `urls` is
    where a hit's URL stands in the body, with `{}` for the hit's index.
    """

    site_ref: str
    cost: int
    hits: list[Hit] = []
    problem: ApiError | None = None
    url_field: str = "url"


class Endpoint(msgspec.Struct, frozen=True):
    """One door of a product's API: where it is, how its bodies are read, how it says that all is stored.

    `path` may have one part in braces, which is the site then; `site_field` is where the site is named otherwise.
    `read(call)` returns an `Ask` or raises `ApiError` if the body is not JSON; `reply(event_ids)` is the answer, of
    `status` and of type `gives`. `takes` are the types that a body may be of. A `public` endpoint needs no key: there
    the site is named by its id or its public key.
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
    """A body that is JSON but not what was asked for: all of it, untyped, and what is wrong with it."""

    document: Any
    problem: ApiError

    def text(self, *path: str) -> str:
        """The string that stands there, as far as one does: `text("event", "name")`."""
        value = self.document
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value if isinstance(value, str) else ""

    def event_count(self) -> int:
        """How many events were sent, for the rate limit: those of a batch, as many as it may have, or one."""
        value = self.document.get("events") if isinstance(self.document, dict) else self.document
        return min(max(len(value), 1), MAX_BATCH_EVENTS) if isinstance(value, list) else 1


def collect_hits(
    items: Sequence[T], to_hit: Callable[[T], Hit], path: str = "events"
) -> tuple[list[Hit], ApiError | None]:
    """The hits of a batch's items, and what is wrong with the first item that is not right.

    Props are checked after fields: a wrong field further down is told before wrong props.
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
    """Decode a body; raise `ApiError` (`invalid_request`) if it is no JSON or nested deeper than 16."""
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look into the strings of fields that it skips
        if _too_deep(body):
            raise ApiError("invalid_request", f"The body is nested too deep: at most {MAX_DEPTH} levels are taken.")
        payload = decoder.decode(body)
    except msgspec.ValidationError as exc:
        return _invalid_document(body, decoder.type, str(exc))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _not_json(body, exc) from None
    if rb"\u0000" in body and (problem := nul_error(payload)):
        return InvalidDocument(_decode(body), problem)
    may_be_too_long = len(body) > MAX_STRING_BYTES and (not body.isascii() or b"\\u" in body)
    return (
        _invalid_document(body, decoder.type, "a string is too long")
        if may_be_too_long and has_too_long_string(payload)
        else payload
    )


def _invalid_document(body: bytes, expected_type: Any, message: str) -> InvalidDocument:
    document = _decode(body)
    problem = first_error(document, expected_type) or ApiError("invalid_request", f"The body is not valid: {message}.")
    return InvalidDocument(document, problem)


def _decode(body: bytes) -> Any:
    try:
        return _any_decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise _not_json(body, exc) from None


_any_decoder = msgspec.json.Decoder(float_hook=float)  # reads 1e999 as infinity, where the default gives up


def _not_json(body: bytes, reason: Exception) -> ApiError:
    if not body.strip():
        return ApiError("invalid_request", "The body is empty: send a JSON object.")
    if isinstance(reason, UnicodeDecodeError):
        return ApiError("invalid_request", f"The body is not valid UTF-8 (byte {reason.start}): send JSON in UTF-8.")
    if isinstance(reason, RecursionError):
        return ApiError("invalid_request", f"The body is nested too deep: at most {MAX_DEPTH} levels are taken.")
    detail = str(reason).removeprefix("JSON is malformed: ")
    if rb"\ud" in body.lower():
        detail += r", or an unpaired surrogate such as \ud800"
    return ApiError("invalid_request", f"The body is not valid JSON: {detail}.")


_BRACKETS = bytes.maketrans(b"[]", b"{}")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'{}[]"'))


def _too_deep(body: bytes) -> bool:
    """Whether a (valid) JSON text nests deeper than 16, in a few linear passes over its bytes."""
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return False
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    structure = body.translate(_BRACKETS, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in structure:
        structure = b"".join(structure.split(b'"')[::2])
    for _ in range(MAX_DEPTH):
        structure = structure.replace(b"{}", b"")
    return bool(structure)
