"""What was typed into a form, and what is wrong with it."""

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
    """The fields of a form, as they were typed, and a sentence on each that is wrong.

    A page shows both again, so that nothing has to be typed twice. What is wrong, but with no field, is under `""`.
    """

    def __init__(self, fields: list[tuple[str, str]] | None = None) -> None:
        self._fields = fields or []
        self.errors: dict[str, str] = {}
        self.retry_after_s: int | None = None  # set if there were too many wrong passwords
        self.sent = fields is not None

    def __getitem__(self, field: str) -> str:
        """What was typed into a field; `""` for nothing."""
        return next((value for name, value in self._fields if name == field), "")

    def has(self, field: str) -> bool:
        """Whether a field was sent at all."""
        return any(name == field for name, _ in self._fields)

    def all(self, field: str) -> tuple[str, ...]:
        """All that was chosen of a field of several."""
        return tuple(dict.fromkeys(value for name, value in self._fields if name == field))

    def validate(
        self, field: str, rule: Callable[Concatenate[str, P], T], default: T, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What a rule makes of a field; `otherwise` if it is wrong, and then that is noted."""
        try:
            return rule(self[field].strip(), *args, **kwargs)
        except ApiError as exc:
            self.errors[field] = exc.message
            return default

    def public_id(self, prefix: str) -> str:
        """The id that a form was given for what it makes, so that it makes one thing, however often it is sent."""
        submitted_id = self["new"]
        return (
            submitted_id
            if re.fullmatch(re.escape(prefix) + "[0-9a-f]{12}", submitted_id)
            else factories.new_public_id(prefix)
        )

    def add_error(self, error: ApiError) -> None:
        """Note what the store, or a receiver, refused."""
        self.errors[error.field or ""] = error.message


async def read_form(request: Request) -> Form:
    """The form that a browser has sent. Raises `ApiError`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _CONTENT_TYPE:
        raise ApiError("invalid_request", f"This is no form: send its fields as {_CONTENT_TYPE}.")
    body = await context(request).read_body(request, _MAX_BODY_BYTES)
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        raise ApiError(
            "invalid_request", f"This is no form of ours: send at most {_MAX_FIELDS} fields, in UTF-8."
        ) from None
    return Form([(name, value.replace("\r\n", "\n").replace("\0", "")) for name, value in fields])
