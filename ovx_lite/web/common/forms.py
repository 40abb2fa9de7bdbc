"""What was typed into a form, and what is wrong with it."""

import re
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import parse_qsl

from starlette.requests import Request

from ovx_lite.domain.errors import Refused
from ovx_lite.services import factories
from ovx_lite.web.common.context import desk

P = ParamSpec("P")
T = TypeVar("T")

_LARGEST = 64 * 1024
_MOST_FIELDS = 200
_KIND = "application/x-www-form-urlencoded"


class Form:
    """The fields of a form, as they were typed, and a sentence on each that is wrong.

    A page shows both again, so that nothing has to be typed twice. What is wrong, but with no field, is under `""`.
    """

    def __init__(self, typed: list[tuple[str, str]] | None = None) -> None:
        self._typed = typed or []
        self.wrong: dict[str, str] = {}
        self.sent = typed is not None

    def __getitem__(self, field: str) -> str:
        """What was typed into a field; `""` for nothing."""
        return next((value for name, value in self._typed if name == field), "")

    def has(self, field: str) -> bool:
        """Whether a field was sent at all."""
        return any(name == field for name, _ in self._typed)

    def all(self, field: str) -> tuple[str, ...]:
        """All that was chosen of a field of several."""
        return tuple(dict.fromkeys(value for name, value in self._typed if name == field))

    def judge(
        self, field: str, rule: Callable[Concatenate[str, P], T], otherwise: T, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What a rule makes of a field; `otherwise` if it is wrong, and then that is noted."""
        try:
            return rule(self[field].strip(), *args, **kwargs)
        except Refused as refused:
            self.wrong[field] = refused.message
            return otherwise

    def id(self, prefix: str) -> str:
        """The id that a form was given for what it makes, so that it makes one thing, however often it is sent."""
        given = self["new"]
        return given if re.fullmatch(re.escape(prefix) + "[0-9a-f]{12}", given) else factories.id_of(prefix)

    def blame(self, refused: Refused) -> None:
        """Note what the store, or a receiver, refused."""
        self.wrong[refused.field or ""] = refused.message


async def form_of(request: Request) -> Form:
    """The form that a browser has sent. Raises `Refused`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _KIND:
        raise Refused("invalid_request", f"This is no form: send its fields as {_KIND}.")
    body = await desk(request).body(request, _LARGEST)
    try:
        typed = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise Refused(
            "invalid_request", f"This is no form of ours: send at most {_MOST_FIELDS} fields, in UTF-8."
        ) from None
    return Form([(name, value.replace("\r\n", "\n").replace("\0", "")) for name, value in typed])
