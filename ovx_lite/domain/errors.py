"""The exception that rejects a request or an input, and the HTTP status of each error code.

docs/api/README.md, Errors, lists the codes.
"""

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
    """A request or an input is rejected.

    `code` is a key of `STATUS_BY_CODE`. `message` says what is wrong and what would be right. `field` is the path of
    the invalid field (`events[3].url`), or None if no single field is the cause.
    """

    def __init__(self, code: str, message: str, field: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The HTTP status that belongs to `code`."""
        return STATUS_BY_CODE[self.code]

    def within(self, path: str) -> "ApiError":
        """Return this error with `path` in front of its field: `url` within `events[3]` becomes `events[3].url`."""
        return ApiError(self.code, self.message, f"{path}.{self.field}" if self.field else path, self.retry_after_s)

    def copy(self) -> "ApiError":
        """Return this error for another caller, without the traceback, whose frames hold the first caller's data."""
        return ApiError(self.code, self.message, self.field, self.retry_after_s)


def detached(exc: E) -> E:
    """Remove an exception's traceback and context, whose frames hold request bodies, and return the exception.

    Call it where an exception is caught and then stored or returned. An exception and a frame that refer to each other
    form a reference cycle, which stays in memory until the garbage collector runs.
    """
    exc.__traceback__ = exc.__context__ = exc.__cause__ = None
    return exc


def no_such_site(field: str | None = None, public: bool = False) -> ApiError:
    """Return the error for a site that does not exist or belongs to another credential.

    Both cases get the same message, so that nobody can find out which sites exist. `field` is where the request names
    the site. `public` selects the message of endpoints without credentials.
    """
    message = (
        "No site has this id or public key: check the value that you send."
        if public
        else "This site does not exist, or the credential is for another site: check the site's id and the key."
    )
    return ApiError("invalid_site_id", message, field)


def unavailable(reason: str, retry_after_s: int = 1) -> ApiError:
    """Return the error for a problem of the server. `reason` starts the message and has no full stop at its end."""
    retry_hint = "in a moment" if retry_after_s == 1 else f"in {retry_after_s} seconds"
    return ApiError(
        "unavailable", f"{reason}; nothing was stored. Send it again {retry_hint}.", retry_after_s=retry_after_s
    )
