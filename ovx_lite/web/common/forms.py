"""HTML forms: the submitted fields, and what is wrong with them."""

import re
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import parse_qsl

from starlette.requests import Request

from ovx_lite.domain.errors import ApiError
from ovx_lite.services import factories
from ovx_lite.web.common.context import context

P = ParamSpec("P")
T = TypeVar("T")

_MAX_BODY_BYTES = 64 * 1024
_MAX_FIELDS = 200
_CONTENT_TYPE = "application/x-www-form-urlencoded"


class Form:
    """The fields of a form as they were typed, and an error message for each invalid field in `errors`.

    The page shows both again, so that nobody has to type anything twice. An error that belongs to no field is under
    `""`. `sent` is `False` for an empty form that is shown for the first time.
    """

    def __init__(self, fields: list[tuple[str, str]] | None = None) -> None:
        self._fields = fields or []
        self.errors: dict[str, str] = {}
        self.retry_after_s: int | None = None  # set if there were too many wrong passwords
        self.sent = fields is not None

    def __getitem__(self, field: str) -> str:
        """Return the value of a field, `""` if it was not sent."""
        return next((value for name, value in self._fields if name == field), "")

    def has(self, field: str) -> bool:
        """Return whether a field was sent at all."""
        return any(name == field for name, _ in self._fields)

    def all(self, field: str) -> tuple[str, ...]:
        """Return all values of a field with multiple choices, each once."""
        return tuple(dict.fromkeys(value for name, value in self._fields if name == field))

    def validate(
        self, field: str, rule: Callable[Concatenate[str, P], T], default: T, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return `rule(value, …)` for a field. If it raises `ApiError`, record the message and return `default`."""
        try:
            return rule(self[field].strip(), *args, **kwargs)
        except ApiError as exc:
            self.errors[field] = exc.message
            return default

    def public_id(self, prefix: str) -> str:
        """Return the public ID in the hidden field `new`, or a new one if it is missing or malformed.

        A page puts that ID into its form, so that a form that is sent twice creates one thing.
        """
        submitted_id = self["new"]
        return (
            submitted_id
            if re.fullmatch(re.escape(prefix) + "[0-9a-f]{12}", submitted_id)
            else factories.new_public_id(prefix)
        )

    def add_error(self, error: ApiError) -> None:
        """Record an error that the store or a receiver has raised, under its field."""
        self.errors[error.field or ""] = error.message


async def read_form(request: Request) -> Form:
    """Return the submitted form. Raises `ApiError` if the body is not a form or too large."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _CONTENT_TYPE:
        raise ApiError("invalid_request", f"The body is not a form: send its fields as {_CONTENT_TYPE}.")
    body = await context(request).read_body(request, _MAX_BODY_BYTES)
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        raise ApiError(
            "invalid_request", f"The form is not valid: send at most {_MAX_FIELDS} fields, in UTF-8."
        ) from None
    return Form([(name, value.replace("\r\n", "\n").replace("\0", "")) for name, value in fields])
