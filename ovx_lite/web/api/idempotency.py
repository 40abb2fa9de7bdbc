"""Idempotency keys of requests (docs/api/README.md, Idempotency)."""

from collections.abc import Callable
from hashlib import blake2b

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Reply
from ovx_lite.storage.ledger.idempotency import IdempotencyKey


def reject_with(error: ApiError) -> Callable[[list[str]], Reply]:
    """Return a `build_response` that raises an error, for a request that is only accepted if it is a replay."""

    def reject(event_ids: list[str]) -> Reply:
        raise error

    return reject


def parse_idempotency_key(
    header: str | None, path: str, body: bytes, public: bool
) -> tuple[IdempotencyKey | None, ApiError | None]:
    """Return the idempotency key of a request, with a digest of its path and body; or the error in its header.

    Both are `None` if there is no such header. The error is returned, because other checks come first. `public` means
    that the endpoint needs no credentials.
    """
    if header is None:
        return None, None
    if not 1 <= len(header) <= 255 or not all("!" <= character <= "~" for character in header):
        message = "Idempotency-Key must be 1 to 255 visible ASCII characters."
        return None, ApiError("invalid_request", message, "Idempotency-Key")
    fingerprint = blake2b(path.encode() + b"\n" + body, digest_size=16).digest()
    return IdempotencyKey(header, fingerprint, "public" if public else "key"), None
