"""The one exception that means no, and the table from its codes to HTTP statuses (the contract's, section 2)."""

from typing import TypeVar

E = TypeVar("E", bound=BaseException)

STATUS_BY_CODE = {
    "invalid_request": 400,
    "invalid_props": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "invalid_site_id": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "idempotency_conflict": 409,
    "payload_too_large": 413,
    "rate_limit_exceeded": 429,
    "internal_error": 500,
    "unavailable": 503,
}


class ApiError(Exception):
    """What the caller asked cannot be done as asked.

    `code` is a key of `STATUS`; `message` says what was wrong and what would be right; `field` is the path of
    the one field to blame (`events[3].url`), if there is one; `retry_after` is in seconds.
    """

    def __init__(self, code: str, message: str, field: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return STATUS_BY_CODE[self.code]

    def within(self, path: str) -> "ApiError":
        """The same refusal, with its field seen from the whole body: `url` within `events[3]` is `events[3].url`."""
        return ApiError(self.code, self.message, f"{path}.{self.field}" if self.field else path, self.retry_after_s)

    def copy(self) -> "ApiError":
        """Return the same refusal for another caller: without a traceback, which holds what the first one sent."""
        return ApiError(self.code, self.message, self.field, self.retry_after_s)


def detached(exc: E) -> E:
    """Return an exception without its traceback and context, which hold frames, and with them request bodies.

    Call it wherever an exception is caught and kept or answered. A frame that holds an exception that holds the frame
    is a reference cycle, and would stay in memory until the garbage collector looks for it.
    """
    exc.__traceback__ = exc.__context__ = exc.__cause__ = None
    return exc


def no_such_site(field: str | None = None, public: bool = False) -> ApiError:
    """The refusal for a site that is not there, or not this caller's: nobody can tell which (contract 2).

    `field` is where the caller named it; at a `public` endpoint a site is all that they named.
    """
    message = (
        "There is no such site: see its id, or its public key."
        if public
        else "There is no such site, or this credential is not for it: see the site's id, and whose key it is."
    )
    return ApiError("invalid_site_id", message, field)


def unavailable(reason: str, retry_after_s: int = 1) -> ApiError:
    """The refusal for when it is not the caller's fault. `what` begins its sentence."""
    retry_hint = "in a moment" if retry_after_s == 1 else f"in {retry_after_s} seconds"
    return ApiError(
        "unavailable", f"{reason}; nothing was stored. Send it again {retry_hint}.", retry_after_s=retry_after_s
    )
